"""Fixtures: specs of small networks."""

from __future__ import annotations

import pytest

from minivess.geometry import Shape
from minivess.models.model_profile import NetworkSpec, load_model_profile


@pytest.fixture
def spec() -> NetworkSpec:
    return _dynunet((16, 16, 4), (2, 4, 4))


@pytest.fixture
def four_levels() -> NetworkSpec:
    """The network for MiniVess with few filters: its four levels, its spacing and the four slices of its smallest patch."""
    return _dynunet((32, 32, 4), (2, 4, 4, 8))


def _dynunet(patch: Shape, filters: tuple[int, ...]) -> NetworkSpec:
    model = load_model_profile("dynunet", filters=filters)
    return model.spec((patch,), model.plan_strides(patch, (0.99, 0.99, 5.0)))
