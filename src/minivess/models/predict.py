"""Stable name of `minivess.inference.predict_volume`, for notebooks and scripts."""

from minivess.inference.predict_volume import predict_volume

__all__ = ["predict_volume"]
