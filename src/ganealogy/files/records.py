"""Read the JSON records that stages leave. Their types are in workspace.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ganealogy.errors import GanealogyError


class RecordError(GanealogyError):
    """A record cannot be used: `fault` says why, `absent` whether there is no such file."""

    def __init__(self, path: Path, fault: str, hint: str, absent: bool = False) -> None:
        super().__init__(f"{path}: {fault}; {hint}")
        self.fault, self.absent = fault, absent


def read_record(path: Path, hint: str, keys: tuple[str, ...] = ()) -> Any:
    """Return a record as a mapping that has `keys`.

    Raises: RecordError naming the file, what is wrong with it, and `hint`, the remedy.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecordError(path, "no such file", hint, absent=True) from None
    except (OSError, ValueError, RecursionError) as error:
        raise RecordError(path, f"cannot be read ({getattr(error, 'strerror', None) or error})", hint) from None
    if not isinstance(content, dict):
        raise RecordError(path, f"expected a JSON mapping, found {type(content).__name__}", hint)
    if missing := [key for key in keys if key not in content]:
        raise RecordError(path, f"lacks {', '.join(missing)}", hint)
    return content
