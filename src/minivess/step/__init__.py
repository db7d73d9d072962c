"""One optimizer step: what training repeats and planning traces."""
