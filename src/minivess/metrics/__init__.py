"""What is reported; pure numpy, spacing explicit."""
