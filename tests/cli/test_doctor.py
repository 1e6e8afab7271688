"""The doctor names each fault, caused for real, and what to do about it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from ganealogy.cli import doctor
from ganealogy.cli.doctor import Finding
from ganealogy.runtime import nvidia
from ganealogy.tracking import store

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.timeout(1200)  # torch is imported anew by most, which takes long on a busy machine


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Create a workspace as after a checkout, and make it the working directory."""
    folder = tmp_path / "a workspace"
    folder.mkdir()
    for name in ("versions", ".dvc"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("tmp", "cache"))
    shutil.copy(ROOT / "tests" / "tiny.yaml", folder / "params.yaml")
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    monkeypatch.chdir(folder)
    for name in [name for name in os.environ if name.startswith(("MLFLOW_", "DVC_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    return folder


def bad(findings: list[Finding]) -> list[str]:
    return [finding.text for finding in findings if finding.mark == "✗"]


def settings() -> doctor.Settings:
    return doctor.load()


def test_a_fresh_workspace_has_nothing_to_fix(place: Path) -> None:
    lines: list[str] = []
    assert doctor.report(lines.append) == 0, lines
    assert all(line[:2] in ("✓ ", "! ") for line in lines)
    said = "\n".join(lines)
    for words in ("params.yaml is valid", "45 versions", "this is a repository", "match", "pixel8: its weights"):
        assert words in said
    for words in ("no MLflow store yet", "DVC's lock file is in order", "GiB free", "1 threads per training"):
        assert words in said


def test_something_to_fix_gives_exit_code_2(place: Path) -> None:
    (place / "params.yaml").write_text("train: {lr: abc}\n")
    (place / "versions" / "v3.yaml").write_text("title: [\n")
    lines: list[str] = []
    assert doctor.report(lines.append) == 2
    assert [line for line in lines if line.startswith("✗ params.yaml: ")]
    assert [line for line in lines if line.startswith("✗ versions/v3.yaml: ")], "one fault does not hide another"


def fake(folder: Path, name: str, content: str) -> None:
    """Write a package that is imported instead of the installed one."""
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").write_text(content)


def test_a_mismatch_of_torch_and_torchvision_is_found(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(place / "fake", "torchvision", "raise RuntimeError('operator torchvision::nms does not exist')")
    monkeypatch.setenv("PYTHONPATH", str(place / "fake"))
    [line] = bad(list(doctor.check_torch(settings())))
    assert "do not match" in line and "torchvision::nms" in line and "make setup" in line


def test_a_torch_that_does_not_import_is_found(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(place / "fake", "torch", "raise ImportError('libcudart.so.99: cannot open shared object file')")
    monkeypatch.setenv("PYTHONPATH", str(place / "fake"))
    [line] = bad(list(doctor.check_torch(settings())))
    assert "libcudart.so.99" in line and "make setup" in line


def test_a_missing_gpu_that_params_yaml_requires_is_found(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(nvidia, "inspect", lambda _environment: nvidia.Machine())  # also where there is a card
    params = place / "params.yaml"
    params.write_text(params.read_text().replace("device: cpu", "device: cuda"))
    [line] = bad(list(doctor.check_torch(settings())))
    assert "torch sees no GPU" in line and "auto or cpu" in line


def test_missing_and_damaged_weights_are_found(place: Path) -> None:
    params = place / "params.yaml"
    params.write_text(params.read_text().replace("[pixel8]", "[pixel8, inception]"))
    found = list(doctor.check_weights(settings()))
    assert not bad(found), "FID does not lead, so the run continues without it"
    [line] = [finding.text for finding in found if finding.mark == "!"]
    assert line.startswith("fid: not measured: ") and "ganealogy fetch inception" in line
    leads = params.read_text().replace("lead: fd_pixel8", "lead: fid")
    params.write_text(leads)
    [line] = bad(list(doctor.check_weights(settings())))
    assert "inception" in line and "ganealogy fetch inception" in line
    from ganealogy.evaluation.extractors import inception

    inception.weights_path().parent.mkdir(parents=True)
    inception.weights_path().write_bytes(b"damaged")
    [line] = bad(list(doctor.check_weights(settings())))
    assert "sha256" in line and "run `ganealogy fetch inception`" in line


def broken_store(how: str) -> Path:
    database = store.database()
    assert database is not None
    database.parent.mkdir(parents=True, exist_ok=True)
    if how == "damaged":
        database.write_bytes(b"no database at all " * 100)
    else:
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        SqlAlchemyStore(f"sqlite:///{database}", str(database.parent)).engine.dispose()
        connection = sqlite3.connect(database)
        with connection:
            connection.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")
        connection.close()
    return database


@pytest.mark.filterwarnings("ignore:.*noload.*:DeprecationWarning")
@pytest.mark.parametrize(("how", "words"), [("damaged", "not a database"), ("of an older MLflow", "schema")])
def test_a_store_that_does_not_open_is_found_and_not_changed(how: str, words: str, place: Path) -> None:
    database = broken_store(how)
    before = database.read_bytes()
    [line] = bad(list(doctor.check_store()))
    assert words in line and "ganealogy sync" in line
    assert database.read_bytes() == before, "looking changes nothing"


def test_a_missing_git_repository_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert any("git init" in line for line in bad(list(doctor.check_programs())))


def test_missing_programs_are_found(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(place))
    lines = bad(list(doctor.check_programs()))
    assert any("git is not installed" in line for line in lines)
    assert any("there is no `python` on the PATH" in line and "bin/activate" in line for line in lines)


def test_another_python_first_on_the_path_is_found(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "bin").mkdir()
    (place / "bin" / "python").write_text("#!/bin/sh\n")
    (place / "bin" / "python").chmod(0o755)
    monkeypatch.setenv("PATH", f"{place / 'bin'}{os.pathsep}{os.environ['PATH']}")
    [line] = bad(list(doctor.check_programs()))
    assert f"`python` is {place / 'bin' / 'python'}" in line


def test_more_threads_than_cores_are_a_warning(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GANEALOGY_THREADS", "250")
    [finding] = doctor.check_threads(settings())
    assert finding.mark == "!" and "250 threads" in finding.text
    monkeypatch.setenv("GANEALOGY_THREADS", "many")
    assert any("GANEALOGY_THREADS" in line for line in bad(list(doctor.examine())))


def test_a_nearly_full_disk_is_found(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test must not fill the disk, so the reported usage is replaced."""
    usage = namedtuple("usage", "total used free")
    for free, mark in ((10 * 2**20, "✗"), (2**30, "!"), (2**40, "✓")):
        monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _path, free=free: usage(2**41, 0, free))
        [finding] = doctor.check_disk()
        assert finding.mark == mark


def test_a_disk_with_space_but_no_room_for_files_is_found(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.statvfs(place)
    for free, shown in ((10, True), (10_000_000, False)):
        result = os.statvfs_result((*real[:5], 10_000_000, free, free, *real[8:]))
        monkeypatch.setattr(os, "statvfs", lambda _path, result=result: result)
        found = [line for line in bad(list(doctor.check_disk())) if "10 more files" in line and "`df -i`" in line]
        assert len(found) == shown


def test_a_check_that_fails_is_a_finding_and_the_others_run(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_path: object) -> None:
        raise OSError("the disk does not answer")

    monkeypatch.setattr(doctor.shutil, "disk_usage", fail)
    findings = list(doctor.examine())
    assert any("a check failed: the disk does not answer" in line for line in bad(findings))
    assert any("MLflow store" in finding.text for finding in findings)
