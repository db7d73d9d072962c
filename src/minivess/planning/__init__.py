"""Planning: choose patches, batch, precision and memory use before a run starts."""
