"""Training losses, built by name."""

from minivess.losses.registry import LOSSES, build_loss

__all__ = ["LOSSES", "build_loss"]
