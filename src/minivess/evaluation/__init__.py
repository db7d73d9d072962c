"""Weights become numbers with intervals."""
