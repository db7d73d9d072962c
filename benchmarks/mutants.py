"""Apply one deliberate bug at a time and check that a test fails: a bug that no test notices is a missing test.

benchmarks/mutants.yaml lists the bugs (mutants). Each replaces one text in one file of src/minivess. For each mutant, the
tests that concern it run on a copy of the tree; the mutant is killed if one fails or if they exceed the time limit.
First all those tests must pass without a mutant. The result of each mutant is appended to --results, as a line of JSON.

    python benchmarks/mutants.py [PATTERN ...] [--processes 2] [--cpu-seconds 60] [--again]

A pattern selects the mutants whose file or name contains it. Killed mutants in --results are skipped, unless --again is given.
Exit code 1: a mutant survived that has no `equivalent`. Exit code 2: the list does not fit the code any more.
"""

from __future__ import annotations

import argparse
import importlib
import json
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import venv
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
LIST = ROOT / "benchmarks" / "mutants.yaml"
SOURCE = Path("src") / "minivess"
COPIED = ("src", "tests", "benchmarks", "configs", "docs/examples", "scripts", "pyproject.toml")
PRELOADED = (
    *("pytest", "numpy", "pandas", "scipy.stats", "scipy.ndimage", "scipy.spatial", "skimage.morphology"),
    *("torch", "torch._dynamo", "torch.optim", "safetensors.torch", "pydantic", "psutil", "nibabel", "click", "numba"),
)
"""Libraries that are imported once; the processes that run tests are forks. None of them imports minivess."""
_MULTIPROCESSING = multiprocessing.get_context("fork")
_WALL_PER_CPU_SECOND = 10
"""A test that sleeps takes no processor time; on a busy machine, a test that works takes several times its own."""


@dataclass(frozen=True)
class Mutant:
    """A deliberate bug.

    Attributes:
        file: File in src/minivess.
        name: What the bug does, as text.
        old: Text that occurs exactly once in the file.
        new: Text that replaces it.
        tests: Test files or node ids, one of which must fail.
        equivalent: Why the bug changes nothing that a test could notice; empty for a bug that a test must notice.
    """

    file: str
    name: str
    old: str
    new: str
    tests: tuple[str, ...]
    equivalent: str = ""

    @property
    def key(self) -> str:
        return f"{self.file}: {self.name}"


@dataclass
class Copy:
    """A copy of the tree, with a Python whose import path starts at this copy, also in the processes that tests start."""

    folder: Path
    python: Path = field(init=False)

    def __post_init__(self) -> None:
        for name in COPIED:
            source, target = ROOT / name, self.folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(source, target) if source.is_dir() else shutil.copy2(source, target)
        venv.create(self.folder / "python", symlinks=True)
        self.python = self.folder / "python" / "bin" / "python"
        (packages,) = (self.folder / "python" / "lib").glob("*/site-packages")
        own = [str(self.folder / "src"), *(path for path in sys.path if path.endswith("site-packages"))]
        (packages / "mutant.pth").write_text("\n".join(own) + "\n")

    def apply(self, mutant: Mutant) -> None:
        path = self.folder / SOURCE / mutant.file
        path.write_text(path.read_text(encoding="utf-8").replace(mutant.old, mutant.new), encoding="utf-8")

    def restore(self, mutant: Mutant) -> None:
        # copy2 keeps the time of the file, so that compiled code of the original is valid again.
        shutil.copy2(ROOT / SOURCE / mutant.file, self.folder / SOURCE / mutant.file)

    @property
    def log(self) -> Path:
        return self.folder / "log.txt"

    def start(self, tests: Sequence[str], cpu_s: int | None = None) -> BaseProcess:
        """Run tests in a fork of this process; without a time limit, they also write compiled files."""
        process = _MULTIPROCESSING.Process(target=self._run, args=(tuple(tests), cpu_s))
        process.start()
        return process

    def _run(self, tests: tuple[str, ...], cpu_s: int | None) -> None:
        os.setsid()
        if cpu_s is not None:
            resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 5))
        with self.log.open("w") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        os.chdir(self.folder)
        sys.executable = str(self.python)
        sys.path[:] = [str(self.folder / "src"), *(path for path in sys.path if not path.startswith(str(ROOT / "src")))]
        sys.dont_write_bytecode = cpu_s is not None
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1" if cpu_s is not None else ""
        import pytest

        status = pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-m", "not slow", *tests])
        sys.stdout.flush()
        os._exit(int(status))


def read_list(path: Path = LIST) -> list[Mutant]:
    """Read the mutants; ``tests`` of a file apply to each of its mutants that has no ``tests`` itself."""
    mutants = []
    for group in yaml.safe_load(path.read_text(encoding="utf-8")):
        for entry in group["mutants"]:
            tests = entry.pop("tests", group["tests"])
            mutants.append(Mutant(group["file"], tests=tuple(tests), **entry))
    return mutants


