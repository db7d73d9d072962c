"""Old name of `minivess.inference.mlflow_model`, stored in models that were registered before version 0.2."""

from minivess.inference.mlflow_model import VolumePredictor, _load_pyfunc

__all__ = ["VolumePredictor", "_load_pyfunc"]
