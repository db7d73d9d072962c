"""Segmentation of new volumes with trained weights."""
