from __future__ import annotations

import cc3d
import numpy as np
import pytest
from scipy import ndimage

from minivess.topology.components import count_cavities, count_pieces
from minivess.topology.packed import pack


@pytest.mark.parametrize("smooth", [0, 0.6, 1.5])
def test_same_numbers_as_cc3d(smooth):
    rng = np.random.default_rng(0)
    for _ in range(100):
        shape = (*rng.integers(1, 20, 2), rng.choice([1, 5, 63, 64, 65, 130]))
        mask = ndimage.gaussian_filter(rng.normal(size=shape), smooth) > rng.normal() * 0.1
        outside = np.pad(~mask, 1, constant_values=True)
        assert count_pieces(pack(mask), shape[2]) == cc3d.connected_components(mask, connectivity=26, return_N=True)[1]
        assert (
            count_cavities(pack(mask), shape[2])
            == cc3d.connected_components(outside, connectivity=6, return_N=True)[1] - 1
        )


def test_empty_and_full_mask():
    empty = np.zeros((3, 4, 64), bool)
    assert (count_pieces(pack(empty), 64), count_cavities(pack(empty), 64)) == (0, 0)
    assert (count_pieces(pack(~empty), 64), count_cavities(pack(~empty), 64)) == (1, 0)
