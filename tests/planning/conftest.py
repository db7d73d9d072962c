"""Networks that are small enough to count their bytes by hand."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from minivess.models.model_profile import NetworkSpec

_MODULE = """
import os

import torch


def build(spec):
    return torch.nn.Conv3d(1, 2, 3, padding=1)


class Peeking(torch.nn.Conv3d):
    def forward(self, image):
        logits = super().forward(image)
        return logits[logits > 0]


def build_peeking(spec):
    return Peeking(1, 2, 3, padding=1)


def die(spec):
    os._exit(int(os.environ.get("MINIVESS_TEST_STATUS", 9)))
"""


@pytest.fixture
def one_layer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NetworkSpec:
    """One convolution with 56 parameters, in a module outside the package that child processes can also import."""
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "one_layer.py").write_text(_MODULE, encoding="utf-8")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "one_layer", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    return NetworkSpec(
        model="one_layer",
        builder="one_layer:build",
        patches=((8, 8, 4),),
        strides=((1, 1, 1),),
        kernels=((3, 3, 3),),
        filters=(2,),
    )
