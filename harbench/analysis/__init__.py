"""A finished run looked into: comparison, causes, what it uses, and predictions of others."""
