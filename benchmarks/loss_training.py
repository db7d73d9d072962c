"""Train a small network on phantoms with every loss, on a CPU, and score it on held-out phantoms. Prints a Markdown table.

Store, sampler, step, loop, prediction and metrics are those of an experiment. Each loss trains in a separate process, from the
same weights and on the same batches:

    python benchmarks/loss_training.py [--loss warp] [--steps 200]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean

import torch

from minivess.data.array_store import Store, build_store
from minivess.data.phantoms.phantom import small_cases, write_phantom
from minivess.data.profiler import scan_dataset
from minivess.data.sampling.loaders import batches
from minivess.data.sampling.patch_sampler import PatchSampler
from minivess.geometry import patch_for
from minivess.inference.predict_volume import predict_volume
from minivess.losses import LOSSES, build_loss
from minivess.metrics.case import CaseMetrics, score_case
from minivess.models.model_profile import NetworkSpec, build_network, load_model_profile
from minivess.training.config import TrainingConfig
from minivess.training.loop import fit
from minivess.training.state import TrainState
from minivess.training.step import Step

CASES, HELD_OUT, BATCH, SEED = 16, 4, 2, 0
PATCHES = ((64, 64, 4), (64, 64, 8))
FILTERS = (8, 16, 32)


def network_spec(store: Store) -> NetworkSpec:
    model = load_model_profile("dynunet", filters=FILTERS)
    return model.spec(PATCHES, model.plan_strides(PATCHES[-1], store.profile.median_spacing_um))


def train(store: Store, names: list[str], loss: str, steps: int) -> tuple[TrainState, NetworkSpec, float]:
    """Train for ``steps`` optimizer steps; return the state, the spec of the network, and the seconds per step."""
    config = TrainingConfig(max_epochs=1, steps_per_epoch=steps, learning_rate=3e-3, ema_decay=0.98)
    spec = network_spec(store)
    torch.manual_seed(SEED)
    state = TrainState.start(build_network(spec), config, "fp32")
    sampler = PatchSampler(store, names, PATCHES, batch=BATCH, foreground_fraction=0.5, seed=SEED)
    began = time.perf_counter()
    fit(state, Step(build_loss(loss), config, SEED, BATCH), batches(sampler, 0, steps), [])
    return state, spec, (time.perf_counter() - began) / steps


def score(store: Store, name: str, network: torch.nn.Module, spec: NetworkSpec) -> CaseMetrics:
    case = store.case(name)
    patch = patch_for(spec.patches, case.stats.shape[2])
    mask = predict_volume(network, case.image, patch, normalise=case.stats.normalise)
    return score_case(mask, case.label, case.stats.spacing_um)


def row(folder: Path, loss: str, steps: int) -> str:
    """Train and score one loss and return its table row; runs in the worker process."""
    store = build_store(scan_dataset(folder / "phantoms", voxels=True), folder / "store")
    names = [volume.name for volume in store.profile.volumes]
    state, spec, seconds = train(store, names[:-HELD_OUT], loss, steps)
    scores = [score(store, name, state.average, spec) for name in names[-HELD_OUT:]]
    dscs = [each.dsc for each in scores]
    topology = f"{mean(each.betti0_error for each in scores):.1f} | {mean(each.betti1_error for each in scores):.1f}"
    cldice = mean(each.cldice for each in scores if each.cldice is not None)
    return f"| {loss} | {cldice:.3f} | {mean(dscs):.3f} | {min(dscs):.3f} | {topology} | {seconds:.2f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loss", action="append", help="name of a loss; may be repeated; by default all")
    parser.add_argument("--steps", type=int, default=200, help="optimizer steps")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.worker:
        request = json.loads(options.worker)
        print(row(Path(request["folder"]), request["loss"], options.steps))
        return
    print(f"{options.steps} steps of {BATCH} patches each, {options.threads} CPU threads, torch {torch.__version__}\n")
    print(
        "| loss | clDice | DSC | worst DSC | Betti-0 error | Betti-1 error | s per step |\n|---|---|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as folder:
        write_phantom(Path(folder) / "phantoms", small_cases(CASES))
        for loss in options.loss or LOSSES:
            request = json.dumps({"folder": folder, "loss": loss})
            rest = ["--steps", str(options.steps), "--threads", str(options.threads), "--worker", request]
            command = [sys.executable, "-W", "ignore", __file__, *rest]
            patient = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}  # as in the cells of a run
            answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=patient)
            print(answer.stdout.splitlines()[-1], flush=True)


if __name__ == "__main__":
    main()
