"""Versions, aliases and stages in a real SQLite database."""

from __future__ import annotations

import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from minivess.tracking.client import TrackingError, open_client
from minivess.tracking.mlflow import sync
from minivess.tracking.model_registry import ModelRecord, ModelRegistry, Registered, Version
from minivess.tracking.run_record import CellRecord, RunRecord


class Shelf:
    """A registry with one run in it, and functions that read it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.uri = f"sqlite:///{folder / 'mlflow.db'}"
        self.ids = folder / "night 1" / "mlflow.json"
        cell = CellRecord(name="a-fold0", method="a", fold=0, status="finished", started_ms=1)
        run = RunRecord(name="losses", status="finished", cells=(cell,), started_ms=1)
        self.run = sync(run, self.uri, self.ids)
        self.registry = ModelRegistry(self.uri)
        (folder / "weights").mkdir()
        (folder / "weights" / "network.json").write_text("{}")

    def register(self, name: str, digest: str) -> Registered:
        """Register a model whose score is the last digit of its digest."""

        def is_better(first: Version, second: Version) -> bool:
            return first.tags["weights_sha256"][-1] > second.tags["weights_sha256"][-1]

        record = ModelRecord(
            name=name,
            description="a model",
            weights=self.folder / "weights",
            weights_sha256=digest,
            loader="minivess.inference.mlflow_model",
            params={"overlap": 0.5, "mirror": False},
            example=[[[1.0, 2.0]]],
            requirements=["numpy==2.0.0"],
            evidence={"cases.json": f'["{digest}"]'},
            tags={"git_sha": "abc"},
        )
        return self.registry.register(record, self.run.experiment_id, self.run.cell_run_ids["a-fold0"], is_better)

    @property
    def client(self) -> MlflowClient:
        return open_client(self.uri)

    def aliases(self, name: str) -> dict[str, str]:
        return {alias: str(number) for alias, number in self.client.get_registered_model(name).aliases.items()}

    def stages(self, name: str) -> list[str]:
        return [self.registry.version(name, number).tags["stage"] for number in (1, 2)]


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    """One registry for all tests, because creating the database takes seconds; each test uses a separate model name."""
    return Shelf(tmp_path_factory.mktemp("registry"))


class TestRegister:
    def test_version_has_tags_run_and_alias_staging(self, registered: Shelf) -> None:
        found = registered.register("tags", "a1")
        version = found.version
        assert (version.number, found.is_new, found.staged, str(version)) == (1, True, 1, "tags version 1")
        assert version.tags == {"git_sha": "abc", "weights_sha256": "a1", "stage": "Staging"}
        found = registered.client.get_model_version_by_alias("tags", "staging")
        assert (found.run_id, found.version) == (registered.run.cell_run_ids["a-fold0"], 1)

    def test_the_same_weights_are_registered_once(self, registered: Shelf) -> None:
        assert registered.register("once", "a1").is_new
        found = registered.register("once", "a1")
        assert (found.version.number, found.is_new) == (1, False)
        assert len(registered.client.search_model_versions("name = 'once'")) == 1

    def test_the_best_version_has_the_alias_not_the_newest(self, registered: Shelf) -> None:
        registered.register("best", "a1")
        assert registered.register("best", "b3").staged == 2
        assert registered.register("best", "c2").staged == 2
        assert registered.register("best", "d3").staged == 2
        assert registered.aliases("best") == {"staging": "2"}

    def test_alias_missing_after_a_kill_is_set_by_the_next_call(self, registered: Shelf) -> None:
        registered.register("killed", "a1")
        registered.client.delete_registered_model_alias("killed", "staging")
        registered.register("killed", "a1")
        assert registered.aliases("killed") == {"staging": "1"}

    def test_evidence_and_requirements_are_stored_without_pickle(self, registered: Shelf) -> None:
        version = registered.register("kept", "k9").version
        assert registered.registry.read_evidence(version, "cases.json") == '["k9"]'
        root = Path(registered.client.get_model_version_download_uri("kept", "1").removeprefix("file://"))
        assert "numpy==2.0.0" in (root / "requirements.txt").read_text()
        assert (root / "data/weights/network.json").read_text() == "{}"
        assert not [path for path in root.rglob("*") if path.suffix in {".pkl", ".pickle", ".pt"}]


_EIGHT_PROCESSES = """
import sys
from pathlib import Path
from mlflow import pyfunc
from mlflow.models import Model
from minivess.tracking.model_registry import ModelRecord, ModelRegistry

