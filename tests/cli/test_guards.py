"""Guards that really block: what cannot fit ends a command before anything is written."""

from __future__ import annotations

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
    """Two volumes of 1024x1024x5: 20 MiB in the store, and a plane that takes 170 MiB of a card while it is predicted."""
    folder, rng = tmp_path_factory.mktemp("wide"), np.random.default_rng(0)
    for name in ("a", "b"):
        image = rng.integers(0, 200, (1024, 1024, 5), np.uint8)
        write_volume(folder / f"raw/{name}.nii.gz", image, spacing_um=(1, 1, 5))
        write_volume(folder / f"seg/{name}_y.nii.gz", (image > 180).astype(np.uint8), spacing_um=(1, 1, 5))
    return folder


@pytest.fixture
def call(
    data: Path, tiny_study: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Call:
    """A script by its name and options, to its exit code and what it says; a run that may begin has no cell to do."""
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
class TestWhatCannotFitNeverBegins:
    def test_a_process_beyond_the_memory_that_was_allowed(
        self, script: str, call: Call, detected: Callable[..., None]
    ) -> None:
        detected(RAM_MIB)
        code, said = call(script, "--set", "limits.memory_limit_gib=1.2", "--workers", "500")
        assert code == 4
        assert "expected at most 1.2 GiB, the usable memory; got the process of a cell: 2." in said
        assert "GiB predicted. Cure: close other programs, use a smaller patch or fewer" in said
        assert not Path("runs").exists()

    def test_a_cache_beside_other_programs(self, script: str, call: Call, detected: Callable[..., None]) -> None:
        """Ten MiB are left: neither seven tenths of them hold the volumes, nor do all of them hold a process."""
        detected(RAM_MIB, available_mib=10, card_mib=8192)
        code, said = call(script, "--cache-rate", "1")
        assert code == 4
        assert "cached volumes: expected at most 7 MiB, 70 % of the available memory; got 20 MiB" in said
        assert "Cure: set plan.cache_rate to 0.3" in said
        assert "the process of a cell: expected at most 0 MiB, the usable memory" in said
        assert not Path("runs").exists()

    def test_a_prediction_beyond_the_card(self, script: str, call: Call, detected: Callable[..., None]) -> None:
        """A step of one small patch fits 1050 MiB, and the plane of a volume does not."""
        detected(RAM_MIB, card_mib=1050)
        code, said = call(script, "--compute", "gpu_low", "--patch-size", "16x16x4", "--batch", "1")
        assert code == 4
        assert "expected at most 0.8 GiB, 80 % of the card; got a prediction: 0.8 GiB predicted. Cure: use a" in said
        assert not Path("runs").exists()

    def test_a_begun_run_without_its_card_or_on_a_lesser_one(
        self, script: str, call: Call, detected: Callable[..., None]
    ) -> None:
        detected(RAM_MIB, card_mib=8192)
        assert call(script)[0] == 0
        detected(RAM_MIB)
        code, said = call(script)
        assert code == 4
        assert "expected the graphics card that the plan was made for; got graphics card: none" in said
        assert "Cure: see that `nvidia-smi` lists it" in said
        detected(RAM_MIB, card_mib=600)
        code, said = call(script)
        assert code == 4
        assert "80 % of the card" in said
        assert "Cure: continue on the card that it was planned for" in said
        assert not Path("runs/tiny/cells").exists()


class TestPreflight:
    def test_says_that_a_process_does_not_fit(self, call: Call, detected: Callable[..., None]) -> None:
        detected(ram_mib=2048, card_mib=8192)
        code, said = call("preflight")
        assert code == 4
        assert "x ram_fits the process of a cell: 1." in said
        assert "(expected at most 1.5 GiB, the usable memory) close other programs" in said
