"""A recipe run: what it reads, its folder, its record, its queue."""
