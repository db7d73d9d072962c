"""What is reported; pure numpy, spacing explicit."""

from minivess.metrics.case import CaseMetrics, score_case

__all__ = ["CaseMetrics", "score_case"]
