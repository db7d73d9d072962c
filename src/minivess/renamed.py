"""Old names of modules, which registered models, notebooks and modules with a user's own loss or network may import.

`install` adds a finder behind all others: it is asked only for modules that do not exist, and answers with the new module.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType

RENAMED = {
    "minivess.evaluation.compare": "minivess.statistics.compare_methods",
    "minivess.evaluation.pyfunc": "minivess.inference.mlflow_model",  # stored in models that version 0.1 registered
    "minivess.losses.overlap": "minivess.losses.region",
    "minivess.models.predict": "minivess.inference.predict_volume",
    "minivess.models.registry": "minivess.models.model_profile",
    "minivess.strides": "minivess.geometry",
}


class _RenamedModules:
    """Finder and loader of the new module under its old name. (Their base classes would double the time of the import.)"""

    def find_spec(self, name: str, path: object, target: ModuleType | None = None) -> ModuleSpec | None:
        return ModuleSpec(name, self) if name in RENAMED else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = import_module(RENAMED[spec.name])
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None
        module.__spec__ = module.__spec__.loader_state  # the import system has replaced it


def install() -> None:
    """Let old names be imported in this process."""
    sys.meta_path.append(_RenamedModules())
