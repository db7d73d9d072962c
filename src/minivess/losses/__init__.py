"""What training minimises."""

from minivess.losses.registry import LOSSES, build_loss

__all__ = ["LOSSES", "build_loss"]
