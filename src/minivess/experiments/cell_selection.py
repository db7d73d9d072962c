"""List the cells of a run in order, and select the cells to run now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from minivess.data.array_store import Store
from minivess.errors import ConfigError
from minivess.evaluation.baselines import BASELINES
from minivess.experiments.cell_key import CellKey
from minivess.experiments.cell_spec import CellSpec, code_of_cell
from minivess.experiments.config import ExperimentConfig
from minivess.experiments.prepare import Prepared
from minivess.experiments.run_folder import CellFolder, RunFolder
from minivess.suggestions import did_you_mean, unknown


@dataclass(frozen=True)
class CellFilter:
    """A filter of cells by loss, fold and repeat.

    Attributes:
        loss: Name of the loss or baseline; None matches all.
        fold: Number of the fold, from 0; None matches all.
        repeat: Number of the repeat, from 1; None matches all.
    """

    loss: str | None = None
    fold: int | None = None
    repeat: int | None = None

    @classmethod
    def parse(cls, text: str) -> CellFilter:
        """Read a filter from text such as ``"loss=warp,fold=1,repeat=2"``, ``"loss=warp"`` or ``"fold=1"``.

        Raises:
            ConfigError: The text has another form.
        """
        given = dict(part.strip().partition("=")[::2] for part in text.split(","))
        loss, fold, repeat = (given.pop(key, None) for key in ("loss", "fold", "repeat"))
        if given or loss == "" or not all(number is None or number.isdecimal() for number in (fold, repeat)):
            expected = "loss=NAME, fold=NUMBER, repeat=NUMBER or several of them"
            raise ConfigError(expected, repr(text), "write it like --only loss=warp,fold=1")
        return cls(loss, *(None if number is None else int(number) for number in (fold, repeat)))

    def matches(self, cell: CellKey) -> bool:
        """Whether the filter matches the cell."""
        return all(wanted in (None, own) for wanted, own in zip((self.loss, self.fold, self.repeat), cell, strict=True))

    def __str__(self) -> str:
        given = {"loss": self.loss, "fold": self.fold, "repeat": self.repeat}
        return ",".join(f"{key}={value}" for key, value in given.items() if value is not None)


@dataclass(frozen=True)
class Job:
    """A cell to run.

    Attributes:
        cell: Folder of the cell.
        spec: Input of the cell.
        number: Position of the cell in the run, from 1.
        total: Number of cells in the run.
    """

    cell: CellFolder
    spec: CellSpec
    number: int
    total: int

    @property
    def name(self) -> str:
        return self.cell.path.name


def select_cells(config: ExperimentConfig, only: Sequence[CellFilter] = ()) -> list[CellKey]:
    """Return the selected cells, baselines first because they take only seconds.

    Args:
        config: The configuration of the run.
        only: Select the cells that one of these filters matches; all cells if empty.

    Raises:
        ConfigError: A baseline is unknown, or a filter matches no cell.
    """
    for baseline in config.evaluation.baselines:
        if baseline not in BASELINES:
            raise unknown("baseline", baseline, BASELINES)
    methods = (*config.evaluation.baselines, *config.losses)
    cells = config.cells_in_order
    for one in only:
        if not any(one.matches(cell) for cell in cells):
            expected = f"one of {', '.join(methods)} and a fold from 0 to {config.folds - 1}"
            if one.repeat is not None:
                expected += f", and a repeat from 1 to {config.repeats} (only 1 for a baseline)"
            near = "" if one.loss in methods else did_you_mean(one.loss or "", methods)
            raise ConfigError(expected, str(one), near or "correct --only")
    return [cell for cell in cells if not only or any(one.matches(cell) for one in only)]


def count_finished(folder: RunFolder) -> tuple[int, int]:
    """Return how many of the cells of a run are finished, and how many it trains to their end."""
    cells = [folder.cell(*cell) for cell in folder.cells_to_finish(folder.read_config())]
    return sum(cell.finished for cell in cells), len(cells)


def cell_specs(prepared: Prepared, store: Store, only: Sequence[CellFilter] = ()) -> list[CellSpec]:
    """Return the input of each cell of `select_cells`, in the same order."""
    config, folds, groups = prepared.config, prepared.splits.folds, prepared.splits.groups
    cells = select_cells(config, only)
    codes = {
        method: code_of_cell(method, prepared.plan.network) for method in dict.fromkeys(cell.method for cell in cells)
    }
    scored_at = () if config.race is None else tuple(config.training.step_at(share) for share in config.race.at)
    return [
        CellSpec(
            method=cell.method,
            fold=cell.fold,
            repeat=cell.repeat,
            train=folds[cell.fold].train,
            held_out=folds[cell.fold].held_out,
            groups={name: groups[name] for name in folds[cell.fold].held_out if name in groups},
            store=store.folder.absolute(),
            plan=prepared.plan,
            training=config.training,
            tolerance_um=config.evaluation.tolerance_um,
            loss_options=config.loss_options.get(cell.method, {}),
            seed=config.seed_of(cell.repeat),
            scored_at=scored_at if cell.method in config.losses else (),
            code=codes[cell.method],
        )
        for cell in cells
    ]
