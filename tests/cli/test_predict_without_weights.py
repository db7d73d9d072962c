"""`minivess predict VOLUMES` without a model, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from minivess.data.formats.nifti import read_volume

NO_NETWORK = "import socket; socket.socket.connect = None; "


def predict(*arguments: str) -> subprocess.CompletedProcess[str]:
    code = f"{NO_NETWORK}from minivess.cli.main import main; import sys; sys.argv = ['minivess', 'predict', *sys.argv[1:]]; main()"
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)


class TestPredictWithoutWeights:
    def test_the_network_that_ships_segments_offline_and_says_that_it_is_not_calibrated(
        self, phantoms: Path, tmp_path: Path
    ) -> None:
        done = predict(str(phantoms / "raw/phantom01.nii.gz"), "-o", str(tmp_path), "--quiet")
        assert done.returncode == 0, done.stderr
        assert "not calibrated" in done.stderr
        assert "minivess run" in done.stderr
        assert 0 < read_volume(tmp_path / "phantom01_y.nii.gz").mean() < 0.6

    def test_a_folder_alone_and_a_missing_volume_are_one_message(self, tmp_path: Path) -> None:
        for given in (str(tmp_path), str(tmp_path / "missing.nii.gz")):
            done = predict(given, "-o", str(tmp_path / "out"))
            assert done.returncode in (2, 3)
            assert "Traceback" not in done.stderr
            assert not (tmp_path / "out").exists()
