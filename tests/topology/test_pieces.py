from __future__ import annotations

import cc3d
import numpy as np
import pytest

from minivess.topology.packed import pack
from minivess.topology.pieces import find_cavities, find_pieces


def _sizes(mask: np.ndarray, connectivity: int) -> list[int]:
    return sorted(np.bincount(cc3d.connected_components(mask, connectivity=connectivity).ravel())[1:].tolist())


@pytest.mark.parametrize("shape", [(6, 9, 70), (5, 4, 64), (3, 8, 1)])
@pytest.mark.parametrize("seed", range(20))
def test_pieces_and_cavities_are_those_of_cc3d(seed: int, shape: tuple[int, int, int]) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random(shape) < rng.uniform(0.05, 0.95)
    background = _sizes(np.pad(~mask, 40, constant_values=True), 6)  # the outside is the largest piece
    assert sorted(find_pieces(pack(mask)).sizes.tolist()) == _sizes(mask, 26)
    assert sorted(find_cavities(pack(mask)).sizes.tolist()) == background[:-1]


def test_sizes_and_first_voxels() -> None:
    mask = np.zeros((5, 6, 40), bool)
    mask[1:4, 1:4, 33:36] = True
    mask[2, 2, 34] = False  # a cavity
    mask[4, 5, 0] = True
    pieces, holes = find_pieces(pack(mask)), find_cavities(pack(mask))
    # A row takes 64 bits, and a slice has 8 rows.
    assert pieces.sizes.tolist() == [26, 1]
    assert pieces.firsts.tolist() == [(2 * 8 + 2) * 64 + 33, (5 * 8 + 6) * 64]
    assert (holes.sizes.tolist(), holes.firsts.tolist()) == ([1], [(3 * 8 + 3) * 64 + 34])
