"""Results become pages; computes nothing new."""
