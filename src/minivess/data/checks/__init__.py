"""Checks of volumes, labels and data sets: each returns findings."""
