"""Views -> scores -> metrics with intervals."""
