"""Random training batches that depend only on the seed and the batch number: cases, positions and augmentation.

Therefore neither the number of workers nor an interruption changes a sample.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from minivess.data.array_store import LabelMark, Store, StoredCase
from minivess.data.known_runs import known_voxel
from minivess.data.label_values import UNKNOWN
from minivess.data.sampling.in_plane_transform import InPlane, draw_in_plane, sample_linear, sample_nearest
from minivess.data.sampling.intensity_augment import change_intensity, draw_flips
from minivess.geometry import Shape, patch_for

Patch = tuple[np.ndarray, np.ndarray, np.ndarray]


class PatchSampler:
    """Batches of random patches of the training cases; every case contributes the same number of patches.

    Cases are grouped by the patch that fits their depth, and each batch is drawn from one group. A round has as many
    batches as there are cases. In a round, each group has as many batches as it has cases, so each case occurs
    ``batch`` times.

    With unknown voxels, every patch has a known voxel at a random place. In the share of patches that otherwise have
    vessel at their centre, this voxel is vessel.

    Args:
        store: The data set.
        names: Names of the training cases.
        patches: Patch sizes X, Y, Z in voxels, one for each group. A volume smaller than its patch is padded, and the
            padding is masked.
        batch: Number of patches in a batch.
        foreground_fraction: Share of patches with vessel at their centre. If one batch is too small for this share, it
            is reached over several batches: with 0.25 and two patches in a batch, one patch in every second batch. The
            other patches are at random positions.
        seed: Seed of all random numbers.
        augment: Whether patches are augmented at random.
        mark: What the labels are marked with, once per volume: marked vessel voxels have the value 2.
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
        mark: LabelMark | None = None,
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
        self._mark = mark
        self._order = lru_cache(maxsize=8)(self._shuffled)

    def batch(self, step: int) -> Patch:
        """Return batch number ``step``: image float32, label uint8 and mask bool, each (B, 1, X, Y, Z).

        The mask is False in padding and in unknown voxels; the label is 0 there.
        """
        round_, position = divmod(step, len(self._batches))
        patch, number = self._batches[self._order(len(self._batches), round_, 0)[position]]
        shape = (self._batch, 1, *patch)
        whole = np.empty(shape, np.float32), np.empty(shape, np.uint8), np.empty(shape, np.bool_)
        for slot in range(self._batch):
            case = self._store.case(self._name(patch, round_, number * self._batch + slot), self._mark)
            sample = self._sample(case, patch, step * self._batch + slot)
            for part, own in zip(whole, sample, strict=True):
                part[slot, 0] = own
        return whole

    def _name(self, patch: Shape, round_: int, place: int) -> str:
        """Name of the case at a position in the queue of its group, which is one shuffle of the group after another."""
        group = self._groups[patch]
        shuffle, position = divmod(place, len(group))
        return group[self._order(len(group), round_, 1 + shuffle, *patch)[position]]

    def _is_on_vessel(self, index: int) -> bool:
        """Whether sample number ``index`` has vessel at its centre; such samples are evenly spread."""
        return math.ceil((index + 1) * self._foreground_fraction) > math.ceil(index * self._foreground_fraction)

    def _sample(self, case: StoredCase, patch: Shape, index: int) -> Patch:
        """Sample number ``index``: image, label and mask, each (X, Y, Z)."""
        rng = np.random.default_rng((self._seed, index))
        change = draw_in_plane(rng, patch[:2]) if self._augment else InPlane()
        centre = _draw_centre(case, patch, self._is_on_vessel(index), rng)
        image, label, mask = _cut(case, centre, patch, change)
        if case.stats.has_unknown and not mask.any():  # turned out of the patch, at the border of the volume
            image, label, mask = _cut(case, centre, patch, InPlane())
        if self._augment:
            flips = draw_flips(rng)
            image, label, mask = change_intensity(image, rng)[flips], label[flips], mask[flips]
        return image, label, mask

    def _shuffled(self, count: int, *key: int) -> np.ndarray:
        return np.random.default_rng((self._seed, *key, 1)).permutation(count)


def _draw_centre(case: StoredCase, patch: Shape, on_vessel: bool, rng: np.random.Generator) -> Shape:
    """Draw the centre of a patch that is inside the volume along each axis on which it fits.

    If ``on_vessel`` is true, the centre is a random vessel voxel, or as near to it as the border of the volume permits.
    With unknown voxels, the patch contains a random known voxel, of the vessel if ``on_vessel`` is true, at a random
    place. If it were always at the centre, the network would learn nothing at its other places, such as the slices
    between two labelled ones.
    """
    shape = case.image.shape
    known = case.known if case.stats.has_unknown else None
    if on_vessel and case.foreground.size:
        target = _place(int(case.foreground[rng.integers(case.foreground.size)]), shape)
    elif known is not None:
        target = _place(known_voxel(known, int(rng.integers(case.stats.known_voxels or 0))), shape)
    else:
        target = [int(rng.integers(size)) for size in shape]
    if known is not None:
        target = [at + size // 2 - int(rng.integers(size)) for at, size in zip(target, patch, strict=True)]
    x, y, z = (
        min(max(at, size // 2), max(whole - (size - size // 2), size // 2)) if whole > size else whole // 2
        for at, size, whole in zip(target, patch, shape, strict=True)
    )
    return x, y, z


def _place(flat: int, shape: tuple[int, ...]) -> list[int]:
    return [int(value) for value in np.unravel_index(flat, shape, order="F")]


def _cut(case: StoredCase, centre: Shape, patch: Shape, change: InPlane) -> Patch:
    """Cut the patch around ``centre`` and apply ``change``.

    Outside the volume, the image repeats its edge values, and label and mask are zero. In unknown voxels, label and mask
    are zero.
    """
    size_x, size_y = patch[:2] if change.is_identity else change.source_size(patch[:2])
    box, padding = [], []
    for at, length, whole in zip(centre, (size_x, size_y, patch[2]), case.image.shape, strict=True):
        first = at - length // 2
        low, high = max(first, 0), min(first + length, whole)
        box.append(slice(low, high))
        padding.append((low - first, first + length - high))
    image, label = case.stats.normalise(case.image[tuple(box)]), np.array(case.label[tuple(box)])
    mask = np.broadcast_to(np.True_, label.shape)
    is_padded, has_unknown = any(map(any, padding)), case.stats.has_unknown
    if has_unknown:
        mask = label != UNKNOWN
        label *= mask
    if is_padded:
        image = np.pad(image, padding, mode="edge")
        label, mask = np.pad(label, padding), np.pad(mask, padding)
    if not change.is_identity:
        places = change.places(patch[:2])
        image, label = sample_linear(image, places), sample_nearest(label, places)
        mask = sample_nearest(mask, places) if is_padded or has_unknown else np.broadcast_to(np.True_, patch)
    return image, label, mask
