"""One loss on one fold, in a process of its own: train, keep the weights, predict and score the held-out cases.

Run as ``python -m minivess.experiments.cell CELL_FOLDER`` under the supervisor. Every stage continues where an earlier
attempt stopped; ``result.json`` is written last and makes the cell finished.
"""

from __future__ import annotations

import errno
import json
import logging
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from minivess.data.loaders import batches
from minivess.data.patches import PatchSampler
from minivess.data.store import Store, StoredCase
from minivess.errors import MinivessError
from minivess.evaluation.evaluate import evaluate_cases
from minivess.evaluation.threshold import apply_threshold, choose_threshold
from minivess.experiments.folder import CellFolder, write_model
from minivess.experiments.spec import BASELINES, CellResult, CellSpec
from minivess.losses.registry import build_loss
from minivess.metrics.overlap import dsc
from minivess.models.predict import predict_volume
from minivess.models.registry import build_network
from minivess.models.weights import load_network, save_network
from minivess.planning.plan import TrainingPlan
from minivess.step.state import TrainState
from minivess.step.step import NanLossError, Step, autocast
from minivess.strides import patch_for
from minivess.training.callbacks import Checkpoints, Heartbeat, Journal, PoliteStop, StopRequestedError
from minivess.training.checkpoint import CheckpointManager
from minivess.training.exit_codes import HEARTBEAT_FILE, ExitCode
from minivess.training.loop import fit


def run_cell(folder: CellFolder) -> CellResult:
    """Bring a cell to its end, from wherever it stands."""
    began = time.monotonic()
    spec = CellSpec.model_validate_json(folder.spec.read_bytes())
    store = Store(spec.store)
    beat = _heartbeat(folder)
    predict, note = _baseline(spec, store) if spec.method in BASELINES else _trained(spec, store, folder, beat)
    rows = evaluate_cases(
        folder.path,
        store,
        spec.held_out,
        predict,
        method=spec.method,
        fold=spec.fold,
        tolerance_um=spec.tolerance_um,
        progress=lambda done, total: beat("score", done, total),
    )
    result = CellResult(
        method=spec.method,
        fold=spec.fold,
        steps=0 if spec.method in BASELINES else spec.training.steps,
        seconds=time.monotonic() - began,
        note=note,
        rows=tuple(rows),
    )
    write_model(folder.result, result)
    return result


Predict = Callable[[StoredCase], Any]
Beat = Callable[[str, int, int], None]


def _baseline(spec: CellSpec, store: Store) -> tuple[Predict, str]:
    threshold = choose_threshold([store.case(name) for name in spec.train])
    return lambda case: apply_threshold(
        case, threshold
    ), f"threshold {threshold:.2f} standard deviations above the mean"


def _trained(spec: CellSpec, store: Store, folder: CellFolder, beat: Beat) -> tuple[Predict, str]:
    device = torch.device(spec.plan.device)
    if not (folder.weights / "network.json").is_file():
        network = _train(spec, store, folder, beat, device)
        save_network(folder.weights, network, spec.plan.network)
    network = load_network(folder.weights).to(device)
    return _predictor(network, spec.plan, beat), f"averaged weights after {spec.training.steps} steps"


def _train(spec: CellSpec, store: Store, folder: CellFolder, beat: Beat, device: torch.device) -> torch.nn.Module:
    training, plan = spec.training, spec.plan
    store.read_ahead(plan.cache_rate)
    torch.use_deterministic_algorithms(training.deterministic)
    torch.backends.cudnn.benchmark = not training.deterministic
    # The same start for every loss of a fold: losses are compared, not initialisations.
    torch.manual_seed(spec.seed * 1_000_003 + spec.fold)
    state = TrainState.start(build_network(plan.network).to(device), training, plan.precision)
    manager = CheckpointManager(folder.checkpoints)
    saved = manager.restore()
    if saved is not None:
        state.restore(*saved)
        logging.info("resumes after step %d of %d", state.step, training.steps)
    sampler = PatchSampler(
        store,
        spec.train,
        plan.network.patches,
        batch=plan.batch,
        foreground_fraction=training.foreground_fraction,
        seed=spec.seed,
        augment=training.augment,
    )
    watched = spec.held_out[len(spec.held_out) // 2]

    def measure(state: TrainState) -> dict[str, Any]:
        case = store.case(watched)
        mask = _predictor(state.average, plan, beat)(case)
        return {"dsc": dsc(mask != 0, case.label != 0), "case": watched}

    checkpoints = Checkpoints(manager, training)
    callbacks = [
        Heartbeat(beat, training.steps),
        Journal(folder.journal, training, state.step, measure),
        checkpoints,
        PoliteStop(checkpoints.save),
    ]
    step = Step(
        build_loss(spec.method, **spec.loss_options).to(device), training, spec.seed, plan.micro_batch, plan.precision
    )
    fit(state, step, batches(sampler, state.step, training.steps, plan.workers), callbacks)
    return state.average


def _predictor(network: torch.nn.Module, plan: TrainingPlan, beat: Beat) -> Predict:
    def predict(case: StoredCase) -> Any:
        return predict_volume(
            network,
            case.image,
            patch_for(plan.network.patches, case.stats.shape[2]),
            plan.overlap,
            normalise=case.stats.normalise,
            precision=autocast(torch.device(plan.device), plan.precision),
            progress=lambda share: beat(f"predict {case.stats.name}", round(100 * share), 100),
        )

    return predict


def _heartbeat(folder: CellFolder) -> Beat:
    """Writes stage and progress where the supervisor sees life and the live view sees how far it is."""
    path = folder.path / HEARTBEAT_FILE

    def beat(stage: str, done: int, total: int) -> None:
        path.write_text(json.dumps({"stage": stage, "done": done, "total": total}), encoding="utf-8")

    return beat


def main() -> int:
    """Run the cell folder named on the command line; exit codes as in ``training.exit_codes``."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)
    try:
        result = run_cell(CellFolder(Path(sys.argv[1])))
    except StopRequestedError as error:
        logging.info("%s", error)
        return ExitCode.STOPPED
    except NanLossError as error:
        logging.error("%s", error)
        return ExitCode.NAN_LOSS
    except torch.OutOfMemoryError as error:
        logging.error("%s", error)
        return ExitCode.CUDA_OUT_OF_MEMORY
    except MemoryError:
        traceback.print_exc()
        return ExitCode.HOST_OUT_OF_MEMORY
    except OSError as error:
        traceback.print_exc()
        return ExitCode.DISK_FULL if error.errno in (errno.ENOSPC, errno.EDQUOT) else ExitCode.INTERNAL_ERROR
    except MinivessError as error:
        logging.error("%s", error)
        return ExitCode.INTERNAL_ERROR
    logging.info("finished in %.0f s", result.seconds)
    return ExitCode.FINISHED


if __name__ == "__main__":
    sys.exit(main())
