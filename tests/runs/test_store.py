"""The store of finished runs: whole entries only, and copies that cannot reach it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from ganealogy.runs import store
from ganealogy.workspace import RunDir

KEY = "a" * 64


@pytest.fixture(autouse=True)
def in_a_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)


def made(folder: str = "made", text: str = "numbers") -> Path:
    out = Path(folder)
    (out / "grids").mkdir(parents=True)
    (out / "run.json").write_text("{}")
    (out / "grids" / "0.png").write_text(text)
    return out


def put(text: str = "numbers", **options: object) -> store.Entry:
    shutil.rmtree("made", ignore_errors=True)
    return store.put("train", KEY, "v1-0", made(text=text), {"seconds": 1.0}, {"plan": "p", "run": KEY}, **options)  # type: ignore[arg-type]


def target() -> RunDir:
    return RunDir.below(Path("taken"), "v1", 0)


def test_what_is_put_is_found_and_taken_with_its_cost() -> None:
    assert store.find("train", KEY) is None
    entry = put()
    found = store.find("train", KEY)
    assert found == entry and store.find("sample", KEY) is None
    assert found is not None and store.take(found, target())
    assert (target() / "train/grids/0.png").read_text() == "numbers"
    assert target().costs["train"].read_text() == entry.cost.read_text()
    assert [*store.entries()] == [("train", entry)]


def test_the_state_of_a_training_stays_in_the_store() -> None:
    checkpoints = Path("checkpoints")
    checkpoints.mkdir()
    (checkpoints / "000000003.json").write_text("{}")
    entry = put(state=checkpoints)
    assert (entry.state / "000000003.json").exists()
    store.take(entry, target())
    assert not list(Path("taken").rglob("000000003.json"))


def test_an_edit_of_the_workspace_does_not_reach_the_store() -> None:
    entry = put()
    store.take(entry, target())
    with open(target() / "train/run.json", "a") as file:
        file.write("edited")
    assert store.is_intact(entry)
    assert store.take(entry, target()) and (target() / "train/run.json").read_text() == "{}"


@pytest.mark.parametrize("file", ["out/run.json", "out/grids/0.png", "cost.json", "entry.json"])
def test_a_damaged_entry_is_named_removed_and_made_again(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    entry = put()
    path = entry.path / file
    path.unlink()  # a hard link of the output, which must not change
    path.write_text("damaged")
    found = store.find("train", KEY)
    assert found is None or not store.take(found, target())
    assert file in capsys.readouterr().err
    assert store.find("train", KEY) is None and not entry.path.exists()
    assert store.take(put(), target())


def test_a_missing_file_counts_as_damage() -> None:
    entry = put()
    (entry.out / "run.json").unlink()
    assert not store.take(entry, target())


def test_what_a_killed_process_left_is_no_entry_and_goes_with_the_next(capsys: pytest.CaptureFixture[str]) -> None:
    place = store.place("train", KEY)
    stale = place.with_name(f".{place.name}.12345.tmp")
    stale.mkdir(parents=True)
    assert [*store.entries()] == [] and store.find("train", KEY) is None
    put()
    assert not stale.exists() and len([*store.entries()]) == 1


def test_a_second_result_of_one_key_replaces_the_first() -> None:
    put("old")
    entry = put("new")
    assert (entry.out / "grids/0.png").read_text() == "new" and [*place_names()] == [entry.path.name]


def place_names() -> list[str]:
    return [path.name for path in store.place("train", KEY).parent.iterdir()]


def test_experiments_share_the_store_of_the_main_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = put()
    elsewhere = tmp_path / "temporary copy"
    elsewhere.mkdir()
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.chdir(elsewhere)
    found = store.find("train", KEY)
    assert found is not None and found.path.resolve() == (tmp_path / entry.path).resolve()
