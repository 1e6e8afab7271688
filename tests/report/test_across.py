"""The same ideas on several data sets: each project's verdicts, and a mean over data sets."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from helpers import small_tree
from helpers.fabricated import edit

from ganealogy.cli.main import cli
from ganealogy.errors import GanealogyError
from ganealogy.report import across
from ganealogy.report.collect import collect

SMOOTH: dict[str, Any] = {"adversary": {"loss": {"real_target": 0.9}}}


def fabricated(root: Path, ratio: float, letter: str, seeds: int = 5, loss: dict[str, Any] = SMOOTH) -> Path:
    """A project in which v3's distances are v1's times about this ratio. `letter`: of the digest of its pictures."""
    entries = [
        small_tree.version("v1"),
        small_tree.version("v3", "v1", title="Smooth labels", recipe=loss, changes=loss),
    ]
    values = {"v1": small_tree.around(100, seeds), "v3": small_tree.around(100 * ratio, seeds, turn=2)}
    return small_tree.make(root, entries, values, letter)


@pytest.fixture
def projects(tmp_path: Path) -> list[Path]:
    ratios = {"faces": 0.8, "birds": 0.85, "cats": 0.75}
    return [fabricated(tmp_path / name, ratio, f"{at}") for at, (name, ratio) in enumerate(ratios.items())]


def test_an_idea_that_helps_everywhere_is_counted_and_averaged(projects: list[Path], tmp_path: Path) -> None:
    page, [row] = across.write([str(path) for path in projects], tmp_path)
    found = re.fullmatch(r"helps on 3 of 3, on average −(\d+) % \[−(\d+), −(\d+)\]", row.sentence)
    assert found, row.sentence
    mean, low, high = map(int, found.groups())
    assert high < mean < low and mean == 20
    text = page.read_text()
    assert all(name in text for name in ("faces", "birds", "cats")) and row.sentence in text and "Smooth labels" in text


def test_opposite_effects_are_said_to_differ(tmp_path: Path) -> None:
    projects = [fabricated(tmp_path / name, ratio, name[0]) for name, ratio in (("a", 0.7), ("b", 1.4))]
    _, [row] = across.write([str(path) for path in projects], tmp_path)
    assert row.sentence.startswith("helps on 1 of 2, harms on 1 of 2, on average ")
    assert row.heterogeneity.startswith("the data sets differ: true effects spread by a factor of ")


def test_what_is_not_comparable_is_left_out_with_its_reason(projects: list[Path], tmp_path: Path) -> None:
    few = fabricated(tmp_path / "few", 0.8, "a", seeds=2)
    other = fabricated(tmp_path / "other", 0.8, "b", loss={"adversary": {"loss": {"real_target": 0.8}}})
    _, [row] = across.write([*map(str, projects[:2]), str(few), str(other)], tmp_path)
    assert [cell.note for cell in row.cells] == ["", "", "too few seeds", "another recipe of this name"]
    assert row.sentence.startswith("helps on 2 of 2")


def test_the_command_prints_the_sentences(projects: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(projects[0])
    done = CliRunner().invoke(cli, ["report", "--projects", ".", "../birds"], catch_exceptions=False)
    assert "v3 (Smooth labels, against v1): helps on 2 of 2, on average −" in done.output
    assert (projects[0] / "reports/across.html").is_file()


def test_what_cannot_be_compared_is_one_line(projects: list[Path], tmp_path: Path) -> None:
    again = fabricated(tmp_path / "again", 0.8, "0")
    with pytest.raises(GanealogyError, match="faces and again have the same pictures, which are one data"):
        across.write([str(projects[0]), str(again)], tmp_path)
    with pytest.raises(GanealogyError, match=r"absent: no params\.yaml there; name folders of projects"):
        across.write([str(projects[0]), str(tmp_path / "absent")], tmp_path)
    with pytest.raises(GanealogyError, match="--projects needs two or more, each named once"):
        across.write([str(projects[0])], tmp_path)
    tree = projects[1] / "build/plan/tree.json"
    edit(tree, evaluate={**json.loads(tree.read_text())["evaluate"], "lead": "fd_effnet_lite0"})
    with pytest.raises(GanealogyError, match="different distances lead, faces by fd_pixel8 and birds by fd_effnet"):
        across.rows([across.Side(path.name, collect(path)) for path in projects[:2]])
