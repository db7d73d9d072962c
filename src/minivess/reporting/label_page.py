"""The list of doubtful label regions of a run, as a CSV file and as a page with pictures to work through."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from PIL import Image

from minivess.atomic import write_text
from minivess.csv_text import csv_text
from minivess.data.formats.nifti import read_volume
from minivess.experiments.check_labels import CaseDoubt, Opinion
from minivess.reporting.overlays import FALSE, FOUND, MISSED, as_data_uri
from minivess.reporting.templates import render
from minivess.text import counted

_HALF = 40
"""Half the edge of a picture, in voxels."""
_WIDTH = 240
"""Width of a picture in pixels."""


@dataclass(frozen=True)
class RegionView:
    """A region on the page.

    Attributes:
        rank: Its rank, from 1.
        found: The region.
        image: Data URI of the slice of the image around its peak.
        masks: Data URI of that slice with label and networks in colour.
        place_um: The peak in micrometre along X, Y and Z.
    """

    rank: int
    found: CaseDoubt
    image: str
    masks: str
    place_um: tuple[float, float, float]


def regions_csv(regions: Sequence[CaseDoubt]) -> str:
    """Return all regions as CSV, one row each. Indices of voxels count from 0."""
    ends = [f"{axis}_{end}" for end in ("first", "last") for axis in "xyz"]
    heading = ["rank", "case", "kind", "x", "y", "z", *ends, "voxels", "volume_um3", "agreement", "networks", "score"]
    rows = [
        [
            rank, one.case, one.doubt.kind, *one.doubt.peak, *one.doubt.first, *one.doubt.last, one.doubt.voxels,
            round(one.doubt.volume_um3, 2), round(one.doubt.agreement, 3), one.networks, round(one.doubt.score, 2),
        ]
        for rank, one in enumerate(regions, start=1)
    ]  # fmt: skip
    return csv_text(heading, rows)


def write_label_page(
    out: Path, run: str, regions: Sequence[CaseDoubt], ask: Callable[[str], Opinion], pictures: int
) -> Path:
    """Write ``regions.csv`` and ``index.html``.

    Args:
        out: Folder for the two files.
        run: Name of the run.
        regions: All regions, the most doubtful first.
        ask: Returns what the networks say about a case.
        pictures: Number of regions on the page.

    Returns:
        Path of the page.
    """
    shown = sorted(enumerate(regions[:pictures], start=1), key=lambda item: (item[1].case, item[0]))
    views = [
        view for case, own in groupby(shown, key=lambda item: item[1].case) for view in _draw_case(ask(case), list(own))
    ]
    page = render(
        "labels.html.j2",
        (counted,),
        "labels.js",
        run=run,
        views=sorted(views, key=lambda view: view.rank),
        total=len(regions),
        missing=sum(one.doubt.kind == "missing" for one in regions),
        colours={"both": FOUND, "networks": FALSE, "label": MISSED},
        width=_WIDTH,
    )
    write_text(out / "regions.csv", regions_csv(regions))
    write_text(out / "index.html", page)
    return out / "index.html"


def _draw_case(asked: Opinion, ranked: Sequence[tuple[int, CaseDoubt]]) -> list[RegionView]:
    volume = read_volume(Path(asked.volume.image), exact=asked.volume.needs_float64)
    views = []
    for rank, one in ranked:
        x, y, z = one.doubt.peak
        window = _window(x, volume.shape[0]), _window(y, volume.shape[1])
        grey = _grey(volume[(*window, z)])
        label, seen = asked.label[(*window, z)], asked.share[(*window, z)] > 0.5
        coloured = np.repeat((0.5 * grey)[..., None], 3, axis=-1).astype(np.uint8)
        for colour, where in ((FOUND, label & seen), (FALSE, seen & ~label), (MISSED, label & ~seen)):
            coloured[where] = colour
        sizes_um = asked.volume.spacing_um
        views.append(
            RegionView(
                rank=rank,
                found=one,
                image=_enlarged(grey),
                masks=_enlarged(coloured),
                place_um=(x * sizes_um[0], y * sizes_um[1], z * sizes_um[2]),
            )
        )
    return views


def _grey(values: np.ndarray) -> np.ndarray:
    """Return pixels from 0 to 255; the 1st to 99.7th percentiles of the slice are spread over them."""
    finite = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = np.percentile(finite, (1, 99.7))
    return (255 * np.clip((finite - low) / ((high - low) or 1), 0, 1)).astype(np.uint8)


def _window(at: int, size: int) -> slice:
    """Return the part of an axis around an index: 2 x 40 voxels, or the whole axis if it is shorter."""
    start = min(max(at - _HALF, 0), max(size - 2 * _HALF, 0))
    return slice(start, start + 2 * _HALF)


def _enlarged(pixels: np.ndarray) -> str:
    picture = Image.fromarray(np.ascontiguousarray(pixels.swapaxes(0, 1)))
    factor = _WIDTH / max(picture.size)
    size = round(factor * picture.width), round(factor * picture.height)
    return as_data_uri(picture.resize(size, Image.Resampling.NEAREST), _WIDTH)
