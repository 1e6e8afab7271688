"""`ganealogy seeds`: what it prints, and the seeds it suggests."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from helpers import five_seeds
from helpers.five_seeds import edit_tree, make_tree, remove_metrics

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
    result = run(seeded, monkeypatch, "seeds", "v5", "--difference", "2%")
    assert result.exit_code == 0, result.output
    assert (
        "v5 against v3 on fd_pixel8" in result.output and "50 %" in result.output and "do not detect" in result.output
    )
    assert "Only v5 and v3 train new seeds" in result.output and "tree.more_seeds: {v5: [5, 6, 7," in result.output
    command = result.output.replace("\\\n", "")
    assert re.search(
        r"dvc exp run +-S '\+\+tree\.more_seeds\.v5=\[5,6,7,.* +-S '\+\+tree\.more_seeds\.v3=\[5,6,7,", command
    )
    assert "seeds are enough for 50 %" in run(seeded, monkeypatch, "seeds", "v5", "--difference", "0.5").output
    stronger = run(seeded, monkeypatch, "seeds", "v5", "--difference", "2%", "--power", "0.95").output
    assert len(stronger) > len(result.output)


def test_it_counts_seeds_with_a_value_and_adds_unused_ones(seeded: Path) -> None:
    remove_metrics(seeded, "v5", 1)
    five_seeds.plan_seeds(seeded, [0, 1, 2, 3, 7])
    plan = plan_seeds(seeded, "v5", 0.02)
    required = plan.required.strictest
    assert required is not None and plan.counts == (3, 4) and plan.detectable is None
    new = plan.new_seeds
    assert new is not None and list(new) == ["v5", "v3"] and new["v5"][:4] == [4, 5, 6, 8]
    assert (len(new["v5"]), len(new["v3"])) == (required - 3, required - 4), "both then have as many as they need"
    assert not {0, 1, 2, 3, 7} & {*new["v5"], *new["v3"]} and len(set(new["v5"])) == len(new["v5"])


def test_it_keeps_the_seeds_that_versions_have_beyond_the_shared_ones(
    seeded: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    five_seeds.plan_seeds(seeded, [0, 1, 2, 3, 4], v7=[9], v3=[5, 6])
    for seed in (5, 6):
        five_seeds.add_run(seeded, "v3", seed, 1.005)
    plan = plan_seeds(seeded, "v5", 0.02)
    required = plan.required.strictest
    assert required is not None and required > 7 and plan.counts == (5, 7)
    new = plan.new_seeds
    assert new == {"v5": list(range(5, required)), "v3": list(range(5, required))}
    output = run(seeded, monkeypatch, "seeds", "v5", "--difference", "2%").output
    assert "tree.more_seeds: {v7: [9], v3: [5, 6, 7" in output and "more_seeds.v7" not in output
    for seed in range(7, required):
        five_seeds.add_run(seeded, "v3", seed, 1.0)
    five_seeds.plan_seeds(seeded, [0, 1, 2, 3, 4], v3=list(range(5, required)))
    assert list(plan_seeds(seeded, "v5", 0.02).new_seeds or {}) == ["v5"], "the parent has enough"


def test_the_printed_options_give_the_planned_seeds(seeded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dvc.utils.hydra import apply_overrides

    output = run(seeded, monkeypatch, "seeds", "v5", "--difference", "5%").output
    (seeded / "params.yaml").write_text(
        "dataset: {name: avatars, image_size: 32}\ntree:\n  versions: [v3, v5]\n  seeds: [0, 1, 2, 3, 4]\n"
        "train: {kimg: 1, batch_size: 8, lr: 0.001}\n"
    )
    apply_overrides(seeded / "params.yaml", re.findall(r"-S '([^']*)'", output))
    tree = schema.load(seeded / "params.yaml").tree
    required = plan_seeds(seeded, "v5", 0.05).required.strictest
    assert required is not None
    assert tree.seeds_of("v5") == tree.seeds_of("v3") == list(range(required)) and tree.seeds == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("version", "message"), [("v9", "unknown version 'v9'; known: v1, v3, v5, v7"), ("v1", "v1 is a root")]
)
def test_unknown_versions_and_roots_are_errors(seeded: Path, version: str, message: str) -> None:
    with pytest.raises(GanealogyError, match=message):
        plan_seeds(seeded, version)


def test_too_few_seeds_and_missing_results_are_errors(seeded: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    for seed in range(4):
        remove_metrics(seeded, "v5", seed)
    with pytest.raises(GanealogyError, match="1 and 5 seeds"):
        plan_seeds(seeded, "v5")
    remove_metrics(seeded, "v5", 4)
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
