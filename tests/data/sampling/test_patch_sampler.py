"""Random patches by batch number."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from minivess.data.array_store import Store, StoredCase
from minivess.data.sampling.in_plane_transform import InPlane
from minivess.data.sampling.patch_sampler import Patch, PatchSampler, _cut, _draw_centre
from minivess.geometry import Shape

NAMES = ("phantom01", "phantom02", "phantom03", "phantom04")


def _sampler(
    store: Store, *patches: Shape, batch: int = 2, seed: int = 0, augment: bool = True, names: tuple[str, ...] = NAMES
) -> PatchSampler:
    return PatchSampler(
        store, names, patches or ((32, 32, 4),), batch=batch, foreground_fraction=0.5, seed=seed, augment=augment
    )


class Everything:
    """A mark of every vessel voxel."""

    name = "everything"

    def __call__(self, label: np.ndarray) -> np.ndarray:
        return label


class TestMark:
    def test_is_cut_turned_and_mirrored_with_the_label(self, store: Store) -> None:
        plain = _sampler(store, (40, 40, 6))
        marked = PatchSampler(store, NAMES, ((40, 40, 6),), batch=2, foreground_fraction=0.5, mark=Everything())
        for step in range(6):
            (image, label, mask), (same, twice, as_before) = plain.batch(step), marked.batch(step)
            np.testing.assert_array_equal(twice, 2 * label)
            np.testing.assert_array_equal(same, image)
            np.testing.assert_array_equal(as_before, mask)


class TestBatch:
    def test_depends_only_on_seed_and_step(self, store: Store) -> None:
        first, second = _sampler(store), _sampler(store)
        second.batch(7)
        for one, other in zip(first.batch(3), second.batch(3), strict=True):
            np.testing.assert_array_equal(one, other)
        assert not np.array_equal(first.batch(3)[0], _sampler(store, seed=1).batch(3)[0])

    def test_a_patch_without_augmentation_is_part_of_its_volume(self, store: Store) -> None:
        image, label, mask = _sampler(store, augment=False).batch(0)
        assert mask.all()
        assert any(_occurs(image[0, 0], store.case(name).stats.normalise(store.case(name).image)) for name in NAMES)
        assert set(np.unique(label)) <= {0, 1}

    @pytest.mark.parametrize("batch", [1, 2, 3])
    @pytest.mark.parametrize("share", [0, 0.25, 0.5, 1])
    def test_the_share_on_vessel_is_kept_for_any_batch_size(self, store: Store, batch: int, share: float) -> None:
        """A patch of one voxel is its own centre, and few patches at random positions are on vessel."""
        sampler = PatchSampler(store, NAMES, ((1, 1, 1),), batch=batch, foreground_fraction=share, augment=False)
        on_vessel = sum(int(sampler.batch(step)[1].sum()) for step in range(240 // batch))
        assert 240 * share <= on_vessel <= 240 * (share + 0.2 * (1 - share))

    def test_has_a_channel_axis(self, store: Store) -> None:
        image, label, mask = _sampler(store, batch=3).batch(0)
        assert image.shape == label.shape == mask.shape == (3, 1, 32, 32, 4)
        assert (image.dtype, label.dtype, mask.dtype) == (np.float32, np.uint8, np.bool_)

    def test_image_label_and_mask_are_mirrored_and_turned_alike(self, store: Store) -> None:
        """Voxel values of the image: the label inside the volume, and 1 in its padding."""
        case = store.case("phantom01")
        shown = np.asfortranarray(case.label.astype(np.float32))
        case = type(case)(case.stats.model_copy(update=_identity_normalisation()), shown, case.label, case.foreground)
        sampler, agree, padded = _sampler(store), [], []
        for index in range(60):
            image, label, mask = sampler._sample(case, (32, 32, 8), index)
            inside = mask & (label != label.mean())
            agree.append(np.corrcoef(image[inside], label[inside])[0, 1] if label[mask].any() else 1.0)
            padded.append((~mask).reshape(-1, 8).all(axis=0))
            assert not label[~mask].any()
        assert np.mean(np.array(agree) > 0.6) > 0.9
        assert {tuple(np.flatnonzero(slices)) for slices in padded} == {(0, 6, 7), (0, 1, 7)}

    def test_rounds_have_another_order(self, store: Store) -> None:
        """Of the four cases, and of the two groups that they belong to."""
        sampler, orders = _sampler(store, (32, 32, 4), (16, 16, 12), batch=1), []
        for round_ in range(12):
            steps = range(4 * round_, 4 * round_ + 4)
            orders.append(tuple(sampler.batch(step)[0].shape[4] for step in steps))
        assert len(set(orders)) > 2
        assert {tuple(sorted(order)) for order in orders} == {(4, 4, 12, 12)}

    def test_the_seed_decides_the_positions(self, store: Store) -> None:
        """Of a single case without augmentation, only the positions are random."""
        drawn = [[_sampler(store, seed=s, augment=False, names=NAMES[1:2]).batch(n) for n in (0, 1)] for s in (0, 0, 1)]
        first, again, other = ([patch.tobytes() for batch in batches for patch in batch[0]] for batches in drawn)
        assert first == again
        assert len(set(first + other)) == 8

    def test_the_seed_decides_the_order_of_the_cases(self, store: Store) -> None:
        orders = {seed: tuple(_sampler(store, seed=seed)._order(4, 0, 0)) for seed in range(8)}
        assert len(set(orders.values())) > 4
        assert orders[3] == tuple(_sampler(store, seed=3)._order(4, 0, 0))

    def test_patches_of_a_batch_and_of_its_neighbour_have_their_own_numbers(self, store: Store) -> None:
        sampler, indices = _sampler(store, batch=3), []
        sampler._sample = lambda case, patch, index: indices.append(index) or _nothing()  # type: ignore[method-assign, assignment]
        for step in range(4):
            sampler.batch(step)
        assert indices == list(range(12))


class TestGroups:
    def test_a_batch_has_the_deepest_patch_that_fits_its_volumes(self, store: Store) -> None:
        sampler = _sampler(store, (32, 32, 4), (16, 16, 12))
        shapes = {sampler.batch(step)[0].shape[2:] for step in range(8)}
        assert shapes == {(32, 32, 4), (16, 16, 12)}
        assert {sampler.batch(step)[2].all() for step in range(8) if sampler.batch(step)[0].shape[4] == 12} == {True}

    @pytest.mark.parametrize("batch", [1, 2, 3])
    @pytest.mark.parametrize("patches", [((32, 32, 4),), ((32, 32, 4), (16, 16, 12))])
    def test_in_a_round_every_case_occurs_equally_often(
        self, store: Store, batch: int, patches: tuple[Shape, ...]
    ) -> None:
        sampler = _sampler(store, *patches, batch=batch)
        drawn: Counter[str] = Counter()
        cut = sampler._sample

        def counted(case: StoredCase, *place: Any, **options: Any) -> Patch:
            drawn[case.stats.name] += 1
            return cut(case, *place, **options)

        sampler._sample = counted  # type: ignore[method-assign]
        for step in range(2 * len(NAMES)):
            sampler.batch(step)
        assert drawn == dict.fromkeys(NAMES, 2 * batch)


class TestCut:
    def test_a_shallow_volume_is_padded_and_the_padding_masked(self, store: Store) -> None:
        case = store.case("phantom01")
        _, label, mask = _cut(case, (48, 48, 2), (16, 16, 8), InPlane())
        assert mask.sum() == 16 * 16 * 5
        assert not label[~mask].any()
        assert _cut(case, (48, 48, 2), (16, 16, 8), InPlane(angle_rad=np.pi / 2))[2].sum() == 16 * 16 * 5

    def test_a_rotation_by_90_degrees_equals_rot90(self, store: Store) -> None:
        case = store.case("phantom02")
        plain = _cut(case, (40, 40, 6), (17, 17, 4), InPlane())
        turned = _cut(case, (40, 40, 6), (17, 17, 4), InPlane(angle_rad=np.pi / 2))
        np.testing.assert_array_equal(turned[1], np.rot90(plain[1], -1))
        np.testing.assert_allclose(turned[0], np.rot90(plain[0], -1), atol=1e-4)

    def test_image_and_label_are_transformed_alike(self, store: Store) -> None:
        case = store.case("phantom03")
        shown = case.label.astype(np.float32)
        marked = type(case)(case.stats.model_copy(update=_identity_normalisation()), shown, case.label, case.foreground)
        image, label, mask = _cut(marked, (44, 52, 8), (32, 32, 4), InPlane(angle_rad=0.7, scale=0.8))
        assert mask.all()
        assert np.abs(image - label)[np.abs(image - 0.5) > 0.49].max() < 0.51


class TestDrawCentre:
    def test_a_centre_on_a_vessel_is_a_vessel_voxel(self, store: Store) -> None:
        case, rng = store.case("phantom02"), np.random.default_rng(0)
        drawn = {_draw_centre(case, (1, 1, 1), True, rng) for _ in range(100)}
        assert all(case.label[centre] for centre in drawn)
        assert len(drawn) > 50

    def test_the_patch_is_inside_the_volume(self, store: Store) -> None:
        case, patch = store.case("phantom02"), (32, 32, 4)
        rng = np.random.default_rng(0)
        for _ in range(200):
            centre = _draw_centre(case, patch, True, rng)
            starts = [at - size // 2 for at, size in zip(centre, patch, strict=True)]
            ends = [start + size for start, size in zip(starts, patch, strict=True)]
            assert min(starts) >= 0
            assert all(end <= whole for end, whole in zip(ends, case.image.shape, strict=True))


def _nothing() -> Patch:
    zeros = np.zeros((32, 32, 4), np.float32)
    return zeros, zeros.astype(np.uint8), zeros.astype(bool)


def _identity_normalisation() -> dict[str, float]:
    """Statistics with which normalisation changes nothing."""
    return {"intensity_low": 0.0, "intensity_high": 1.0, "intensity_mean": 0.0, "intensity_std": 1.0}


def _occurs(patch: np.ndarray, volume: np.ndarray) -> bool:
    windows = np.lib.stride_tricks.sliding_window_view(volume, patch.shape)
    corners = np.argwhere(windows[..., 0, 0, 0] == patch[0, 0, 0])
    return any(np.array_equal(windows[tuple(corner)], patch) for corner in corners)
