"""A user's files in, around or beside a stage's outputs are refused before DVC deletes them, and the remedy works."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from ganealogy.data import fetch, user_files
from ganealogy.data.sources import folder
from ganealogy.errors import GanealogyError


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a finished download, in a folder of its own."""
    root = tmp_path / "a project"
    for name in ("data/raw", "data/packed", "build/plan", "versions", "src", ".git", "pictures"):
        (root / name).mkdir(parents=True)
    (root / "data/raw/pictures.zip").write_bytes(b"zip")
    (root / "data/raw/source.json").write_text('{"files": {"pictures.zip": {}}}')
    (root / "pictures/1.png").write_bytes(b"png")
    monkeypatch.chdir(root)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    return root


INSIDE = [
    *("data/raw", "data/raw/mine", "./data/raw/../raw/mine", "data/packed/mine", "build/mine", "versions/cats"),
    *("reports/mine", "src/cats", ".git/cats", "data/raw/mine.zip", "link/mine", "LINK"),
]


@pytest.mark.parametrize("path", INSIDE)
@pytest.mark.parametrize("absolute", [False, True])
def test_a_path_in_the_projects_folders_is_refused_and_moving_it_helps(
    path: str, absolute: bool, project: Path
) -> None:
    Path("link").symlink_to("data/raw")
    Path("LINK").symlink_to(project / "data/raw/mine")
    place = Path("data/raw/mine" if path in ("link/mine", "LINK") else path)
    if place.suffix:
        place.write_bytes(b"a zip")
    else:
        place.mkdir(parents=True, exist_ok=True)
        (place / "mine.png").write_bytes(b"png")
    given = str(project / path) if absolute else path
    with pytest.raises(GanealogyError, match=r"dataset\.path = .* is .* or lies in it, .*: move it, `mv ") as caught:
        folder.files(given)
    [command] = re.findall("`(.*)`", str(caught.value))
    subprocess.run(["bash", "-c", command], check=True)
    moved = str(caught.value).rsplit(" to ", 1)[1]
    assert [file for _name, file in folder.files(moved)] and Path(moved).exists()


@pytest.mark.parametrize("path", [".", "..", "data", "/", "build", "versions", "data/../."])
def test_a_path_around_the_projects_folders_is_refused(path: str) -> None:
    with pytest.raises(GanealogyError, match=r"is or contains .*: name a folder of pictures alone"):
        folder.files(path)
    assert folder.files("pictures")


@pytest.mark.parametrize("key", ["GANEALOGY_MIRROR", "dataset.mirror"])
@pytest.mark.parametrize("path", ["data/raw", "data/packed", "build/plan"])
def test_a_mirror_in_an_output_is_refused(key: str, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if key == "GANEALOGY_MIRROR":
        monkeypatch.setenv(key, path)
    with pytest.raises(GanealogyError, match=rf"{key} = '{path}' is "):
        fetch.mirror(path if key == "dataset.mirror" else None)
    monkeypatch.delenv("GANEALOGY_MIRROR", raising=False)
    assert fetch.mirror("data") == Path("data"), "only the files of the data set are read there"


def test_outputs_of_the_main_workspace_count_in_an_experiments_copy(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "data/raw/mine").mkdir()
    copy = tmp_path / "copy"
    copy.mkdir()
    monkeypatch.chdir(copy)
    monkeypatch.setenv("DVC_ROOT", str(project))
    with pytest.raises(GanealogyError, match="or lies in it"):
        folder.files("data/raw/mine")


FOREIGN = [
    *("data/raw/mine/1.png", "data/raw/photos.zip", "data/packed/notes.txt", "data/reference/cat.png"),
    *("build/plan/old.yaml", "build/runs/v1/train/notes.txt", "build/runs/v1/train/0/my notes/a.txt"),
    *("build/runs/v3/sample/0/favourite.png", "build/runs/v3/evaluate/table.xlsx", "build/runs/v1/cost/train/sum.csv"),
    *(
        "reports/report/slides.pdf",
        "reports/report/mine.png",
        "reports/samples/favourite.png",
        "reports/progress/a.webp",
    ),
    *("data/raw/-rf", "data/raw/it's.txt", "data/raw/new\nline", "data/raw/\udcff"),
]


@pytest.mark.parametrize("name", FOREIGN)
def test_a_file_that_no_stage_wrote_is_named_and_moving_it_helps(name: str) -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text("mine")
    with pytest.raises(GanealogyError, match="not written by a stage, and DVC would delete it; move it") as caught:
        user_files.check_outputs()
    assert str(caught.value).isprintable()
    [command] = re.findall("`(.*)`", str(caught.value))
    subprocess.run(["bash", "-c", command], check=True)
    user_files.check_outputs()
    assert [path.read_text() for path in Path("kept").rglob("*") if path.is_file()] == ["mine"]


def test_many_files_are_named_by_their_folder_and_all_can_be_moved() -> None:
    for index in range(200):
        path = Path(f"data/raw/mine/{index % 7}/{index}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        (Path("data/packed") / f"{index}.txt").touch()
    for _ in range(20):
        try:
            user_files.check_outputs()
            break
        except GanealogyError as error:
            assert "data/" in str(error) and len(str(error)) < 3000
            subprocess.run(["bash", "-c", re.findall("`(.*)`", str(error))[0]], check=True)
    user_files.check_outputs()
    assert len([path for path in Path("kept").rglob("*") if path.is_file()]) == 400


def test_nothing_is_overwritten_by_the_remedy() -> None:
    for content in ("first", "second"):
        Path("data/raw/note").write_text(content)
        with pytest.raises(GanealogyError) as caught:
            user_files.check_outputs()
        subprocess.run(["bash", "-c", re.findall("`(.*)`", str(caught.value))[0]], check=False)
    assert Path("kept/data/raw/note").read_text() == "first" and Path("data/raw/note").read_text() == "second"


@pytest.mark.parametrize(
    "name",
    [
        *("data/raw/.DS_Store", "data/raw/Thumbs.db", "data/raw/.pictures.zip.x1.tmp", "data/raw/.kaggle-x/a.zip"),
        *(
            "build/runs/notes.txt",
            "build/runs/v1/notes.txt",
            "build/store/notes.txt",
            "data/mine/1.png",
            "reports/my.md",
        ),
    ],
)
def test_files_of_the_system_temporary_ones_and_those_beside_outputs_are_none_of_these(name: str) -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).touch()
    user_files.check_outputs()


@pytest.mark.parametrize("name", ["pictures.zip", "passed-over.csv", "avatars.zip", "train-images-idx3-ubyte.gz"])
def test_a_download_that_did_not_finish_is_the_stages_own(name: str) -> None:
    Path("data/raw/source.json").unlink()
    (Path("data/raw") / name).touch()
    user_files.check_outputs()
    (Path("data/raw") / "photos.zip").touch()
    with pytest.raises(GanealogyError, match=r"data/raw/photos\.zip: not written by a stage"):
        user_files.check_outputs()


def test_a_link_in_an_output_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/1.png").touch()
    Path("data/raw/mine").symlink_to(tmp_path / "mine")
    with pytest.raises(GanealogyError, match=r"^data/raw/mine: not written by a stage"):
        user_files.check_outputs()
