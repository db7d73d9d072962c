"""Who runs it, where, and again on failure."""
