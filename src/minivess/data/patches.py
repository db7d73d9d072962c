"""One batch from its number alone: which cases, where, and how they are changed follow from (seed, step).

So neither the number of workers nor the point of an interruption changes a sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from minivess.data.augment import InPlane, change_intensity, draw_flips, draw_in_plane, resample_in_plane
from minivess.data.store import Store, StoredCase
from minivess.strides import Shape, patch_for

Patch = tuple[np.ndarray, np.ndarray, np.ndarray]


class PatchSampler:
    """Batches of random patches of the training cases; every case gives as many patches as any other.

    Cases are grouped by the patch that fits their depth, and a batch is drawn from one group. A round has as many batches as
    there are cases: each group has as many of them as it has cases, so over a round each case comes ``batch`` times.

    Args:
        store: The data set.
        names: The training cases.
        patches: Patch sizes X, Y, Z in voxels, one a group; a volume smaller than its patch is padded and the padding masked.
        batch: Patches of a batch; the first of each batch hold vessel at their centre.
        foreground_fraction: Share of a batch that must hold vessel, rounded up to whole patches.
        seed: Seed of every draw.
        augment: Whether patches are changed at random.
    """

    def __init__(
        self,
        store: Store,
        names: Sequence[str],
        patches: Sequence[Shape],
        *,
        batch: int,
        foreground_fraction: float = 0.5,
        seed: int = 0,
        augment: bool = True,
    ) -> None:
        self._groups: dict[Shape, list[StoredCase]] = {}
        for name in names:
            case = store.case(name)
            self._groups.setdefault(patch_for(patches, case.stats.shape[2]), []).append(case)
        self._batches = [(patch, number) for patch, group in self._groups.items() for number in range(len(group))]
        self._batch = batch
        self._foreground = int(np.ceil(batch * foreground_fraction))
        self._seed = seed
        self._augment = augment
        self._order = lru_cache(maxsize=8)(self._shuffled)

    def batch(self, step: int) -> Patch:
        """Batch number ``step``: image float32, label uint8 and mask bool, each (B, 1, X, Y, Z)."""
        round_, position = divmod(step, len(self._batches))
        patch, number = self._batches[self._order(len(self._batches), round_, 0)[position]]
        samples = []
        for slot in range(self._batch):
            case = self._case(patch, round_, number * self._batch + slot)
            samples.append(self._sample(case, patch, step * self._batch + slot, wants_vessel=slot < self._foreground))
        image, label, mask = (np.stack(parts)[:, None] for parts in zip(*samples, strict=True))
        return image, label, mask

    def _case(self, patch: Shape, round_: int, place: int) -> StoredCase:
        """The case at a place of its group's queue: one shuffle of the group after the other."""
        group = self._groups[patch]
        shuffle, position = divmod(place, len(group))
        return group[self._order(len(group), round_, 1 + shuffle, *patch)[position]]

    def _sample(self, case: StoredCase, patch: Shape, index: int, *, wants_vessel: bool) -> Patch:
        """Sample number ``index``: image, label and mask, each (X, Y, Z); mask is False where the volume had no voxel."""
        rng = np.random.default_rng((self._seed, index))
        change = draw_in_plane(rng) if self._augment else InPlane()
        centre = _draw_centre(case, patch, wants_vessel, rng)
        image, label, mask = _cut(case, centre, patch, change)
        if self._augment:
            flips = draw_flips(rng)
            image, label, mask = image[flips], label[flips], mask[flips]
            image = change_intensity(image, rng)
        return image, label, mask

    def _shuffled(self, count: int, *key: int) -> np.ndarray:
        return np.random.default_rng((self._seed, *key, 1)).permutation(count)


def _draw_centre(case: StoredCase, patch: Shape, wants_vessel: bool, rng: np.random.Generator) -> Shape:
    """A patch centre such that the patch lies within the volume wherever it fits, on a vessel voxel's reach if wanted."""
    shape = case.image.shape
    if wants_vessel and case.foreground.size:
        flat = int(case.foreground[rng.integers(case.foreground.size)])
        wanted = [int(value) for value in np.unravel_index(flat, shape)]
    else:
        wanted = [int(rng.integers(size)) for size in shape]
    x, y, z = (
        min(max(at, size // 2), max(whole - (size - size // 2), size // 2)) if whole > size else whole // 2
        for at, size, whole in zip(wanted, patch, shape, strict=True)
    )
    return x, y, z


def _cut(case: StoredCase, centre: Shape, patch: Shape, change: InPlane) -> Patch:
    """The patch about ``centre`` seen through ``change``, with edge values and a False mask outside the volume."""
    size_x, size_y = patch[:2] if change.is_identity else change.source_size(patch[:2])
    size = (size_x, size_y, patch[2])
    start = [at - length // 2 for at, length in zip(centre, size, strict=True)]
    index, inside, padding = [], [], []
    for first, length, whole in zip(start, size, case.image.shape, strict=True):
        low, high = max(first, 0), min(first + length, whole)
        index.append(slice(low, high))
        padding.append((low - first, first + length - high))
        inside.append(slice(low - first, high - first))
    image = np.pad(case.stats.normalise(case.image[tuple(index)]), padding, mode="edge")
    label = np.pad(case.label[tuple(index)], padding)
    mask = np.zeros(size, dtype=bool)
    mask[tuple(inside)] = True
    if change.is_identity:
        return image, label, mask
    image = resample_in_plane(image, change, patch[:2], nearest=False)
    label = resample_in_plane(label, change, patch[:2], nearest=True).astype(np.uint8)
    mask = resample_in_plane(mask, change, patch[:2], nearest=True) > 0.5
    return image, label, mask
