"""Figure of label artefacts: of each kind, the largest one in the label that has most of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from minivess.data.checks.label_artefacts import Kind, LabelArtefacts
from minivess.data.checks.label_bits import read_packed, unpack
from minivess.data.profiler import DatasetProfile, VolumeStats
from minivess.errors import DataError
from minivess.reporting.svg import drawing, paint, to_svg

Paint = Callable[[str], str]

TITLES: dict[Kind, str] = {
    "label_small_pieces": "small piece",
    "label_bridges": "bridge of one voxel",
    "label_pinholes": "pinhole",
    "label_cavities": "cavity",
    "label_no_centreline": "piece without skeleton",
    "label_staircase": "staircase",
}

_REACH = 14
"""Voxels that are shown on each side of an artefact."""

_COLUMNS = 3


@dataclass(frozen=True)
class Panel:
    """One artefact, in the plane in which it is seen best.

    Attributes:
        title: Kind of the artefact.
        caption: Name of the volume, the plane, and how many artefacts of the kind its label has.
        mask: The label in the plane, (horizontal, vertical) bool.
        at: Position of the artefact in ``mask``; None for a staircase, which is everywhere.
        first: Voxel of the label that is ``mask[0, 0]``.
        axes: Letters of the horizontal and the vertical axis.
        aspect: Height of a voxel divided by its width.
    """

    title: str
    caption: str
    mask: NDArray[np.bool_]
    at: tuple[int, int] | None
    first: tuple[int, int]
    axes: str
    aspect: float


def artefact_panels(profile: DatasetProfile) -> tuple[list[Panel], list[str]]:
    """Choose the artefacts to draw, and read the labels around them.

    Args:
        profile: The data set.

    Returns:
        At most one panel of each kind, and a sentence for each one whose label cannot be read any more.
    """
    panels, notes = [], []
    for kind in TITLES:
        measured = [(volume, volume.label_artefacts) for volume in profile.volumes if volume.label_artefacts]
        found = [(volume, artefacts) for volume, artefacts in measured if kind in artefacts.places]
        if not found:
            continue
        volume, artefacts = max(found, key=lambda pair: _rank(kind, pair[1]))
        try:
            panels.append(_panel(kind, volume, artefacts))
        except DataError as error:
            notes.append(f"The {TITLES[kind]} in {volume.name} is not shown: {error.got}.")
    return panels, notes


def _rank(kind: Kind, artefacts: LabelArtefacts) -> float:
    if kind == "label_staircase":
        return (artefacts.jump_um or 0) / (artefacts.jump_in_plane_um or 1)
    return artefacts.count(kind)


def _panel(kind: Kind, volume: VolumeStats, artefacts: LabelArtefacts) -> Panel:
    at = np.array(artefacts.places[kind])
    low, high = np.maximum(at - _REACH, 0), np.minimum(at + _REACH + 1, volume.shape)
    box = unpack(read_packed(Path(volume.label or ""), volume.shape), low, high)
    across = 1 if kind == "label_staircase" else _clearest_plane(kind, box, at - low)
    shown = [axis for axis in range(3) if axis != across]
    plane = f"{'xyz'[across]} = {at[across]}"
    everywhere = kind == "label_staircase"
    return Panel(
        title=TITLES[kind],
        caption=f"{volume.name}, {plane}" + ("" if everywhere else f", one of {artefacts.count(kind)}"),
        mask=box.take(at[across] - low[across], across),
        at=None if everywhere else (int((at - low)[shown[0]]), int((at - low)[shown[1]])),
        first=(int(low[shown[0]]), int(low[shown[1]])),
        axes="".join("xyz"[axis] for axis in shown),
        aspect=volume.spacing_um[shown[1]] / volume.spacing_um[shown[0]],
    )


def _clearest_plane(kind: Kind, box: NDArray[np.bool_], at: NDArray[np.intp]) -> int:
    """The axis across the plane that shows an artefact best; Z if two planes are equal.

    That is the plane in which a bridge has most parts of vessel around it, and for other kinds the one with most vessel
    within two voxels.
    """
    scores = []
    for axis in (2, 1, 0):
        plane = np.pad(box.take(at[axis], axis), 2)
        i, j = np.delete(at, axis) + 2
        ring = plane[[i - 1, i - 1, i - 1, i, i + 1, i + 1, i + 1, i], [j - 1, j, j + 1, j + 1, j + 1, j, j - 1, j - 1]]
        parts = np.count_nonzero(ring & ~np.roll(ring, 1))
        vessel = np.count_nonzero(plane[i - 2 : i + 3, j - 2 : j + 3])
        scores.append(parts if kind == "label_bridges" else vessel)
    return 2 - int(np.argmax(scores))


def artefact_picture(panels: Sequence[Panel]) -> Markup:
    """Draw the figure for the report.

    Args:
        panels: At least one panel.

    Returns:
        An ``<svg>`` element.
    """
    with drawing():
        figure = Figure(figsize=(7.4, height_inches(panels)), layout="constrained")
        draw_artefacts(figure, panels, paint)
        alt = "Label artefacts: " + "; ".join(f"{panel.title} in {panel.caption}" for panel in panels)
        return to_svg(figure, "artefacts", alt)


def height_inches(panels: Sequence[Panel]) -> float:
    """Height of the figure."""
    return 2.7 * -(-len(panels) // _COLUMNS)


def draw_artefacts(figure: FigureBase, panels: Sequence[Panel], colour: Paint) -> None:
    """Draw the panels into a figure, three in a row."""
    grid = figure.subplots(-(-len(panels) // _COLUMNS), _COLUMNS, squeeze=False)
    for axes, panel in zip(grid.flat, panels, strict=False):
        _draw_panel(axes, panel, colour)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()


def _draw_panel(axes: Axes, panel: Panel, colour: Paint) -> None:
    across, down = panel.first
    for row, voxels in enumerate(panel.mask.T):
        edges = np.flatnonzero(np.diff(np.pad(voxels.astype(np.int8), 1)))
        runs = [(across + start - 0.5, end - start) for start, end in zip(edges[::2], edges[1::2], strict=True)]
        axes.broken_barh(runs, (down + row - 0.5, 1), facecolors=colour("series-0"), alpha=0.55, linewidth=0)
    if panel.at is not None:
        x, y = across + panel.at[0], down + panel.at[1]
        axes.plot(
            x, y, "o", markersize=16, markerfacecolor="none", markeredgecolor=colour("limit"), markeredgewidth=1.6
        )
    width, height = panel.mask.shape
    axes.set(xlim=(across - 0.5, across + width - 0.5), ylim=(down + height - 0.5, down - 0.5), aspect=panel.aspect)
    axes.set_xlabel(f"{panel.axes[0]} (voxels)\n{panel.caption}")
    axes.set_ylabel(f"{panel.axes[1]} (voxels)")
    axes.set_title(panel.title, fontweight="bold", color=colour("ink"))
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.grid(visible=False)
