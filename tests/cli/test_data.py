"""Commands on data: profile, phantoms, import of TIFF stacks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile
from click.testing import CliRunner, Result

from minivess.cli.data import COMMANDS
from minivess.data.formats.nifti import read_header, read_volume, write_volume
from minivess.errors import ConfigError, DataError

PROFILE, DATA = COMMANDS


@pytest.fixture
def folder(phantoms: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(phantoms, tmp_path / "data"))


def _run(*arguments: object, expected: int = 0) -> Result:
    command, *rest = arguments
    result = CliRunner().invoke(command, list(map(str, rest)))  # type: ignore[arg-type]
    assert result.exit_code == expected, result.output
    return result


class TestProfile:
    def test_tables_show_volumes_and_summary(self, folder: Path) -> None:
        output = _run(PROFILE, folder, "--full").output
        assert "phantom04" in output
        assert "float32" in output
        assert "content hash" in output

    def test_json_has_summary_and_findings(self, folder: Path) -> None:
        (folder / "seg/phantom02_y.nii.gz").unlink()
        facts = json.loads(_run(PROFILE, folder, "--json", expected=3).output)
        assert facts["summary"]["shape"]["min"][2] == 5
        assert (facts["findings"][0]["check"], facts["findings"][0]["what"]) == ("label_missing", "phantom02")

    def test_a_shared_fault_is_one_line_and_one_finding_per_volume_in_json(self, folder: Path) -> None:
        for path in (folder / "seg").iterdir():
            label = 255 * read_volume(path)
            label[0, 0, 0] = 7
            write_volume(path, label, spacing_um=read_header(path).spacing_um)
        printed = _run(PROFILE, folder, "--full", expected=3).output
        assert printed.count("label_values") == 1
        found = json.loads(_run(PROFILE, folder, "--full", "--json", expected=3).output)["findings"]
        assert [finding["got"][-3:] for finding in found if finding["check"] == "label_values"] == ["255"] * 4

    def test_unknown_voxels_are_named_by_an_option(self, folder: Path) -> None:
        for path in (folder / "seg").iterdir():
            label = read_volume(path)
            label[:, :, 1:] = 255
            write_volume(path, label, spacing_um=read_header(path).spacing_um)
        saved = folder.parent / "profile.json"
        assert "--ignore-value" in _run(PROFILE, folder, "--full", "--save", saved, expected=3).output
        for _ in range(2):  # the second time from the saved profile
            output = _run(PROFILE, folder, "--full", "--save", saved, "--ignore-value", 255).output
            assert "1 of 5" in output
            assert "255 is unknown" in output
        assert "label_values" in _run(PROFILE, folder, "--full", "--save", saved, expected=3).output

    def test_faults_are_listed_if_no_volume_is_readable(self, folder: Path) -> None:
        for path in (folder / "raw").iterdir():
            path.write_bytes(b"")
        facts = json.loads(_run(PROFILE, folder, "--json", expected=3).output)
        assert facts["summary"] is None
        assert len(facts["findings"]) == 4
        assert facts["findings"][0]["check"] in _run(PROFILE, folder, expected=3).output

    def test_brackets_in_a_name_are_printed_unchanged(self, folder: Path) -> None:
        (folder / "raw/phantom01.nii.gz").rename(folder / "raw/phantom01 [old].nii.gz")
        output = _run(PROFILE, folder, expected=3).output
        assert output.count("phantom01 [old]") >= 2

    def test_saved_profile_is_reused_if_it_has_the_requested_content(self, folder: Path) -> None:
        saved = folder / "profile.json"
        _run(PROFILE, folder, "--save", saved)
        header_only = saved.read_bytes()
        _run(PROFILE, folder, "--save", saved, "--full")
        full = saved.stat().st_mtime_ns
        assert saved.read_bytes() != header_only
        _run(PROFILE, folder, "--save", saved)
        assert saved.stat().st_mtime_ns == full

    def test_folder_without_a_data_set(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="import-tiff"):
            CliRunner().invoke(PROFILE, [str(tmp_path)], catch_exceptions=False)


class TestImportTiff:
    def test_makes_a_data_set(self, tmp_path: Path) -> None:
        for place, name in (("denoised", "a_denoised.tif"), ("labels", "a_labels.tif")):
            (tmp_path / "in" / place).mkdir(parents=True)
            tifffile.imwrite(tmp_path / "in" / place / name, np.eye(9, 8, dtype=np.uint8)[None].repeat(5, 0))
        output = _run(DATA, "import-tiff", tmp_path / "in", tmp_path / "out", "--spacing-um", "0.994,0.994,5").output
        assert str(tmp_path / "out") in output
        _run(PROFILE, tmp_path / "out", "--full")

    @pytest.mark.parametrize(
        ("options", "printed"),
        [
            ((), "voxel_size:"),
            (("--quiet",), ""),
            (("--spacing-um", "3,1,1", "--quiet"), "voxel_size_swapped:"),
            (("--spacing-um", "1,1,3"), ""),
        ],
    )
    def test_prints_which_voxel_size_is_used_and_warns(
        self, tmp_path: Path, options: tuple[str, ...], printed: str
    ) -> None:
        (tmp_path / "in/images").mkdir(parents=True)
        sizes = {"resolution": (1, 1), "metadata": {"axes": "ZYX", "unit": "um", "spacing": 3}}
        tifffile.imwrite(
            tmp_path / "in/images/a.tif", np.eye(9, 8, dtype="u1")[None].repeat(5, 0), imagej=True, **sizes
        )
        output = _run(DATA, "import-tiff", tmp_path / "in", tmp_path / "out", *options).output
        assert printed in output if printed else "voxel_size: " not in output and "warning: " not in output

    @pytest.mark.parametrize("spacing", ["0.994", "1,1,0", "1,1,x", "1,1,inf"])
    def test_invalid_spacing_is_refused(self, tmp_path: Path, spacing: str) -> None:
        output = _run(DATA, "import-tiff", tmp_path, tmp_path / "out", "--spacing-um", spacing, expected=2).output
        assert "--spacing-um" in output


class TestImportedFolds:
    @pytest.mark.slow
    def test_a_run_uses_them_or_names_the_option_to_change(self, folder: Path, tmp_path: Path) -> None:
        from minivess.cli.main import cli

        names = [f"phantom{number:02d}" for number in range(1, 5)]
        folds = [
            {"train": names[:1] + names[3:], "val": names[1:3]},
            {"train": names[1:3], "val": names[:1] + names[3:]},
        ]
        (folder / "splits_final.json").write_text(json.dumps(folds))
        (tmp_path / "x.yaml").write_text("name: x\nlosses: [dice_ce]\nfolds: 2\n")
        run = (
            "run",
            "--config",
            tmp_path / "x.yaml",
            "--data-dir",
            folder,
            "--output-dir",
            tmp_path / "runs",
            "--dry-run",
        )
        assert "phantom02, phantom03" in _run(cli, *run).output
        with pytest.raises(ConfigError, match="--set folds=2"):
            CliRunner().invoke(cli, [*map(str, run), "--set", "folds=3"], catch_exceptions=False)
