"""Training on phantoms: resumed to the bit after SIGKILL, and refused where it would mix two trainings."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from minivess.errors import ConfigError, RunError
from minivess.experiments.pretraining import (
    PreparedPretraining,
    make_pretrain_config,
    prepare_pretraining,
    pretrain,
    read_pretrain_spec,
)
from minivess.models.weights import load_network, read_saved
from minivess.planning.hardware import HardwareBudget
from minivess.text import GIB

TINY = {
    "patch_size": (32, 32, 4),
    "model": {"filters": (4, 8, 8), "deep_supervision": 0},
    "steps": 8,
    "workers": 1,
    "training": {"checkpoint_steps": 2},
}
SETTINGS = [
    "--set",
    "patch_size=[32,32,4]",
    "--set",
    "model={filters: [4,8,8], deep_supervision: 0}",
    "--set",
    "steps=8",
]
SETTINGS += ["--set", "workers=1", "--set", "training.checkpoint_steps=2"]


def command(out: Path) -> list[str]:
    return [sys.executable, "-m", "minivess.cli.main", "pretrain", str(out), "--quiet", *SETTINGS]


def prepared(out: Path, **changes: object) -> PreparedPretraining:
    config = make_pretrain_config({**TINY, **changes})
    return prepare_pretraining(config, out, HardwareBudget.imagined(None, 8 * GIB, 2), {"OMP_NUM_THREADS": "1"})


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that nothing disturbed."""
    out = tmp_path_factory.mktemp("pretrain") / "whole"
    subprocess.run(command(out), check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    return out


class TestPretraining:
    def test_killed_and_resumed_it_ends_with_the_same_weights(self, whole: Path, tmp_path: Path) -> None:
        out = tmp_path / "killed"
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(command(out), env=environment, start_new_session=True)
        deadline = time.monotonic() + 120
        while not list(out.glob("checkpoints/step-*")) and time.monotonic() < deadline:
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        assert not (out / "weights").exists(), "killed before the end"
        steps = json.loads((out / "heartbeat").read_text() or '{"done": 1}')["done"]
        assert 0 < steps < 8
        time.sleep(1.5)  # the supervisor ends what is left within a second
        subprocess.run(command(out), check=True, env=environment)
        assert "resumes after step" in (out / "log.txt").read_text()
        digests = [read_saved(folder / "weights").tensors_digest for folder in (out, whole)]
        assert digests[0] == digests[1] is not None

    def test_the_weights_load_and_name_what_they_were_trained_on(self, whole: Path) -> None:
        load_network(whole / "weights")
        trained_on = read_saved(whole / "weights").trained_on
        assert trained_on is not None
        assert (trained_on.kind, trained_on.volumes, trained_on.intensity_min) == ("phantoms", 16, None)
        assert trained_on.spacing_min_um == (0.3, 0.3, 1.0)

    def test_until_a_step_the_weights_are_the_average_at_that_step(self, whole: Path, tmp_path: Path) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run([*command(tmp_path / "part"), "--until", "6"], check=True, env=environment)
        at_6 = load_file(whole / "checkpoints/step-00000006/tensors.safetensors")
        for name, value in load_file(tmp_path / "part/weights/network.safetensors").items():
            assert value.equal(at_6[f"average/{name}"])

    def test_a_finished_training_is_not_repeated(self, whole: Path) -> None:
        before = (whole / "weights" / "network.safetensors").stat().st_mtime_ns
        assert pretrain(prepared(whole), lambda *beat: None) is None
        assert (whole / "weights" / "network.safetensors").stat().st_mtime_ns == before

    @pytest.mark.parametrize(
        "change", [{"seed": 1}, {"until": 3}, {"recipe": "clean"}, {"steps": 9}, {"batch": 1}, {"loss": "cbdice"}]
    )
    def test_other_settings_in_a_started_folder_are_refused(self, whole: Path, change: dict[str, object]) -> None:
        with pytest.raises(ConfigError, match=next(iter(change)) if "batch" not in change else "network"):
            prepared(whole, **change)

    def test_other_code_in_a_started_folder_is_refused(self, whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        code = read_pretrain_spec(whole).code
        changed = code.model_copy(update={"package": {**code.package, "data": "other"}})
        monkeypatch.setattr("minivess.experiments.pretraining.code_of_cell", lambda *names: changed)
        with pytest.raises(RunError, match="data"):
            prepared(whole)

    def test_a_folder_with_other_files_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "thesis.txt").write_text("important")
        with pytest.raises(RunError, match="thesis"):
            prepared(tmp_path)

    def test_an_unknown_key_names_the_nearest(self) -> None:
        with pytest.raises(ConfigError, match="steps"):
            make_pretrain_config({"stepz": 3})

    def test_epochs_make_exactly_the_steps(self, tmp_path: Path) -> None:
        for steps in (7, 100, 250, 3000, 997):
            assert prepared(tmp_path, steps=steps).spec.training.steps == steps

    def test_threads_that_draw_count_in_the_memory_plan(self, tmp_path: Path) -> None:
        one, three = (prepared(tmp_path, workers=workers).plan for workers in (1, 3))
        each = prepared(tmp_path).spec.stream.bytes_per_sample
        assert three.ram_bytes - one.ram_bytes >= 2 * each
