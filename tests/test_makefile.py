"""The Makefile's targets that no other test runs, its set-ups, and their locks."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import shlex
import shutil
import sys
import tomllib
from pathlib import Path

import pytest
from helpers.pipeline import ROOT, Workspace

from ganealogy.runtime import reinstall

RUNNING, DEVELOPING = "requirements.lock", "requirements-dev.lock"
SET_UPS = (".venv/.ready", ".venv/.ready-dev", ".venv/.ready-live")


def test_the_fast_tests_are_most_of_the_unit_tests(tmp_path: Path) -> None:
    """Collected, not run: each of them runs in this suite too."""
    workspace = Workspace(ROOT)
    shown = workspace.run("make", "-n", "test-fast", "--assume-old", ".venv/.ready-dev", PYTEST_ARGS="").stdout
    (arguments,) = re.findall(r"-m pytest .*? -m '(?:.+?)' (.+)", shown)
    folders = arguments.split()
    assert all((ROOT / folder).exists() for folder in folders)
    listed = workspace.run(
        sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", "not slow and not soak", *folders
    )
    assert int(re.findall(r"(\d+)(?:/\d+)? tests collected", listed.stdout)[0]) > 500


def locked(name: str) -> dict[str, str]:
    """Return `package==version ; marker` → the whole entry without comments."""
    text = re.sub(r"^ +#.*\n", "", (ROOT / name).read_text(), flags=re.M)
    entries = re.findall(r"^\S.*\n(?: .*\n)*", text, flags=re.M)
    assert "".join(entries) == text
    return {entry.splitlines()[0].rstrip("\\ "): entry for entry in entries}


def distribution(name: str) -> str:
    """Return the normal form of a distribution's name, without extras, version and marker."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\[<>=!~; ]", name)[0]).lower()


def packages(name: str) -> set[str]:
    return {distribution(entry) for entry in locked(name)}


def test_the_locks_agree() -> None:
    """What runs is tested: each entry of the running lock, with marker and hashes, is one of the other's."""
    running, developing = locked(RUNNING), locked(DEVELOPING)
    assert running.items() < developing.items()


@pytest.mark.parametrize("name", [RUNNING, DEVELOPING])
def test_each_package_of_a_lock_has_hashes_and_no_address(name: str) -> None:
    for package, entry in locked(name).items():
        assert re.fullmatch(r"[a-z0-9-]+==[\w.]+( ; .+)?", package)
        assert all(re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}( \\)?", line) for line in entry.splitlines()[1:])
        assert "--hash" in entry
    assert not re.search(r"://|index-url|find-links|\bfile:", (ROOT / name).read_text())


def test_the_locks_have_what_pyproject_names() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = {distribution(line) for line in project["dependencies"]}
    extras = {distribution(line) for lines in project["optional-dependencies"].values() for line in lines}
    assert needed <= packages(RUNNING)
    assert extras - {"ganealogy"} <= packages(DEVELOPING)


