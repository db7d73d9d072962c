"""Checkpoints that survive a kill at any instant: one folder a generation, written whole, two generations kept.

Weights are safetensors and facts are JSON, so nothing is ever unpickled. A generation counts only when its JSON names the
digest of its tensors; a damaged one is renamed, with a warning, and the one before is taken.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from minivess.atomic import atomic_folder, atomic_path
from minivess.json_files import write_state

_log = logging.getLogger(__name__)

_TENSORS, _FACTS = "tensors.safetensors", "facts.json"


class CheckpointManager:
    """The checkpoints of one cell.

    Args:
        folder: Holds one folder a generation.
        keep: Generations to keep.
    """

    def __init__(self, folder: Path, keep: int = 2) -> None:
        self._folder = folder
        self._keep = keep
        folder.mkdir(parents=True, exist_ok=True)
        for orphan in folder.glob(".tmp-*"):
            shutil.rmtree(orphan) if orphan.is_dir() else orphan.unlink()

    def save(self, step: int, tensors: dict[str, torch.Tensor], facts: dict[str, Any]) -> Path:
        """Write one generation; the older ones go only after it stands. Where one of this step stands, it is left alone."""
        target = self._folder / f"step-{step:08d}"
        if target.exists():
            return target
        with atomic_folder(target) as temporary:
            with atomic_path(temporary / _TENSORS) as tensors_path:
                save_file({name: value.cpu().contiguous() for name, value in tensors.items()}, tensors_path)
            write_state(temporary / _FACTS, {**facts, "digest": _digest(temporary / _TENSORS)})
        for old in self._generations()[: -self._keep]:
            shutil.rmtree(old)
        return target

    def restore(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
        """Tensors and facts of the newest generation that is whole; None where there is none.

        A damaged one is renamed to ``damaged-NAME``, for a person to look at. It must not count any more: training begins again
        before it, and ``save`` keeps those of the highest steps.

        Raises:
            OSError: What is there cannot be read now, as on a network disk that is away; that is no damage.
        """
        for path in reversed(self._generations()):
            try:
                facts = json.loads((path / _FACTS).read_text(encoding="utf-8"))
                if facts.pop("digest") != _digest(path / _TENSORS):
                    raise ValueError("its tensors do not match their digest")
                return load_file(path / _TENSORS), facts
            except (FileNotFoundError, ValueError, KeyError, SafetensorError) as error:
                _log.warning("Checkpoint %s is damaged (%s); falling back to the one before.", path.name, error)
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
