from __future__ import annotations

import contextlib
import math
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient
from mlflow.tracking._tracking_service.utils import _artifact_repos_cache

from minivess import locks
from minivess.tracking import client, mlflow
from minivess.tracking.client import TrackingError, open_client
from minivess.tracking.mlflow import sync
from minivess.tracking.run_record import CellRecord, RunRecord
from minivess.tracking.uris import sqlite_uri


def history(*steps: int) -> list[dict[str, Any]]:
    return [{"step": step, "loss": 1 / step, "note": "no number"} for step in steps]


CELL = CellRecord(
    name="dice_ce-fold0",
    method="dice_ce",
    fold=0,
    status="finished",
    params={"training": {"epochs": 2}},
    history=history(1, 2),
    metrics={"dsc/mean": 0.75},
    tags={"git": "abc"},
    started_ms=1000,
    ended_ms=5000,
)
RUN = RunRecord(name="losses", status="finished", params={"seed": 1}, cells=(CELL,), started_ms=1000, ended_ms=6000)


def with_cell(**changes: Any) -> RunRecord:
    return replace(RUN, cells=(replace(CELL, **changes),))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow database, created once for all tests because that takes seconds."""
    path = tmp_path_factory.mktemp("template") / "mlflow.db"
    open_client(f"sqlite:///{path}")
    return path


class Tracked:
    """A run folder with a separate database, and functions that read the database."""

    def __init__(self, folder: Path, template: Path | None) -> None:
        self.folder = folder
        self.database = folder / "mlflow.db"
        if template is not None:
            shutil.copy(template, self.database)
        self.uri = sqlite_uri(self.database)
        self.ids = folder / "night 1" / "mlflow.json"

    def sync(self, record: RunRecord = RUN) -> mlflow.SyncResult:
        return sync(record, self.uri, self.ids)

    @property
    def client(self) -> MlflowClient:
        return open_client(self.uri)

    def runs(self) -> dict[str, Any]:
        experiment = self.client.get_experiment_by_name("losses")
        return {run.info.run_name: run for run in self.client.search_runs([experiment.experiment_id])}

    def cell(self) -> Any:
        return self.runs()[CELL.name]

    def steps(self, metric: str = "loss") -> list[int]:
        return [point.step for point in self.client.get_metric_history(self.cell().info.run_id, metric)]


@pytest.fixture
def tracked(tmp_path: Path, template: Path) -> Tracked:
    folder = tmp_path / "my project"
    folder.mkdir()
    return Tracked(folder, template)


class TestSync:
    def test_one_parent_run_and_one_nested_run_per_cell(self, tracked: Tracked) -> None:
        done = tracked.sync()
        runs = tracked.runs()
        assert runs.keys() == {"night 1", "dice_ce-fold0"}
        assert runs["night 1"].data.params == {"seed": "1"}
        assert tracked.cell().data.tags["mlflow.parentRunId"] == runs["night 1"].info.run_id
        assert tracked.cell().data.params == {"method": "dice_ce", "fold": "0", "repeat": "1", "training.epochs": "2"}
        assert tracked.cell().data.metrics == {"loss": 0.5, "dsc/mean": 0.75}
        assert (tracked.cell().info.start_time, tracked.cell().info.end_time) == (1000, 5000)
        assert done.cell_run_ids == {"dice_ce-fold0": tracked.cell().info.run_id}

    def test_second_sync_adds_nothing(self, tracked: Tracked) -> None:
        assert tracked.sync() == tracked.sync()
        assert len(tracked.runs()) == 2
        assert tracked.steps() == [1, 2]
        assert tracked.steps("dsc/mean") == [2]

    def test_longer_history_adds_only_the_new_steps(self, tracked: Tracked) -> None:
        tracked.sync()
        tracked.sync(with_cell(history=history(1, 2, 3)))
        assert tracked.steps() == [1, 2, 3]

    def test_steps_are_not_duplicated_after_a_kill_before_the_ledger_was_saved(self, tracked: Tracked) -> None:
        tracked.sync(with_cell(history=()))
        ledger = tracked.ids.read_text()
        tracked.sync()
        tracked.ids.write_text(ledger)
        tracked.sync()
        assert tracked.steps() == [1, 2]

    def test_changed_final_metric_is_sent(self, tracked: Tracked) -> None:
        tracked.sync()
        tracked.sync(with_cell(metrics={"dsc/mean": 0.5}))
        assert tracked.cell().data.metrics["dsc/mean"] == 0.5

    def test_nan_and_infinity_are_sent_once(self, tracked: Tracked) -> None:
        record = with_cell(metrics={"masd": math.nan, "hd": math.inf})
        tracked.sync(record)
        tracked.sync(record)
        assert tracked.steps("masd") == tracked.steps("hd") == [2]

    def test_more_values_than_one_batch_of_mlflow(self, tracked: Tracked) -> None:
        cell = {"history": history(*range(1, 1502)), "params": {f"p{i}": i for i in range(150)}}
        tracked.sync(with_cell(**cell))
        assert len(tracked.cell().data.params) == 153
        assert tracked.steps() == list(range(1, 1502))

    def test_runs_with_the_same_name_share_an_experiment(self, tracked: Tracked) -> None:
        first = tracked.sync()
        tracked.ids = tracked.folder / "night 2" / "mlflow.json"
        second = tracked.sync()
        assert first.experiment_id == second.experiment_id
        assert first.cell_run_ids != second.cell_run_ids


class TestStatus:
    @pytest.mark.parametrize(
        ("status", "expected"), [("finished", "FINISHED"), ("failed", "FAILED"), ("stopped", "KILLED")]
    )
    def test_ended_cell_does_not_stay_running(self, tracked: Tracked, status: Any, expected: str) -> None:
        tracked.sync(with_cell(status=status))
        assert (tracked.cell().info.status, tracked.cell().info.end_time) == (expected, 5000)

    def test_status_and_end_of_a_resumed_cell(self, tracked: Tracked) -> None:
        tracked.sync(with_cell(status="failed"))
        tracked.sync(with_cell(ended_ms=9000))
        assert (tracked.cell().info.status, tracked.cell().info.end_time) == ("FINISHED", 9000)

    def test_status_is_sent_even_if_files_cannot_be_stored(self, tracked: Tracked) -> None:
        (tracked.folder / "mlartifacts").touch()
        with pytest.raises(TrackingError, match="artifacts"):
            tracked.sync(with_cell(artifacts=(Path(__file__),)))
        assert tracked.cell().info.status == "FINISHED"


class TestRunning:
    def test_a_cell_is_running_until_it_ends_and_again_when_it_is_resumed(self, tracked: Tracked) -> None:
        seen = []
        for status, ended_ms in (("running", None), ("failed", 5000), ("running", None), ("finished", 9000)):
            tracked.sync(with_cell(status=status, ended_ms=ended_ms))
            seen.append(tracked.cell().info.status)
        assert seen == ["RUNNING", "FAILED", "RUNNING", "FINISHED"]
        assert tracked.cell().info.end_time == 9000

    def test_a_killed_run_of_another_folder_is_settled_by_the_next_sync(self, tracked: Tracked) -> None:
        killed = tracked.ids
        tracked.sync(replace(with_cell(status="running"), status="running"))
        tracked.ids = tracked.folder / "night 2" / "mlflow.json"
        with locks.hold(killed.parent / ".lock"):
            tracked.sync(replace(RUN, cells=()))
            assert tracked.cell().info.status == "RUNNING"
        tracked.sync(replace(RUN, cells=()))
        assert (tracked.cell().info.status, tracked.runs()["night 1"].info.status) == ("KILLED", "KILLED")


class TestMoved:
    """Folders that are renamed, copied and moved."""

    def copy(self, tracked: Tracked, name: str) -> None:
        shutil.copytree(tracked.ids.parent, tracked.ids.parent.with_name(name))
        tracked.ids = tracked.ids.parent.with_name(name) / "mlflow.json"

    def test_a_copy_of_a_run_folder_does_not_write_into_the_runs_of_the_original(self, tracked: Tracked) -> None:
        original = tracked.sync()
        self.copy(tracked, "night 2")
        copied = tracked.sync(with_cell(metrics={"dsc": 0.1}))
        assert copied.cell_run_ids != original.cell_run_ids
        first = tracked.client.get_run(original.cell_run_ids[CELL.name])
        assert first.data.metrics["dsc/mean"] == 0.75
        assert "dsc" not in first.data.metrics

    def test_a_renamed_or_restored_folder_keeps_its_runs(self, tracked: Tracked) -> None:
        original = tracked.sync()
        tracked.ids.parent.rename(tracked.folder / "renamed")
        tracked.ids = tracked.folder / "renamed" / "mlflow.json"
        assert tracked.sync() == original
        shutil.copytree(tracked.ids.parent, tracked.folder / "backup")
        shutil.rmtree(tracked.ids.parent)
        shutil.copytree(tracked.folder / "backup", tracked.ids.parent)
        assert tracked.sync() == original

    def test_a_copied_output_folder_has_its_own_runs_and_artifacts(self, tracked: Tracked, template: Path) -> None:
        log = tracked.folder / "log.txt"
        log.write_text("old")
        original = tracked.sync(with_cell(artifacts=(log,)))
        copy = Tracked(Path(shutil.copytree(tracked.folder, tracked.folder.with_name("copy?%20#é"))), None)
        _artifact_repos_cache.clear()  # as in a new process
        log.write_text("longer")
        assert copy.sync(with_cell(artifacts=(log,))).cell_run_ids == original.cell_run_ids  # of the copied database
        stored = [
            (each.folder / "mlartifacts" / each.cell().info.run_id / "artifacts/log.txt").read_text()
            for each in (tracked, copy)
        ]
        assert stored == ["old", "longer"]
        assert copy.ids.read_text() != tracked.ids.read_text()
        assert tracked.sync(with_cell(artifacts=(log,))) == original

    def test_a_moved_output_folder_takes_its_artifacts_along(self, tracked: Tracked) -> None:
        log = tracked.folder / "log.txt"
        log.write_text("log")
        tracked.sync(with_cell(artifacts=(log,)))
        moved = Tracked(tracked.folder.rename(tracked.folder.with_name("new disk")), None)
        _artifact_repos_cache.clear()  # as in a new process
        (moved.folder / "log.txt").write_text("longer")
        moved.sync(with_cell(artifacts=(moved.folder / "log.txt",)))
        assert not tracked.folder.exists()
        listed = moved.client.list_artifacts(moved.cell().info.run_id)
        assert [(item.path, item.file_size) for item in listed] == [("log.txt", 6)]

    def test_a_database_copied_without_its_artifacts_is_refused(self, tracked: Tracked) -> None:
        (tracked.folder / "log.txt").touch()
        tracked.sync(with_cell(artifacts=(tracked.folder / "log.txt",)))
        other = tracked.folder.with_name("other")
        other.mkdir()
        shutil.copy(tracked.database, other)
        with pytest.raises(TrackingError) as caught:
            Tracked(other, None).sync()
        assert str(tracked.folder / "mlartifacts") in caught.value.got


class TestLostRuns:
    def test_deleted_database_is_created_again(self, tracked: Tracked) -> None:
        before = tracked.sync()
        tracked.database.unlink()
        after = tracked.sync()
        assert after.cell_run_ids != before.cell_run_ids
        assert tracked.steps() == [1, 2]

    def test_run_deleted_in_mlflow_is_created_again(self, tracked: Tracked) -> None:
        tracked.sync()
        tracked.client.delete_run(tracked.cell().info.run_id)
        tracked.sync()
        assert (len(tracked.runs()), tracked.steps()) == (2, [1, 2])

    def test_two_databases_alternately(self, tracked: Tracked, template: Path) -> None:
        other = f"sqlite:///{tracked.folder / 'other.db'}"
        shutil.copy(template, tracked.folder / "other.db")
        first, second = tracked.sync(), sync(RUN, other, tracked.ids)
        assert first.cell_run_ids != second.cell_run_ids
        assert (tracked.sync(), sync(RUN, other, tracked.ids)) == (first, second)

    def test_deleted_experiment_is_an_error_with_the_command_that_restores_it(self, tracked: Tracked) -> None:
        done = tracked.sync()
        tracked.client.delete_experiment(done.experiment_id)
        with pytest.raises(TrackingError) as caught:
            tracked.sync()
        assert f"mlflow experiments restore --experiment-id {done.experiment_id}" in caught.value.cure


class TestArtifacts:
    @pytest.fixture
    def record(self, tracked: Tracked) -> RunRecord:
        cell = tracked.folder / "cell"
        (cell / "weights" / "old").mkdir(parents=True)
        (cell / "log.txt").write_text("log")
        (cell / "weights" / "a.txt").write_text("a")
        (cell / "weights" / "old" / "b.txt").write_text("b")
        (cell / "weights" / ".tmp-c.txt").write_text("half")
        return with_cell(artifacts=(cell / "log.txt", cell / "weights", cell / "missing"))

    def root(self, tracked: Tracked) -> Path:
        return tracked.folder / "mlartifacts" / tracked.cell().info.run_id / "artifacts"

    def stored(self, tracked: Tracked) -> dict[str, str]:
        root = self.root(tracked)
        return {path.relative_to(root).as_posix(): path.read_text() for path in root.rglob("*") if path.is_file()}

    def test_files_and_folders(self, tracked: Tracked, record: RunRecord) -> None:
        tracked.sync(record)
        assert self.stored(tracked) == {"log.txt": "log", "weights/a.txt": "a", "weights/old/b.txt": "b"}
        listed = tracked.client.list_artifacts(tracked.cell().info.run_id)
        assert sorted(item.path for item in listed) == ["log.txt", "weights"]

    def test_only_changed_files_are_sent_again(self, tracked: Tracked, record: RunRecord) -> None:
        tracked.sync(record)
        (self.root(tracked) / "weights" / "a.txt").write_text("not sent again")
        (tracked.folder / "cell" / "log.txt").write_text("log, longer")
        tracked.sync(record)
        assert self.stored(tracked) == {
            "log.txt": "log, longer",
            "weights/a.txt": "not sent again",
            "weights/old/b.txt": "b",
        }


class TestTrouble:
    @pytest.fixture
    def listener(self) -> Iterator[socket.socket]:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            yield listener

    def test_unreachable_server(self, tracked: Tracked, listener: socket.socket) -> None:
        port = listener.getsockname()[1]
        listener.close()
        begin = time.monotonic()
        with pytest.raises(TrackingError, match="minivess track sync") as caught:
            sync(RUN, f"http://user:secret@127.0.0.1:{port}", tracked.ids)
        assert time.monotonic() - begin < 15
        assert "secret" not in str(caught.value)
        tracked.sync()
        assert len(tracked.runs()) == 2

    def test_server_without_an_answer_is_a_timeout(
        self, tracked: Tracked, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
        begin = time.monotonic()
        with pytest.raises(TrackingError, match="timeout"):
            sync(RUN, f"http://127.0.0.1:{listener.getsockname()[1]}", tracked.ids)
        assert time.monotonic() - begin < 5

    def test_a_server_that_sends_one_byte_a_second_is_a_timeout(
        self, tracked: Tracked, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """No wait for one byte is long, so that a limit on each wait does not end it."""
        monkeypatch.setattr(client, "_ANSWER_S", 3.0)
        threading.Thread(target=_drip, args=(listener,), daemon=True).start()
        begin = time.monotonic()
        with pytest.raises(TrackingError, match="no answer within 3 s"):
            sync(RUN, f"http://127.0.0.1:{listener.getsockname()[1]}", tracked.ids)
        assert time.monotonic() - begin < 6

    def test_locked_database(self, tracked: Tracked, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(client, "_LOCKED_S", 0.1)
        with closing(sqlite3.connect(tracked.database)) as other:
            other.execute("BEGIN EXCLUSIVE")
            with pytest.raises(TrackingError, match="locked"):
                tracked.sync()
        tracked.sync()
        assert len(tracked.runs()) == 2

    def test_another_active_sync_of_the_run(self, tracked: Tracked, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(mlflow, "_SYNCING_S", 0.1)
        with client.hold(tracked.ids, 1), pytest.raises(TrackingError, match=tracked.ids.name):
            tracked.sync()

    def test_missing_mlflow(self, tracked: Tracked, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "mlflow.tracking", None)
        with pytest.raises(TrackingError, match=r"mlflow\.tracking"):
            tracked.sync()


def _drip(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    with connection, contextlib.suppress(OSError):
        for letter in b"HTTP/1.1 200 OK":
            connection.send(bytes([letter]))
            time.sleep(1)


_FOUR_PROCESSES = """
import os, sys

