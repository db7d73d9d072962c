from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt

from minivess.losses.distance import capped_distance


class TestCappedDistance:
    def test_distance_in_voxels_is_limited_to_the_reach(self):
        mask = torch.ones(1, 1, 6, 1, 1, dtype=torch.bool)
        mask[0, 0, 0] = False
        assert capped_distance(mask, reach=3).flatten().tolist() == [0, 1, 2, 3, 3, 3]

    def test_is_the_reach_without_background(self):
        assert capped_distance(torch.ones(1, 1, 3, 3, 3, dtype=torch.bool), reach=4).unique().tolist() == [4]

    def test_padding_does_not_count_as_background(self):
        mask = torch.tensor([True, True, True, False]).view(1, 1, 4, 1, 1)
        valid = torch.tensor([True, True, True, False]).view(1, 1, 4, 1, 1)
        assert capped_distance(mask, reach=5, valid=valid).flatten()[:3].tolist() == [5, 5, 5]

    @settings(deadline=None, max_examples=20)
    @given(st.integers(0, 10**6), st.integers(1, 12), st.sampled_from([0.5, 0.9, 0.99]))
    def test_equals_scipy_up_to_the_reach(self, seed, reach, density):
        mask = torch.rand(2, 1, 14, 11, 5, generator=torch.Generator().manual_seed(seed)) < density
        mask[:, :, 0, 0, 0] = False
        expected = torch.stack([torch.from_numpy(distance_transform_edt(m[0]))[None] for m in mask]).float()
        torch.testing.assert_close(capped_distance(mask, reach), expected.clamp(max=reach))
