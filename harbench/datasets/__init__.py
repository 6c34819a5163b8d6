"""What a data set IS: one module each with a `SPEC`, found by its name; nothing is registered."""
