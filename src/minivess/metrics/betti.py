"""Betti numbers: how many pieces, tunnels and cavities a mask has."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from minivess.topology.packed import euler_characteristic, pack
from minivess.topology.pieces import find_cavities, find_pieces


class BettiNumbers(NamedTuple):
    """Number of pieces (b0), tunnels (b1, the loops of a vessel network) and cavities (b2)."""

    b0: int
    b1: int
    b2: int


def betti_numbers(mask: NDArray[np.bool_]) -> BettiNumbers:
    """Compute the Betti numbers of a mask: foreground 26-connected, background 6-connected.

    The foreground is the union of closed voxels. The thinning behind the centreline (Lee et al. 1994) and cubical
    complexes with voxels as top cells use the same convention. b0 and b2 are counted as connected components of
    foreground and background. b1 follows from the Euler characteristic.

    Args:
        mask: (X, Y, Z) bool. Voxels outside the array are background.

    Returns:
        The three numbers; all 0 for an empty mask.
    """
    packed = pack(mask)
    pieces, cavities = len(find_pieces(packed).sizes), len(find_cavities(packed).sizes)
    return BettiNumbers(pieces, pieces + cavities - euler_characteristic(packed), cavities)
