"""What a run will add to the disk, so that a disk too small for it is said before anything is written."""

from __future__ import annotations

from pathlib import Path

from minivess.data.profiler import DatasetProfile
from minivess.planning.plan import TrainingPlan

_GENERATIONS = 2
"""Checkpoints that each cell keeps."""
_INDEX_BYTES = 4
"""The store also notes the place of every vessel voxel."""
_MASK_BYTES_PER_VOXEL = 0.03
"""Of a predicted mask as NIfTI, compressed: labels of phantoms take 0.026 to 0.042."""


def bytes_to_write(profile: DatasetProfile, store_root: Path, plan: TrainingPlan, *, losses: int, folds: int) -> int:
    """The store of the data set unless one stands, and of each loss the masks of all volumes and the checkpoints of each fold.

    Args:
        profile: The volumes of the run, with their voxels read.
        store_root: Where stores lie. One of another version counts as standing.
        plan: Says how large a checkpoint is; one that was never traced counts none.
        losses: That are yet to train; 0 for a run that goes on, whose cells have written most of what they write.
        folds: Of the run.
    """
    masks = losses * _MASK_BYTES_PER_VOXEL * sum(volume.voxels for volume in profile.volumes)
    checkpoints = losses * folds * _GENERATIONS * (plan.state_bytes or 0)
    return round(masks) + checkpoints + (0 if _stands(profile, store_root) else _store_bytes(profile))


def _store_bytes(profile: DatasetProfile) -> int:
    vessel = sum(volume.voxels * (volume.foreground_fraction or 0) for volume in profile.volumes)
    return profile.cached_bytes + round(_INDEX_BYTES * vessel)


def _stands(profile: DatasetProfile, root: Path) -> bool:
    return any(root.glob(f"{profile.content_hash}-*/profile.json"))
