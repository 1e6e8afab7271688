"""The stages on a system without Unix's modules, functions and signals, which is imitated here: see
helpers/other_system.
"""

from __future__ import annotations

import ast
import os
import sys
from pathlib import Path

import pytest
from helpers.pipeline import Workspace, fresh

STAGES = ("inputs", "plan", "download", "preprocess", "reference", "train v1", "sample v1", "evaluate v1", "report")
ELSEWHERE = str(Path(__file__).parent / "helpers/other_system")
SHADOWS = ("random", "statistics", "torch", "mlflow", "types", "secrets")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return fresh(tmp_path_factory.mktemp("elsewhere") / "w")


@pytest.mark.slow
def test_a_tiny_pipeline_runs_without_unix(workspace: Workspace) -> None:
    for name in SHADOWS:  # files of a person that are called as libraries are
        (workspace.path / f"{name}.py").write_text("raise SystemExit('the wrong module')\n")
    for stage in STAGES:
        workspace.run(sys.executable, "src/ganealogy", *stage.split(), PYTHONPATH=ELSEWHERE)
    assert (workspace.path / "reports/index.html").is_file()
    assert (workspace.path / "build/runs/v1/evaluate/0/metrics.json").is_file()


def test_the_imitation_hides_what_it_says(workspace: Workspace) -> None:
    code = "import {0}; print({0}.{1})"
    for module, name in [("os", "pread"), ("signal", "SIGKILL"), ("os", "fchmod")]:
        probe = workspace.path / "src/ganealogy/probe.py"
        probe.write_text(code.format(module, name))
        try:
            command = (sys.executable, "-c", "import ganealogy.probe")
            done = workspace.run(*command, check=False, PYTHONPATH=f"{ELSEWHERE}{os.pathsep}src")
        finally:
            probe.unlink()
        assert done.returncode == 1 and "on this system" in done.stdout


def test_a_module_of_the_current_directory_replaces_none(workspace: Workspace) -> None:
    for name in SHADOWS:  # not one that Python itself reads for `-m`
        (workspace.path / f"{name}.py").unlink(missing_ok=True)
    (workspace.path / "statistics.py").write_text("raise SystemExit('the wrong module')\n")
    for command in (["src/ganealogy"], ["-m", "ganealogy"]):
        assert "family tree" in workspace.run(sys.executable, *command, "--help").stdout


def test_unix_is_used_only_behind_a_question() -> None:
    """Modules that other systems lack are imported inside functions, where a fallback can catch it."""
    found = {}
    for path in Path("src/ganealogy").rglob("*.py"):
        names = {
            alias.name
            for node in ast.parse(path.read_text(encoding="utf-8")).body
            if isinstance(node, ast.Import)
            for alias in node.names
        }
        if used := names & {"fcntl", "resource", "pwd", "grp", "termios"}:
            found[path.name] = used
    assert not found
