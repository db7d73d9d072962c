"""Predict and score the test set with the network of a finished cell.

Run as ``python -m minivess.worker unseen FOLDER`` under the supervisor. Cases that an earlier attempt scored are kept.
"""

from __future__ import annotations

import logging
from pathlib import Path

from minivess.data.array_store import Store
from minivess.evaluation.evaluate import evaluate_cases
from minivess.experiments.run_folder import UnseenFolder
from minivess.experiments.unseen import UnseenRows, UnseenSpec
from minivess.json_files import read_state, write_state
from minivess.models.ensemble import load_model
from minivess.worker.cell_worker import device_of, predictor
from minivess.worker.exit_status import exit_code_of, heartbeat


def score_unseen_cases(folder: UnseenFolder) -> None:
    """Predict and score the cases that ``spec.json`` names, and write ``result.json``.

    Raises:
        RunError: The specification is damaged.
        DataError: The weights are damaged.
    """
    spec = read_state(folder.spec, UnseenSpec, "delete the folder; the same command then writes it again")
    beat = heartbeat(folder.path)
    device = device_of(spec.plan, folder.path)
    network = load_model(spec.weights).to(device)
    rows = evaluate_cases(
        folder.path,
        Store(spec.store),
        spec.names,
        predictor(network, spec.plan, beat),
        method=spec.key.method,
        fold=spec.key.fold,
        repeat=spec.key.repeat,
        groups=spec.groups,
        tolerance_um=spec.tolerance_um,
        scoring_processes=spec.plan.scoring_processes,
        progress=lambda done, total: beat("score", done, total),
    )
    write_state(folder.result, UnseenRows(rows=tuple(rows)))


def main(folder: str) -> int:
    """Score the test set in ``folder`` and return the exit code."""

    def work() -> None:
        score_unseen_cases(UnseenFolder(Path(folder)))
        logging.info("the test set is scored")

    return exit_code_of(work)
