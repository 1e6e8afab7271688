"""The cells of docs/walkthrough.md run in order, offline, and make what they promise; the notebook has them, too."""

from __future__ import annotations

import io
import json
import re
import runpy
import socket
import zipfile
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.pipeline import ROOT
from PIL import Image

from ganealogy import api

PAGE = (ROOT / "docs" / "walkthrough.md").read_text("utf-8")
MAKE: dict[str, Any] = runpy.run_path(str(ROOT / "docs" / "make_notebook.py"))
CODE = [text for kind, text in MAKE["cells"](PAGE) if kind == "code"]
BUDGET = {"PICTURES = 1500": "PICTURES = 140", "KIMG = 16": "KIMG = 0.512", "WIDTH = 32": "WIDTH = 4"}


def smaller(cell: str) -> str:
    for shown, tiny in BUDGET.items():
        cell = cell.replace(shown, tiny)
    return cell


def test_the_notebook_has_the_pages_cells() -> None:
    text = (ROOT / "docs" / "walkthrough.ipynb").read_text("utf-8")
    assert text == MAKE["notebook"](PAGE), "python docs/make_notebook.py"
    content = json.loads(text)
    assert ["".join(cell["source"]) for cell in content["cells"] if cell["cell_type"] == "code"] == CODE
    texts = ["".join(cell["source"]) for cell in content["cells"] if cell["cell_type"] == "markdown"]
    assert not any("```python" in text for text in texts), "each block is a cell"
    assert len({cell["id"] for cell in content["cells"]}) == len(content["cells"])


def test_it_has_sixteen_steps() -> None:
    assert re.findall(r"^## (\d+)\. ", PAGE, flags=re.M) == [str(number) for number in range(1, 17)]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], str]:
    """The cells run with a tiny budget and no network: their folder, their names, and what they print."""
    folder = tmp_path_factory.mktemp("walk")
    assert all(sum(shown in cell for cell in CODE) == 1 for shown in BUDGET), "the budget is in one place"
    names: dict[str, Any] = {"__name__": "walkthrough"}
    printed = io.StringIO()

    def refused(*_: object) -> None:
        raise OSError("the walkthrough needs no network")

    with pytest.MonkeyPatch.context() as patch, redirect_stdout(printed):
        patch.chdir(folder)
        patch.delenv("GANEALOGY_MIRROR", raising=False)
        patch.setenv("MPLBACKEND", "Agg")
        patch.setattr(socket, "getaddrinfo", refused)
        for number, cell in enumerate(map(smaller, CODE)):
            exec(compile(cell, f"walkthrough.md, cell {number}", "exec"), names)
    return folder / "walkthrough", names, printed.getvalue()


def test_every_cell_runs_and_the_files_exist(ran: tuple[Path, dict[str, Any], str]) -> None:
    out, _, printed = ran
    for name in ("reals.png", "untrained.png", "trained.png", "losses.png", "progress.gif", "shared.zip"):
        assert (out / name).stat().st_size > 100, name
    with Image.open(out / "progress.gif") as film:
        assert film.n_frames > 1
    assert np.load(out / "samples-trained.npy").shape == (500, 16, 16, 3)
    assert "finished" in printed and "fd_pixel8" in printed and "LeakyReLU 0.2" in printed


def test_the_training_changes_the_generator(ran: tuple[Path, dict[str, Any], str]) -> None:
    out, names, _ = ran
    assert (out / "untrained.png").read_bytes() != (out / "trained.png").read_bytes()
    assert api.Training(out / "training").curves["kimg"].iloc[-1] == pytest.approx(0.512)
    assert len(names["frames"]) == 9, "the untrained generator's, and eight ticks"


def test_the_shared_files_are_all_that_another_person_needs(
    ran: tuple[Path, dict[str, Any], str], tmp_path: Path
) -> None:
    out, names, _ = ran
    with zipfile.ZipFile(out / "shared.zip") as archive:
        archive.extractall(tmp_path)
    received = api.Training(tmp_path).load_generator()
    assert (received.generate(4, seed=5) == names["trained"].generate(4, seed=5)).all()
    assert not (tmp_path / "checkpoints").exists()
