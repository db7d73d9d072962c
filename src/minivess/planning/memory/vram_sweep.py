"""The GPU memory of a training step over four patch sizes: predicted by trace and, where there is a card, measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml

from minivess.atomic import write_text
from minivess.errors import ConfigError, PlanError
from minivess.geometry import Shape, Spacing
from minivess.models.model_profile import MeasuredVram, ModelProfile
from minivess.planning.memory.process import PeakProcess
from minivess.planning.memory.workload import GpuStep, TrainingWorkload
from minivess.text import GIB
from minivess.training.config import Precision

SWEEP: tuple[Shape, ...] = ((64, 64, 4), (96, 96, 8), (128, 128, 16), (128, 128, 32))
SPACING_UM: Spacing = (0.99, 0.99, 5.0)
"""MiniVess's, which the strides are planned for."""
_HEADING = "# Measured by `minivess benchmark vram`; predictions are traced anew for each plan."


@dataclass(frozen=True)
class SweepRow:
    """One patch: ``predicted_bytes`` (of torch's memory alone, as ``use``) or ``use`` is None where ``note`` says why."""

    patch: Shape
    predicted_bytes: int | None
    use: GpuStep | None
    note: str = ""


def sweep_vram(
    model: ModelProfile, loss: str, batch: int, precision: Precision, cap_bytes: int | None, *, measure: bool
) -> Iterator[SweepRow]:
    """Yield the rows of the sweep, the smallest patch first.

    Raises:
        ConfigError: The network or the loss cannot be built.
    """
    process = PeakProcess()
    try:
        for patch in SWEEP:
            strides = model.plan_strides(patch, SPACING_UM)
            if any(size % d for size, d in zip(patch, strides.divisor, strict=True)):
                multiples = "x".join(map(str, strides.divisor))
                yield SweepRow(patch, None, None, f"{model.name} needs multiples of {multiples}")
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
                yield SweepRow(patch, predicted, use, "" if measure else _elsewhere(model, work))
            except PlanError as error:
                yield SweepRow(patch, predicted, None, error.got)
    finally:
        process.close()


def _elsewhere(model: ModelProfile, work: TrainingWorkload) -> str:
    """What the model's profile knows of this step from another machine."""
    asked = work.patch, work.loss, work.batch, work.precision
    for row in model.measured:
        if (row.patch, row.loss, row.batch, row.precision) == asked:
            return f"no card here; {row.reserved_gib:.2f} GiB on {row.card}, {row.date}"
    return "no card here"


def write_measured(
    path: Path, rows: list[SweepRow], loss: str, batch: int, precision: Precision, cap_bytes: int | None
) -> int:
    """Put what was measured at the end of a model profile's file, in place of what an earlier sweep put there.

    Returns:
        How many rows were written; 0 leaves the file alone.

    Raises:
        ConfigError: There is no such file.
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
        raise ConfigError("a model profile to write to", f"{path}: {error.strerror}", "check --model") from error
    kept = text.partition(_HEADING)[0].rstrip("\n")
    block = yaml.safe_dump({"measured": measured}, sort_keys=False, default_flow_style=None, width=160)
    write_text(path, f"{kept}\n\n{_HEADING}\n{block}")
    return len(measured)
