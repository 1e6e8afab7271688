"""`ganealogy ablate`: what would be trained, what is refused and why, and the version files that it writes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result
from helpers.own_project import own_project

from ganealogy.cli.main import cli
from ganealogy.errors import GanealogyError
from ganealogy.lineage import versions
from ganealogy.params import schema

CHILD = "title: Mine\nparent: {parent}\nidea: A change.\nsource: me\nchanges: {{{changes}}}\n"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project whose line is v1, mine, then both, a bundle."""
    with own_project(tmp_path, monkeypatch) as root:
        mine = CHILD.format(parent="v1", changes="adversary: {loss: {real_target: 0.9}}")
        both = "adversary: {loss: {fake_target: 0.1}}, generator: {activation: leaky_relu}"
        (root / "versions/mine.yaml").write_text(mine)
        (root / "versions/both.yaml").write_text(CHILD.format(parent="mine", changes=both))
        yield root


def ablate(*arguments: str, answer: str = "y\n") -> Result:
    runner = CliRunner(env={"COLUMNS": "140"})
    return runner.invoke(cli, ["ablate", *arguments], input=answer, catch_exceptions=False)


def test_it_prints_what_each_would_be_and_how_long_it_takes_then_writes_it(project: Path) -> None:
    done = ablate("both")
    assert "both-without-mine" in done.output and "real_target 0.9 → 1.0" in done.output
    assert "about " in done.output and "Write 1 version" in done.output
    content = yaml.safe_load((project / "versions/both-without-mine.yaml").read_text())
    assert content["parent"] == "both" and content["without"] == ["mine"]
    assert "both-without-mine" in schema.load().tree.versions
    written = versions.read_family(["both-without-mine"])["both-without-mine"]
    assert written.recipe["adversary"]["loss"]["real_target"] == 1.0
    assert written.recipe["generator"]["activation"] == "leaky_relu"


def test_without_consent_it_writes_nothing(project: Path) -> None:
    before = (project / "params.yaml").read_text()
    ablate("both", answer="n\n")
    assert (project / "params.yaml").read_text() == before
    assert not list((project / "versions").glob("both-*"))


def test_a_bundle_is_split(project: Path) -> None:
    done = ablate("both", "--split", "--yes", answer="")
    assert "wrote versions/both-only-" in done.output
    found = sorted(path.stem for path in (project / "versions").glob("both-only-*"))
    assert len(found) == 2 and set(found) <= set(schema.load().tree.versions)
    parts = [versions.read_family([name])[name].recipe for name in found]
    whole = versions.read_family(["both"])["both"].recipe
    assert all(part != whole for part in parts) and parts[0] != parts[1]


def test_what_exists_is_not_written_again(project: Path) -> None:
    ablate("both", "--yes")
    done = ablate("both", "--yes")
    assert "refused: " in done.output and "nothing to train" in done.output


def test_each_idea_alone(project: Path) -> None:
    done = ablate("both", "--only", "--yes")
    assert "both-only-mine" in done.output and "the same as mine" in done.output
    assert (project / "versions/both-only-both.yaml").is_file()
    assert versions.read_family(["both-only-both"])["both-only-both"].file.parent == "v1"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["v1"], "v1 has no idea between its root and its own changes"),
        (["mine"], "mine has no idea between its root and its own changes"),
        (["both", "--pairs"], "a pair needs 2: take "),
        (["mine", "--split"], "mine changes one thing, .*: take a bundle"),
        (["v1", "--split"], "v1 has no changes of its own to split"),
        (["nothing"], "no version 'nothing'"),
    ],
)
def test_what_cannot_be_taken_apart_is_one_line(project: Path, arguments: list[str], why: str) -> None:
    with pytest.raises(GanealogyError, match=why) as raised:
        ablate(*arguments)
    assert "\n" not in str(raised.value)


def test_its_help_teaches() -> None:
    text = CliRunner().invoke(cli, ["ablate", "--help"]).output
    assert "ganealogy ablate v12" in text and "--split" in text and "family" not in text


def test_a_budget_in_epochs_has_no_time_before_the_pictures_are_packed(project: Path) -> None:
    params = project / "params.yaml"
    params.write_text(params.read_text().replace("kimg: 1,", "epochs: 2,"))
    done = ablate("both", "--yes")
    assert "1 runs; how long is known once the pictures are packed" in done.output and "about" not in done.output
