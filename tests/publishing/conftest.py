"""Run folders with given scores, real weights and a real SQLite database."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest
import torch

from minivess.data.formats.nifti import write_volume
from minivess.data.profiler import scan_dataset
from minivess.data.splits import make_splits
from minivess.experiments.cell_spec import CellResult, CellSpec
from minivess.experiments.config_file import make_config
from minivess.experiments.run_folder import RunFolder
from minivess.json_files import write_state
from minivess.models.model_profile import NetworkSpec, build_network
from minivess.models.weights import save_network
from minivess.planning.plan import TrainingPlan
from minivess.tracking.client import open_client
from minivess.tracking.provenance import describe_environment
from minivess.tracking.uris import sqlite_uri

NETWORK = NetworkSpec(
    model="dynunet",
    builder="minivess.models.dynunet:build",
    patches=((16, 16, 4),),
    strides=((1, 1, 1), (2, 2, 1), (2, 2, 2)),
    kernels=((3, 3, 1), (3, 3, 3), (3, 3, 3)),
    filters=(2, 4, 4),
)
PLAN = TrainingPlan(
    profile_name="by hand",
    network=NETWORK,
    patch_policy="min_volume",
    batch=2,
    micro_batch=2,
    precision="fp32",
    device="cpu",
    workers=0,
    cache_rate=0.0,
    overlap=0.5,
    reasons={},
)
SCORES = {
    "dsc": 0.5, "centreline_dsc": 0.5, "measured_masd": 1.0, "measured_masd_voxel": 1.0, "normalised_surface_distance": 0.5,
    "tolerance_um": 2.0, "hausdorff_95": 1.0, "betti0_error": 3, "betti1_error": 0, "foreground_voxels": 9,
    "reference_voxels": 9, "voxel_um3": 1.0, "empty": "",
}  # fmt: skip


class Desk:
    """An output folder with its MLflow database, and runs in it that share an MLflow experiment."""

    def __init__(self, folder: Path, empty: Path) -> None:
        self.folder = folder
        (folder / "runs").mkdir(parents=True)
        shutil.copy(empty, folder / "runs" / "mlflow.db")
        self.uri = sqlite_uri(folder / "runs" / "mlflow.db")
        for number, data in enumerate(("data", "other")):
            rng = np.random.default_rng(number)
            for name in ("a", "b", "c", "d"):
                image = rng.integers(0, 255, (20, 18, 5), np.uint8)
                label = (image > 200).astype(np.uint8)
                write_volume(folder / data / f"raw/{name}.nii.gz", image, spacing_um=(1.0, 1.0, 5.0))
                write_volume(folder / data / f"seg/{name}_y.nii.gz", label, spacing_um=(1.0, 1.0, 5.0))

    def run(
        self,
        name: str,
        *,
        experiment: str = "losses",
        data: str = "data",
        metric: str = "dsc",
        tracking_uri: str | None = None,
        **scores: float,
    ) -> RunFolder:
        """Write a finished run of two folds of two cases.

        Args:
            name: Name of the run folder.
            experiment: Name of the experiment in MLflow.
            data: "data" or "other", two data sets with the same names of cases.
            metric: The metric that is compared.
            tracking_uri: Address of MLflow in the configuration.
            scores: Value of the metric by loss, for the first case of each fold; the second case has 0.1 more.
        """
        config = {"name": name, "experiment_name": experiment, "data_dir": self.folder / data, "losses": list(scores)}
        config |= {"output_dir": self.folder / "runs", "folds": 2}
        config |= {"tracking_uri": tracking_uri}
        config |= {
            "evaluation": {
                "resamples": 1000,
                "baselines": [],
                "metrics": list(dict.fromkeys([metric, "dsc", "measured_masd"])),
            }
        }
        folder, profile = RunFolder(self.folder / "runs" / name), scan_dataset(self.folder / data, voxels=True)
        splits = make_splits(profile.volumes, 2)
        decided = {"config": make_config(config, "a test"), "profile": profile, "splits": splits, "plan": PLAN}
        for part, value in decided.items():
            write_state(getattr(folder, part), value)
        environment = describe_environment()
        for loss, score in scores.items():
            for number, fold in enumerate(splits.folds):
                told = {"method": loss, "fold": number}
                cell = folder.cell(loss, number)
                shared = {"plan": PLAN, "training": {}, "tolerance_um": 2.0, "loss_options": {}, "seed": 0}
                spec = CellSpec(**told, train=fold.train, held_out=fold.held_out, store=folder.path, **shared)
                write_state(cell.spec, spec)
                for place in (folder, cell):
                    write_state(place.environment, environment)
                torch.manual_seed(crc32(cell.path.as_posix().encode()))
                save_network(cell.weights, build_network(NETWORK), NETWORK)
                rows = [
                    {**told, "case": case, "metrics": {**SCORES, metric: score + 0.1 * k}}
                    for k, case in enumerate(fold.held_out)
                ]
                result = {**told, "steps": 1, "seconds": 1.0, "note": "", "micro_batch": 2, "rows": rows}
                write_state(cell.result, CellResult.model_validate(result))
        return folder

    def version(self, name: str, number: int) -> Any:
        return open_client(self.uri).get_model_version(name, str(number))

    def aliases(self, name: str) -> dict[str, str]:
        return {key: str(value) for key, value in open_client(self.uri).get_registered_model(name).aliases.items()}


@pytest.fixture(scope="session")
def desk(tmp_path_factory: pytest.TempPathFactory, empty: Path) -> Desk:
    """One database for all tests; each uses experiments of its own."""
    return Desk(tmp_path_factory.mktemp("desk"), empty)


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow database, created once for all tests because that takes seconds."""
    path = tmp_path_factory.mktemp("template") / "mlflow.db"
    open_client(sqlite_uri(path))
    return path


@pytest.fixture
def private(tmp_path: Path, empty: Path) -> Desk:
    """An output folder of its own for one test, in a folder whose name is hard to put into a URI."""
    return Desk(tmp_path / "a b?c%20d#é", empty)
