from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from minivess.metrics import nearest
from minivess.metrics.nearest import nearest_distances

SHAPE, SPACING_UM = (40, 30, 70), (0.99, 0.5, 5.0)


@pytest.fixture(params=["rows", "transform"])
def method(request, monkeypatch):
    """Use one of the two methods for all voxels."""
    monkeypatch.setattr(nearest, "_FEW", {"rows": 1.0, "transform": -1.0}[request.param])


@pytest.mark.usefixtures("method")
class TestNearestDistances:
    @pytest.mark.parametrize("share", [0.0001, 0.01, 0.3])
    def test_equals_a_distance_transform(self, share):
        rng = np.random.default_rng(0)
        others, voxels = rng.random(SHAPE) < share, rng.random(SHAPE) < 0.05
        others[3, 4, 5] = True
        found = nearest_distances(np.argwhere(voxels), np.argwhere(others), SHAPE, SPACING_UM)
        assert found == pytest.approx(distance_transform_edt(~others, sampling=SPACING_UM)[voxels], rel=1e-6)

    def test_one_voxel_far_away(self):
        found = nearest_distances(np.array([[39, 0, 69]]), np.array([[0, 29, 0]]), SHAPE, (1, 1, 1))
        assert found == pytest.approx([np.sqrt(39**2 + 29**2 + 69**2)])

    def test_long_and_narrow_volume(self):
        shape, rng = (3, 400, 5), np.random.default_rng(1)
        others, voxels = rng.random(shape) < 0.003, rng.random(shape) < 0.3
        found = nearest_distances(np.argwhere(voxels), np.argwhere(others), shape, (1, 1, 1))
        assert found == pytest.approx(distance_transform_edt(~others)[voxels], rel=1e-6)
