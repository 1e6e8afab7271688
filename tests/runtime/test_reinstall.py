"""The command for a broken environment suits a checkout, a project of one's own, and an installed package."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from ganealogy.runtime import nvidia, reinstall


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "my checkout"
    folder.mkdir()
    (folder / "Makefile").touch()
    return folder


def test_in_a_checkout_make_sets_it_up(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(checkout)
    assert reinstall.command(checkout) == "rm -rf .venv && make setup"


def test_a_project_that_uses_a_checkout_names_its_folder(checkout: Path) -> None:
    """Elsewhere there is no Makefile, and .venv may be another one."""
    command = reinstall.command(checkout)
    assert shlex.split(command) == ["cd", str(checkout), "&&", "rm", "-rf", ".venv", "&&", "make", "setup"]


def test_an_installed_package_is_installed_again_by_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shipped").mkdir()
    assert reinstall.command(tmp_path / "shipped") == "pip install --force-reinstall ganealogy"
    monkeypatch.setattr(reinstall.command, "__defaults__", (tmp_path / "shipped",))
    [said] = nvidia.obstacles(nvidia.Machine(driver="580.1", reachable=True), "2.15.0", None, "no CUDA")
    assert "run `pip install --force-reinstall ganealogy`, or install a build with CUDA" in said


def test_this_repository_is_a_checkout() -> None:
    assert reinstall.command().endswith("rm -rf .venv && make setup")
