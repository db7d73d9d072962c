"""Fill the templates of the HTML pages. A page holds its style and its script, and runs no other script."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

_HERE = Path(__file__).parent


def render(template: str, filters: Iterable[Callable[..., Any]], script: str = "", **values: Any) -> str:
    """Return a page.

    Args:
        template: File name of the template. It also gets ``style``, ``script`` and ``script_hash``.
        filters: Functions that the template uses as filters, by their names.
        script: File name of the script of the page; "" for none.
        values: Variables of the template.
    """
    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update({function.__name__: function for function in filters})
    code = (_HERE / script).read_text(encoding="utf-8") if script else ""
    return environment.get_template(template).render(
        style=Markup((_HERE / "report.css").read_text(encoding="utf-8")),
        script=Markup(code),
        script_hash=base64.b64encode(hashlib.sha256(code.encode()).digest()).decode(),
        **values,
    )
