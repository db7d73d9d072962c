"""Digests in the first line of JSON and YAML files, so that damage is seen when a file is read.

A sealed JSON object begins with ``{"digest": "..."``; it stays valid JSON. A sealed YAML file begins with the comment
``# digest: ...``. The digest (BLAKE2b, 16 bytes) is that of the text without it.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

_JSON = re.compile(r'\{"digest": "([0-9a-f]{32})"(?:, ?)?(.*)', re.DOTALL)
_YAML = re.compile(r"# digest: ([0-9a-f]{32})\n(.*)", re.DOTALL)


def seal(text: str) -> str:
    """Return the text of a JSON object, or YAML text, with its digest in the first line.

    A JSON object is recognised by its first character, an opening brace.
    """
    digest = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    if not text.startswith("{"):
        return f"# digest: {digest}\n{text}"
    rest = text[1:]
    comma = "" if rest.lstrip().startswith("}") else "," if rest.startswith("\n") else ", "
    return f'{{"digest": "{digest}"{comma}{rest}'


def unseal(text: str) -> str:
    """Return the text without its digest.

    Text without a digest, such as that of an older version, is returned as it is.

    Raises:
        ValueError: The text does not match its digest, or the beginning of its first line is damaged.
    """
    found = (_JSON if text.startswith("{") else _YAML).fullmatch(text)
    if found is not None:
        content = f"{{{found[2]}" if text.startswith("{") else found[2]
        if seal(content) == text:
            return content
        raise ValueError("its content does not match its digest")
    for start in ('{"digest": "', "# digest: "):
        if sum(a != b for a, b in zip(start, text, strict=False)) < len(start) // 2 < len(text):
            raise ValueError("its digest is damaged")
    return text


def digest_of_file(path: Path) -> str:
    """Return the digest (BLAKE2b, 16 bytes, hexadecimal) of the bytes of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
