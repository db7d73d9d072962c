"""Memory sizes as people write and read them. Everywhere in minivess "GB" on input means GiB, 2**30 bytes.

Memory is made in powers of two, so a card sold as 8 GB holds 8 GiB; "8GB", "8 GiB" and "8" are one size.
"""

from __future__ import annotations

import re

from minivess.errors import ConfigError

MIB = 2**20
GIB = 2**30

_UNITS = {"": GIB, "M": MIB, "G": GIB, "T": 2**40}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([MGT])(?:i?B)?)?", re.IGNORECASE)


def parse_size(text: str) -> int:
    """Bytes of a size such as "8GB", "8 GiB", "512 MB" or "24" (a bare number is GiB).

    Raises:
        ConfigError: It is not a positive number with one of those units.
    """
    match = _SIZE.fullmatch(text.strip())
    size_bytes = int(float(match[1]) * _UNITS[(match[2] or "").upper()]) if match else 0
    if size_bytes <= 0:
        raise ConfigError("a memory size above zero", repr(text), 'write it as "8GB", "512MB" or "24" (GiB)')
    return size_bytes


def format_gib(size_bytes: float) -> str:
    """``"24.0 GiB"``; below a tenth of one ``"48 MiB"``."""
    return f"{size_bytes / GIB:.1f} GiB" if size_bytes >= 0.1 * GIB else f"{size_bytes / MIB:.0f} MiB"
