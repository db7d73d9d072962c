"""Entry point of every child process: ``python -m minivess.worker TASK [ARGUMENT]``.

TASK         started by                   does
supervisor   experiments/cell_process     watches one child process and stops it before it harms the machine
cell         supervision/supervisor       trains one loss on one fold, then predicts and scores the held-out cases
dry_start    supervision/supervisor       tries a step of each loss, a checkpoint, a prediction and a scoring
unseen       supervision/supervisor       predicts and scores the test set at the end of a run
pretrain     supervision/supervisor       trains a network on phantoms
score        evaluation/scoring           scores one predicted mask
track        publishing/live              keeps MLflow up to date while a run is going
peaks        planning/memory/process      predicts memory and time of a step; requests and replies are lines of JSON

Only the module of the task is imported, because the supervisor must not import torch.
"""

from __future__ import annotations

import sys
from importlib import import_module

TASKS = {
    "supervisor": "minivess.supervision.supervisor:main",
    "cell": "minivess.worker.cell_worker:main",
    "dry_start": "minivess.worker.dry_start_worker:main",
    "unseen": "minivess.worker.unseen_worker:main",
    "pretrain": "minivess.worker.pretrain_worker:main",
    "score": "minivess.evaluation.scoring:main",
    "track": "minivess.publishing.live:main",
    "peaks": "minivess.planning.memory.process:main",
}


def main() -> int:
    """Run the task that the command line names and return its exit code."""
    if len(sys.argv) < 2 or sys.argv[1] not in TASKS:
        print(f"usage: python -m minivess.worker {{{','.join(TASKS)}}} [ARGUMENT]", file=sys.stderr)
        return 2
    module, _, function = TASKS[sys.argv[1]].partition(":")
    exit_code: int = getattr(import_module(module), function)(*sys.argv[2:])
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
