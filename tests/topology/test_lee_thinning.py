from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from skimage.morphology import skeletonize

from minivess.topology.lee_thinning import thin_as_scikit_image


@pytest.mark.parametrize("smooth", [0, 0.7, 1.5, 3])
def test_same_voxels_as_scikit_image(smooth):
    rng = np.random.default_rng(0)
    for _ in range(60):
        mask = ndimage.gaussian_filter(rng.normal(size=rng.integers(1, 24, 3)), smooth) > rng.normal() * 0.1
        assert np.array_equal(thin_as_scikit_image(mask), np.argwhere(skeletonize(mask, method="lee")))


def test_deletes_a_straight_tube_of_even_width():
    assert len(thin_as_scikit_image(np.ones((2, 2, 50), bool))) == 0
