"""Phantom volumes with an exact label: a small demo set, and a set with the shapes and spacings of MiniVess."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from minivess.atomic import write_text
from minivess.csv_text import csv_text
from minivess.data.formats.nifti import write_volume
from minivess.data.groups import GROUPS_FILE
from minivess.data.phantoms.microscope_image import draw_tubes, half_axes_um, take_image
from minivess.data.phantoms.vessel_tree import JUNCTION_SPACING_UM, Tubes, grow_network, trace_tubes
from minivess.errors import DataError

MARGIN_UM = 60.0
"""Tissue on each side of the volume along X and Y."""

TISSUE_DEPTH_UM = 280.0
"""Smallest depth of the tissue block."""

VIEWS = 32
"""Number of random views of the tissue from which one is chosen."""

_SHARES = (0.06, 0.14)
"""Smallest and largest share of vessel that a view of the tissue is chosen for."""

_SMALL_PLANES = ((96, 96), (104, 88), (88, 104), (96, 112))
_SMALL_DEPTHS = (5, 12, 16, 8, 20)
_SMALL_SPACINGS_UM = ((0.99, 0.99, 5.0), (0.62, 0.62, 5.0), (0.99, 0.99, 2.0))
_MINIVESS_SPACINGS_UM = (
    [(0.99, 0.99, 5.0)] * 31
    + [(0.62, 0.62, 5.0)] * 20
    + [(0.99, 0.99, 2.0)] * 8
    + [(0.62, 0.62, 10.0)] * 5
    + [(0.31, 0.31, 1.0), (0.31, 0.31, 5.0), (0.62, 0.62, 2.0), (1.24, 1.24, 5.0)]
)


@dataclass(frozen=True)
class Animal:
    """What all volumes of one animal have in common.

    Attributes:
        name: Name of the animal.
        vessel_share: Share of the voxels that is vessel, before the variation between its volumes.
        photons: Photons that a bright voxel emits; fewer photons give a noisier image.
        haze: Brightness of the background, relative to that of a usual phantom.
    """

    name: str
    vessel_share: float
    photons: float
    haze: float


@dataclass(frozen=True)
class PhantomCase:
    """Everything that a phantom volume depends on.

    Attributes:
        name: Name of the case, from which its file names are made.
        shape: Voxels along X, Y, Z.
        spacing_um: Voxel size along X, Y, Z.
        seed: Seed of the vessels and of the noise.
        animal: Traits that it shares with other volumes; None draws them for this volume alone.
    """

    name: str
    shape: tuple[int, int, int]
    spacing_um: tuple[float, float, float]
    seed: int
    animal: Animal | None = None


def make_phantom(case: PhantomCase) -> tuple[np.ndarray, np.ndarray]:
    """Make the image and the label of a case; the same case always gives the same bytes.

    A network of vessels is grown in a block of tissue that is larger than the volume. The volume is a view of this
    block.

    Returns:
        Image and label, both uint8 of shape ``case.shape``; the label is 0 or 1.
    """
    rng = np.random.default_rng(case.seed)
    view_um = np.array(case.shape) * case.spacing_um
    tissue_um = view_um + np.array([2 * MARGIN_UM, 2 * MARGIN_UM, 2 * JUNCTION_SPACING_UM])
    tissue_um[2] = max(tissue_um[2], TISSUE_DEPTH_UM)
    tubes = trace_tubes(grow_network(tissue_um, rng), rng, piece_um=2 * min(case.spacing_um))
    animal = case.animal
    shares = _SHARES if animal is None else (animal.vessel_share / 1.1, animal.vessel_share * 1.1)
    seen = _choose_view(tubes, tissue_um, view_um, case.spacing_um, shares, rng)
    label, fluorescence = draw_tubes(seen, case.shape, case.spacing_um)
    if animal is None:
        return take_image(fluorescence, case.spacing_um, rng), label
    return take_image(fluorescence, case.spacing_um, rng, photons=animal.photons, haze=animal.haze), label


def _choose_view(
    tubes: Tubes,
    tissue_um: np.ndarray,
    view_um: np.ndarray,
    spacing_um: tuple[float, float, float],
    shares: tuple[float, float],
    rng: np.random.Generator,
) -> Tubes:
    """Choose one of ``VIEWS`` random views and return the tubes with the origin at the corner of that view.

    Each view has a vessel in its middle. The chosen view is the one whose share of vessel is nearest to a share drawn
    from ``shares``. Without this choice, a small view would often contain almost no vessel, or little except an
    arteriole.
    """
    low = np.array([0.0, 0.0, JUNCTION_SPACING_UM / 2])
    middle_um = (tubes.start_um + tubes.end_um) / 2
    corners_um = middle_um[rng.integers(len(middle_um), size=VIEWS)] - view_um / 2
    corners_um = np.clip(corners_um, low, tissue_um - view_um)
    axes_um = half_axes_um(tubes.radius_um, spacing_um)
    volume_um3 = np.pi * axes_um[:, 0] * axes_um[:, 2] * np.linalg.norm(tubes.end_um - tubes.start_um, axis=1)
    inside = [((middle_um >= corner) & (middle_um < corner + view_um)).all(axis=1) for corner in corners_um]
    share = np.array([volume_um3[rows].sum() for rows in inside]) / view_um.prod()
    corner = corners_um[np.argmin(np.abs(np.log(np.maximum(share, 1e-9) / rng.uniform(*shares))))]
    return replace(tubes, start_um=tubes.start_um - corner, end_um=tubes.end_um - corner)


def small_cases(count: int, seed: int = 0) -> tuple[PhantomCase, ...]:
    """Cases of the demo set: about 96x96 voxels in plane, 5 to 20 slices, three spacings; the first case has 5 slices.

    Args:
        count: Number of cases.
        seed: Seed of the vessels and of the noise.
    """
    return tuple(
        PhantomCase(
            name=f"phantom{number + 1:02d}",
            shape=(*_SMALL_PLANES[number % 4], _SMALL_DEPTHS[number % 5]),
            spacing_um=_SMALL_SPACINGS_UM[number % 3],
            seed=1000 * seed + number,
        )
        for number in range(count)
    )


def minivess_cases(count: int = 70, seed: int = 0) -> tuple[PhantomCase, ...]:
    """The first ``count`` of mv01 to mv70, with shapes and spacings of MiniVess (Poon et al. 2023, Sci. Data 10:141).

    All volumes have 512x512 voxels in plane and 5 to 110 slices, 45 on average. Which volume has which depth and
    spacing is known only for mv02 and mv10; the others are shuffled by ``seed``. Of four spacings only the finest
    values, 0.31 µm in plane and 1 µm in depth, are known.

    Args:
        count: Number of cases, at most 70.
        seed: Seed of the shuffle, of the vessels and of the noise.

    Raises:
        DataError: ``count`` is larger than 70.
    """
    if count > 70:
        raise DataError(
            "at most 70 cases, the size of MiniVess", f"{count} cases", "request 70 or fewer, or use small cases"
        )
    rng = np.random.default_rng(seed)
    spacings = [_MINIVESS_SPACINGS_UM[k] for k in rng.permutation(68)]
    spacings.insert(1, (4.97, 4.97, 5.0))
    spacings.insert(9, (2.48, 2.48, 5.0))
    depths = [round(5 + 105 * k**1.65) for k in rng.permutation(np.linspace(0.0, 1.0, 69))]
    depths.insert(1, 61)
    return tuple(
        PhantomCase(f"mv{number + 1:02d}", (512, 512, depths[number]), spacings[number], 1000 * seed + number)
        for number in range(count)
    )


def in_groups(cases: Sequence[PhantomCase], groups: int, seed: int = 0) -> tuple[PhantomCase, ...]:
    """Return the cases as volumes of animals: those of one animal share spacing, vessel share, noise and background.

    The traits of the animals are spread evenly over their ranges, each in random order, so that animals differ even if
    there are few. A case is named after its animal, such as animal1_2.

    Args:
        cases: The cases; animal after animal takes every ``groups``-th of them, so sizes differ by one at most.
        groups: Number of animals.
        seed: Seed of the traits.

    Raises:
        DataError: There are fewer cases than animals.
    """
    if groups > len(cases):
        raise DataError(
            f"at most {len(cases)} groups for {len(cases)} cases",
            f"{groups} groups",
            "ask for more cases or fewer groups",
        )
    rng = np.random.default_rng([seed, groups])
    places = np.linspace(0.0, 1.0, groups) if groups > 1 else np.array([0.5])
    share, photons, haze = (rng.permutation(places) for _ in range(3))
    grouped = []
    for number in range(groups):
        animal = Animal(
            name=f"animal{number + 1}",
            vessel_share=float(0.06 * (0.14 / 0.06) ** share[number]),
            photons=float(8 * 4 ** photons[number]),
            haze=float(0.6 * 4 ** haze[number]),
        )
        own = cases[number::groups]
        grouped += [
            replace(case, name=f"{animal.name}_{k + 1}", spacing_um=own[0].spacing_um, animal=animal)
            for k, case in enumerate(own)
        ]
    return tuple(grouped)


def write_phantom(
    folder: Path, cases: Iterable[PhantomCase], progress: Callable[[PhantomCase], None] | None = None
) -> list[Path]:
    """Write cases in the layout of MiniVess, ``raw/NAME.nii.gz`` and ``seg/NAME_y.nii.gz``; overwrite existing ones.

    If the cases have animals, ``groups.csv`` names the animal of each.

    Args:
        folder: A new or empty folder, or a folder that contains only files of these cases.
        cases: The cases to write.
        progress: Called with each case after both its files are written.

    Returns:
        Paths of the images, in the order of the cases.

    Raises:
        DataError: ``folder`` is a file, or contains other files.
    """
    cases = tuple(cases)
    images = [folder / "raw" / f"{case.name}.nii.gz" for case in cases]
    labels = [folder / "seg" / f"{case.name}_y.nii.gz" for case in cases]
    _refuse_other_files(folder, {*images, *labels, folder / GROUPS_FILE})
    for case, image_path, label_path in zip(cases, images, labels, strict=True):
        image, label = make_phantom(case)
        write_volume(label_path, label, spacing_um=case.spacing_um)
        write_volume(image_path, image, spacing_um=case.spacing_um)
        if progress is not None:
            progress(case)
    if animals := [[case.name, case.animal.name] for case in cases if case.animal is not None]:
        write_text(folder / GROUPS_FILE, csv_text(["case", "group"], animals))
    return images


def _refuse_other_files(folder: Path, own: set[Path]) -> None:
    found = [folder] if folder.is_file() else sorted(path for path in folder.rglob("*") if path.is_file())
    other = [path for path in found if path not in own and not path.name.startswith(".")]
    if other:
        raise DataError(
            "an empty or new folder for the phantom", str(other[0]), "choose another folder, or empty this one"
        )
