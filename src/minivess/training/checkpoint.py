"""Checkpoints that survive a kill of the process at any time.

Each checkpoint is a folder, written atomically; the newest two are kept. Tensors are stored as safetensors and other
facts as JSON, so nothing is unpickled. A checkpoint is valid only if its JSON contains the digest of its tensors. A
damaged checkpoint is renamed with a warning, and the previous one is used.
"""

from __future__ import annotations

import hashlib
import logging
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from minivess.atomic import atomic_folder, atomic_path
from minivess.errors import RunError
from minivess.json_files import read_state, write_state

_log = logging.getLogger(__name__)

_TENSORS, _FACTS = "tensors.safetensors", "facts.json"
_DIGEST = "tensors_digest"


class CheckpointManager:
    """The checkpoints of one cell.

    Args:
        folder: Contains one folder per checkpoint.
        keep: Number of checkpoints to keep.
    """

    def __init__(self, folder: Path, keep: int = 2) -> None:
        self._folder = folder
        self._keep = keep
        folder.mkdir(parents=True, exist_ok=True)
        for orphan in folder.glob(
            ".tmp-*"
        ):  # that of another user can be left where it is: its name is used by nothing
            with suppress(PermissionError):
                shutil.rmtree(orphan) if orphan.is_dir() else orphan.unlink()

    def save(self, step: int, tensors: dict[str, torch.Tensor], facts: dict[str, Any]) -> Path:
        """Write a checkpoint, then remove the oldest ones. If a checkpoint of this step exists, nothing is written.

        Args:
            step: Number of finished optimizer steps.
            tensors: Tensors by name.
            facts: Values for JSON.

        Returns:
            Folder of the checkpoint.
        """
        target = self._folder / f"step-{step:08d}"
        if target.exists():
            return target
        with atomic_folder(target) as temporary:
            with atomic_path(temporary / _TENSORS) as tensors_path:
                save_file({name: value.cpu().contiguous() for name, value in tensors.items()}, tensors_path)
            write_state(temporary / _FACTS, {**facts, _DIGEST: _digest(temporary / _TENSORS)})
        for old in self._generations()[: -self._keep]:
            shutil.rmtree(old)
        return target

    def restore(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
        """Read the tensors and facts of the newest valid checkpoint.

        A damaged checkpoint is renamed to ``damaged-NAME``, so that a user can inspect it. It must not stay under its
        name: training continues from an earlier step, and ``save`` keeps the checkpoints with the highest steps.

        Returns:
            Tensors and facts, or None if there is no valid checkpoint.

        Raises:
            OSError: A checkpoint cannot be read now, for example because a network disk is not available. It is not
                treated as damaged.
        """
        for path in reversed(self._generations()):
            try:
                facts = read_state(path / _FACTS, dict[str, Any], "")
                written = facts.pop("digest", None)  # the key of version 0.1
                if facts.pop(_DIGEST, written) != _digest(path / _TENSORS):
                    raise ValueError("the tensors do not match their digest")
                return load_file(path / _TENSORS), facts
            except (RunError, FileNotFoundError, ValueError, KeyError, SafetensorError) as error:
                if isinstance(error.__cause__, OSError) and not isinstance(error.__cause__, FileNotFoundError):
                    raise error.__cause__ from None
                _log.warning("Checkpoint %s is damaged (%s); the previous one is used.", path.name, error)
            damaged = path.with_name(f"damaged-{path.name}")
            if damaged.exists():
                shutil.rmtree(damaged)
            path.rename(damaged)
        return None

    def _generations(self) -> list[Path]:
        return sorted(self._folder.glob("step-*"))


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()