def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
        os.write(2, f"network: {event} {arguments}".encode())
        os._exit(9)

sys.addaudithook(refuse)
from pathlib import Path
from minivess.tracking.client import open_client
from minivess.tracking.mlflow import sync
from minivess.tracking.run_record import CellRecord, RunRecord

folder = Path(sys.argv[1])
history = [{"step": step, "loss": 1 / step} for step in range(1, 101)]
cells = [
    CellRecord(name=f"a-fold{fold}", method="a", fold=fold, status="finished", history=history, started_ms=1, ended_ms=2)
    for fold in range(3)
]
record = RunRecord(name="losses", status="finished", cells=cells, started_ms=1, ended_ms=2)

def work(name):
    done = sync(record, f"sqlite:///{folder / 'mlflow.db'}", folder / name / "mlflow.json")
    assert len(done.cell_run_ids) == 3, done

open_client("http://127.0.0.1:1")  # imports MLflow once for all four processes
arguments = "abcd"
"""


class TestSeveralProcesses:
    @pytest.mark.slow
    def test_four_syncs_into_a_new_database_without_network(self, tmp_path: Path, in_processes: str) -> None:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
        }  # without variables that disable MLflow's telemetry
        command = [sys.executable, "-c", _FOUR_PROCESSES + in_processes, tmp_path]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)
        assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)
        client = open_client(f"sqlite:///{tmp_path / 'mlflow.db'}")
        experiment = client.get_experiment_by_name("losses")
        runs = client.search_runs([experiment.experiment_id], "attributes.run_name LIKE 'a-fold%'")
        assert len(runs) == 12
        assert all(len(client.get_metric_history(run.info.run_id, "loss")) == 100 for run in runs)
