"""Tests of the rounds of a race, with the real run and a runner that writes scores without training."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from minivess.data.formats.nifti import write_volume
from minivess.errors import ConfigError, RunError
from minivess.evaluation.evaluate import CaseRow
from minivess.experiments.cell_selection import CellFilter, Job, count_finished
from minivess.experiments.cell_spec import CellResult, CellSpec, RaceScores
from minivess.experiments.config_file import make_config
from minivess.experiments.dry_run import describe_dry_run
from minivess.experiments.prepare import Prepared, prepare
from minivess.experiments.results import write_results
from minivess.experiments.run import run
from minivess.experiments.run_folder import RunFolder
from minivess.json_files import write_state
from minivess.planning.hardware import HardwareBudget
from minivess.publishing.sync_run import sync_run
from minivess.reporting.html import write_report
from minivess.supervision.outcome import Cause, Outcome, cure_for, status_of, write_outcome
from minivess.text import GIB
from minivess.tracking.client import open_client
from minivess.tracking.uris import sqlite_uri

CASES = 8
SCORES = {"dice_ce": 0.3, "cbdice": 0.6, "clce": 0.1, "warp": 0.5}
"""cldice of every case of each loss. Of 256 patterns of signs, one is as extreme: p = 1/256, and 3/256 after Holm."""
METRICS = {
    "centreline_dsc": 0.5, "measured_masd": 1.0, "measured_masd_voxel": 1.0, "normalised_surface_distance": 0.5,
    "tolerance_um": 2.0, "hausdorff_95": 1.0, "betti0_error": 3, "betti1_error": 0, "foreground_voxels": 9,
    "reference_voxels": 9, "voxel_um3": 1.0, "empty": "", "dsc": 0.5,
}  # fmt: skip


class Bench:
    """A run of four losses on two folds of eight cases, whose cells get fixed scores."""

    def __init__(self, folder: Path, data: Path, **settings: Any) -> None:
        self.values = {
            "name": "one",
            "data_dir": data,
            "output_dir": folder / "runs",
            "losses": list(SCORES),
            "folds": 2,
            "training": {"max_epochs": 10, "steps_per_epoch": 10},
            "evaluation": {"metrics": ["cldice"], "baselines": [], "resamples": 1000},
            "model": {"name": "example_custom", "filters": [4, 8, 8]},
            "dry_start": False,
            "race": {"at": [0.3, 0.6], "keep": 2},
        } | settings
        self.folder = RunFolder(folder / "runs" / "one")
        self.calls: list[list[str]] = []
        self.messages: list[str] = []
        self.dropped: list[str] = []
        self.scores = dict(SCORES)
        self.failing: dict[str, int] = {}
        self.killed_after = -2

    def prepare(self) -> Prepared:
        return prepare(make_config(self.values, "a test"), HardwareBudget.imagined(8 * GIB, 32 * GIB), os.environ)

    def start(self, *only: str) -> dict[str, Outcome]:
        observer = SimpleNamespace(
            on_volume_stored=lambda volume: None,
            on_cell_start=lambda name, number, total: None,
            on_progress=lambda name, stage, done, total: None,
            on_cell_end=lambda name, outcome: None,
            on_message=self.messages.append,
            on_cells_dropped=self.dropped.extend,
        )
        return run(self.prepare(), observer, self.runner, [CellFilter.parse(text) for text in only])

    def runner(
        self, jobs: Sequence[Job], prepared: Prepared, observer: Any, lock: int
    ) -> Iterator[tuple[Job, Outcome | None]]:
        self.calls.append([f"{job.name}@{job.cell.read_pause() or 100}" for job in jobs])
        for job in jobs:
            self.killed_after -= 1
            if self.killed_after == -1:
                raise KeyboardInterrupt
            cause = Cause.NAN_LOSS if self.failing.get(job.name, 0) > 0 else self.train(job)
            self.failing[job.name] = self.failing.get(job.name, 0) - 1
            found = Outcome(
                status_of(cause), cause, "ended", cure_for(cause), 0, None, 1, 1, None, 0, "2026-01-02T03:04:00+00:00",
                "2026-01-02T03:04:40+00:00", 40.0,
            )  # fmt: skip
            write_outcome(job.cell.path, found)
            yield job, found

    def train(self, job: Job) -> Cause:
        """Write what the worker of a cell writes: the scores at each step that it passes, then its result."""
        write_state(job.cell.spec, job.spec)
        pause = job.cell.read_pause()
        for step in job.spec.scored_at:
            write_state(job.cell.race(step) / "scores.json", RaceScores(step=step, rows=self.rows(job.spec)))
            if step == pause:
                return Cause.PAUSED
        facts = {
            "method": job.spec.method,
            "fold": job.spec.fold,
            "repeat": job.spec.repeat,
            "rows": self.rows(job.spec),
        }
        write_state(job.cell.result, CellResult(steps=100, seconds=1, note="", micro_batch=1, **facts))
        return Cause.FINISHED

    def rows(self, spec: CellSpec) -> tuple[CaseRow, ...]:
        cldice = self.scores[spec.method]
        return tuple(
            CaseRow(
                method=spec.method, fold=spec.fold, repeat=spec.repeat, case=case, group=spec.groups.get(case),
                metrics={**METRICS, "cldice": cldice},
            )
            for case in spec.held_out
        )  # fmt: skip

    @property
    def stopped(self) -> dict[str, int]:
        """The step at which each loss was stopped."""
        return {loss: found.step for loss, (found, _) in self.folder.read_race().stopped.items()}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    label = np.zeros((24, 20, 4), np.uint8)
    label[3:20, 5:9, 1:3] = 1
    for number in range(CASES):
        image = (100 * label + rng.integers(0, 50, label.shape)).astype(np.uint8)
        write_volume(folder / "raw" / f"c{number}.nii.gz", image, spacing_um=(1, 1, 5))
        write_volume(folder / "seg" / f"c{number}_y.nii.gz", label, spacing_um=(1, 1, 5))
    return folder


@pytest.fixture
def new(tmp_path: Path, data: Path) -> Callable[..., Bench]:
    """A bench with other settings, in a folder of its own."""
    return lambda name="run", **settings: Bench(tmp_path / name, data, **settings)


@pytest.fixture
def bench(new: Callable[..., Bench]) -> Bench:
    return new()


class TestRounds:
    def test_beaten_losses_are_not_continued_and_the_reference_is(self, bench: Bench) -> None:
        """keep is 2: clce and warp are stopped at step 30, the worse first; dice_ce is worse than warp but the reference."""
        assert bench.start() == {}
        assert bench.stopped == {"clce": 30, "warp": 30}
        assert [{name.partition("@")[2] for name in call} for call in bench.calls] == [{"30"}, {"60"}, {"100"}]
        assert [len(call) for call in bench.calls] == [8, 4, 4]
        assert {name.partition("-")[0] for name in bench.calls[2]} == {"dice_ce", "cbdice"}
        assert sorted(bench.dropped) == ["clce-fold0", "clce-fold1", "warp-fold0", "warp-fold1"]
        assert count_finished(bench.folder) == (4, 4)

    def test_more_losses_are_kept_if_the_user_says_so(self, new: Callable[..., Bench]) -> None:
        bench = new(race={"at": [0.3], "keep": 3})
        bench.start()
        assert bench.stopped == {"clce": 30}

    def test_a_loss_can_be_stopped_at_a_later_share(self, bench: Bench) -> None:
        bench.values["race"]["keep"] = 1
        bench.scores |= dict.fromkeys(SCORES, 0.5)
        runner = bench.runner

        def changing(*arguments: Any) -> Iterator[Any]:
            if len(bench.calls) == 1:
                bench.scores = {**bench.scores, "warp": 0.2}
            return runner(*arguments)

        bench.runner = changing  # type: ignore[method-assign]
        bench.start()
        assert bench.stopped == {"warp": 60}
        assert [len(call) for call in bench.calls] == [8, 8, 6]

    def test_without_a_race_there_is_one_call_and_no_file(self, new: Callable[..., Bench]) -> None:
        bench = new(race=None)
        bench.start()
        assert [len(call) for call in bench.calls] == [8]
        assert {name.partition("@")[2] for name in bench.calls[0]} == {"100"}
        assert not bench.folder.race.exists()

    def test_repeats_of_a_case_are_one_unit(self, new: Callable[..., Bench]) -> None:
        bench = new(repeats=2)
        bench.start()
        assert {one.units for _, one in bench.folder.read_race().stopped.values()} == {CASES}
        assert [len(call) for call in bench.calls] == [16, 8, 8]

    def test_a_group_is_one_unit(self, new: Callable[..., Bench], tmp_path: Path) -> None:
        """Four groups of two cases: the smallest p is 1/16, so nothing is stopped."""
        groups = tmp_path / "groups.csv"
        groups.write_text("case,group\n" + "".join(f"c{number},g{number // 2}\n" for number in range(CASES)))
        bench = new(groups=str(groups))
        bench.start()
        assert bench.stopped == {}
        assert [len(call) for call in bench.calls] == [8, 8, 8]

    @pytest.mark.parametrize("at", [[], [0.6, 0.3], [0.3, 0.3], [0.0], [1.0], [-0.1], ["x"]])
    def test_wrong_shares_are_refused(self, at: list[Any]) -> None:
        with pytest.raises(ConfigError, match=r"race\.at"):
            make_config({"name": "one", "losses": ["dice_ce"], "race": {"at": at}}, "a test")


class TestInterruptions:
    @pytest.mark.parametrize("after", [0, 3, 8, 9, 11, 13])
    def test_a_killed_run_takes_the_same_decisions(self, after: int, new: Callable[..., Bench]) -> None:
        """It is killed before the given number of cells has ended: in the first, second and third round."""
        straight, killed = new("a"), new("b")
        straight.start()
        killed.killed_after = after
        with pytest.raises(KeyboardInterrupt):
            killed.start()
        killed.start()
        assert killed.folder.read_race() == straight.folder.read_race()
        ended = sum(len(call) for call in straight.calls)
        assert sum(len(call) for call in killed.calls[-3:]) <= ended

    def test_a_decision_is_not_taken_again(self, bench: Bench) -> None:
        bench.killed_after = 9  # in the second round
        with pytest.raises(KeyboardInterrupt):
            bench.start()
        before = bench.folder.race.read_bytes()
        bench.scores = {"dice_ce": 0.1, "cbdice": 0.1, "clce": 0.9, "warp": 0.9}
        for cell in bench.folder.cells():
            write_state(cell.race(30) / "scores.json", RaceScores(step=30, rows=bench.rows(cell.read_spec())))
        bench.start()
        assert bench.folder.read_race().rounds[0].stopped
        assert bench.stopped == {"clce": 30, "warp": 30}
        assert before != bench.folder.race.read_bytes()  # the second decision was added

    def test_a_failed_cell_is_not_judged_and_is_tried_again_by_the_next_run(self, bench: Bench) -> None:
        bench.failing["clce-fold1"] = 1
        failures = bench.start()
        assert list(failures) == ["clce-fold1"]
        assert bench.stopped == {"warp": 30}
        assert "clce" not in bench.folder.read_race().rounds[0].judged
        bench.calls.clear()
        assert bench.start() == {}
        assert bench.calls[-1] == ["clce-fold1@100"]

    def test_if_all_cells_fail_nothing_is_decided(self, bench: Bench) -> None:
        bench.failing = {f"{loss}-fold{fold}": 1 for loss in SCORES for fold in (0, 1)}
        assert len(bench.start()) == 8
        assert not bench.folder.race.exists()
        bench.start()
        assert bench.stopped == {"clce": 30, "warp": 30}

    def test_an_interrupted_cell_ends_the_run_before_a_decision(self, bench: Bench) -> None:
        bench.train = lambda job: Cause.INTERRUPTED  # type: ignore[method-assign]
        with pytest.raises(RunError):
            bench.start()
        assert not bench.folder.race.exists()


class TestContinued:
    def test_a_stopped_loss_is_continued_by_name_only(self, bench: Bench) -> None:
        bench.start()
        bench.calls.clear()
        bench.start()
        bench.start("fold=0")
        assert [name for call in bench.calls for name in call] == []
        bench.start("loss=warp")
        assert bench.calls[-1] == ["warp-fold0@100", "warp-fold1@100"]
        assert count_finished(bench.folder) == (6, 6)
        found = write_results(bench.folder)
        assert "warp" in found.methods
        assert (
            f"{bench.folder.read_race().why('warp')} It was continued later, to its end, and is ranked." in found.notes
        )

    def test_selected_cells_train_to_their_end_and_the_race_goes_on_later(self, bench: Bench) -> None:
        bench.start("fold=0")
        assert {name.partition("@")[2] for name in bench.calls[0]} == {"100"}
        assert not bench.folder.race.exists()
        bench.start()
        assert bench.stopped == {"clce": 30, "warp": 30}
        assert [len(call) for call in bench.calls[1:]] == [4, 2, 2]
        found = write_results(bench.folder)  # warp is finished in fold 0 only: it is not ranked, and takes no case away
        assert (found.absent, found.metric("cldice").shared_cases) == (("clce", "warp"), CASES)
        assert "warp" in bench.folder.cases.read_text()


class TestResults:
    def test_stopped_losses_are_listed_with_when_and_why_and_not_ranked(self, bench: Bench) -> None:
        bench.start()
        found = write_results(bench.folder)
        assert found.absent == ("clce", "warp")
        assert set(found.methods) == {"dice_ce", "cbdice"}
        assert bench.folder.read_race().why("clce") in found.notes
        page = write_report(bench.folder).read_text()
        assert "A race stopped 2 losses early" in page
        assert page.count("stopped early") >= 4
        assert "not complete" not in page

    def test_p_is_corrected_for_the_stopped_losses_too(self, bench: Bench) -> None:
        """p of eight equal signs is 2/256; with the two stopped losses there are six pairs."""
        bench.start()
        (pair,) = write_results(bench.folder).metric("cldice").pairs
        assert (pair.test.p_value, pair.p_holm) == (2 / 256, 12 / 256)

    def test_mlflow_says_why_a_loss_was_stopped(self, bench: Bench, tmp_path: Path) -> None:
        bench.start()
        uri = sqlite_uri(tmp_path / "mlflow.db")
        sent, client = sync_run(bench.folder, uri), open_client(uri)
        stopped = client.get_run(sent.cell_run_ids["clce-fold0"])
        assert stopped.data.tags["race"] == bench.folder.read_race().why("clce")
        assert stopped.info.status == "KILLED"
        (parent,) = {stopped.data.tags["mlflow.parentRunId"]}
        assert client.get_run(parent).info.status == "FINISHED"

    def test_the_dry_run_says_what_is_saved_at_best(self, bench: Bench) -> None:
        """Two of four losses stop at 30 %: (2 + 2 * 0.3) / 4."""
        planned = describe_dry_run(bench.prepare())
        assert planned.summary()["race"] == {"at": [0.3, 0.6], "keep": 2, "reference": "dice_ce", "least_steps": 0.65}
        bench.start()
        after = describe_dry_run(bench.prepare())
        assert [cell.name for cell in after.cells if cell.stopped] == bench.dropped or len(bench.dropped) == 4
        assert describe_dry_run(bench.prepare(), [CellFilter(loss="warp")]).cells[0].stopped is False

    def test_another_race_is_another_experiment(self, bench: Bench) -> None:
        bench.start()
        bench.values["race"] = {"at": [0.5]}
        with pytest.raises(ConfigError, match="race"):
            bench.prepare()
