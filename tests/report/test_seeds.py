"""`ganealogy seeds`: what it prints, and the seeds it suggests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from helpers.five_seeds import edit_tree, make_tree, remove_metrics

from ganealogy.cli.main import cli
from ganealogy.errors import GanealogyError
from ganealogy.report.seeds import plan_seeds


@pytest.fixture
def seeded(tmp_path: Path) -> Path:
    return make_tree(tmp_path)


def run(root: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Result:
    monkeypatch.chdir(root)
    monkeypatch.setenv("COLUMNS", "120")
    return CliRunner().invoke(cli, arguments)


def test_it_prints_the_edit_and_the_command(seeded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(seeded, monkeypatch, "seeds", "v5", "--difference", "2%")
    assert result.exit_code == 0, result.output
    assert (
        "v5 against v3 on fd_pixel8" in result.output and "50 %" in result.output and "do not detect" in result.output
    )
    assert (
        "tree.seeds: [0, 1, 2, 3, 4, 5, 6," in result.output and "dvc exp run -S 'tree.seeds=[0,1,2," in result.output
    )
    assert "seeds are enough for 50 %" in run(seeded, monkeypatch, "seeds", "v5", "--difference", "0.5").output
    stronger = run(seeded, monkeypatch, "seeds", "v5", "--difference", "2%", "--power", "0.95").output
    assert len(stronger) > len(result.output)


def test_it_counts_seeds_with_a_value_and_keeps_the_existing_list(seeded: Path) -> None:
    remove_metrics(seeded, "v5-1")
    edit_tree(seeded, seeds=[0, 1, 2, 3, 7])
    plan = plan_seeds(seeded, "v5", 0.05)
    required = plan.required.strictest
    assert required is not None and plan.counts == (3, 4) and plan.detectable is None
    seeds = plan.new_seed_list
    assert seeds is not None and seeds[:7] == [0, 1, 2, 3, 7, 4, 5] and len(seeds) == 5 + required - 3
    assert len(set(seeds)) == len(seeds)


@pytest.mark.parametrize(
    ("version", "message"), [("v9", "unknown version 'v9'; known: v1, v3, v5, v7"), ("v1", "v1 is a root")]
)
def test_unknown_versions_and_roots_are_errors(seeded: Path, version: str, message: str) -> None:
    with pytest.raises(GanealogyError, match=message):
        plan_seeds(seeded, version)


def test_too_few_seeds_and_missing_results_are_errors(seeded: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    for seed in range(4):
        remove_metrics(seeded, f"v5-{seed}")
    with pytest.raises(GanealogyError, match="1 and 5 seeds"):
        plan_seeds(seeded, "v5")
    remove_metrics(seeded, "v5-4")
    with pytest.raises(GanealogyError, match="v5 has no fd_pixel8 yet; run: dvc repro"):
        plan_seeds(seeded, "v5")
    with pytest.raises(GanealogyError, match="unknown metric 'fid'; known: fd_pixel8"):
        plan_seeds(seeded, "v3", metric="fid")
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
