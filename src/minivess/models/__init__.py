"""Names become networks."""
