"""Every command as a function of the same name and arguments. Heavy libraries are imported when a function needs them."""
