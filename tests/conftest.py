"""What several test modules need: phantoms on disk, and the real volumes where a machine has them."""

from __future__ import annotations

import os
import signal
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
    """docs/examples on the path of every process that tests start: its U-Net spares their cells MONAI, which takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        folder = Path(__file__).parents[1] / "docs" / "examples"
        patch.setenv("PYTHONPATH", str(folder))
        yield folder


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> Iterator[None]:
    """SIGINT reaches what tests start, also where a shell runs the tests in its background and has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of predicted peaks of the session's own, for this process and those it starts."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("XDG_CACHE_HOME", str(folder))
        yield folder


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four small phantoms; the first is five slices deep."""
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
    """The YAML of a study of two cells and two baselines, trained within seconds and tracked nowhere."""
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
    """Lets every command detect another machine, read as this one is: from a meminfo, and from what nvidia-smi prints."""
    meminfo, smi = tmp_path / "proc" / "meminfo", tmp_path / "smi.sh"
    meminfo.parent.mkdir()
    places = {"proc": meminfo.parent, "cgroup": tmp_path / "cgroup", "smi": ("/bin/sh", str(smi)), "nvml": False}
    monkeypatch.setattr(hardware, "detect_hardware", partial(hardware.detect_hardware, **places))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def become(ram_mib: int, available_mib: int | None = None, card_mib: int | None = None) -> None:
        available_mib = ram_mib if available_mib is None else available_mib
        meminfo.write_text(f"MemTotal: {1024 * ram_mib} kB\nMemAvailable: {1024 * available_mib} kB\n")
        smi.write_text(f"echo '0, GPU-0, a card, {card_mib}, {card_mib}, 7.5, 550'" if card_mib else "exit 9")

    return become


@pytest.fixture
def real_data() -> Path:
    """Folder of real volumes, named by MINIVESS_REAL_DATA."""
    folder = os.environ.get("MINIVESS_REAL_DATA")
    if not folder:
        pytest.skip("needs real volumes: set MINIVESS_REAL_DATA")
    return Path(folder)
