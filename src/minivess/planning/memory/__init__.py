"""Predict memory: the peak of a training step or of a prediction, computed by tracing it on fake tensors."""

from minivess.planning.memory.peak import PeakMemory, predict_training_peak

__all__ = ["PeakMemory", "predict_training_peak"]
