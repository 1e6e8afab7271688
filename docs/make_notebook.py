"""Write docs/walkthrough.ipynb from docs/walkthrough.md: `python docs/make_notebook.py`. A test compares the two."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

PAGE = Path(__file__).with_name("walkthrough.md")
FENCE = re.compile(r"^```python\n(.*?)^```\n", flags=re.S | re.M)


def cells(page: str) -> list[tuple[str, str]]:
    """Return (`markdown` or `code`, text) of each cell of the notebook: a Python block is a code cell."""
    parts = FENCE.split(page)  # text, code, text, ...
    kinds = ["markdown", "code"] * len(parts)
    return [(kind, text.strip("\n")) for kind, text in zip(kinds, parts, strict=False) if text.strip()]


def notebook(page: str) -> str:
    """Return the notebook of a page, format 4.5, without outputs: https://nbformat.readthedocs.io."""
    made: list[dict[str, Any]] = []
    for number, (kind, text) in enumerate(cells(page)):
        cell: dict[str, Any] = {"cell_type": kind, "id": f"cell-{number}", "metadata": {}}
        if kind == "code":
            cell |= {"execution_count": None, "outputs": []}
        made.append({**cell, "source": text.splitlines(keepends=True)})
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    content = {"cells": made, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    PAGE.with_suffix(".ipynb").write_text(notebook(PAGE.read_text("utf-8")), "utf-8")
