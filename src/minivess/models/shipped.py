"""The network that ships with minivess. It was trained on phantoms alone, so it can segment before anything is labelled."""

from __future__ import annotations

from pathlib import Path

SHIPPED = Path(__file__).parents[1] / "pretrained"
"""Folder with network.json and network.safetensors; docs/reference/phantom-network.md says how they were made."""

UNCALIBRATED = (
    "The network that ships with minivess is used. It was trained on phantoms alone and is not calibrated for these data: "
    "compare some slices with their mask before you use a number. It gets better with labels: label a few volumes, run "
    "`minivess run`, and predict with the network of that run (docs/how-to/without-labels.md)."
)
