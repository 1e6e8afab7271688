"""Addresses of stores and remotes without passwords, for messages."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://(?:(?![a-z][a-z0-9+.-]*://)\S)*", re.IGNORECASE)
SECRET = re.compile(
    r"((?:passw|pwd|token|secret|signature|credential|api_?key|access_?key|\bsig\b)[\w.-]*(?:=|%3D))[^\s&;'\"]+",
    re.IGNORECASE,
)
"""A password or token as `name=value`, also in a quoted value of an address."""


def without_secrets(text: str) -> str:
    """Return the text without user names and passwords of addresses, and with `***` for `password=…`, `token=…`."""
    return SECRET.sub(r"\1***", ADDRESS.sub(_without_user, text))


def _without_user(found: re.Match[str]) -> str:
    scheme, _, rest = found[0].partition("://")
    place = re.split("[/?#]", rest)[0]
    try:
        is_whole = urlsplit(f"//{place}").port is None or "sql" not in scheme.lower()
    except ValueError:  # what follows the colon is no port: a password with `/`, `?` or `#`
        is_whole = False
    place = place if is_whole else rest
    return f"{scheme}://{rest[place.rfind('@') + 1 :]}"
