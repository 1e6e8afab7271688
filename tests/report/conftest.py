"""Fabricated projects with the files of all stages: shared, to modify, and with forty versions."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from helpers.fabricated import entry, fabricate, fabricate_data, fabricate_plan, fabricate_run, recipe


@pytest.fixture(scope="session")
def shared_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shared by tests that only read."""
    return fabricate(tmp_path_factory.mktemp("fabricated") / "project")


@pytest.fixture
def project(shared_project: Path, tmp_path: Path) -> Path:
    """A copy to modify."""
    return Path(shutil.copytree(shared_project, tmp_path / "project", ignore=shutil.ignore_patterns("reports")))


@pytest.fixture
def crowd(tmp_path: Path) -> Path:
    """Forty versions in one line and three seeds; only one run is trained."""
    names = [f"v{number}" for number in range(1, 41)]
    entries = [
        entry(name, f"Idea {name}", parent, {}, recipe()) for name, parent in zip(names, [None, *names], strict=False)
    ]
    fabricate_plan(tmp_path, entries, [0, 1, 2])
    fabricate_data(tmp_path)
    fabricate_run(tmp_path, "v1", 0, 0.9)
    return tmp_path
