"""One batch from its number alone: which cases, where, and how they are changed follow from (seed, step).

So neither the number of workers nor the point of an interruption changes a sample.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from minivess.data.array_store import Store, StoredCase
from minivess.data.sampling.in_plane_transform import InPlane, draw_in_plane, sample_linear, sample_nearest
from minivess.data.sampling.intensity_augment import change_intensity, draw_flips
from minivess.geometry import Shape, patch_for

Patch = tuple[np.ndarray, np.ndarray, np.ndarray]


class PatchSampler:
    """Batches of random patches of the training cases; every case gives as many patches as any other.

    Cases are grouped by the patch that fits their depth, and a batch is drawn from one group. A round has as many batches as
    there are cases: each group has as many of them as it has cases, so over a round each case comes ``batch`` times.

    Args:
        store: The data set.
        names: The training cases.
        patches: Patch sizes X, Y, Z in voxels, one a group; a volume smaller than its patch is padded and the padding masked.
        batch: Patches of a batch.
        foreground_fraction: Share of the patches that hold vessel at their centre, kept over batches where a batch is too
            small for it: with 0.25 and two patches a batch, one patch in every second batch. The others lie anywhere.
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
        foreground_fraction: float,
        seed: int = 0,
        augment: bool = True,
    ) -> None:
        self._store = store
        self._groups: dict[Shape, list[str]] = {}
        for name in names:
            self._groups.setdefault(patch_for(patches, store.stats(name).shape[2]), []).append(name)
        self._batches = [(patch, number) for patch, group in self._groups.items() for number in range(len(group))]
        self._batch = batch
        self._foreground_fraction = foreground_fraction
        self._seed = seed
        self._augment = augment
        self._order = lru_cache(maxsize=8)(self._shuffled)

    def batch(self, step: int) -> Patch:
        """Batch number ``step``: image float32, label uint8 and mask bool, each (B, 1, X, Y, Z)."""
        round_, position = divmod(step, len(self._batches))
        patch, number = self._batches[self._order(len(self._batches), round_, 0)[position]]
        shape = (self._batch, 1, *patch)
        whole = np.empty(shape, np.float32), np.empty(shape, np.uint8), np.empty(shape, np.bool_)
        for slot in range(self._batch):
            case = self._store.case(self._name(patch, round_, number * self._batch + slot))
            sample = self._sample(case, patch, step * self._batch + slot)
            for part, own in zip(whole, sample, strict=True):
                part[slot, 0] = own
        return whole

    def _name(self, patch: Shape, round_: int, place: int) -> str:
        """The case at a place of its group's queue: one shuffle of the group after the other."""
        group = self._groups[patch]
        shuffle, position = divmod(place, len(group))
        return group[self._order(len(group), round_, 1 + shuffle, *patch)[position]]

    def _wants_vessel(self, index: int) -> bool:
        """Whether sample number ``index`` is one of the share on vessel, which is spread evenly from the first sample on."""
        return math.ceil((index + 1) * self._foreground_fraction) > math.ceil(index * self._foreground_fraction)

    def _sample(self, case: StoredCase, patch: Shape, index: int) -> Patch:
        """Sample number ``index``: image, label and mask, each (X, Y, Z); mask is False where the volume had no voxel."""
        rng = np.random.default_rng((self._seed, index))
        change = draw_in_plane(rng, patch[:2]) if self._augment else InPlane()
        centre = _draw_centre(case, patch, self._wants_vessel(index), rng)
        image, label, mask = _cut(case, centre, patch, change)
        if self._augment:
            flips = draw_flips(rng)
            image, label, mask = change_intensity(image, rng)[flips], label[flips], mask[flips]
        return image, label, mask

    def _shuffled(self, count: int, *key: int) -> np.ndarray:
        return np.random.default_rng((self._seed, *key, 1)).permutation(count)


def _draw_centre(case: StoredCase, patch: Shape, wants_vessel: bool, rng: np.random.Generator) -> Shape:
    """A patch centre such that the patch lies within the volume wherever it fits, on a vessel voxel's reach if wanted."""
    shape = case.image.shape
    if wants_vessel and case.foreground.size:
        flat = int(case.foreground[rng.integers(case.foreground.size)])
        wanted = [int(value) for value in np.unravel_index(flat, shape, order="F")]
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
    box, padding = [], []
    for at, length, whole in zip(centre, (size_x, size_y, patch[2]), case.image.shape, strict=True):
        first = at - length // 2
        low, high = max(first, 0), min(first + length, whole)
        box.append(slice(low, high))
        padding.append((low - first, first + length - high))
    image, label = case.stats.normalise(case.image[tuple(box)]), np.array(case.label[tuple(box)])
    mask = np.broadcast_to(np.True_, label.shape)
    is_padded = any(map(any, padding))
    if is_padded:
        image = np.pad(image, padding, mode="edge")
        label, mask = np.pad(label, padding), np.pad(mask, padding)
    if not change.is_identity:
        places = change.places(patch[:2])
        image, label = sample_linear(image, places), sample_nearest(label, places)
        mask = sample_nearest(mask, places) if is_padded else np.broadcast_to(np.True_, patch)
    return image, label, mask