def faults_of(mutants: Iterable[Mutant]) -> list[str]:
    """Return one text for each entry of the list that does not fit the code any more."""
    mutants = list(mutants)
    faults = [f"{key}: {count} entries" for key, count in Counter(m.key for m in mutants).items() if count > 1]
    for mutant in mutants:
        path = ROOT / SOURCE / mutant.file
        found = path.read_text(encoding="utf-8").count(mutant.old) if path.is_file() else 0
        if found != 1 or mutant.old == mutant.new:
            faults.append(f"{mutant.key}: expected the old text once, got it {found} times:\n    {mutant.old}")
        faults += [
            f"{mutant.key}: no test {test}" for test in mutant.tests if not (ROOT / test.split("::")[0]).exists()
        ]
    return faults


def run(mutants: Sequence[Mutant], processes: int, cpu_s: int, results: Path) -> list[dict[str, Any]]:
    """Run the mutants, ``processes`` at a time; print and record each result."""
    done: list[dict[str, Any]] = []
    waiting = deque(mutants)
    running: dict[int, tuple[BaseProcess, Mutant, Copy, float]] = {}
    results.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="mutants-") as name:
        free = [Copy(Path(name) / str(number)) for number in range(max(1, min(processes, len(mutants))))]
        _check_unchanged(free, mutants)
        while waiting or running:
            while waiting and free:
                mutant, copy = waiting.popleft(), free.pop()
                copy.apply(mutant)
                process = copy.start(mutant.tests, cpu_s)
                running[process.sentinel] = (process, mutant, copy, time.monotonic())
            wait(list(running), timeout=1.0)
            for sentinel, (process, mutant, copy, began) in list(running.items()):
                seconds = time.monotonic() - began
                if process.is_alive() and seconds < _WALL_PER_CPU_SECOND * cpu_s:
                    continue
                done.append({"mutant": mutant.key, "seconds": round(seconds, 1), **_outcome(process, copy.log)})
                del running[sentinel]
                copy.restore(mutant)
                free.append(copy)
                with results.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(done[-1]) + "\n")
                print(f"{len(done):4} {done[-1]['status']:9} {seconds:6.1f} s  {mutant.key}", flush=True)
    return done


def _check_unchanged(copies: Sequence[Copy], mutants: Sequence[Mutant]) -> None:
    """Run the tests of all mutants without a mutant, which also compiles the files of the copies; share them out."""
    tests = sorted({test for mutant in mutants for test in mutant.tests})
    tests = [test for test in tests if "::" not in test or test.split("::")[0] not in tests]
    shares = [(copy, tests[number :: len(copies)]) for number, copy in enumerate(copies)]
    for copy, process in [
        (copy, copy.start(share)) for copy, share in shares if share
    ]:  # without tests, pytest runs all
        process.join()
        if process.exitcode != 0:
            print(copy.log.read_text()[-4000:])
            sys.exit("The tests fail without a mutant: fix them first.")
    print(f"All {len(tests)} test files and nodes pass without a mutant.", flush=True)


def _outcome(process: BaseProcess, log: Path) -> dict[str, str]:
    """End the process and say what became of the mutant; ``by`` is the first test that failed."""
    timed_out = process.is_alive() or process.exitcode == -signal.SIGXCPU
    with suppress(ProcessLookupError):
        os.killpg(process.pid or 0, signal.SIGKILL)
    process.join()
    if timed_out:
        return {"status": "killed", "by": "the time limit"}
    if process.exitcode == 0:
        return {"status": "survived", "by": ""}
    text = log.read_text(errors="replace")
    failed = [line.split(" - ")[0] for line in text.splitlines() if line.startswith(("FAILED ", "ERROR "))]
    if process.exitcode in (4, 5):  # pytest found no such test
        return {"status": "no test", "by": text[-300:]}
    return {"status": "killed", "by": failed[0] if failed else text[-300:]}


def _already_killed(results: Path) -> set[str]:
    if not results.is_file():
        return set()
    lines = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
    return {line["mutant"] for line in lines if line["status"] == "killed"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("patterns", nargs="*", help="run only mutants whose file or name contains one of these texts")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--cpu-seconds", type=int, default=60, help="processor time of a process that runs tests")
    parser.add_argument("--results", type=Path, default=ROOT / "build" / "mutants.jsonl")
    parser.add_argument("--again", action="store_true", help="also run mutants that --results records as killed")
    options = parser.parse_args()
    mutants = read_list()
    if faults := faults_of(mutants):
        print("\n".join(["benchmarks/mutants.yaml does not fit the code; update these entries:", *faults]))
        return 2
    skipped = set() if options.again else _already_killed(options.results)
    wanted = [m for m in mutants if not options.patterns or any(p in m.key for p in options.patterns)]
    chosen = [mutant for mutant in wanted if mutant.key not in skipped]
    os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}  # read when torch is imported
    for library in PRELOADED:
        importlib.import_module(library)
    done = run(chosen, options.processes, options.cpu_seconds, options.results) if chosen else []
    by_key = {mutant.key: mutant for mutant in mutants}
    survivors = [by_key[result["mutant"]] for result in done if result["status"] != "killed"]
    missed = [mutant for mutant in survivors if not mutant.equivalent]
    print(
        f"{len(wanted)} mutants: {len(done)} run now, {len(wanted) - len(done)} killed before; {len(survivors)} survived"
    )
    for mutant in survivors:
        print(f"    {mutant.key}: {mutant.equivalent or 'NO TEST NOTICES IT'}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
