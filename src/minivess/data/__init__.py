"""Files on disk become batches."""
