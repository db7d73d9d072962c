"""The cells of a run, in order."""

from __future__ import annotations

from minivess.data.store import Store
from minivess.errors import ConfigError
from minivess.experiments.prepare import Prepared
from minivess.experiments.spec import BASELINES, CellSpec


def cell_specs(prepared: Prepared, store: Store) -> list[CellSpec]:
    """Baselines first, which take seconds, then loss by loss.

    Raises:
        ConfigError: Unknown baseline.
    """
    config = prepared.config
    unknown = set(config.evaluation.baselines) - set(BASELINES)
    if unknown:
        raise ConfigError(
            f"baselines among {', '.join(BASELINES)}", ", ".join(sorted(unknown)), "mend evaluation.baselines"
        )
    return [
        CellSpec(
            method=method,
            fold=number,
            train=fold.train,
            held_out=fold.held_out,
            store=store.folder.absolute(),
            plan=prepared.plan,
            training=config.training,
            tolerance_um=config.evaluation.tolerance_um,
            loss_options=config.loss_options.get(method, {}),
            seed=config.seed,
        )
        for method in (*config.evaluation.baselines, *config.losses)
        for number, fold in enumerate(prepared.splits.folds)
    ]
