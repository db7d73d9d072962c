"""Replay races on finished runs: would stopping losses early have given the same answer, and at which share of the steps?

    python benchmarks/race_replay.py RUN...            (or `just race-replay RUN...`; seconds to minutes)
    python benchmarks/race_replay.py RUN... --at 0.3 0.6 --keep 2 --level 0.05 --losses 3 4 5 6

A run can be replayed if its cells hold scores at shares of their steps (cells/CELL/race/step-N/cases). Each replay is a
race of some of the losses of one run, with one of them as the reference: all subsets of the given sizes, with every
member as the reference (--against NAME: only with this one). Replays of one run share their cells, so they are not
independent; runs with other seeds or data are. Prints Markdown.

The answer of a race is the loss that is shown to be better than the reference and has the best mean of these, or that none
is shown. Tests are sign-flip tests on the final scores, Holm-corrected over all losses of the subset except the reference,
whether they were stopped or not.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations
from pathlib import Path
from statistics import fmean

from minivess.experiments.cell_spec import CellSpec
from minivess.experiments.run_folder import CellFolder, RunFolder
from minivess.json_files import read_state
from minivess.metrics.case import CaseMetrics
from minivess.metrics.catalogue import METRICS
from minivess.statistics import racing
from minivess.statistics.racing import find_beaten, mean_by_unit
from minivess.statistics.resampling import holm, sign_flip_p_value

Scores = dict[str, dict[str, float]]  # by loss and case


@dataclass(frozen=True)
class Run:
    """Scores of a finished run: final, and at each share of the steps."""

    name: str
    metric: str
    final: Scores
    at: dict[float, Scores]


@dataclass(frozen=True)
class Replay:
    """One race.

    Attributes:
        same: Whether the answer is that of the whole run.
        tied: Whether it is, or names another loss that the whole run does not show to be worse (p above 0.05, not corrected).
        steps: Share of all steps that were trained.
        lost: Number of stopped losses that the whole run shows to be better than the reference.
    """

    same: bool
    tied: bool
    steps: float
    lost: int


def read_run(path: Path) -> Run:
    """Read a run; losses with an unfinished cell are left out."""
    folder = RunFolder(path)
    config = folder.read_config()
    metric, folds = config.evaluation.metrics[0], len(folder.read_splits().folds)
    final: list[tuple[str, str, float]] = []
    shares: dict[float, list[tuple[str, str, float]]] = {}
    for loss in config.losses:
        cells = [cell for cell in folder.cells() if cell.finished and cell.read_spec().method == loss]
        if len({cell.read_spec().fold for cell in cells}) < folds:
            continue
        for cell in cells:
            final += [(loss, row.case, float(getattr(row.metrics, metric))) for row in cell.read_result().rows]
            for step, case, score in scores_at_shares(cell, metric):
                shares.setdefault(round(step / _steps(cell.read_spec()), 3), []).append((loss, case, score))
    at = {share: mean_by_unit(scores) for share, scores in sorted(shares.items())}
    return Run(path.name, metric, mean_by_unit(final), at)


def _steps(spec: CellSpec) -> int:
    return spec.training.steps


def scores_at_shares(cell: CellFolder, metric: str) -> Iterator[tuple[int, str, float]]:
    """Yield step, case and score of the held-out cases that a cell has scored during its training."""
    for path in sorted(cell.path.glob("race/step-*/cases/*.json")):
        scores = read_state(path, CaseMetrics, "delete it")
        yield int(path.parents[1].name.removeprefix("step-")), path.stem, float(getattr(scores, metric))


def replay(run: Run, losses: Sequence[str], reference: str, shares: Sequence[float], keep: int, level: float) -> Replay:
    """Replay one race."""
    higher = METRICS[run.metric].higher_is_better
    trained = dict.fromkeys(losses, 1.0)
    going = list(losses)
    for share in shares:
        table = {loss: run.at[share][loss] for loss in going}
        for one in find_beaten(table, higher_is_better=higher, reference=reference, keep=keep, level=level):
            trained[one.loss] = share
            going.remove(one.loss)
    better = shown_better(run, losses, losses, reference)
    better_of_going = shown_better(run, losses, going, reference)
    whole, raced = _best(run, better), _best(run, better_of_going)
    tied = whole == raced or (bool(whole and raced) and _test(run.name, whole, raced)[0] > 0.05)
    return Replay(whole == raced, tied, fmean(trained.values()), len(better - set(going)))


def shown_better(run: Run, planned: Sequence[str], going: Sequence[str], reference: str) -> set[str]:
    """Return the losses that are shown to be better than the reference, corrected over all that were planned."""
    rivals = [loss for loss in planned if loss != reference]
    tests = [_test(run.name, loss, reference) if loss in going else (1.0, 0.0) for loss in rivals]
    corrected = holm([p for p, _ in tests])
    return {loss for loss, p, (_, gain) in zip(rivals, corrected, tests, strict=True) if p <= 0.05 and gain > 0}


def _best(run: Run, losses: set[str]) -> str:
    sign = 1 if METRICS[run.metric].higher_is_better else -1
    return max(losses, key=lambda loss: sign * fmean(run.final[loss].values())) if losses else ""


RUNS: dict[str, Run] = {}


@cache
def _test(run: str, loss: str, reference: str) -> tuple[float, float]:
    """Return p and by how much a loss is better than the reference at the end."""
    known = RUNS[run]
    sign = 1 if METRICS[known.metric].higher_is_better else -1
    differences = [sign * (score - known.final[reference][case]) for case, score in known.final[loss].items()]
    return sign_flip_p_value(differences), fmean(differences)


def replays(
    run: Run, sizes: Sequence[int], against: str | None, shares: Sequence[float], keep: int, level: float
) -> Iterator[Replay]:
    """Yield the replays of all subsets of the given sizes."""
    for size in sizes:
        for losses in combinations(run.final, size):
            for reference in losses if against is None else [against] if against in losses else []:
                yield replay(run, losses, reference, shares, keep, level)


def row(title: Sequence[object], found: Sequence[Replay]) -> str:
    """Return a line of the table."""
    same, tied, steps = (fmean(getattr(one, field) for one in found) for field in ("same", "tied", "steps"))
    lost = sum(one.lost for one in found) / len(found)
    cells = [*title, len(found), f"{100 * same:.1f} %", f"{100 * tied:.1f} %", f"{100 * steps:.0f} %", f"{lost:.2f}"]
    return f"| {' | '.join(map(str, cells))} |"


@cache
def _flip(differences: tuple[float, ...]) -> float:
    return sign_flip_p_value(differences)


def main() -> None:
    # The same pairs are in many subsets.
    racing.sign_flip_p_value = lambda differences: _flip(tuple(differences))  # type: ignore[assignment,misc]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--at", type=float, nargs="+", help="shares of the steps; by default all that the runs have")
    parser.add_argument("--keep", type=int, nargs="+", default=[2])
    parser.add_argument("--level", type=float, nargs="+", default=[0.05])
    parser.add_argument("--losses", type=int, nargs="+", default=[3, 4, 5, 6, 8, 10], help="sizes of the subsets")
    parser.add_argument("--against", help="replay only with this loss as the reference")
    options = parser.parse_args()
    RUNS.update({path.name: read_run(path) for path in options.runs})
    heading = (
        "run",
        "losses",
        "keep",
        "level",
        "replays",
        "same answer",
        "same or tied",
        "steps",
        "better losses stopped",
    )
    print(f"| {' | '.join(heading)} |\n|---|{'---:|' * (len(heading) - 1)}")
    for keep in options.keep:
        for level in options.level:
            everything: list[Replay] = []
            for run in RUNS.values():
                shares = options.at or list(run.at)
                for size in options.losses:
                    found = list(replays(run, [size], options.against, shares, keep, level))
                    everything += found
                    if found:
                        print(row([run.name, size, keep, level], found))
            if everything:
                print(row(["all", "", keep, level], everything))


if __name__ == "__main__":
    main()
