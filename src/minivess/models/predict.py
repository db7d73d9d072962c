"""Stable import path of `predict_volume` for notebooks and scripts; defined in `minivess.inference.predict_volume`."""

from minivess.inference.predict_volume import predict_volume

__all__ = ["predict_volume"]
