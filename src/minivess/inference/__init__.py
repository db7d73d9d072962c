"""Inference: trained weights segment new volumes."""
