"""Read the JSON records that stages leave. Their types are in record_types.py."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from ganealogy.errors import GanealogyError, Remedy

MAX_BYTES = 2**28
"""Of a record; the largest ones list pictures."""


class RecordError(GanealogyError):
    """A record cannot be used: `fault` says why, `absent` whether there is no such file."""

    def __init__(self, path: Path, fault: str, hint: str | Remedy, absent: bool = False) -> None:
        if isinstance(hint, Remedy):
            hint = hint.absent if absent else hint.damaged
        super().__init__(f"{path}: {fault}; {hint}")
        self.fault, self.absent = fault, absent


def read_record(path: Path, hint: str | Remedy, keys: tuple[str, ...] = (), kind: Any = None) -> Any:
    """Return a record as a mapping that has `keys`.

    `kind`: its TypedDict. Everything below `keys` must have its types; all of the record if no keys are given.

    Raises: RecordError naming the file, what is wrong with it, and `hint`, the remedy.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise RecordError(path, f"more than {MAX_BYTES:,} bytes", hint)
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecordError(path, "no such file", hint, absent=True) from None
    except (OSError, ValueError, RecursionError) as error:
        raise RecordError(path, f"cannot be read ({getattr(error, 'strerror', None) or error})", hint) from None
    if not isinstance(content, dict):
        raise RecordError(path, f"expected a JSON mapping, found {type(content).__name__}", hint)
    if missing := [key for key in keys if key not in content]:
        raise RecordError(path, f"lacks {', '.join(missing)}", hint)
    if kind is not None and (fault := _type_fault(content, kind, keys)):
        raise RecordError(path, fault, hint)
    return content


def _type_fault(content: dict[str, Any], kind: Any, keys: tuple[str, ...]) -> str:
    """Return the first value of another type than `kind` has, or that it lacks; empty if there is none."""
    from pydantic import ValidationError

    try:
        _adapter(kind).validate_python(content, strict=True)
    except ValidationError as error:
        for fault in error.errors(include_url=False, include_context=False, include_input=False):
            if not keys or fault["loc"][0] in keys:
                place = ".".join(str(part)[:60] for part in fault["loc"])
                return f"lacks {place}" if fault["type"] == "missing" else f"{place}: {fault['msg'].lower()}"
    return ""


@cache
def _adapter(kind: Any) -> Any:
    from pydantic import TypeAdapter  # imported here: stages that read no typed record start without it

    return TypeAdapter(kind)
