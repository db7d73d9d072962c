"""From a mask to a vessel graph: lengths, diameters, branches."""
