"""Phantoms: synthetic volumes of vasculature with an exact label."""
