"""Compare the labels of a run with its networks: where do those that have not seen a case agree against its label?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from minivess.data.dataset_profile import VolumeStats
from minivess.data.formats.nifti import read_volume
from minivess.errors import DataError, RunError
from minivess.evaluation.label_doubts import Doubt, find_doubts
from minivess.experiments.cell_key import CellKey
from minivess.experiments.run_folder import RunFolder


@dataclass(frozen=True)
class CaseDoubt:
    """A region of doubt in a case.

    Attributes:
        case: Name of the case.
        doubt: The region.
        networks: Number of networks that were asked.
    """

    case: str
    doubt: Doubt
    networks: int


@dataclass(frozen=True)
class Opinion:
    """What the networks say about one case.

    Attributes:
        volume: The volume.
        label: Its label (X, Y, Z); False in unknown voxels.
        share: Share of the networks that call each voxel vessel (X, Y, Z), from 0 to 1; 0 in unknown voxels.
        networks: Number of networks that were asked.
    """

    volume: VolumeStats
    label: NDArray[np.bool_]
    share: NDArray[np.float32]
    networks: int


def check_labels(folder: RunFolder, progress: Callable[[int, int], None] = lambda done, total: None) -> list[CaseDoubt]:
    """List the regions of all held-out cases where their labels are in doubt, the most doubtful first.

    A network is asked about the cases that its fold held out, through the masks that it predicted for its scores. Each
    loss and repeat gives one more opinion. One case at a time is in memory.

    Args:
        folder: The run folder.
        progress: Called with the number of checked cases and of all cases.

    Raises:
        RunError: The folder is not a run folder, or no network has finished.
        DataError: A mask or a label is missing or has another shape.
    """
    tolerance_um = folder.read_config().evaluation.tolerance_um
    masks = _masks_by_case(folder)
    found: list[CaseDoubt] = []
    for done, case in enumerate(masks):
        progress(done, len(masks))
        asked = ask(folder, case, masks[case])
        doubts = find_doubts(asked.label, asked.share, asked.volume.spacing_um, tolerance_um)
        found += [CaseDoubt(case, doubt, asked.networks) for doubt in doubts]
    progress(len(masks), len(masks))
    return sorted(found, key=lambda one: (-one.doubt.score, one.case, one.doubt.peak))


def ask(folder: RunFolder, case: str, masks: list[Path] | None = None) -> Opinion:
    """Read the label of a case and the masks of all networks that have not seen it.

    Raises:
        DataError: A mask or the label is missing or has another shape.
    """
    paths = masks or _masks_by_case(folder)[case]
    profile = folder.read_profile()
    (volume,) = (volume for volume in profile.volumes if volume.name == case)
    values = read_volume(Path(volume.label or ""))
    known = values != profile.ignore_value if profile.ignore_value is not None else np.ones(values.shape, bool)
    label = (values != 0) & known
    votes = np.zeros(label.shape, np.uint16)
    for path in paths:
        mask = read_volume(path) != 0
        if mask.shape != label.shape:
            raise DataError(
                f"a mask with the shape of the label of {case}, {label.shape}",
                f"{path}, {mask.shape}",
                "restore the files of the run",
            )
        votes += mask & known
    return Opinion(volume, label, np.divide(votes, len(paths), dtype=np.float32), len(paths))


def _masks_by_case(folder: RunFolder) -> dict[str, list[Path]]:
    """Return the masks of the finished networks by held-out case.

    Raises:
        RunError: No network has finished.
    """
    masks: dict[str, list[Path]] = {}
    for key, held_out in _finished(folder):
        for case in held_out:
            masks.setdefault(case, []).append(folder.cell(*key).predictions / f"{case}.nii.gz")
    if not masks:
        raise RunError("a finished network", f"none in {folder.path}", "run the experiment first")
    return dict(sorted(masks.items()))


def _finished(folder: RunFolder) -> Iterator[tuple[CellKey, tuple[str, ...]]]:
    config = folder.read_config()
    for key in config.cells_in_order:
        if key.method in config.losses and folder.cell(*key).finished:
            yield key, folder.cell(*key).read_spec().held_out
