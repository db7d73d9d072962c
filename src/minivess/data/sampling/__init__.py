"""Training samples: cases become batches of patches."""
