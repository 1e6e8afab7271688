"""Results for scripts: `--json`, and the exit codes of `ganealogy judge`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from helpers.five_seeds import METRIC, edit_tree, make_tree, remove_metrics

from ganealogy.cli.main import cli
from ganealogy.report import as_json
from ganealogy.verdicts.significance import WORDS, Verdict


@pytest.fixture(autouse=True)
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """v3 is better than v1, v5 about equal to v3, v7 worse than v1."""
    monkeypatch.chdir(make_tree(tmp_path))
    return tmp_path


def typed(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments, catch_exceptions=False)


def printed(*arguments: str) -> Any:
    result = typed(*arguments)
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


def test_the_summary_has_every_version_with_its_seeds_and_verdict() -> None:
    content = printed("summary", "--json")
    versions = {version["name"]: version for version in content["versions"]}
    assert (content["metric"], content["best"], [*versions]) == (METRIC, "v3", ["v1", "v3", "v5", "v7"])
    assert versions["v1"]["verdict"] is None and versions["v3"]["verdict"]["word"] == "better"
    assert versions["v3"]["distance"]["mean"] == pytest.approx(150, rel=0.01)
    assert [*versions["v3"]["seeds"]] == ["0", "1", "2", "3", "4"]
    assert content["sentence"].startswith("Of 3 ideas, ")


@pytest.mark.parametrize(
    ("version", "required", "code"),
    [
        ("v3", "better", 0),
        ("v3", "not-worse", 0),
        ("v3", "worse", 1),
        ("v3", "equivalent", 1),
        ("v5", "better", 1),
        ("v5", "not-worse", 0),
        ("v5", "equivalent", 0),
    ],
)
def test_judge_answers_by_its_exit_code(version: str, required: str, code: int) -> None:
    assert typed("judge", version, "--require", required).exit_code == code


def test_judge_compares_with_any_version() -> None:
    result = typed("judge", "v5", "--against", "v1", "--require", "better")
    assert result.exit_code == 0 and result.output.startswith("v5 against v1: ✓ better −24 % (")
    assert "corrected for looks alone" in result.output
    planned = typed("judge", "v3")
    assert planned.exit_code == 0 and "corrected for all edges of the tree" in planned.output


def test_a_planned_comparison_is_the_reports(tree: Path) -> None:
    content = json.loads((tree / "build/plan/tree.json").read_text())["evaluate"]
    edit_tree(tree, evaluate=content | {"against": ["v1"]})
    against = printed("summary", "--json")["against"]["v1"]
    alone = printed("judge", "v5", "--against", "v1", "--json")
    assert {key: alone[key] for key in against["v5"]} == against["v5"]
    assert "corrected for all versions against that one" in typed("judge", "v5", "--against", "v1").output


def test_too_few_seeds_are_undecided(tree: Path) -> None:
    for seed in (3, 4):
        remove_metrics(tree, "v3", seed)
    assert typed("judge", "v3", "--require", "better").exit_code == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["v1"], "v1 is a root: name the version to compare it with, --against NAME"),
        (["v9"], "unknown version of tree.versions 'v9'; known: v1, v3, v5, v7"),
        (["v3", "--against", "v3"], "--against v3: name another version than v3"),
    ],
)
def test_what_cannot_be_compared_is_one_line(arguments: list[str], message: str) -> None:
    with pytest.raises(as_json.GanealogyError) as error:
        typed("judge", *arguments)
    assert message in str(error.value)


def test_every_word_of_a_verdict_is_an_answer_or_open() -> None:
    answers = {word: as_json.answer(Verdict(word), "better") for word in WORDS}
    assert {word for word, answer in answers.items() if answer} == {"better", "diverges less often"}
    assert {word for word, answer in answers.items() if answer is False} == {
        "worse",
        "equivalent",
        "diverges more often",
    }


def test_plans_of_more_seeds_and_differences_are_json() -> None:
    seeds = printed("seeds", "v3", "--json")
    assert (seeds["version"], seeds["parent"], seeds["seeds"], seeds["next_look"]) == ("v3", "v1", 5, 8)
    assert printed("diff", "v1", "v2", "--json") == {"generator.activation": {"v1": "relu", "v2": "leaky_relu"}}
    names = [version["name"] for version in printed("tree", "--json")]
    assert names == ["v1", "v3", "v4", "v5", "v7"]
