from __future__ import annotations

import numpy as np
import pytest

from minivess.data.phantoms.recipes import RECIPES, Grid
from minivess.data.phantoms.stream import PhantomStream
from minivess.data.sampling.loaders import batches

PATCH = (48, 48, 6)


def stream(seed: int = 0, batch: int = 2, **changes: object) -> PhantomStream:
    return PhantomStream(RECIPES["broad"].model_copy(update=changes), PATCH, batch=batch, seed=seed)


class TestStream:
    def test_a_sample_depends_on_seed_and_number_only(self) -> None:
        first, again = stream(), stream()
        again.sample(9)
        for one, other in zip(first.sample(4), again.sample(4), strict=True):
            np.testing.assert_array_equal(one, other)

    def test_no_sample_is_seen_twice(self) -> None:
        images = [stream(seed).sample(number)[0].tobytes() for seed in (0, 1) for number in range(20)]
        assert len(set(images)) == 40

    def test_batches_are_made_of_the_samples_and_equal_for_any_number_of_threads(self) -> None:
        alone, threads = list(batches(stream(), 3, 7, 0)), list(batches(stream(), 3, 7, 3))
        for one, other in zip(alone, threads, strict=True):
            assert all(a.equal(b) for a, b in zip(one, other, strict=True))
        np.testing.assert_array_equal(alone[0][0][1, 0].numpy(), stream().sample(7)[0])
        assert [part.shape for part in alone[0]] == [(2, 1, *PATCH)] * 3

    def test_images_are_normalised_and_labels_are_masks(self) -> None:
        samples = [stream().sample(number) for number in range(40)]
        assert all(np.isfinite(image).all() and image.dtype == np.float32 for image, _, _ in samples)
        assert all(set(np.unique(label)) <= {0, 1} for _, label, _ in samples)
        assert 0.05 < np.mean([label.mean() for _, label, _ in samples]) < 0.5
        brighter = [
            image[label == 1].mean() > image[label == 0].mean() for image, label, _ in samples if 0 < label.mean() < 1
        ]
        assert np.mean(brighter) > 0.9

    def test_a_shallow_volume_is_padded_under_a_mask(self) -> None:
        shallow = stream(grids=(Grid(spacing_um=(1.0, 1.0, 5.0), slices=3),))
        image, label, mask = shallow.sample(0)
        inside = mask.any(axis=(0, 1))
        assert 2 <= inside.sum() <= 4
        assert not label[:, :, ~inside].any()
        assert image.shape == PATCH

    @pytest.mark.parametrize("name", RECIPES)
    def test_drawing_needs_no_more_memory_than_planned(self, name: str) -> None:
        import tracemalloc

        one = PhantomStream(RECIPES[name], (96, 96, 8), batch=1)
        one.sample(0)
        tracemalloc.start()
        for number in range(12):
            one.sample(number)
        assert tracemalloc.get_traced_memory()[1] < one.bytes_per_sample
        tracemalloc.stop()
