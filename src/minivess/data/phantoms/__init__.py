"""Phantoms: synthetic vessel volumes with an exact label."""
