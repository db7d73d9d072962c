"""The cells of a run, in order, and which of them are wanted now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from minivess.data.array_store import Store
from minivess.errors import ConfigError
from minivess.evaluation.baselines import BASELINES
from minivess.experiments.cell_spec import CellSpec
from minivess.experiments.config import ExperimentConfig
from minivess.experiments.prepare import Prepared
from minivess.experiments.run_folder import CellFolder, RunFolder
from minivess.suggestions import did_you_mean, unknown


@dataclass(frozen=True)
class CellFilter:
    """A filter: cells of this loss (or baseline), of this fold, or both; None matches all."""

    loss: str | None = None
    fold: int | None = None

    @classmethod
    def parse(cls, text: str) -> CellFilter:
        """Read ``"loss=warp,fold=1"``, or one of the two.

        Raises:
            ConfigError: It is anything else.
        """
        given = dict(part.strip().partition("=")[::2] for part in text.split(","))
        fold = given.pop("fold", None)
        loss = given.pop("loss", None)
        if given or loss == "" or not (fold is None or fold.isdecimal()):
            raise ConfigError("loss=NAME, fold=NUMBER or both", repr(text), "write e.g. --only loss=warp,fold=1")
        return cls(loss, None if fold is None else int(fold))

    def matches(self, method: str, fold: int) -> bool:
        """Whether the cell of ``method`` and ``fold`` is one of these."""
        return self.loss in (None, method) and self.fold in (None, fold)

    def __str__(self) -> str:
        given = {"loss": self.loss, "fold": self.fold}
        return ",".join(f"{key}={value}" for key, value in given.items() if value is not None)


@dataclass(frozen=True)
class Job:
    """A cell that a runner brings to its end: the ``number``-th of ``total``, counted from 1."""

    cell: CellFolder
    spec: CellSpec
    number: int
    total: int

    @property
    def name(self) -> str:
        return self.cell.path.name


def select_cells(config: ExperimentConfig, only: Sequence[CellFilter] = ()) -> list[tuple[str, int]]:
    """Method and fold of every cell that one of ``only`` matches, or of all: baselines first, which take seconds.

    Raises:
        ConfigError: Unknown baseline, or a filter that matches no cell.
    """
    for baseline in config.evaluation.baselines:
        if baseline not in BASELINES:
            raise unknown("baseline", baseline, BASELINES)
    methods = (*config.evaluation.baselines, *config.losses)
    cells = [(method, fold) for method in methods for fold in range(config.folds)]
    for one in only:
        if not any(one.matches(*cell) for cell in cells):
            expected = f"one of {', '.join(methods)} and a fold from 0 to {config.folds - 1}"
            near = "" if one.loss in methods else did_you_mean(one.loss or "", methods)
            raise ConfigError(expected, str(one), near or "mend --only")
    return [cell for cell in cells if not only or any(one.matches(*cell) for one in only)]


def count_finished(folder: RunFolder) -> tuple[int, int]:
    """Of the cells that a run folder is to have, how many are finished, and how many they are."""
    cells = [folder.cell(*cell) for cell in select_cells(folder.read_config())]
    return sum(cell.finished for cell in cells), len(cells)


def cell_specs(prepared: Prepared, store: Store, only: Sequence[CellFilter] = ()) -> list[CellSpec]:
    """What each cell of `select_cells` is told."""
    config, folds = prepared.config, prepared.splits.folds
    return [
        CellSpec(
            method=method,
            fold=number,
            train=folds[number].train,
            held_out=folds[number].held_out,
            store=store.folder.absolute(),
            plan=prepared.plan,
            training=config.training,
            tolerance_um=config.evaluation.tolerance_um,
            loss_options=config.loss_options.get(method, {}),
            seed=config.seed,
        )
        for method, number in select_cells(config, only)
    ]
