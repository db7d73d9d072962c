"""Entry points of the child processes of minivess, which run as ``python -m minivess.worker TASK``."""
