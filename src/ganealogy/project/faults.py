"""Turn what a project's own code raises into one line: where, and what."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ganealogy.errors import GanealogyError, one_line
from ganealogy.workspace import COMPONENTS


@contextmanager
def explained(faults: list[str], where: str = "") -> Iterator[None]:
    """Append an error to `faults` instead of raising it. `where`: the file, of an error that does not name one."""
    try:
        yield
    except GanealogyError as error:
        text = str(error)
        faults.append(text if not where or text.startswith(where) else f"{where}: {text}")
    except Exception as error:  # own code may raise anything
        place = _line_of(error) or where
        kind = type(error).__name__
        text = one_line(error)
        said = kind if text == kind else f"{kind}: {text}"
        faults.append(f"{place}: {said}" if place else said)


def _line_of(error: Exception) -> str:
    """Return file and line of the deepest frame in the project's own components; empty if there is none."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{_short(Path(error.filename))}:{error.lineno}"
    root = COMPONENTS.resolve()
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if root in Path(frame.filename).parents]
    return f"{_short(Path(frames[-1].filename))}:{frames[-1].lineno}" if frames else ""


def _short(path: Path) -> Path:
    root = COMPONENTS.resolve().parent
    return path.relative_to(root) if path.is_relative_to(root) else path
