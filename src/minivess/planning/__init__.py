"""What will fit, decided before anything is spent."""
