"""Child processes of minivess: everything that runs as ``python -m minivess.worker TASK``."""
