"""Stable name of `minivess.statistics.compare_methods`, for notebooks and scripts."""

from minivess.statistics.compare_methods import compare

__all__ = ["compare"]
