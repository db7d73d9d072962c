"""Statistics: rows of scores become a comparison. Pure functions on tables."""
