"""Convert a matplotlib figure to inline SVG that uses the colours and the font of the page, light or dark."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import matplotlib
from markupsafe import Markup
from matplotlib.figure import Figure

SERIES = 8
"""Number of colours for losses, ``--series-0`` and so on in report.css. The ninth loss has the first colour again."""

_NAMES = ("ink", "muted", "rule", "paper", "limit", "baseline", *(f"series-{number}" for number in range(SERIES)))
_CODES = {name: f"#0000{number + 1:02x}" for number, name in enumerate(_NAMES)}

_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "minivess",
    "text.parse_math": False,
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.linewidth": 0.6,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "text.color": _CODES["ink"],
    "axes.titlecolor": _CODES["ink"],
    "axes.labelcolor": _CODES["muted"],
    "axes.edgecolor": _CODES["rule"],
    "grid.color": _CODES["rule"],
    "xtick.color": _CODES["muted"],
    "ytick.color": _CODES["muted"],
}


def paint(name: str) -> str:
    """Return the colour that represents the variable ``--name`` of report.css in matplotlib."""
    return _CODES[name]


@contextmanager
def drawing() -> Iterator[None]:
    """Context in which the figures of a report are drawn and saved."""
    with matplotlib.rc_context(_STYLE):  # type: ignore[arg-type]
        yield


def to_svg(figure: Figure, name: str, alt: str, hover: Mapping[str, str] | None = None) -> Markup:
    """Convert a figure to an ``<svg>`` element for a page.

    Args:
        figure: A figure that was drawn within ``drawing``, with colours from ``paint``.
        name: Name of the figure, unique in the page. All ids start with it.
        alt: Description of the figure for screen readers.
        hover: For the gid of an artist, the text that is shown under the pointer.

    Returns:
        The element.
    """
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None})
    _, _, body = text.getvalue().partition("</metadata>")
    view = re.search(r'viewBox="[^"]*"', text.getvalue())
    assert view is not None
    body = re.sub(r"<style.*?</style>", "", body, count=1, flags=re.DOTALL)
    body = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", body)
    body = re.sub(r"font-family: [^;\"]*;? ?", "", body)
    body = re.sub(r"#0000([0-9a-f]{2})", _css_variable, body)
    body = body.replace('id="', f'id="{name}-').replace("url(#", f"url(#{name}-")
    body = body.replace('xlink:href="#', f'href="#{name}-')
    for gid, words in (hover or {}).items():
        group = f'<g id="{name}-{gid}">'
        body = body.replace(group, f"{group}<title>{html.escape(words)}</title>", 1)
    return Markup(f'<svg id="{name}-svg" {view[0]} role="img" aria-label="{html.escape(alt)}">{body}')


def name_of(element: Markup) -> str:
    """Return the name that was passed to ``to_svg``."""
    return element.partition('id="')[2].partition('-svg"')[0]


def standalone(element: Markup) -> str:
    """Convert an element from ``to_svg`` to an SVG file in the light colours of report.css, without a background."""
    light = (Path(__file__).parent / "report.css").read_text(encoding="utf-8").partition("@media")[0]
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", light))
    text = re.sub(r"var\(--([\w-]+)\)", lambda match: colours[match[1]], str(element))
    return text.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" font-family="sans-serif" ', 1) + "\n"


def _css_variable(match: re.Match[str]) -> str:
    number = int(match[1], 16) - 1
    return f"var(--{_NAMES[number]})" if 0 <= number < len(_NAMES) else match[0]