def test_each_import_is_of_the_running_lock_or_of_an_extra() -> None:
    """An extra is imported where it is used, so that the rest runs without it. `dev` is no extra for users."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    optional = {distribution(line) for name, lines in extras.items() if name != "dev" for line in lines}
    providers = importlib.metadata.packages_distributions()
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module]
            for top in {name.split(".")[0] for name in names} - sys.stdlib_module_names - {"ganealogy"}:
                provided_by = {distribution(name) for name in providers.get(top, [])}
                allowed = packages(RUNNING) | (optional if node.col_offset else set())
                assert provided_by & allowed, f"{path}:{node.lineno}: {top}"


@pytest.fixture
def checkout(tmp_path: Path) -> Workspace:
    """The files that the set-ups depend on, and an environment with all of them, finished."""
    for name in ("Makefile", "pyproject.toml", RUNNING, DEVELOPING):
        shutil.copy(ROOT / name, tmp_path)
        os.utime(tmp_path / name, (1_000, 1_000))
    (tmp_path / ".venv").mkdir()
    for age, name in enumerate(SET_UPS):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (2_000 + age, 2_000 + age))
    return Workspace(tmp_path)


def set_up(workspace: Workspace, target: str) -> list[tuple[str, str]]:
    """Return what `make target` would give to `uv pip`: verb and lock, or verb and extra."""
    lines = workspace.run("make", "-n", target).stdout.splitlines()
    used = [line for line in lines if "-m uv pip " in line and "--editable" not in line]
    return [re.findall(r"uv pip (\w+) .*?(--extra \w+|[\w-]+\.lock)", line)[0] for line in used]


RUN = ("install", RUNNING)
DEVELOP = ("sync", DEVELOPING)
LIVE = ("install", "--extra live")


def test_a_fresh_checkout_installs_what_the_target_needs(checkout: Workspace) -> None:
    for name in SET_UPS:
        (checkout.path / name).unlink()
    for target in ("setup", "repro", "ui"):
        assert set_up(checkout, target) == [RUN]
    for target in ("setup-dev", "test", "test-fast", "lint", "docs", "bench", "soak"):
        assert set_up(checkout, target) == [RUN, DEVELOP]
    assert set_up(checkout, "live") == [RUN, LIVE]


def test_a_finished_set_up_is_not_repeated(checkout: Workspace) -> None:
    for target in ("repro", "test", "live", "repro"):
        assert set_up(checkout, target) == []
    (checkout.path / ".venv/.ready-dev").unlink()
    assert set_up(checkout, "repro") == [] and set_up(checkout, "test") == [DEVELOP]


def test_a_changed_lock_is_installed_and_make_repro_removes_nothing(checkout: Workspace) -> None:
    os.utime(checkout.path / DEVELOPING)
    assert set_up(checkout, "repro") == [] and set_up(checkout, "test") == [DEVELOP]
    os.utime(checkout.path / RUNNING)
    assert set_up(checkout, "repro") == [RUN] and set_up(checkout, "test") == [RUN, DEVELOP]
    assert set_up(checkout, "live") == [RUN, LIVE]


FAKE_PYTHON = """#!/bin/bash
echo "$*" >>typed.txt
case "$*" in "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;; esac
"""


def test_what_the_doctor_says_of_a_broken_environment_makes_a_new_one(checkout: Workspace) -> None:
    """`make setup` alone would find its mark, and pip the names and versions of broken packages."""
    python = checkout.path / "python"
    python.write_text(FAKE_PYTHON)
    python.chmod(0o755)
    broken = checkout.path / ".venv/lib/broken.py"
    broken.parent.mkdir()
    broken.touch()
    checkout.run("make", "setup", f"PYTHON={python}")
    assert not (checkout.path / "typed.txt").exists()
    command = reinstall.command(checkout.path)
    checkout.run("bash", "-c", f"{command} PYTHON={shlex.quote(str(python))}")
    assert not broken.exists()
    typed = (checkout.path / "typed.txt").read_text().splitlines()
    assert "-m venv .venv" in typed and any(f"--require-hashes -r {RUNNING}" in line for line in typed)


def test_make_lock_gives_the_running_lock_the_versions_of_the_other(checkout: Workspace) -> None:
    """uv keeps the versions of the file that it writes."""
    printed = checkout.run("make", "-n", "lock").stdout.splitlines()
    lines = [line for line in printed if not line.startswith("make[")][1:]  # under another make
    compile_all, copy, compile_running = lines
    assert copy == f"cp {DEVELOPING} {RUNNING}"
    assert "--extra dev" in compile_all and compile_all.endswith(f"-o {DEVELOPING}")
    assert "--extra" not in compile_running and compile_running.endswith(f"-o {RUNNING}")
    for line in (compile_all, compile_running):
        assert all(option in line for option in ("--universal", "--generate-hashes", "--no-emit-index-url"))


def test_clean_keeps_weights_and_everything_that_no_stage_wrote(checkout: Workspace) -> None:
    """The names have spaces: each is one argument."""
    kept = ["build/weights/my clip.safetensors", "notes", "reports/my notes.md", "data/my pictures/1.png"]
    gone = ["build/my notes/1.txt", "build/store/train/1/out", "data/packed/train.npy", "reports/index.html"]
    for name in (*kept, *gone):
        (checkout.path / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout.path / name).touch()
    checkout.run("make", "clean")
    assert [name for name in (*kept, *gone) if (checkout.path / name).exists()] == kept
    checkout.run("make", "clean")
