"""Networks, built from model profiles."""
