"""What a finished plan will take beside its training step: predictions, scoring, memory of the process, time of a step."""

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
from minivess.text import MIB, format_bytes

PROCESS_BYTES = 560 * MIB
"""What Python, torch and MONAI hold beside the tensors of a step: 470 to 480 MiB were seen, without a card."""

RESIDENT_FACTOR = 1.6
"""Resident memory of a CPU step over what torch's allocator handed out, since the C library keeps some of what is freed:
1.06 to 1.59 above 50 MiB (docs/benchmarks/memory.md)."""

_CUDA_HOST_BYTES = 1024 * MIB
"""Allowance for what CUDA and cuDNN keep in main memory: 465 MiB were seen after a first small step on an H200."""
_BATCHES_AHEAD_PER_WORKER = 2
_SCORING_BYTES_PER_VOXEL = 40
"""Of a mask that is wrong in 40 % of its voxels, a speckle as a barely trained network may give: 34 were seen, and 38
of Python's own. Clean masks take 5 to 10 (docs/benchmarks/metrics.md)."""
_SCORING_PROCESS_BYTES = 256 * MIB
SCORING_WORTH_A_PROCESS_VOXELS = 8_000_000
"""Scored in about a second, twice what a process takes to start."""
_STATE_PER_WEIGHT = 4
"""What a checkpoint holds for each byte of the weights: themselves, their average and both moments of AdamW."""
_PATCH_COPIES = 12
"""As many float32 arrays of a patch's size at a time, where a part of a volume four to six times as large is cut, normalised
and padded, to be turned, zoomed and bent: 11.1 to 11.8 were seen at 96 and 128 voxels, 8.8 without bending, 2 unturned."""


def predict_resources(
    plan: TrainingPlan, profile: DatasetProfile, forecast: Estimator, hardware: HardwareBudget
) -> TrainingPlan:
    """The plan with its predicted memory and time, as many scoring processes as that leaves room for, and their reasons.

    Raises:
        PlanError: The network or a loss cannot be traced.
    """
    reasons = dict(plan.reasons)
    largest = costliest_to_predict(profile.volumes, plan.network.patches)
    prediction = _prediction(plan, largest, forecast)
    most_voxels = max(volume.voxels for volume in profile.volumes)
    plan = plan.model_copy(update={"state_bytes": _STATE_PER_WEIGHT * prediction.parameters_bytes})
    scorers = scoring_processes(plan, prediction, most_voxels, hardware)
    plan = plan.model_copy(update={"scoring_processes": scorers})
    ram = ram_bytes(plan, prediction, most_voxels)
    reasons["scoring"] = (
        f"{scorers} cases at a time, in processes beside the prediction of the next: at most half of the processors and of "
        "the memory that is left"
        if scorers > 1
        else "one case at a time, in the process of the cell: cases are small, or processors or memory too few for two"
    )
    reasons["prediction"] = (
        f"{format_bytes(int(prediction))} while {largest.name} is predicted, slab by slab of "
        f"{patch_for(plan.network.patches, largest.shape[2])[2]} slices, however deep it is"
    )
    reasons["ram"] = (
        f"{format_bytes(ram)} for the process of a cell; what is cached of the volumes is page cache on top, which the system "
        "takes back when it must"
    )
    try:
        seconds = forecast.step_seconds(
            plan.network, plan.micro_batch, batch=plan.batch, precision=plan.precision, device=plan.device
        )
    except PlanError as error:  # a card that is busy now may be free later
        seconds = {}
        reasons["time"] = f"not predicted: {error.got}"
    if seconds:
        reasons["time"] = ", ".join(f"{value:.2g} s a step with {loss}" for loss, value in seconds.items()) + (
            ", timed on this machine" + ("" if plan.device == "cuda" else " with single patches")
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
    """The volume whose slab, as wide as itself and as deep as its window, has most voxels; of equals the one of most voxels."""

    def cost(volume: VolumeStats) -> tuple[int, int]:
        x, y, z = volume.shape
        return x * y * patch_for(patches, z)[2], volume.voxels

    return max(volumes, key=cost)


def ram_bytes(plan: TrainingPlan, prediction: PeakMemory, largest_voxels: int) -> int:
    """Main memory of a cell at its peak: while it trains, predicts or scores, whichever takes most."""
    x, y, z = plan.patch
    batch = plan.batch * x * y * z * (4 + 1 + 1)  # image float32, label, mask
    cutting = max(plan.workers, 1) * _PATCH_COPIES * 4 * x * y * z
    training = cutting + (1 + plan.workers * _BATCHES_AHEAD_PER_WORKER) * batch
    predicting = prediction.host_bytes
    scoring = _SCORING_BYTES_PER_VOXEL * largest_voxels
    if plan.scoring_processes > 1:
        predicting, scoring = predicting + plan.scoring_processes * (_SCORING_PROCESS_BYTES + scoring), 0
    if plan.device == "cuda":
        saving = training + (plan.state_bytes or 0)  # a checkpoint is copied from the card as a whole
        return PROCESS_BYTES + _CUDA_HOST_BYTES + max(saving, predicting, scoring)
    step, window = (round(RESIDENT_FACTOR * size) for size in (plan.peak_bytes or 0, int(prediction)))
    return PROCESS_BYTES + max(step + training, window + predicting, scoring)


def scoring_processes(plan: TrainingPlan, prediction: PeakMemory, largest_voxels: int, hardware: HardwareBudget) -> int:
    """As many as half of a cell's processors and half of the memory that it leaves allow; 1 where cases are small."""
    if largest_voxels < SCORING_WORTH_A_PROCESS_VOXELS:
        return 1
    left = hardware.usable_ram_bytes - ram_bytes(plan, prediction, largest_voxels)
    room = left // 2 // (_SCORING_PROCESS_BYTES + _SCORING_BYTES_PER_VOXEL * largest_voxels)
    return max(1, min(hardware.host.cpu_count // 2, room))


def _prediction(plan: TrainingPlan, volume: VolumeStats, forecast: Estimator) -> PeakMemory:
    patch = patch_for(plan.network.patches, volume.shape[2])
    return forecast.prediction(plan.network, patch, volume.shape, plan.overlap, plan.precision, plan.device)


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
