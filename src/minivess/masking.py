"""Mask passwords and tokens in addresses before they are shown or saved. Every error message is masked."""

from __future__ import annotations

import re

_USER = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*://)(?!/)(\S*)@")
_SECRET = re.compile(
    r"([?&;][^=&;\s]*(?:pass|pwd|token|secret|key|sig|auth|cred|odbc)[^=&;\s]*=)[^&;#\s]+", re.IGNORECASE
)


def mask_uri(text: str) -> str:
    """Return text in which ``***`` replaces user names, passwords and tokens of every URI.

    Everything between ``://`` and the last ``@`` is masked, because a password may contain any character, and every value in
    a query whose name looks like that of a password.

    Args:
        text: A URI, or a message with URIs in it.
    """
    return _SECRET.sub(r"\1***", _USER.sub(r"\1***@", text))


def has_password(uri: str) -> bool:
    """Whether a URI contains a password or token. The user name of a database alone is none; that of a server is a token."""
    user = re.match(r"([^:/]+://)(?!/)(.*)@", uri, re.DOTALL)
    return _SECRET.search(uri) is not None or (user is not None and (":" in user[2] or user[1].startswith("http")))
