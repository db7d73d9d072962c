"""Sweep the GPU memory of a training step over four patch sizes: predicted from a trace and, with a GPU, measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from minivess.atomic import write_text
from minivess.errors import ConfigError, PlanError
from minivess.geometry import Shape, Spacing
from minivess.models.model_profile import MeasuredVram, ModelProfile
from minivess.planning.memory.process import PeakProcess
from minivess.planning.memory.workload import GpuStep, TrainingWorkload
from minivess.text import GIB, format_patch
from minivess.training.config import Precision
from minivess.yaml_files import to_yaml

SWEEP: tuple[Shape, ...] = ((64, 64, 4), (96, 96, 8), (128, 128, 16), (128, 128, 32))
SPACING_UM: Spacing = (0.99, 0.99, 5.0)
"""Voxel spacing of MiniVess; the strides of the sweep are planned for it."""
_HEADING_START = "# Measured by `minivess benchmark vram`"
_HEADING = f"{_HEADING_START}. Plans do not use these values; they predict memory from a trace."


@dataclass(frozen=True)
class SweepRow:
    """The result for one patch.

    Attributes:
        patch: X, Y, Z in voxels.
        predicted_bytes: Predicted memory of torch, without the CUDA context; None if the model cannot use the patch.
        use: Measured memory and time; None if the step was not measured.
        note: Why a value is None.
    """

    patch: Shape
    predicted_bytes: int | None
    use: GpuStep | None
    note: str = ""


def sweep_vram(
    model: ModelProfile, loss: str, batch: int, precision: Precision, cap_bytes: int | None, *, measure: bool
) -> Iterator[SweepRow]:
    """Yield the rows of the sweep, the smallest patch first.

    Args:
        model: The model; its strides are planned for each patch.
        loss: A key of ``LOSSES``, or an importable builder.
        batch: Patches per forward pass.
        precision: Type of the forward pass.
        cap_bytes: GPU memory that torch may use; None for no cap.
        measure: Whether to run real steps on the GPU in addition to the prediction.

    Raises:
        ConfigError: The network or the loss cannot be built.
    """
    process = PeakProcess()
    try:
        for patch in SWEEP:
            strides = model.plan_strides(patch, SPACING_UM)
            if any(size % d for size, d in zip(patch, strides.divisor, strict=True)):
                multiples = format_patch(strides.divisor)
                yield SweepRow(patch, None, None, f"{model.name} requires multiples of {multiples}")
                continue
            work = TrainingWorkload(
                network=model.spec((patch,), strides),
                loss=loss,
                patch=patch,
                batch=batch,
                precision=precision,
                device="cuda",
            )
            peak = process.peak(work)
            predicted = peak.total_bytes - peak.context_bytes
            try:
                use = process.card_use(work, cap_bytes) if measure else None
                yield SweepRow(patch, predicted, use, "" if measure else _earlier_measurement(model, work))
            except PlanError as error:
                yield SweepRow(patch, predicted, None, error.got)
    finally:
        process.close()


def _earlier_measurement(model: ModelProfile, work: TrainingWorkload) -> str:
    """Return a note with the measurement of this step in the model's profile, if there is one."""
    wanted = work.patch, work.loss, work.batch, work.precision
    for row in model.measured:
        if (row.patch, row.loss, row.batch, row.precision) == wanted:
            return f"no GPU on this machine; {row.reserved_gib:.2f} GiB on {row.card}, {row.date}"
    return "no GPU on this machine"


def write_measured(
    path: Path, rows: list[SweepRow], loss: str, batch: int, precision: Precision, cap_bytes: int | None
) -> int:
    """Write the measured rows to the end of a model profile's file. They replace the rows of an earlier sweep.

    Args:
        path: The YAML file of the model profile.
        rows: The rows of a sweep.
        loss: The loss of the sweep.
        batch: Patches per forward pass.
        precision: Type of the forward pass.
        cap_bytes: GPU memory that torch was allowed to use; None for no cap.

    Returns:
        The number of written rows. If it is 0, the file does not change.

    Raises:
        ConfigError: The file cannot be read.
    """
    measured = [
        MeasuredVram(
            date=row.use.date,
            card=row.use.card,
            cap_gib=cap_bytes and round(cap_bytes / GIB, 2),
            torch=row.use.torch,
            cudnn=row.use.cudnn,
            loss=loss,
            precision=precision,
            batch=batch,
            patch=row.patch,
            allocated_gib=round(row.use.allocated_bytes / GIB, 3),
            reserved_gib=round(row.use.reserved_bytes / GIB, 3),
            step_seconds=round(row.use.step_seconds, 4),
        ).model_dump(mode="json")
        for row in rows
        if row.use is not None
    ]
    if not measured:
        return 0
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError("a model profile that can be read", f"{path}: {error.strerror}", "check --model") from error
    kept = text.partition(_HEADING_START)[0].rstrip("\n")
    block = to_yaml({"measured": measured}, flow=None, width=160)
    write_text(path, f"{kept}\n\n{_HEADING}\n{block}")
    return len(measured)
