"""Regions where the networks agree against the label."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from minivess.evaluation.label_doubts import LEAST_VOXELS, TILE_VOXELS, Doubt, find_doubts

SPACING_UM = (1.0, 1.0, 5.0)


def tube(*parts: slice, shape: tuple[int, int, int] = (60, 40, 6)) -> NDArray[np.bool_]:
    mask = np.zeros(shape, bool)
    mask[parts] = True
    return mask


KEPT = tube(slice(5, 50), slice(5, 9), slice(1, 4))
OTHER = tube(slice(10, 40), slice(25, 29), slice(2, 4))


def doubts(label: NDArray[np.bool_], seen: NDArray[np.bool_], share: float = 1.0) -> list[Doubt]:
    return find_doubts(label, np.where(seen, np.float32(share), np.float32(0)), SPACING_UM, 2.0)


class TestFindDoubts:
    def test_vessel_that_the_label_lacks_is_missing(self) -> None:
        (found,) = doubts(KEPT, KEPT | OTHER, share=0.75)
        assert (found.kind, found.voxels, found.volume_um3) == ("missing", 30 * 4 * 2, 30 * 4 * 2 * 5)
        assert (found.first, found.last, found.agreement) == ((10, 25, 2), (39, 28, 3), 0.75)
        assert OTHER[found.peak]

    def test_vessel_that_the_networks_do_not_see_is_unconfirmed(self) -> None:
        (found,) = doubts(KEPT | OTHER, KEPT)
        assert (found.kind, found.first, found.agreement) == ("unconfirmed", (10, 25, 2), 1.0)

    def test_a_minority_of_the_networks_is_not_heard(self) -> None:
        assert doubts(KEPT, KEPT, share=0.75) == []
        assert doubts(KEPT, KEPT | OTHER, share=0.5) == []

    def test_wider_drawing_within_the_tolerance_is_no_doubt(self) -> None:
        for wider in (tube(slice(5, 50), slice(3, 11), slice(1, 4)), tube(slice(5, 50), slice(5, 9), slice(0, 5))):
            assert doubts(KEPT, wider) == []
            assert doubts(wider, KEPT) == []
        assert doubts(KEPT, tube(slice(5, 50), slice(2, 9), slice(1, 4)))  # 3 µm
        assert doubts(KEPT, tube(slice(5, 50), slice(5, 9), slice(1, 6)))  # two slices

    def test_the_larger_region_and_the_clearer_one_come_first(self) -> None:
        short = tube(slice(10, 20), slice(34, 38), slice(2, 4))
        assert [one.first[1] for one in doubts(KEPT, KEPT | OTHER | short)] == [25, 34]
        share = np.where(OTHER, 0.6, 0) + np.where(tube(slice(10, 40), slice(34, 38), slice(2, 4)), 0.9, 0)
        found = find_doubts(KEPT, np.maximum(share, KEPT).astype(np.float32), SPACING_UM, 2.0)
        assert [one.first[1] for one in found] == [34, 25]

    def test_a_few_voxels_are_not_listed(self) -> None:
        speck = tube(slice(30, 30 + LEAST_VOXELS - 1), slice(30, 31), slice(2, 3))
        assert doubts(KEPT, KEPT | speck) == []

    def test_long_regions_are_cut_so_that_each_can_be_looked_at(self) -> None:
        long = tube(slice(0, 150), slice(5, 9), slice(1, 4), shape=(150, 40, 6))
        found = doubts(np.zeros_like(long), long)
        assert sorted((one.first[0], one.last[0]) for one in found) == [
            (0, TILE_VOXELS - 1), (TILE_VOXELS, 2 * TILE_VOXELS - 1), (2 * TILE_VOXELS, 149),
        ]  # fmt: skip
        assert sum(one.voxels for one in found) == np.count_nonzero(long)