folder, uri, experiment, run = sys.argv[1:]
record = ModelRecord(
    name="eight", description="", weights=Path(folder), weights_sha256="e8", loader="minivess.inference.mlflow_model",
    params={}, example=[[[1.0]]], requirements=["numpy==2.0.0"], evidence={}, tags={},
)

def work(number):
    found = ModelRegistry(uri).register(record, experiment, run, lambda first, second: False)
    assert (found.version.number, found.staged) == (1, 1), found
    print(found.is_new, flush=True)

arguments = range(8)
"""


class TestSeveralProcesses:
    @pytest.mark.slow
    def test_eight_processes_register_the_same_weights_as_one_version(
        self, registered: Shelf, in_processes: str
    ) -> None:
        arguments = [registered.folder / "weights", registered.uri, registered.run.experiment_id]
        command = [
            sys.executable,
            "-c",
            _EIGHT_PROCESSES + in_processes,
            *arguments,
            registered.run.cell_run_ids["a-fold0"],
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
        assert (sorted(done.stdout.split()), done.returncode) == (["False"] * 7 + ["True"], 0), done.stderr
        assert len(registered.client.search_model_versions("name = 'eight'")) == 1
        logged = registered.client.search_logged_models([registered.run.experiment_id], "name = 'eight'")
        assert len(logged) == 1  # no process has logged the model only to delete its version again

    def test_on_a_server_the_later_of_two_equal_versions_is_deleted(
        self, registered: Shelf, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A server has no lock: here, another process registers between the search and the registration of this one."""
        add = registered.registry._add

        def add_after_another(*arguments: Any) -> Version:
            monkeypatch.undo()
            registered.register("race", "a1")
            return add(*arguments)

        monkeypatch.setattr(registered.registry, "_add", add_after_another)
        monkeypatch.setattr(registered.registry, "_alone", nullcontext)
        found = registered.register("race", "a1")
        assert (found.version.number, found.is_new, found.staged) == (1, False, 1)
        assert len(registered.client.search_model_versions("name = 'race'")) == 1


class TestPromote:
    def test_champion_loses_the_alias_staging_and_the_former_one_is_archived(self, registered: Shelf) -> None:
        first = registered.register("crown", "a1").version
        registered.registry.promote(first, None)
        assert registered.aliases("crown") == {"champion": "1"}
        second = registered.register("crown", "b2").version
        assert registered.registry.champion("crown").number == 1
        registered.registry.promote(second, first)
        assert registered.aliases("crown") == {"champion": "2"}
        assert registered.stages("crown") == ["Archived", "Production"]

    def test_champion_registered_again_does_not_return_to_staging(self, registered: Shelf) -> None:
        version = registered.register("stays", "a1").version
        registered.registry.promote(version, None)
        registered.register("stays", "a1")
        assert registered.aliases("stays") == {"champion": "1"}

    def test_no_champion_before_a_promotion(self, registered: Shelf) -> None:
        registered.register("unpromoted", "a1")
        assert registered.registry.champion("unpromoted") is None


class TestFaults:
    def test_unknown_version_names_the_known_ones(self, registered: Shelf) -> None:
        registered.register("one", "a1")
        with pytest.raises(TrackingError) as caught:
            registered.registry.version("one", 7)
        assert "version 7 of one" in caught.value.expected
        assert "1" in caught.value.got

    def test_missing_evidence_names_the_file(self, registered: Shelf) -> None:
        version = registered.register("gone", "a1").version
        with pytest.raises(TrackingError, match=r"missing\.json"):
            registered.registry.read_evidence(version, "missing.json")
        with pytest.raises(TrackingError):
            registered.registry.read_evidence(replace(version, number=9), "cases.json")

    def test_unsupported_file_store(self, tmp_path: Path) -> None:
        with pytest.raises(TrackingError):
            ModelRegistry(f"file://{tmp_path}/mlruns").champion("one")
