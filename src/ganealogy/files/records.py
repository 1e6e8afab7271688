"""Read the JSON records that stages leave. Their types are in workspace.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ganealogy.errors import GanealogyError


def read_record(path: Path, hint: str, keys: tuple[str, ...] = ()) -> Any:
    """Return a record as a mapping that has `keys`.

    Raises: GanealogyError naming the file, what is wrong with it, and `hint`, which says what to type.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise GanealogyError(f"{path}: no such file; {hint}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise GanealogyError(f"{path}: cannot be read ({error}); {hint}") from None
    if not isinstance(content, dict):
        raise GanealogyError(f"{path}: expected a JSON mapping, found {type(content).__name__}; {hint}")
    missing = [key for key in keys if key not in content]
    if missing:
        raise GanealogyError(f"{path}: lacks {', '.join(missing)}; {hint}")
    return content
