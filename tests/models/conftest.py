"""A small network."""

from __future__ import annotations

import pytest

from minivess.models.registry import NetworkSpec, load_model_profile


@pytest.fixture
def spec() -> NetworkSpec:
    model = load_model_profile("dynunet", filters=(2, 4, 4))
    strides = model.plan_strides((16, 16, 4), (0.99, 0.99, 5.0))
    return NetworkSpec(
        model=model.name,
        builder=model.builder,
        patches=((16, 16, 4),),
        strides=strides.strides,
        kernels=strides.kernels,
        filters=model.filters[: len(strides.strides)],
    )
