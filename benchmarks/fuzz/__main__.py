"""Read thousands of damaged files as a user's command would, and print how each kind ended.

An input fails if it ends in a traceback, takes more than 20 s or a gigabyte, or if a damaged file that carries a digest
is read as if it were whole. Each failing input is kept below the work folder. Prints a Markdown table; exit code 1 if
an input failed.

    just fuzz [--seed 0] [--share 1.0] [--processes 2] [--only Tiff]
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from fuzz.workers import Result, Worker
from minivess.data.phantoms.phantom import small_cases, write_phantom
from minivess.experiments.cell_spec import Retry
from minivess.experiments.run_folder import RunFolder
from minivess.json_files import write_state
from minivess.tracking.ledger import Ledger

_EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
KINDS = {
    "NIfTI files": ("fuzz.nifti:Nifti", 4000),
    "TIFF stacks": ("fuzz.tiff:Tiff", 2000),
    "experiment YAML": ("fuzz.yaml_texts:ExperimentFile", 900),
    "texts of --set": ("fuzz.yaml_texts:Setting", 400),
    "model and compute profiles": ("fuzz.yaml_texts:ProfileFile", 300),
    "JSON of a data set": ("fuzz.json_texts:DatasetJson", 1200),
    "state files and weights": ("fuzz.states:StateFile", 1500),
}
"""Class and number of inputs of each kind, by its name in the table."""
_STUDY = """\
name: tiny
losses: [dice_ce]
folds: 2
model: {name: example_custom, filters: [4, 8, 8]}
training: {max_epochs: 3, steps_per_epoch: 4, validate_every: 2, checkpoint_minutes: 0, learning_rate: 0.01}
dry_start: false
tracking_uri: none
"""


def make_base(base: Path) -> None:
    """Train a tiny study on phantoms, unless an earlier call of this has: ``data``, ``store`` and ``run``."""
    if (base / "run").is_dir():
        return
    shutil.rmtree(base, ignore_errors=True)
    base.mkdir(parents=True)
    write_phantom(base / "data", small_cases(4))
    (base / "tiny.yaml").write_text(_STUDY, encoding="utf-8")
    options = ("--config", base / "tiny.yaml", "--data-dir", base / "data", "--output-dir", base)
    environment = {**os.environ, "PYTHONPATH": str(_EXAMPLES), "PREFECT_DISABLED": "1"}
    command = [sys.executable, "-m", "minivess.cli.main", "run", *map(str, options)]
    with (base / "run.log").open("w") as log:
        subprocess.run(command, env=environment, stdout=log, stderr=log, check=True)
    run = RunFolder(base / "tiny")
    write_state(run.cells()[0].retry, Retry(micro_batch=1, because=("out of memory",)))
    Ledger(run.path / "mlflow.json").save()
    (base / "tiny").rename(base / "run")  # last, so that an interrupted call is repeated


def read_all(name: str, count: int, seed: int, processes: int, work: Path) -> Iterator[tuple[int, Result]]:
    """Read all inputs of a kind in several processes; yield number and result of each, in any order."""
    waiting, done, guard = iter(range(count)), [], threading.Condition()
    running = processes
    kind = KINDS[name][0]

    def follow(worker: Worker) -> None:
        nonlocal running
        try:
            while True:
                with guard:
                    number = next(waiting, None)
                if number is None:
                    return
                result = worker.attempt(number)
                if result.failed:
                    _keep(worker.folder / "input", work / "failed" / f"{kind.partition(':')[2]}-{number}", result)
                with guard:
                    done.append((number, result))
                    guard.notify()
        finally:
            worker.stop()
            with guard:
                running -= 1
                guard.notify()

    folders = [work / f"worker{number}" for number in range(processes)]
    workers = [Worker(kind, seed, folder, work / "base") for folder in folders]
    threads = [threading.Thread(target=follow, args=(worker,)) for worker in workers]
    for thread in threads:
        thread.start()
    while True:
        with guard:
            guard.wait_for(lambda: done or not running)
            found, done[:] = list(done), []
            if not found and not running:
                break
        yield from found
    for thread in threads:
        thread.join()


def _keep(source: Path, target: Path, result: Result) -> None:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, symlinks=True)
    (target / "error.txt").write_text(f"{result.outcome}\n{result.text}", encoding="utf-8", errors="replace")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0, help="seed of all inputs")
    parser.add_argument(
        "--share", type=float, default=1.0, help="share of the inputs to read; above 1 for more of them"
    )
    parser.add_argument("--processes", type=int, default=2, help="processes that read inputs")
    parser.add_argument("--only", default="", help="a part of the name of a kind; by default all kinds")
    parser.add_argument(
        "--work", type=Path, default=Path("runs/fuzz"), help="folder for the tiny run and failing inputs"
    )
    options = parser.parse_args()
    work, failures = options.work.absolute(), 0
    os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    # The workers may import the network of the tiny run only from a folder on PYTHONPATH.
    os.environ["PYTHONPATH"] = os.pathsep.join([os.environ.get("PYTHONPATH", ""), str(_EXAMPLES)]).strip(os.pathsep)
    sys.path.append(str(_EXAMPLES))
    began = time.monotonic()
    make_base(work / "base")
    shutil.rmtree(work / "failed", ignore_errors=True)
    print("| kind | inputs | accepted | refused | recovered | tracebacks | hangs | over memory | accepted damage | s |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name in [name for name in KINDS if options.only.lower() in name.lower()]:
        started, seen = time.monotonic(), Counter[str]()
        count = round(options.share * KINDS[name][1])
        for number, result in read_all(name, count, options.seed, options.processes, work):
            seen[result.outcome] += 1
            failures += result.failed
            if result.failed:
                print(f"{name} {number}: {result.outcome}: {result.text[-2000:]}", file=sys.stderr, flush=True)
        if seen.total() < count or not seen["refused"] or not seen["accepted"] + seen["recovered"]:
            failures += 1
            print(f"{name}: the benchmark itself does not work; see {work}/*.log", file=sys.stderr, flush=True)
        outcomes = ("accepted", "refused", "recovered", "traceback", "hang", "memory", "accepted damage")
        cells = [name, sum(seen.values()), *(seen[outcome] for outcome in outcomes), round(time.monotonic() - started)]
        print(f"| {' | '.join(map(str, cells))} |", flush=True)
    print(
        f"\nSeed {options.seed}, {time.monotonic() - began:.0f} s on {options.processes} processes, {failures} failures."
    )
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
