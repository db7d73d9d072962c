"""Predict the resources of a plan: prediction, scoring, process memory, step time and disk space."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from minivess.data.profiler import DatasetProfile, VolumeStats
from minivess.errors import PlanError
from minivess.geometry import Shape, patch_for
from minivess.planning.hardware import HardwareBudget
from minivess.planning.memory.estimator import Estimator
from minivess.planning.memory.peak import PeakMemory
from minivess.planning.plan import TrainingPlan
from minivess.text import GIB, MIB, format_bytes

PROCESS_BYTES = 560 * MIB
"""Memory that Python, torch and MONAI hold besides the tensors of a step. Measured without a GPU: 470 to 480 MiB."""

RESIDENT_FACTOR = 1.6
"""Ratio of the resident memory of a CPU step to the bytes that torch allocated; the C library keeps some freed memory.
Measured above 50 MiB: 1.06 to 1.59 (docs/benchmarks/memory.md)."""

_CUDA_HOST_BYTES = 1024 * MIB
"""Allowance for the main memory that CUDA and cuDNN keep. Measured after a first small step on an H200: 465 MiB."""
_BATCHES_AHEAD_PER_WORKER = 2
_SCORING_BYTES_PER_VOXEL = 40
"""Memory to score a speckled mask that is wrong in 40 % of its voxels, as a network gives after little training.
Measured: 34 bytes per voxel, or 38 as allocations counted by Python. Clean masks take 5 to 10
(docs/benchmarks/metrics.md)."""
_SCORING_PROCESS_BYTES = 256 * MIB
SCORING_WORTH_A_PROCESS_VOXELS = 8_000_000
"""A volume of this size takes about one second to score, twice the time that a process takes to start."""
_STATE_PER_WEIGHT = 4
"""Bytes in a checkpoint per byte of weights: the weights, their average and both moments of AdamW."""
_PATCH_COPIES = 12
"""Memory to cut one patch, as a number of float32 arrays of the patch's size. To rotate, zoom and deform a patch, a
part of the volume that is four to six times as large is cut, normalised and padded. Measured at 96 and 128 voxels: 11.1
to 11.8; 8.8 without deformation; 2 without rotation."""


def predict_resources(
    plan: TrainingPlan, profile: DatasetProfile, estimator: Estimator, hardware: HardwareBudget
) -> TrainingPlan:
    """Add predicted memory, predicted time and the number of scoring processes to a plan, with their reasons.

    Args:
        plan: The plan with its network, patches and batch.
        profile: The data set.
        estimator: Predicts memory and time.
        hardware: The part of the machine that a cell may use.

    Returns:
        A copy of the plan with these fields and reasons set.

    Raises:
        ConfigError: The network or a loss cannot be built.
        PlanError: The network or a loss cannot be traced.
    """
    reasons = dict(plan.reasons)
    largest = costliest_to_predict(profile.volumes, plan.network.patches)
    prediction = _prediction(plan, largest, estimator)
    most_voxels = max(volume.voxels for volume in profile.volumes)
    plan = plan.model_copy(update={"state_bytes": _STATE_PER_WEIGHT * prediction.parameters_bytes})
    scorers = scoring_processes(plan, prediction, most_voxels, hardware)
    plan = plan.model_copy(update={"scoring_processes": scorers})
    ram = ram_bytes(plan, prediction, most_voxels)
    reasons["scoring"] = (
        f"{scorers} cases at a time, in separate processes while the next case is predicted; they use at most half of "
        "the processors and half of the remaining memory"
        if scorers > 1
        else "one case at a time, in the process of the cell: the cases are small, or there are not enough processors "
        "or memory for two processes"
    )
    reasons["prediction"] = (
        f"{format_bytes(int(prediction))} to predict {largest.name} in slabs of "
        f"{patch_for(plan.network.patches, largest.shape[2])[2]} slices, independent of its depth"
    )
    reasons["ram"] = (
        f"{format_bytes(ram)} for the process of a cell, in addition to the cached volumes: these are page cache, which "
        "the system frees when other programs need memory"
    )
    try:
        seconds = estimator.step_seconds(
            plan.network, plan.micro_batch, batch=plan.batch, precision=plan.precision, device=plan.device
        )
    except PlanError as error:  # a GPU that is busy now may be free later
        seconds = {}
        reasons["time"] = f"not predicted: {error.got}"
    if seconds:
        reasons["time"] = ", ".join(f"{value:.2g} s per step with {loss}" for loss, value in seconds.items()) + (
            ", timed on this machine" + ("" if plan.device == "cuda" else " with a single patch per pass")
        )
    return plan.model_copy(
        update={
            "prediction_bytes": int(prediction),
            "ram_bytes": ram,
            "step_seconds": seconds,
            "reasons": reasons,
        }
    )


def costliest_to_predict(volumes: Sequence[VolumeStats], patches: Sequence[Shape]) -> VolumeStats:
    """Return the volume that needs the most memory to predict.

    This is the volume with the largest slab: as wide as the volume and as deep as its patch. If several slabs are
    equally large, it is the volume with the most voxels.

    Args:
        volumes: The volumes of the data set.
        patches: The patches of the network, X, Y, Z in voxels.
    """

    def cost(volume: VolumeStats) -> tuple[int, int]:
        x, y, z = volume.shape
        return x * y * patch_for(patches, z)[2], volume.voxels

    return max(volumes, key=cost)


def ram_bytes(plan: TrainingPlan, prediction: PeakMemory, largest_voxels: int) -> int:
    """Predict the peak main memory of a cell: the maximum over training, prediction and scoring, in bytes.

    Args:
        plan: The plan.
        prediction: Predicted memory of the costliest prediction.
        largest_voxels: Voxels of the largest volume.
    """
    x, y, z = plan.patch
    batch = plan.batch * x * y * z * (4 + 1 + 1)  # image float32, label, mask
    cutting = max(plan.workers, 1) * _PATCH_COPIES * 4 * x * y * z
    training = cutting + (1 + plan.workers * _BATCHES_AHEAD_PER_WORKER) * batch
    predicting = prediction.host_bytes
    scoring = _SCORING_BYTES_PER_VOXEL * largest_voxels
    if plan.scoring_processes > 1:
        predicting, scoring = predicting + plan.scoring_processes * (_SCORING_PROCESS_BYTES + scoring), 0
    if plan.device == "cuda":
        saving = training + (plan.state_bytes or 0)  # the whole checkpoint is copied from the GPU
        return PROCESS_BYTES + _CUDA_HOST_BYTES + max(saving, predicting, scoring)
    step, window = (round(RESIDENT_FACTOR * size) for size in (plan.peak_bytes or 0, int(prediction)))
    return PROCESS_BYTES + max(step + training, window + predicting, scoring)


def scoring_processes(plan: TrainingPlan, prediction: PeakMemory, largest_voxels: int, hardware: HardwareBudget) -> int:
    """Return the number of scoring processes that half of a cell's processors and half of its remaining memory allow.

    Args:
        plan: The plan.
        prediction: Predicted memory of the costliest prediction.
        largest_voxels: Voxels of the largest volume.
        hardware: The part of the machine that a cell may use.

    Returns:
        At least 1. It is 1 if the cases are small.
    """
    if largest_voxels < SCORING_WORTH_A_PROCESS_VOXELS:
        return 1
    remaining = hardware.usable_ram_bytes - ram_bytes(plan, prediction, largest_voxels)
    affordable = remaining // 2 // (_SCORING_PROCESS_BYTES + _SCORING_BYTES_PER_VOXEL * largest_voxels)
    return max(1, min(hardware.host.cpu_count // 2, affordable))


def _prediction(plan: TrainingPlan, volume: VolumeStats, estimator: Estimator) -> PeakMemory:
    patch = patch_for(plan.network.patches, volume.shape[2])
    return estimator.prediction(plan.network, patch, volume.shape, plan.overlap, plan.precision, plan.device)


_GENERATIONS = 2
"""Checkpoints that each cell keeps."""
_INDEX_BYTES = 4
"""Bytes per vessel voxel: the store also contains an index of all vessel voxels."""
_MASK_BYTES_PER_VOXEL = 0.03
"""Size of a predicted mask as compressed NIfTI. Measured for labels of phantoms: 0.026 to 0.042."""


DISK_FREE_MIN_BYTES = GIB // 2
"""Free space below which a cell is stopped, so that its last checkpoint can still be written."""


def bytes_to_write(profile: DatasetProfile, store_root: Path, plan: TrainingPlan, *, losses: int, folds: int) -> int:
    """Predict the disk space that a run needs.

    This is the store of the data set, unless it exists already, and for each loss the masks of all volumes and the
    checkpoints of all folds.

    Args:
        profile: The volumes of the run, scanned with their voxels.
        store_root: The folder of the stores. A store written by another version counts as existing.
        plan: Gives the size of a checkpoint; 0 if the plan was not traced.
        losses: Number of losses that will be trained on all folds, each counted once for each of its repeats. Those
            that have started already do not count, because their cells have written most of their files.
        folds: Number of folds of the run.

    Returns:
        Bytes.
    """
    masks = losses * _MASK_BYTES_PER_VOXEL * sum(volume.voxels for volume in profile.volumes)
    checkpoints = losses * folds * _GENERATIONS * (plan.state_bytes or 0)
    return round(masks) + checkpoints + (0 if store_exists(profile, store_root) else _store_bytes(profile))


def _store_bytes(profile: DatasetProfile) -> int:
    vessel = sum(volume.vessel_voxels for volume in profile.volumes)
    return profile.cached_bytes + round(_INDEX_BYTES * vessel)


def store_exists(profile: DatasetProfile, root: Path) -> bool:
    """Return whether the folder of stores has one of this data set, with these unknown voxels."""
    return any(root.glob(f"{profile.store_key}-[0-9]*/profile.json"))
