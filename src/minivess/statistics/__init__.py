"""Statistics: compare methods from a table of scores per case. Pure functions on tables."""
