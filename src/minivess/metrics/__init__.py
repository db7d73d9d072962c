"""Metrics of a predicted volume. They work on NumPy arrays, and the voxel size is always an argument."""

from minivess.metrics.case import CaseMetrics, score_case

__all__ = ["CaseMetrics", "score_case"]
