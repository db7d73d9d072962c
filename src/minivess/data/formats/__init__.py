"""File formats: bytes become arrays."""
