"""MLflow's model registry: each trained model is registered once; the best has the alias ``staging``, the promoted ``champion``.

A version stores the weights unchanged (safetensors and JSON, no pickle) and the name of the module that loads them. MLflow 3
has aliases instead of stages; the tag ``stage`` gives the stage that corresponds to the aliases.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from minivess.tracking.client import TrackingError, answering, hold, open_client
from minivess.tracking.run_record import flat_tags
from minivess.tracking.uris import database_of

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

CHAMPION, STAGING = "champion", "staging"
EVIDENCE = "run"
STAGE_TAG, WEIGHTS_TAG = "stage", "weights_sha256"
_PATIENCE_S = 120.0
"""Seconds to wait for other processes that register a model in the same database."""


@dataclass(frozen=True, kw_only=True)
class ModelRecord:
    """A trained model, described for the registry.

    Attributes:
        name: Name of the registered model, without ``/ : . % " '``.
        description: Description for users.
        weights: Folder with the weights, which is passed to the loader.
        weights_sha256: Hash that identifies a version: the same weights are registered only once.
        loader: Importable module with ``_load_pyfunc(folder)``, whose result takes a table with the optional columns ``path``
            (text) and ``voxels`` (array), and ``params``.
        params: Names and default values of the parameters of a call.
        example: An example value of ``voxels``.
        requirements: Lines of requirements.txt.
        evidence: Texts of the files that are stored with the model, by file name.
        tags: Short texts that can be searched.
    """

    name: str
    description: str
    weights: Path
    weights_sha256: str
    loader: str
    params: Mapping[str, float | bool]
    example: Sequence[Any]
    requirements: Sequence[str]
    evidence: Mapping[str, str]
    tags: Mapping[str, str]


@dataclass(frozen=True)
class Version:
    """One version of a registered model."""

    name: str
    number: int
    tags: Mapping[str, str]

    def __str__(self) -> str:
        return f"{self.name} version {self.number}"


@dataclass(frozen=True)
class Registered:
    """A model in the registry.

    Attributes:
        version: The version with its weights.
        is_new: Whether these weights were registered just now.
        staged: Number of the version with the alias ``staging``; None if every version was promoted.
    """

    version: Version
    is_new: bool
    staged: int | None


class ModelRegistry:
    """The registry behind a tracking URI.

    Every method raises TrackingError if MLflow is missing, cannot be reached or is locked.

    Args:
        uri: MLflow's tracking URI, as in ``sync``.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri
        with answering(uri):
            self._client = open_client(uri)

    def register(
        self, record: ModelRecord, experiment_id: str, run_id: str, is_better: Callable[[Version, Version], bool]
    ) -> Registered:
        """Register a model unless its weights are registered already, and give the best version the alias ``staging``.

        A version that is registered already gets the tags that it lacks, such as the scores of a test set.

        One process at a time registers in a SQLite database. On a server, two processes may register the same weights at the
        same time; then the one with the higher number deletes its version again.

        Args:
            record: The model.
            experiment_id: MLflow's id of the experiment of the model.
            run_id: MLflow's id of the run that trained the model.
            is_better: Whether the first version is better than the second. Compared are the versions whose stage is Staging.

        Returns:
            The version with these weights, whether it is new, and which version has the alias.
        """
        with answering(self._uri), self._alone():
            self._ensure_model(record.name)
            known = self._first_with(record)
            version = known or self._add(record, experiment_id, run_id)
            if known is None:
                first = self._first_with(record) or version
                if first.number < version.number:
                    self._client.delete_model_version(record.name, str(version.number))
                    version, known = first, first
            else:
                for key in flat_tags(record.tags).keys() - known.tags.keys():
                    self._client.set_model_version_tag(record.name, str(known.number), key, flat_tags(record.tags)[key])
            return Registered(version, known is None, self._stage_best(record.name, is_better))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the lock of the registry, which is a file next to a SQLite database; a server has none."""
        database = database_of(self._uri)
        if database is None:
            yield
        else:
            with hold(database.with_name(f"{database.name}.models"), _PATIENCE_S):
                yield

    def _first_with(self, record: ModelRecord) -> Version | None:
        """Return the oldest version with the weights of ``record``."""
        versions = self._versions(record.name)
        return next((one for one in versions if one.tags.get(WEIGHTS_TAG) == record.weights_sha256), None)

    def _stage_best(self, name: str, is_better: Callable[[Version, Version], bool]) -> int | None:
        """Give the alias ``staging`` to the best version; the one that has it keeps it unless another is better."""
        number = self._client.get_registered_model(name).aliases.get(STAGING)
        waiting = [one for one in self._versions(name) if one.tags.get(STAGE_TAG) == "Staging"]
        best: Version | None = None
        for one in sorted(waiting, key=lambda one: (str(one.number) != str(number), one.number)):
            if best is None or is_better(one, best):
                best = one
        if best is not None and str(best.number) != str(number):
            self._client.set_registered_model_alias(name, STAGING, str(best.number))
        return None if best is None else best.number

    def version(self, name: str, number: int) -> Version:
        """Return a version by its number.

        Raises:
            TrackingError: The model has no such version.
        """
        with answering(self._uri):
            found = next((one for one in self._versions(name) if one.number == number), None)
            if found is None:
                known = ", ".join(str(one.number) for one in self._versions(name)) or "none"
                raise TrackingError(f"version {number} of {name}", f"versions: {known}", "use one of these")
            return found

    def champion(self, name: str) -> Version | None:
        """Return the version with the alias ``champion``; None if there is none."""
        with answering(self._uri):
            number = self._client.get_registered_model(name).aliases.get(CHAMPION)
            return None if number is None else self.version(name, int(number))

    def read_evidence(self, version: Version, file: str) -> str:
        """Return the text of a file that was registered with a version."""
        with TemporaryDirectory() as folder:
            return self.download(version, Path(folder), f"{EVIDENCE}/{file}").read_text(encoding="utf-8")

    def download(self, version: Version, folder: Path, part: str = "") -> Path:
        """Copy the files of a version, or a part of them, to a folder and return their path."""
        with answering(self._uri):
            from mlflow.artifacts import download_artifacts

            source = self._client.get_model_version_download_uri(version.name, str(version.number))
            found = download_artifacts(f"{source}/{part}".rstrip("/"), dst_path=str(folder), tracking_uri=self._uri)
            return Path(found)

    def promote(self, version: Version, former: Version | None) -> None:
        """Give ``version`` the alias ``champion`` and the stage Production; set the stage of the former champion to Archived."""
        name, number = version.name, str(version.number)
        with answering(self._uri):
            self._client.set_registered_model_alias(name, CHAMPION, number)
            self._client.set_model_version_tag(name, number, STAGE_TAG, "Production")
            if former is not None and former.number != version.number:
                self._client.set_model_version_tag(name, str(former.number), STAGE_TAG, "Archived")
            if str(self._client.get_registered_model(name).aliases.get(STAGING)) == number:
                self._client.delete_registered_model_alias(name, STAGING)

    def _versions(self, name: str) -> list[Version]:
        """Return all versions of a model, sorted by number."""
        found = [_version(one) for one in self._client.search_model_versions(f"name = '{name}'")]
        return sorted(found, key=lambda version: version.number)

    def _ensure_model(self, name: str) -> None:
        from mlflow.exceptions import MlflowException

        if self._client.search_registered_models(f"name = '{name}'"):
            return
        try:
            self._client.create_registered_model(name)
        except MlflowException:
            if not self._client.search_registered_models(f"name = '{name}'"):  # otherwise another process was first
                raise

    def _add(self, record: ModelRecord, experiment_id: str, run_id: str) -> Version:
        """Log the model and register it together with its tags, so that no version exists without tags."""
        tags = flat_tags({**record.tags, WEIGHTS_TAG: record.weights_sha256, STAGE_TAG: "Staging"})
        model = self._client.create_logged_model(experiment_id, record.name, run_id, tags)
        with TemporaryDirectory() as folder:
            _save(record, Path(folder) / "model", model.model_id)
            self._client.log_model_artifacts(model.model_id, str(Path(folder) / "model"))
        self._client.finalize_logged_model(model.model_id, "READY")
        version = self._client.create_model_version(
            record.name,
            model.artifact_location,  # "models:/ID" would be resolved with the global tracking URI
            run_id,
            tags,
            description=record.description,
            model_id=model.model_id,
        )
        return _version(version)


def _version(found: ModelVersion) -> Version:
    return Version(str(found.name), int(found.version), dict(found.tags))


def _save(record: ModelRecord, folder: Path, model_id: str) -> None:
    """Write the model, with its evidence, to a folder in MLflow's format."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # from MLflow's own imports
        from mlflow import pyfunc
        from mlflow.models import Model

        pyfunc.save_model(
            str(folder),
            loader_module=record.loader,
            data_path=str(record.weights),
            mlflow_model=Model(model_id=model_id),
            signature=_signature(record.params),
            input_example={"voxels": record.example},
            pip_requirements=list(record.requirements),
        )
    (folder / EVIDENCE).mkdir()
    for name, text in record.evidence.items():
        (folder / EVIDENCE / name).write_text(text, encoding="utf-8")


def _signature(params: Mapping[str, float | bool]) -> Any:
    """Return the signature: a path or voxels in, voxels out.

    The type of ``voxels`` is Any, because MLflow would take minutes to check every number of a volume.
    """
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types.schema import AnyType, Array, ColSpec, ParamSchema, ParamSpec, Schema, TensorSpec

    types = {bool: "boolean", float: "double"}
    return ModelSignature(
        inputs=Schema([ColSpec("string", "path", required=False), ColSpec(Array(AnyType()), "voxels", required=False)]),
        outputs=Schema([TensorSpec(np.dtype(np.uint8), (-1, -1, -1))]),
        params=ParamSchema([ParamSpec(name, types[type(value)], value) for name, value in params.items()]),
    )
