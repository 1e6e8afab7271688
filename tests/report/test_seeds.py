"""`ganealogy seeds`: what it prints, and the seeds it suggests."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from helpers import five_seeds
from helpers.five_seeds import edit_tree, make_tree, remove_metrics
from helpers.pipeline import fresh

from ganealogy.cli.main import cli
from ganealogy.errors import GanealogyError
from ganealogy.params import schema
from ganealogy.report.seeds import plan_seeds


@pytest.fixture
def seeded(tmp_path: Path) -> Path:
    return make_tree(tmp_path)


def run(root: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Result:
    monkeypatch.chdir(root)
    monkeypatch.setenv("COLUMNS", "120")
    return CliRunner().invoke(cli, arguments)


def test_it_prints_the_edit_and_the_command(seeded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(seeded, monkeypatch, "seeds", "v5", "--difference", "6%")
    assert result.exit_code == 0, result.output
    text = " ".join(result.output.split())
    assert "v5 against v3 on fd_pixel8" in text and "50 %" in text and "do not detect differences below" in text
    assert re.search(r"6 % │ (8|12) seeds \(\d+ to \d+\)", text) and "seeds of both, 1 of 3 edges" in text
    assert "The next look is at 8 seeds" in text and "Both versions have 5" in text
    assert "Only v5 and v3 train new seeds" in text and "tree.more_seeds: {v5: [5, 6, 7], v3: [5, 6, 7]}" in text
    command = result.output.replace("\\\n", "")
    assert re.search(
        r"dvc exp run +-S '\+\+tree\.more_seeds\.v5=\[5,6,7\]' +-S '\+\+tree\.more_seeds\.v3=\[5,6,7\]'", command
    )
    assert "seeds are enough for 50 %" in run(seeded, monkeypatch, "seeds", "v5", "--difference", "0.5").output
    tiny = run(seeded, monkeypatch, "seeds", "v5", "--difference", "0.1%").output
    assert "more than 40 seeds" in tiny and "40 seeds do not detect 0.1 % so often" in tiny and "next look" in tiny


def test_a_higher_power_needs_more_seeds(seeded: Path) -> None:
    rows = [plan_seeds(seeded, "v5", 0.06, target).required for target in (0.5, 0.8, 0.99)]
    counts = [row.seeds or 99 for row in rows]
    assert counts == sorted(counts) and counts[0] < counts[2]
    assert all((row.low or 99) <= (row.seeds or 99) <= (row.high or 99) for row in rows)


def test_new_seeds_follow_the_last_one_of_both(seeded: Path) -> None:
    five_seeds.plan_seeds(seeded, [0, 1, 2, 3, 7])
    plan = plan_seeds(seeded, "v5", 0.02)
    assert (plan.seeds, plan.next_look, plan.detectable) == (4, 5, None), "seed 7 has no result yet"
    assert plan.new_seeds == {}, "five seeds are planned"
    five_seeds.plan_seeds(seeded, [0, 1, 2, 7])
    assert plan_seeds(seeded, "v5", 0.02).new_seeds == {"v5": [8], "v3": [8]}


def test_planned_seeds_need_no_edit(seeded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    five_seeds.plan_seeds(seeded, list(range(8)))
    assert (
        "8 seeds, which params.yaml already has" in run(seeded, monkeypatch, "seeds", "v5", "--difference", "2%").output
    )


def test_it_keeps_the_seeds_that_versions_have_beyond_the_shared_ones(
    seeded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    five_seeds.plan_seeds(seeded, [0, 1, 2, 3, 4], v7=[9], v3=[5, 6])
    for seed in (5, 6):
        five_seeds.add_run(seeded, "v3", seed, 1.005)
    plan = plan_seeds(seeded, "v5", 0.02)
    assert plan.seeds == 5 and plan.new_seeds == {"v5": [5, 6, 7], "v3": [5, 6, 7]}
    output = run(seeded, monkeypatch, "seeds", "v5", "--difference", "2%").output
    assert "tree.more_seeds: {v7: [9], v3: [5, 6, 7], v5: [5, 6, 7]}" in output and "more_seeds.v7" not in output
    five_seeds.plan_seeds(seeded, [0, 1, 2, 3, 4], v3=[5, 6, 7])
    assert plan_seeds(seeded, "v5", 0.02).new_seeds == {"v5": [5, 6, 7]}, "the parent has enough"


def test_after_the_last_look_nothing_helps(seeded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    five_seeds.plan_seeds(seeded, list(range(40)))
    for seed in range(5, 40):
        for at, version in enumerate(("v3", "v5")):
            five_seeds.add_run(seeded, version, seed, five_seeds.SPREAD[(seed + at) % 5])
    plan = plan_seeds(seeded, "v5", 0.001)
    assert (plan.seeds, plan.next_look, plan.new_seeds) == (40, None, {})
    output = run(seeded, monkeypatch, "seeds", "v5", "--difference", "0.1%").output
    assert "40 seeds are the last look" in output


def test_the_printed_command_gives_the_planned_seeds(
    seeded: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Typed as it is printed, as far as the plan."""
    output = run(seeded, monkeypatch, "seeds", "v5", "--difference", "2%").output
    command = re.sub(r"\\\n", "", output[output.index("dvc exp run") :].partition("\n\n")[0])
    workspace = fresh(tmp_path_factory.mktemp("seeds") / "my work")
    workspace.edit("params.yaml", "versions: [v1, v3]\n  seeds: [0]", "versions: [v3, v5]\n  seeds: [0, 1, 2, 3, 4]")
    workspace.run("bash", "-c", f"{command.strip()} plan")
    tree = schema.load(workspace.path / "params.yaml").tree
    assert tree.seeds_of("v5") == tree.seeds_of("v3") == list(range(8)) and tree.seeds == [0, 1, 2, 3, 4]
    planned = json.loads((workspace.path / "build/plan/tree.json").read_text())["versions"]
    assert [len(entry["seeds"]) for entry in planned if entry["listed"]] == [8, 8]


@pytest.mark.parametrize(
    ("version", "message"), [("v9", "unknown version 'v9'; known: v1, v3, v5, v7"), ("v1", "v1 is a root")]
)
def test_unknown_versions_and_roots_are_errors(seeded: Path, version: str, message: str) -> None:
    with pytest.raises(GanealogyError, match=message):
        plan_seeds(seeded, version)


def test_too_few_seeds_and_missing_results_are_errors(seeded: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    for seed in range(4):
        remove_metrics(seeded, "v5", seed)
    with pytest.raises(GanealogyError, match="1 seeds of both v5 and v3"):
        plan_seeds(seeded, "v5")
    remove_metrics(seeded, "v5", 4)
    with pytest.raises(GanealogyError, match="v5 has no fd_pixel8 yet; run: dvc repro"):
        plan_seeds(seeded, "v5")
    with pytest.raises(GanealogyError, match="ganealogy plan"):
        plan_seeds(tmp_path_factory.mktemp("empty"), "v5")
    versions = json.loads((seeded / "build/plan/tree.json").read_text())["versions"]
    edit_tree(seeded, versions=[entry | {"listed": entry["name"] != "v1"} for entry in versions])
    with pytest.raises(GanealogyError, match=r"v1 is not trained: add it to tree\.versions"):
        plan_seeds(seeded, "v3")


def test_an_ambiguous_fraction_is_a_usage_error(seeded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(seeded, monkeypatch, "seeds", "v3", "--difference", "10")
    assert result.exit_code == 2 and "write 10% or 0.1" in result.output
    assert "worse distance is 1.1 times" in run(seeded, monkeypatch, "seeds", "--help").output
