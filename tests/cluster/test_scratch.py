"""A node's folder for code and inputs: what another user of the node could exchange is refused."""

from __future__ import annotations

import io
import os
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest

from ganealogy.cluster import node_task, ray_cluster
from ganealogy.errors import GanealogyError

pytestmark = pytest.mark.skipif(not hasattr(os, "getuid"), reason="Windows has no owners of this kind")
STRANGER = 54321


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A temporary directory of all users, such as /tmp."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    folder.chmod(0o1777)
    monkeypatch.setattr(node_task.tempfile, "gettempdir", lambda: str(folder))
    monkeypatch.delenv("GANEALOGY_SCRATCH", raising=False)
    return folder


def own(shared: Path) -> Path:
    return shared / f"ganealogy-{os.getuid()}"


def test_the_folder_is_private_and_kept(shared: Path) -> None:
    path = node_task.scratch("project")
    assert path == own(shared) / "project" and node_task.scratch("project") == path
    assert [folder.stat().st_mode & 0o777 for folder in (path, path.parent)] == [0o700, 0o700]


def open_to_all(base: Path) -> None:
    base.mkdir()
    base.chmod(0o777)


def open_to_the_group(base: Path) -> None:
    base.mkdir()
    base.chmod(0o770)


def open_below(base: Path) -> None:
    (base / "project").mkdir(parents=True)
    (base / "project").chmod(0o755)


def a_link(base: Path) -> None:
    (base.parent / "elsewhere").mkdir(mode=0o700)
    base.symlink_to(base.parent / "elsewhere")


def a_link_below(base: Path) -> None:
    (base / "elsewhere").mkdir(parents=True, mode=0o700)
    (base / "project").symlink_to(base / "elsewhere")


def of_a_stranger(base: Path) -> None:
    base.mkdir()
    chown(base)


def of_a_stranger_below(base: Path) -> None:
    (base / "project").mkdir(parents=True, mode=0o700)
    chown(base / "project")


def without_the_sticky_bit(base: Path) -> None:
    base.parent.chmod(0o777)


def chown(path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can give a folder away")
    os.chown(path, STRANGER, STRANGER)


FAULTS: dict[Callable[[Path], None], str] = {
    open_to_all: "can be changed by other users (mode 777)",
    open_to_the_group: "can be changed by other users (mode 770)",
    open_below: "is open to other users (mode 755)",
    a_link: "is no folder of its own but a link",
    a_link_below: "is no folder of its own but a link",
    of_a_stranger: f"belongs to another user ({STRANGER})",
    of_a_stranger_below: f"belongs to another user ({STRANGER})",
    without_the_sticky_bit: "can be changed by other users (mode 777)",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_another_user_could_exchange_runs_nothing_until_the_remedy_is_typed(
    fault: Callable[[Path], None], shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 43: the folder was there before the first job, made by somebody else."""
    fault(own(shared))
    if fault is open_to_the_group:
        monkeypatch.setenv("GANEALOGY_SCRATCH", str(own(shared)))
    monkeypatch.setitem(sys.modules, "ray", Mock())
    task = node_task.Task("project", "v1-0", {}, {})
    monkeypatch.setattr(node_task, "run_child", lambda task, base, folder, post: ("done", str(folder), []))
    how, reason, _ = node_task.run_task(task, bundle(), Mock())
    assert how == "error" and FAULTS[fault] in reason and str(shared) in reason
    assert "set GANEALOGY_SCRATCH to a folder of your own" in reason
    assert not list(shared.rglob("code.py"))
    (tmp_path / "mine").mkdir(mode=0o700)
    monkeypatch.setenv("GANEALOGY_SCRATCH", str(tmp_path / "mine"))
    how, folder, _ = node_task.run_task(task, bundle(), Mock())
    assert how == "done" and Path(folder).parent == tmp_path / "mine" / "project"


def bundle() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("code.py", "")
    return content.getvalue()


def test_somebody_elses_folder_is_refused_without_root(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = node_task.scratch("project")
    monkeypatch.setattr(os, "getuid", lambda: STRANGER)
    with pytest.raises(PermissionError, match=r"belongs to another user"):
        node_task.check_private(path)


def test_a_scratch_of_ones_own_may_be_a_link(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A person's link, such as ~/scratch, to a large disk."""
    (tmp_path / "disk").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    monkeypatch.setenv("GANEALOGY_SCRATCH", str(tmp_path / "link"))
    assert node_task.scratch("project") == (tmp_path / "disk" / "project").resolve()


def test_the_folder_of_a_killed_task_is_removed_and_that_of_a_live_one_stays(tmp_path: Path) -> None:
    with node_task.temporary_folder(tmp_path, "v1-0") as live:
        (tmp_path / "v1-0-killed").mkdir()
        (tmp_path / "v1-0-killed.lock").touch()
        (tmp_path / "inputs").mkdir()
        with node_task.temporary_folder(tmp_path, "v3-0") as other:
            assert live.is_dir() and other.is_dir()
            assert not (tmp_path / "v1-0-killed").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["inputs"]


@pytest.mark.parametrize("variable", ["RAY_TMPDIR", "TMPDIR"])
def test_auto_follows_no_file_of_another_user(variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv(variable, str(tmp_path))
    began: list[Any] = []
    ray = SimpleNamespace(init=lambda **options: began.append(options) or Mock(dashboard_url=""), shutdown=Mock())
    monkeypatch.setattr(ray_cluster, "ray_module", lambda: ray)
    monkeypatch.setattr(ray_cluster, "_check_reachable", lambda address: None)
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("10.0.0.9:6379")
    with ray_cluster.connected("auto"):
        assert len(began) == 1
    monkeypatch.setattr(os, "getuid", lambda: STRANGER)
    with (
        pytest.raises(GanealogyError, match=r"ray_current_cluster was written by another user .* HOST:PORT"),
        ray_cluster.connected("auto"),
    ):
        pass
    assert len(began) == 1, "it was not connected to"
    with ray_cluster.connected("10.0.0.9:6379"):
        assert len(began) == 2
