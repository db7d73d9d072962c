"""Topology of masks: simple points and thinning to centrelines."""
