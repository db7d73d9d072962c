"""Figure of a data set: sizes and voxel spacings of its volumes, and the largest artefacts of its labels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase

from minivess.data.profiler import DatasetProfile, VolumeStats
from minivess.errors import RunError
from minivess.reporting.artefact_figure import artefact_panels, draw_artefacts, height_inches
from minivess.reporting.svg import drawing, paint, to_svg
from minivess.text import format_shape_html

Paint = Callable[[str], str]

_PLAIN = {"ink": "#1c1c1c", "muted": "#6b6b6b", "series-0": "#2f6fab", "limit": "#c0392b"}
_HEIGHT = 3.0
_FORMATS = (".png", ".svg", ".pdf")


def shape_picture(profile: DatasetProfile) -> Markup:
    """Draw the figure for the report: one point per volume. Its name, size and spacing appear under the pointer.

    Returns:
        An ``<svg>`` element.
    """
    with drawing():
        figure = Figure(figsize=(7.4, _HEIGHT), layout="constrained")
        _draw(figure, profile, paint)
        words = {
            f"{side}-{number}": f"{volume.name}: {format_shape_html(volume.shape)} voxels of {format_shape_html(volume.spacing_um)} µm"
            for number, volume in enumerate(profile.volumes)
            for side in ("size", "spacing")
        }
        return to_svg(figure, "shapes", _alt(profile), words)


def save_shape_picture(profile: DatasetProfile, path: Path) -> None:
    """Save the figure as PNG, SVG or PDF, according to the suffix of the file.

    If the voxels were read and labels have artefacts, the figure shows the largest of each kind below. Artefacts whose
    label cannot be read any more are left out.

    Args:
        profile: The data set.
        path: The file to write.

    Raises:
        RunError: The suffix is unknown, or the file cannot be written.
    """
    if path.suffix.lower() not in _FORMATS:
        raise RunError(f"a file name ending in {', '.join(_FORMATS)}", f"{path.name}", "use one of these suffixes")
    panels, _ = artefact_panels(profile)
    heights = [_HEIGHT, height_inches(panels)] if panels else [_HEIGHT]
    figure = Figure(figsize=(7.4, sum(heights)), layout="constrained")
    parts = figure.subfigures(len(heights), 1, squeeze=False, height_ratios=heights)[:, 0]
    _draw(parts[0], profile, _PLAIN.__getitem__)
    if panels:
        draw_artefacts(parts[1], panels, _PLAIN.__getitem__)
    try:
        figure.savefig(path, dpi=200)
    except OSError as error:
        raise RunError("a file that can be written", f"{path}: {error.strerror}", "choose another folder") from error


def _draw(figure: FigureBase, profile: DatasetProfile, colour: Paint) -> None:
    sizes, spacings = figure.subplots(1, 2)
    _scatter(sizes, profile, "size", lambda volume: (max(volume.shape[:2]), volume.shape[2]), colour)
    sizes.set(title="Size (voxels)", xlabel="longer edge in plane", ylabel="slices")
    _scatter(spacings, profile, "spacing", lambda volume: (min(volume.spacing_um[:2]), volume.spacing_um[2]), colour)
    spacings.set(title="Spacing (µm)", xlabel="in plane", ylabel="between slices")
    for axes in (sizes, spacings):
        axes.set_xlim(0, 1.08 * axes.get_xlim()[1])
        axes.set_ylim(0, 1.15 * axes.get_ylim()[1])
        axes.title.set_fontweight("bold")
        axes.spines[["top", "right"]].set_visible(False)


def _scatter(
    axes: Axes,
    profile: DatasetProfile,
    side: str,
    place: Callable[[VolumeStats], tuple[float, float]],
    colour: Paint,
) -> None:
    """Draw one point per volume. Named are the shallowest volume (size panel) or the outliers (spacing panel)."""
    shallowest = min(profile.volumes, key=lambda volume: volume.shape[2]).name
    named = {shallowest} if side == "size" else set(profile.outliers)
    for number, volume in enumerate(profile.volumes):
        x, y = place(volume)
        kind = "limit" if volume.name in profile.outliers else "series-0"
        axes.plot(x, y, "o", color=colour(kind), alpha=0.55, markersize=6, markeredgewidth=0, gid=f"{side}-{number}")
        if volume.name in named:
            axes.annotate(
                volume.name, (x, y), (0, 6), textcoords="offset points", ha="center", fontsize=8, color=colour("ink")
            )


def _alt(profile: DatasetProfile) -> str:
    shapes = f"sizes from {format_shape_html(profile.min_shape)} to {format_shape_html(profile.max_shape)} voxels"
    return f"{len(profile.volumes)} volumes: {shapes}, median spacing {format_shape_html(profile.median_spacing_um)} µm"
