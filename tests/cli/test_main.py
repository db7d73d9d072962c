"""The command line: help, invalid input, exit codes."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import pytest

from minivess.cli.main import _SECTIONS, cli, main
from minivess.data.formats.nifti import write_volume
from minivess.planning.hardware import HardwareBudget
from minivess.text import GIB


def _run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["minivess", *arguments])
    with pytest.raises(SystemExit) as stop:
        main()
    return int(stop.value.code or 0)


def _volume(
    folder: Path, name: str, shape: tuple[int, int, int] = (32, 32, 5), label: tuple[int, int, int] | None = None
) -> None:
    rng = np.random.default_rng(list(name.encode()))
    write_volume(folder / f"raw/{name}.nii.gz", rng.integers(0, 200, shape, np.uint8), spacing_um=(1, 1, 5))
    mask = (rng.random(label or shape) > 0.9).astype(np.uint8)
    write_volume(folder / f"seg/{name}_y.nii.gz", mask, spacing_um=(1, 1, 5))


def _pages(command: click.Command, context: click.Context) -> Iterator[str]:
    """The help pages of a command and of all its subcommands."""
    yield command.get_help(context)
    for name, below in getattr(command, "commands", {}).items():
        yield from _pages(below, click.Context(below, context, name, terminal_width=80))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name in ("a", "b", "c"):
        _volume(tmp_path / "data", name)
    return tmp_path / "data"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "experiment.yaml"
    path.write_text("name: tiny\nlosses: [dice_ce]\nfolds: 2\n")
    return path


class TestHelp:
    def test_answers_in_under_half_a_second_without_heavy_imports(self) -> None:
        code = "import sys, minivess.cli.main; print([name for name in ('torch', 'numpy', 'monai', 'pydantic') if name in sys.modules])"
        assert (
            subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
            == "[]"
        )
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(
            [sys.executable, "-m", "minivess.cli.main", "--help"], capture_output=True, text=True, check=True
        )
        after = resource.getrusage(resource.RUSAGE_CHILDREN)  # CPU time, because other programs may use the processors
        assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5
        assert all(title in done.stdout for title in _SECTIONS)

    def test_every_page_fits_80_columns_with_one_line_per_command(self) -> None:
        pages = list(_pages(cli, click.Context(cli, info_name="minivess", terminal_width=80, max_content_width=110)))
        assert len(pages) == 22
        for page in pages:
            assert all(len(line) <= 80 for line in page.splitlines()), page
            assert "..." not in page.partition("Commands:")[2], page
        listed = [line for line in pages[0].partition(next(iter(_SECTIONS)))[2].splitlines() if line.startswith("  ")]
        assert [line.split()[0] for line in listed] == [name for names in _SECTIONS.values() for name in names]


class TestPaths:
    def test_a_file_instead_of_a_folder_is_one_message(
        self, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "file").touch()
        assert _run(monkeypatch, "profile", str(data), "--full", "--save", str(tmp_path / "file" / "x.json")) == 5
        error = capsys.readouterr().err
        assert "Cure:" in error
        assert str(tmp_path / "file") in error

    def test_a_name_that_is_too_long_is_one_message(
        self, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert _run(monkeypatch, "profile", str(data), "--full", "--save", str(tmp_path / ("x" * 300))) == 5
        error = capsys.readouterr().err
        assert "File name too long" in error
        assert "Cure:" in error

    def test_tilde_is_the_home_folder_if_the_shell_does_not_expand_it(
        self, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("HOME", str(data.parent))
        assert _run(monkeypatch, "profile", f"~/{data.name}", "--json") == 0
        assert json.loads(capsys.readouterr().out)["volumes"]


class TestTrain:
    @pytest.mark.parametrize(
        ("option", "value"),
        [
            ("--memory-limit-gb", "inf"),
            ("--monitor-interval", "inf"),
        ],
    )
    def test_invalid_number_names_its_option(
        self,
        option: str,
        value: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        assert _run(monkeypatch, "train", "--loss", "dice_ce", "--log-dir", str(tmp_path / "a"), option, value) == 2
        assert f"got {value} ({option})" in capsys.readouterr().err


class TestCommands:
    def test_profile_as_json(
        self, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert _run(monkeypatch, "profile", str(data), "--json") == 0
        assert [volume["name"] for volume in json.loads(capsys.readouterr().out)["volumes"]] == ["a", "b", "c"]

    def test_plan_for_another_machine(
        self, data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        options = ("--gpu", "8GB", "--ram", "32GB", "--json")
        assert _run(monkeypatch, "plan", "--data-dir", str(data), *options) == 0
        assert json.loads(capsys.readouterr().out)["profile_name"] == "auto_gpu_low_dynunet"

    def test_preflight_passes_on_good_data(self, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert _run(monkeypatch, "preflight", "--data-dir", str(data), "--output-dir", str(tmp_path / "runs")) == 0
        assert not (tmp_path / "runs").exists()

    def test_preflight_exits_with_3_for_faulty_or_missing_data(
        self, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        image = data / "raw" / "b.nii.gz"
        image.write_bytes(image.read_bytes()[:40])
        for folder in (data, tmp_path / "none"):
            assert _run(monkeypatch, "preflight", "--data-dir", str(folder)) == 3

    def test_preflight_reports_a_plan_that_does_not_fit_the_memory(
        self, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        small = HardwareBudget.imagined(None, 3 * GIB // 4)
        monkeypatch.setattr("minivess.planning.hardware.hardware_for", lambda gpu=None, ram=None: small)
        options = ("--data-dir", str(data), "--output-dir", str(tmp_path / "runs"), "--json")
        assert _run(monkeypatch, "preflight", *options) == 4
        (finding,) = json.loads(capsys.readouterr().out)["findings"]["plan"]
        assert finding["level"] == "critical"
        assert finding["check"] == "plan"
        assert "model.filters" in finding["cure"]

    def test_dry_run_writes_nothing(
        self,
        data: Path,
        config: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        options = ("--data-dir", str(data), "--output-dir", str(tmp_path / "runs"), "--dry-run")
        assert _run(monkeypatch, "run", "--config", str(config), *options) == 0
        assert not (tmp_path / "runs").exists()
        assert "dice_ce-fold1" in capsys.readouterr().out

    def test_phantoms_are_a_data_set(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert _run(monkeypatch, "data", "phantom", str(tmp_path / "p"), "--cases", "2", "--quiet") == 0
        assert _run(monkeypatch, "profile", str(tmp_path / "p"), "--full") == 0


class TestBadInput:
    """Invalid input gives one message with a cure and a non-zero exit code, and writes no run folder."""

    def _refused(
        self,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        tmp_path: Path,
        config: Path,
        data: Path,
    ) -> str:
        options = ("--data-dir", str(data), "--output-dir", str(tmp_path / "runs"))
        assert _run(monkeypatch, "run", "--config", str(config), *options) != 0
        assert not (tmp_path / "runs").exists()
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        assert "Cure:" in printed.err
        return printed.err

    def test_missing_label(self, monkeypatch, capsys, tmp_path, config, data) -> None:  # type: ignore[no-untyped-def]
        (data / "seg/b_y.nii.gz").unlink()
        assert "got b: " in self._refused(monkeypatch, capsys, tmp_path, config, data)

    def test_labels_in_another_folder(self, monkeypatch, capsys, tmp_path, config, data) -> None:  # type: ignore[no-untyped-def]
        (data / "seg").rename(data / "labels")
        assert "labels/" in self._refused(monkeypatch, capsys, tmp_path, config, data)

    def test_mismatched_shapes(self, monkeypatch, capsys, tmp_path, config, data) -> None:  # type: ignore[no-untyped-def]
        _volume(data, "b", label=(32, 32, 4))
        assert "(32, 32, 4)" in self._refused(monkeypatch, capsys, tmp_path, config, data)

    def test_truncated_volume(self, monkeypatch, capsys, tmp_path, config, data) -> None:  # type: ignore[no-untyped-def]
        path = data / "raw/c.nii.gz"
        path.write_bytes(path.read_bytes()[:2000])
        assert "c.nii.gz" in self._refused(monkeypatch, capsys, tmp_path, config, data)

    def test_unknown_key(self, monkeypatch, capsys, tmp_path, config, data) -> None:  # type: ignore[no-untyped-def]
        config.write_text(config.read_text() + "losss: 3\n")
        assert "'losses'" in self._refused(monkeypatch, capsys, tmp_path, config, data)

    def test_unknown_loss(self, monkeypatch, capsys, tmp_path, config, data) -> None:  # type: ignore[no-untyped-def]
        config.write_text(config.read_text().replace("dice_ce", "dice_cee"))
        assert "dice_ce" in self._refused(monkeypatch, capsys, tmp_path, config, data)

    def test_output_dir_below_a_file(self, monkeypatch, capsys, tmp_path, config, data) -> None:  # type: ignore[no-untyped-def]
        (tmp_path / "taken").write_text("")
        options = ("--data-dir", str(data), "--output-dir", str(tmp_path / "taken/runs"))
        assert _run(monkeypatch, "run", "--config", str(config), *options) != 0
        assert "Cure:" in capsys.readouterr().err

    def test_missing_data_folder(self, monkeypatch, capsys, tmp_path, config, data) -> None:  # type: ignore[no-untyped-def]
        assert str(tmp_path / "nowhere") in self._refused(monkeypatch, capsys, tmp_path, config, tmp_path / "nowhere")
