"""The page of measured masks: numbers, distributions, and the graph of each mask coloured by diameter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from markupsafe import Markup
from matplotlib import colormaps
from matplotlib.figure import Figure
from PIL import Image
from scipy.ndimage import grey_dilation

from minivess.atomic import write_text
from minivess.evaluation.measure_masks import DIAMETER_BINS_UM, MaskMeasures
from minivess.reporting.overlays import as_data_uri
from minivess.reporting.svg import SERIES, drawing, paint, to_svg
from minivess.reporting.templates import render
from minivess.text import counted

_WIDTH = 460
_WIDEST_UM = 20.0
"""Diameter at the end of the colour scale."""
_MOST_LINES = SERIES
_MOST_PICTURES = 24


@dataclass(frozen=True)
class MaskPicture:
    """A mask on the page: its name and the projection of its graph as a data URI."""

    name: str
    image: str


def write_measure_page(out: Path, found: Sequence[MaskMeasures]) -> Path:
    """Write ``index.html`` with tables and figures of all masks, and return its path."""
    page = render(
        "measures.html.j2",
        (counted,),
        found=found,
        figures=[_diameter_figure(found), _depth_figure(found)],
        pictures=[MaskPicture(one.name, _picture(one)) for one in found[:_MOST_PICTURES]],
        widest_um=_WIDEST_UM,
        colours=[_css_colour(share) for share in np.linspace(0, 1, 8)],
    )
    write_text(out / "index.html", page)
    return out / "index.html"


def _diameter_figure(found: Sequence[MaskMeasures]) -> Markup:
    """Share of the vessel length at each diameter, a line for each mask."""
    middles = (DIAMETER_BINS_UM[1:] + DIAMETER_BINS_UM[:-1]) / 2
    shares = [100 * one.diameter_lengths_um / (one.diameter_lengths_um.sum() or 1) for one in found]
    last = max((int(np.flatnonzero(share)[-1]) for share in shares if share.any()), default=10) + 2
    lines = [(middles[:last], share[:last]) for share in shares]
    alt = f"Share of the vessel length at each diameter of {counted(len(found), 'mask')}"
    return _lines(found, lines, "diameter (µm)", "share of the length (%)", "diameters", alt)


def _depth_figure(found: Sequence[MaskMeasures]) -> Markup:
    """Length density by depth."""
    lines = [(one.depth_um, one.depth_density) for one in found]
    alt = f"Length density by depth of {counted(len(found), 'mask')}"
    return _lines(found, lines, "depth below the first slice (µm)", "length density (mm/mm³)", "depth", alt)


def _lines(
    found: Sequence[MaskMeasures],
    lines: Sequence[tuple[np.ndarray, np.ndarray]],
    across: str,
    up: str,
    name: str,
    alt: str,
) -> Markup:
    with drawing():
        figure = Figure(figsize=(7.4, 2.9), layout="constrained")
        axes = figure.add_subplot()
        few = len(found) <= _MOST_LINES
        for number, (one, (x, y)) in enumerate(zip(found, lines, strict=True)):
            colour = paint(f"series-{number % SERIES}" if few else "muted")
            axes.plot(x, y, color=colour, linewidth=1.4 if few else 0.7, label=one.name, gid=f"line-{number}")
        axes.set_xlabel(across)
        axes.set_ylabel(up)
        axes.set_ylim(bottom=0)
        if few and len(found) > 1:
            axes.legend(frameon=False, fontsize=8)
        return to_svg(figure, name, alt, {f"line-{number}": one.name for number, one in enumerate(found)})


def _picture(one: MaskMeasures) -> str:
    mask, diameter = one.picture
    known = np.nan_to_num(diameter, nan=-1.0)
    wide = grey_dilation(known, size=(3, 3)) if max(mask.shape) > 150 else known
    pixels = np.where(mask, 90, 25).astype(np.uint8)[..., None].repeat(3, axis=-1)
    drawn = wide >= 0
    pixels[drawn] = (255 * colormaps["viridis"](np.clip(wide[drawn] / _WIDEST_UM, 0, 1))[:, :3]).astype(np.uint8)
    picture = Image.fromarray(np.ascontiguousarray(pixels.swapaxes(0, 1)))
    factor = max(1, _WIDTH // max(picture.size))
    size = picture.width * factor, picture.height * factor
    return as_data_uri(picture.resize(size, Image.Resampling.NEAREST), 2 * _WIDTH)


def _css_colour(share: float) -> str:
    red, green, blue = (round(255 * part) for part in colormaps["viridis"](share)[:3])
    return f"rgb({red}, {green}, {blue})"
