"""Shrinking a plan into a budget, with a memory of ten bytes a voxel that a person can check."""

from __future__ import annotations

import math

import pytest

from minivess.errors import PlanError
from minivess.models.registry import NetworkSpec, load_model_profile
from minivess.planning.fit import Fitted, fit_to_memory, halvings, smaller_patch
from minivess.strides import Shape, round_down

MODEL = load_model_profile("dynunet")


def _choose(bound: Shape) -> tuple[NetworkSpec, str]:
    strides = MODEL.plan_strides(bound, (1, 1, 5))
    return MODEL.spec((round_down(bound, strides.divisor),), strides), "chosen"


def _peak(network: NetworkSpec, micro_batch: int) -> int:
    return 1000 + 10 * micro_batch * math.prod(network.largest_patch)


def _fit(budget_bytes: int) -> Fitted:
    return fit_to_memory(_choose, (64, 64, 8), halvings(2), _peak, budget_bytes)


class TestFitToMemory:
    def test_what_fits_is_left_alone(self) -> None:
        fitted = _fit(1000 + 10 * 2 * 64 * 64 * 8)
        assert (fitted.network.largest_patch, fitted.micro_batch, fitted.reason) == ((64, 64, 8), 2, "chosen")

    def test_the_batch_is_split_before_the_patch_shrinks(self) -> None:
        fitted = _fit(1000 + 10 * 64 * 64 * 8)
        assert (fitted.network.largest_patch, fitted.micro_batch) == ((64, 64, 8), 1)

    def test_then_the_patch_shrinks_in_plane_as_little_as_needed(self) -> None:
        budget_bytes = 1000 + 10 * 48 * 48 * 8
        fitted = _fit(budget_bytes)
        assert fitted.peak_bytes <= budget_bytes
        assert fitted.network.largest_patch == (40, 40, 8)  # the largest multiple of 8 with 5 % to spare
        assert "shrunk" in fitted.reason

    def test_a_hopeless_budget_is_refused_with_a_cure(self) -> None:
        with pytest.raises(PlanError, match="fewer filters"):
            _fit(5000)

    def test_no_budget_at_all_is_refused_as_well(self) -> None:
        assert smaller_patch((64, 64, 8), (8, 8, 2), -0.1) == (16, 16, 8)
        with pytest.raises(PlanError, match="fewer filters"):
            _fit(-5000)

    def test_a_contract_is_never_shrunk(self) -> None:
        with pytest.raises(PlanError, match="or a smaller patch"):
            fit_to_memory(_choose, (64, 64, 8), [2], _peak, 1000 + 10 * 64 * 64 * 8, may_shrink=False)
