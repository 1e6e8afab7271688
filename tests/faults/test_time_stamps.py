"""Files from before 1970 and after 2107, as broken clocks and unpacked archives leave them, change nothing."""

from __future__ import annotations

import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from helpers import trainings

from ganealogy import api
from ganealogy.evaluation import standalone
from ganealogy.runs import store
from ganealogy.workspace import STORE, run_dir

STAMPS = {"1901": -2_177_452_800, "1969": -1, "2200": 7_258_118_400}


@pytest.mark.parametrize("year", STAMPS)
def test_stages_end_in_the_same_bytes(year: str, workspace: Path) -> None:
    before = trainings.result(workspace, "v1")
    shutil.rmtree(workspace / STORE / "sample")
    shutil.rmtree(workspace / STORE / "evaluate")
    for path in [*workspace.rglob("*")]:
        if path.is_file() and not path.is_symlink():
            os.utime(path, (STAMPS[year], STAMPS[year]))
    for verb in ("inputs", "sample v1", "evaluate v1"):
        code, said = trainings.run(trainings.verb, workspace, *verb.split())
        assert code == 0, f"{verb}: {said}"
    code, said = trainings.run(trainings.report, workspace)
    assert code == 0, said
    assert trainings.result(workspace, "v1") == before
    assert len(api.runs(workspace)) == 1 and not list(store.leftovers(workspace))
    assert (workspace / run_dir("v1", 0).folders["evaluate"]).is_dir()


@pytest.mark.parametrize("year", STAMPS)
def test_sets_of_pictures_are_measured(year: str, workspace: Path) -> None:
    for path in (workspace / "pictures").iterdir():
        os.utime(path, (STAMPS[year], STAMPS[year]))
    with zipfile.ZipFile(workspace / "set.zip", "w", strict_timestamps=False) as archive:
        for path in (workspace / "pictures").iterdir():
            archive.write(path, path.name)
    os.utime(workspace / "set.zip", (STAMPS[year], STAMPS[year]))
    result = standalone.run(workspace / "pictures", workspace / "set.zip", ["pixel8"])
    assert result is not None and np.isclose(result.metrics["fd_pixel8"], 0, atol=1e-6)
