"""How minivess starts another process of its own."""

from __future__ import annotations

import sys

PYTHON = (sys.executable, "-P")
"""``-P``: a file of the folder that somebody works in, such as random.py, must not stand in for a library."""
