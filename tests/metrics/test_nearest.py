from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from minivess.metrics import nearest
from minivess.topology.packed import pack

SHAPE, SPACING_UM = (40, 30, 70), (0.99, 0.5, 5.0)
METHODS = {"steps and rows": (1.0, 1.0), "transform": (-1.0, 1.0), "transform to far voxels": (-1.0, -1.0)}


@pytest.fixture(params=METHODS)
def method(request, monkeypatch):
    """Use one of the methods for all voxels."""
    few, most = METHODS[request.param]
    monkeypatch.setattr(nearest, "_FEW", few)
    monkeypatch.setattr(nearest, "_MOST", most)


def nearest_distances(voxels, others, spacing):
    packed = pack(voxels), pack(others)
    return nearest.nearest_distances(np.argwhere(voxels), *packed, voxels.shape[2], spacing)


def single(place, shape=SHAPE):
    mask = np.zeros(shape, bool)
    mask[place] = True
    return mask


@pytest.mark.usefixtures("method")
class TestNearestDistances:
    @pytest.mark.parametrize("share", [0.0001, 0.01, 0.3])
    def test_equals_a_distance_transform(self, share):
        rng = np.random.default_rng(0)
        others, voxels = rng.random(SHAPE) < share, rng.random(SHAPE) < 0.05
        others[3, 4, 5] = True
        found = nearest_distances(voxels, others, SPACING_UM)
        assert found == pytest.approx(distance_transform_edt(~others, sampling=SPACING_UM)[voxels], rel=1e-6)

    def test_one_voxel_far_away(self):
        found = nearest_distances(single((39, 0, 69)), single((0, 29, 0)), (1, 1, 1))
        assert found == pytest.approx([np.sqrt(39**2 + 29**2 + 69**2)])

    def test_long_and_narrow_volume(self):
        shape, rng = (3, 400, 5), np.random.default_rng(1)
        others, voxels = rng.random(shape) < 0.003, rng.random(shape) < 0.3
        found = nearest_distances(voxels, others, (1, 1, 1))
        assert found == pytest.approx(distance_transform_edt(~others)[voxels], rel=1e-6)

    @pytest.mark.parametrize(("z", "near"), [(63, 64), (64, 63)])  # 64 voxels of a row are in one word
    def test_the_nearest_voxel_is_in_the_next_word_of_the_row(self, z, near):
        others = single((5, 5, near)) | single((7, 5, z))
        assert nearest_distances(single((5, 5, z)), others, (1, 1, 1)) == pytest.approx([1])
