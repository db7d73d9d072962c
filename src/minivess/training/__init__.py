"""A plan becomes weights."""
