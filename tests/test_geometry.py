"""Strides, kernels and divisors by axis."""

from __future__ import annotations

import pytest

from minivess.geometry import MIN_EDGE, Spacing, patch_for, plan_strides, round_down


class TestPlanStrides:
    def test_isotropic_data_need_multiples_of_8(self) -> None:
        plan = plan_strides((96, 96, 96), (1, 1, 1), levels=4)
        assert plan.divisor == (8, 8, 8)
        assert set(plan.kernels) == {(3, 3, 3)}

    def test_coarse_z_is_pooled_late_and_has_kernel_1_before(self) -> None:
        plan = plan_strides((96, 96, 8), (0.99, 0.99, 5), levels=4)
        assert plan.strides == ((1, 1, 1), (2, 2, 1), (2, 2, 1), (2, 2, 2))
        assert plan.kernels == ((3, 3, 1), (3, 3, 1), (3, 3, 3), (3, 3, 3))

    def test_an_axis_of_twice_the_finest_spacing_is_coarse(self) -> None:
        """As in nnU-Net, an axis is pooled below a factor of two, and not at it."""
        plan = plan_strides((64, 64, 64), (1, 1, 2), levels=2)
        assert (plan.strides, plan.kernels) == (((1, 1, 1), (2, 2, 1)), ((3, 3, 1), (3, 3, 3)))
        assert plan_strides((64, 64, 64), (1, 1, 1.9), levels=2).strides[1] == (2, 2, 2)

    def test_a_kernel_never_shrinks(self) -> None:
        """Three slices are never pooled, so that the other axes become coarser than they are."""
        assert set(plan_strides((96, 96, 3), (1, 1, 1), levels=4).kernels) == {(3, 3, 3)}

    def test_five_slices_of_minivess_give_patch_z_4(self) -> None:
        plan = plan_strides((512, 512, 5), (0.99, 0.99, 5), levels=4)
        assert round_down((512, 512, 5), plan.divisor) == (512, 512, 4)

    def test_an_axis_without_voxels_left_is_not_pooled(self) -> None:
        assert plan_strides((96, 96, 3), (1, 1, 1), levels=4).divisor == (8, 8, 1)

    def test_stops_when_no_axis_can_be_halved(self) -> None:
        assert len(plan_strides((4, 4, 4), (1, 1, 1), levels=5).strides) == 2

    @pytest.mark.parametrize(("depth", "patch_z"), [(5, 4), (7, 6), (8, 8), (13, 12), (15, 12), (16, 16)])
    def test_uneven_depths_lose_little(self, depth: int, patch_z: int) -> None:
        plan = plan_strides((512, 512, depth), (1, 1, 1), levels=4)
        assert round_down((512, 512, depth), plan.divisor) == (512, 512, patch_z)

    @pytest.mark.parametrize("spacing", [(1, 1, 1), (0.99, 0.99, 5)])
    def test_no_halved_axis_ends_below_two_voxels(self, spacing: Spacing) -> None:
        for size in range(2, 70):
            plan = plan_strides((size, size, size), spacing, levels=5)
            patch = round_down((size, size, size), plan.divisor)
            assert all(d == 1 or edge // d >= MIN_EDGE for edge, d in zip(patch, plan.divisor, strict=True))
            assert plan_strides(patch, spacing, levels=5) == plan

    def test_multiples_of_the_divisor_are_halved(self) -> None:
        divisors = [plan_strides((size,) * 3, (1, 1, 1), levels=4).divisor[0] for size in (4, 8, 12, 16, 24, 40, 96)]
        assert divisors == [2, 4, 4, 8, 8, 8, 8]


class TestRoundDown:
    def test_takes_the_largest_multiple(self) -> None:
        assert round_down((100, 96, 5), (8, 8, 2)) == (96, 96, 4)

    def test_keeps_at_least_one_divisor(self) -> None:
        assert round_down((100, 96, 5), (8, 8, 8)) == (96, 96, 8)


class TestPatchFor:
    def test_returns_the_deepest_patch_that_fits(self) -> None:
        patches = ((192, 192, 4), (96, 96, 16), (64, 64, 32))
        assert [patch_for(patches, depth)[2] for depth in (3, 5, 16, 31, 110)] == [4, 4, 16, 16, 32]
