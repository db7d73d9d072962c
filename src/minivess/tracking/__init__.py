"""Tracking: records of a run in MLflow, the model registry and provenance."""
