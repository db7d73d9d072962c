"""Guards stop a command that cannot fit the machine before it writes anything."""

from __future__ import annotations

import re
import runpy
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from minivess.data.formats.nifti import write_volume
from minivess.orchestration import runners

SCRIPTS = Path(__file__).parents[2] / "scripts"
OPTIONS = {
    "run_experiment": "--config tiny.yaml --output-dir runs",
    "train_monitored": "--log-dir runs/tiny --loss dice_ce --num-folds 2 --model example_custom "
    "--set model.filters=[4,8,8] --set dry_start=false --set tracking_uri=none",
    "preflight": "--output-dir runs --model example_custom",
}
RAM_MIB = 32 * 1024

Said = tuple[int, str]
Call = Callable[..., Said]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two volumes of 1024x1024x5: 20 MiB in the store, and a plane whose prediction takes 170 MiB of GPU memory."""
    folder, rng = tmp_path_factory.mktemp("wide"), np.random.default_rng(0)
    for name in ("a", "b"):
        image = rng.integers(0, 200, (1024, 1024, 5), np.uint8)
        write_volume(folder / f"raw/{name}.nii.gz", image, spacing_um=(1, 1, 5))
        label = np.zeros_like(image)
        label[100:900, ord(name) : ord(name) + 5] = 1
        write_volume(folder / f"seg/{name}_y.nii.gz", label, spacing_um=(1, 1, 5))
    return folder


@pytest.fixture
def call(
    data: Path, tiny_study: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Call:
    """Run a script by its name and options and return its exit code and output; a run that may start trains no cell."""
    monkeypatch.chdir(tmp_path)
    Path("tiny.yaml").write_text(tiny_study)
    monkeypatch.setattr(runners, "on_this_machine", lambda *_: iter(()))

    def run(script: str, *options: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["", *OPTIONS[script].split(), "--data-dir", str(data), *options])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(SCRIPTS / f"{script}.py"), run_name="__main__")
        printed = capsys.readouterr()
        return int(end.value.code or 0), " ".join((printed.out + printed.err).split())

    return run


@pytest.mark.parametrize("script", ["run_experiment", "train_monitored"])
class TestRunThatCannotFit:
    def test_process_above_the_memory_limit(self, script: str, call: Call, detected: Callable[..., None]) -> None:
        detected(RAM_MIB)
        code, said = call(script, "--set", "limits.memory_limit_gib=1.2", "--workers", "500")
        assert code == 4
        assert "at most 1.2 GiB" in said
        assert "the process of a cell: 2." in said
        assert "plan.workers" in said
        assert not Path("runs").exists()

    def test_cache_with_little_available_memory(self, script: str, call: Call, detected: Callable[..., None]) -> None:
        """Ten MiB are available: 70 % of them cannot hold the volumes, and all of them cannot hold a process."""
        detected(RAM_MIB, available_mib=10, card_mib=8192)
        code, said = call(script, "--cache-rate", "1")
        assert code == 4
        assert re.search(r"cache_fits\w*: .*at most 7 MiB.*got 20 MiB.*plan\.cache_rate to 0\.3", said)
        assert re.search(r"ram_fits\w*: .*at most 0 MiB", said)
        assert not Path("runs").exists()

    def test_prediction_above_the_gpu_memory(self, script: str, call: Call, detected: Callable[..., None]) -> None:
        """A step of one small patch fits 1050 MiB; the prediction of a plane of the volume does not."""
        detected(RAM_MIB, card_mib=1050)
        code, said = call(script, "--compute", "gpu_low", "--patch-size", "16x16x4", "--batch", "1")
        assert code == 4
        assert "at most 0.8 GiB" in said
        assert "a prediction: 0.8 GiB" in said
        assert not Path("runs").exists()

    def test_started_run_continued_without_its_gpu_or_on_a_smaller_one(
        self, script: str, call: Call, detected: Callable[..., None]
    ) -> None:
        detected(RAM_MIB, card_mib=8192)
        assert call(script)[0] == 0
        detected(RAM_MIB)
        code, said = call(script)
        assert code == 4
        assert "got GPU: none" in said
        assert "nvidia-smi" in said
        detected(RAM_MIB, card_mib=600)
        code, said = call(script)
        assert code == 4
        assert "80 %" in said
        assert "limits.gpu_limit_gib" in said
        assert not Path("runs/tiny/cells").exists()


class TestPreflight:
    def test_process_that_does_not_fit_is_a_critical_finding(self, call: Call, detected: Callable[..., None]) -> None:
        detected(ram_mib=2048, card_mib=8192)
        code, said = call("preflight")
        assert code == 4
        assert re.search(r"x ram_fits [^(]*: 1\.\d GiB[^(]*\(expected at most 1\.5 GiB", said)
