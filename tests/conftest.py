"""Fixtures that several test modules use: phantoms on disk, and real volumes if the machine has them."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from minivess.data.array_store import Store, build_store
from minivess.data.phantoms.phantom import small_cases, write_phantom
from minivess.data.profiler import DatasetProfile, scan_dataset
from minivess.planning import hardware


@pytest.fixture(scope="session", autouse=True)
def examples() -> Iterator[Path]:
    """Puts docs/examples on the path of every process that tests start: its U-Net needs no MONAI, whose import takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        folder = Path(__file__).parents[1] / "docs" / "examples"
        patch.setenv("PYTHONPATH", str(folder))
        yield folder


@pytest.fixture(scope="session", autouse=True)
def no_server() -> Iterator[None]:
    """Lets no test send anything to the MLflow server of the person who runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_PASSWORD"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> Iterator[None]:
    """Lets SIGINT reach the processes that tests start, even if a shell runs the tests in the background and ignores SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A separate cache of predicted peaks for the test session: for this process and the processes that it starts."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of four small phantoms; the first has five slices."""
    folder = tmp_path_factory.mktemp("phantoms")
    write_phantom(folder, small_cases(4))
    return folder


@pytest.fixture(scope="session")
def profile(phantoms: Path) -> DatasetProfile:
    return scan_dataset(phantoms, voxels=True)


@pytest.fixture(scope="session")
def store(profile: DatasetProfile, tmp_path_factory: pytest.TempPathFactory) -> Store:
    return build_store(profile, tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="session")
def tiny_study() -> str:
    """YAML of a study with two cells and two baselines that trains within seconds, without tracking."""
    return """\
name: tiny
losses: [dice_ce]
folds: 2
model: {name: example_custom, filters: [4, 8, 8]}
training: {max_epochs: 3, steps_per_epoch: 4, validate_every: 2, checkpoint_minutes: 0, learning_rate: 0.01}
limits: {monitor_interval_s: 0.5}
dry_start: false
tracking_uri: none
"""


@pytest.fixture
def detected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lets every command detect a simulated machine, through a meminfo file and a command that replaces nvidia-smi."""
    meminfo, smi = tmp_path / "proc" / "meminfo", tmp_path / "smi.sh"
    meminfo.parent.mkdir()
    places = {"proc": meminfo.parent, "cgroup": tmp_path / "cgroup", "smi": ("/bin/sh", str(smi)), "nvml": False}
    monkeypatch.setattr(hardware, "detect_hardware", partial(hardware.detect_hardware, **places))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def become(ram_mib: int, available_mib: int | None = None, card_mib: int | None = None) -> None:
        available_mib = ram_mib if available_mib is None else available_mib
        meminfo.write_text(f"MemTotal: {1024 * ram_mib} kB\nMemAvailable: {1024 * available_mib} kB\n")
        smi.write_text(f"echo '0, GPU-0, a GPU, {card_mib}, {card_mib}, 7.5, 550'" if card_mib else "exit 9")

    return become


@pytest.fixture
def real_data() -> Path:
    """Folder of real volumes, from the environment variable MINIVESS_REAL_DATA."""
    folder = os.environ.get("MINIVESS_REAL_DATA")
    if not folder:
        pytest.skip("needs real volumes: set MINIVESS_REAL_DATA")
    return Path(folder)


@pytest.fixture
def version_0_1(tmp_path: Path) -> Path:
    """A folder with what version 0.1 wrote: my_data, runs/demo, its MLflow database, and masks that it predicted (expected)."""
    folder = tmp_path / "version_0_1"
    with zipfile.ZipFile(Path(__file__).parent / "reference" / "run_of_version_0_1.zip") as archive:
        archive.extractall(folder)
    written_in = "/tmp/minivess-0.1"
    for path in folder.rglob("*"):
        if path.suffix in (".json", ".yaml"):
            path.write_text(path.read_text().replace(written_in, str(folder)))
    with contextlib.closing(sqlite3.connect(folder / "runs" / "mlflow.db")) as database, database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            for column in [
                row[1] for row in database.execute(f"PRAGMA table_info({table})") if "CHAR" in row[2].upper()
            ]:
                moved = f'UPDATE "{table}" SET "{column}" = replace("{column}", ?, ?) WHERE "{column}" LIKE ?'
                database.execute(moved, (written_in, str(folder), f"%{written_in}%"))
    return folder
