"""Findings to verdicts, and what the terminal says of them."""

from __future__ import annotations

import gc
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from ganealogy.cli.main import cli
from ganealogy.errors import GanealogyError
from ganealogy.report import markdown, page, pictures
from ganealogy.report.collect import collect
from ganealogy.report.judgement import estimates, judge
from ganealogy.report.numbers import summary_table
from ganealogy.verdicts.significance import verdicts

SPREAD = (0.97, 0.99, 1.0, 1.01, 1.03)
ENDS = {"v1": 200.0, "v3": 150.0, "v5": 152.0, "v7": 900.0}
METRIC = "fd_pixel8"


@pytest.fixture(autouse=True)
def quick_holm(monkeypatch: pytest.MonkeyPatch) -> None:
    """statsmodels collects garbage at every correction, which is slow beside torch."""
    monkeypatch.setattr(gc, "collect", lambda generation=2: 0)


@pytest.fixture
def seeded(tmp_path: Path) -> Path:
    """v1 → v3 → v5 and v1 → v7, five seeds each: v3 better, v5 hardly another, v7 behind the mean image."""
    members = [("v1", None), ("v3", "v1"), ("v5", "v3"), ("v7", "v1")]
    entries = [
        {"name": name, "parent": parent, "listed": True, "recipe": {}, "changes": {}} for name, parent in members
    ]
    evaluate = {"extractors": ["pixel8"], "reals": 2000, "equivalence_margin": 0.1}
    tree = {"versions": entries, "seeds": [0, 1, 2, 3, 4], "protocol": {"tracker": "pixel8"}, "evaluate": evaluate}
    write(tmp_path / "build/plan/tree.json", tree)
    write(tmp_path / "data/reference/anchors.json", {"metrics": {METRIC: {"mean_image": 473.0}}})
    for version, end in ENDS.items():
        for seed, share in enumerate(SPREAD):
            measure(tmp_path, version, seed, end * share)
    return tmp_path


def write(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def measure(root: Path, version: str, seed: int, value: float) -> None:
    run = root / f"build/runs/{version}-{seed}"
    write(run / "train/run.json", {"status": "finished", "steps": 1, "kimg": 1})
    write(run / "evaluate/metrics.json", {"metrics": {METRIC: value}, "protocol": {METRIC: {"reals": 2000}}})


def drop(root: Path, run: str) -> None:
    (root / f"build/runs/{run}/evaluate/metrics.json").unlink()


def retell(root: Path, **changes: object) -> None:
    path = root / "build/plan/tree.json"
    write(path, json.loads(path.read_text()) | changes)


def run(root: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Result:
    monkeypatch.chdir(root)
    monkeypatch.setenv("COLUMNS", "120")
    return CliRunner().invoke(cli, arguments)


def test_findings_become_verdicts(seeded: Path) -> None:
    found = judge(collect(seeded), METRIC)
    assert {name: verdict.label for name, verdict in found.items()} == {
        "v3": "better",
        "v5": "equivalent within 10 %",
        "v7": "not yet",
    }
    values = {name: [end * share for share in SPREAD] for name, end in ENDS.items()}
    parents = {"v1": None, "v3": "v1", "v5": "v3", "v7": "v1"}
    assert found == verdicts(METRIC, values, parents, 473.0, planned=5, margin=0.1)
    assert "after Holm over 2 edges" in found["v3"].why


def test_the_margin_is_the_plans(seeded: Path) -> None:
    retell(seeded, evaluate={"equivalence_margin": 0.02})
    assert judge(collect(seeded), METRIC)["v5"].word == "no difference shown"
    retell(seeded, evaluate={})  # a plan from before the setting
    assert judge(collect(seeded), METRIC)["v5"].word == "equivalent"


def test_the_margin_measures_nothing_anew() -> None:
    from ganealogy.params.schema import load
    from ganealogy.stages.plan import stage_plans

    settings = load()
    other = settings.model_copy(update={"evaluate": settings.evaluate.model_copy(update={"equivalence_margin": 0.3})})
    assert stage_plans(other) == stage_plans(settings)


def test_a_missing_seed_is_counted_and_an_unlisted_parent_is_no_parent_to_test(seeded: Path) -> None:
    drop(seeded, "v5-3")
    retell(seeded, seeds=[0, 1, 2, 3, 4])
    found = judge(collect(seeded), METRIC)
    assert found["v5"].word == "too few seeds" and "1 of 5 seeds of v5" in found["v5"].why
    versions = json.loads((seeded / "build/plan/tree.json").read_text())["versions"]
    retell(seeded, versions=[entry | {"listed": entry["name"] != "v3"} for entry in versions])
    found = judge(collect(seeded), METRIC)
    assert "v3" not in found and found["v5"].word == "not measured" and "parent v3 is not among" in found["v5"].why
    assert judge(collect(seeded), "fid")["v5"].word == "not measured"


def test_estimates_are_of_versions_with_values(seeded: Path, shared_project: Path) -> None:
    found = estimates(collect(seeded), METRIC)
    assert list(found) == list(ENDS) and found["v1"].values == tuple(200 * share for share in SPREAD)
    assert found["v1"].low is not None and found["v1"].low < found["v1"].mean < 200
    assert estimates(collect(shared_project), METRIC)["v7"].low is None
    assert estimates(collect(seeded), "fid") == {}


def test_both_reports_say_by_what_rule(seeded: Path, shared_project: Path) -> None:
    told = "at most 3 %; of trees"
    for directory, tested in ((seeded, True), (shared_project, False)):
        findings = collect(directory)
        assert (told in page.render(findings, pictures.gather(findings))) is tested
        assert (told in markdown.render(findings, {})) is tested


def test_the_summary_has_intervals_and_verdicts(seeded: Path, shared_project: Path) -> None:
    def told(root: Path) -> str:
        console = Console(width=140, record=True)
        console.print(summary_table(root))
        return console.export_text()

    text = told(seeded)
    assert "better (p < 0.001)" in text and "equivalent within 10 %" in text and "not yet" in text
    found = estimates(collect(seeded), METRIC)["v1"]
    assert f"{found.mean:.1f}" in text and f"[{found.low:.1f}, {found.high:.1f}]" in text and "geometric mean" in text
    assert "too few seeds" in told(shared_project)
    for version in ENDS:
        for seed in (1, 2, 3, 4):
            drop(seeded, f"{version}-{seed}")
    assert "95 %" not in told(seeded)


def test_seeds_tells_what_to_type(seeded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(seeded, monkeypatch, "seeds", "v5", "--difference", "2%")
    assert result.exit_code == 0, result.output
    assert "v5 against v3 on fd_pixel8" in result.output and "50 %" in result.output and "stay unseen" in result.output
    assert (
        "tree.seeds: [0, 1, 2, 3, 4, 5, 6," in result.output and "dvc exp run -S 'tree.seeds=[0,1,2," in result.output
    )
    assert "seeds enough for 50 %" in run(seeded, monkeypatch, "seeds", "v5", "--difference", "0.5").output
    stronger = run(seeded, monkeypatch, "seeds", "v5", "--difference", "2%", "--power", "0.95").output
    assert len(stronger) > len(result.output)


def test_seeds_counts_the_lost_ones_and_keeps_the_list(seeded: Path) -> None:
    from ganealogy.report.seeds import outlook

    drop(seeded, "v5-1")
    retell(seeded, seeds=[0, 1, 2, 3, 7])
    found = outlook(seeded, "v5", 0.05)
    wanted = found.answer.strictest
    assert wanted is not None and found.counts == (3, 4) and found.resolved is None
    typed = found.list_to_type
    assert typed is not None and typed[:7] == [0, 1, 2, 3, 7, 4, 5] and len(typed) == 5 + wanted - 3
    assert len(set(typed)) == len(typed)


@pytest.mark.parametrize(
    ("version", "told"), [("v9", "unknown version 'v9'; known: v1, v3, v5, v7"), ("v1", "v1 is a root")]
)
def test_seeds_of_no_edge(seeded: Path, version: str, told: str) -> None:
    from ganealogy.report.seeds import outlook

    with pytest.raises(GanealogyError, match=told):
        outlook(seeded, version)


def test_seeds_without_numbers_or_plan(seeded: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    from ganealogy.report.seeds import outlook

    for seed in range(4):
        drop(seeded, f"v5-{seed}")
    with pytest.raises(GanealogyError, match="1 and 5 seeds"):
        outlook(seeded, "v5")
    drop(seeded, "v5-4")
    with pytest.raises(GanealogyError, match="v5 has no fd_pixel8 yet; run: dvc repro"):
        outlook(seeded, "v5")
    with pytest.raises(GanealogyError, match="unknown metric 'fid'; known: fd_pixel8"):
        outlook(seeded, "v3", metric="fid")
    with pytest.raises(GanealogyError, match="ganealogy plan"):
        outlook(tmp_path_factory.mktemp("empty"), "v5")
    versions = json.loads((seeded / "build/plan/tree.json").read_text())["versions"]
    retell(seeded, versions=[entry | {"listed": entry["name"] != "v1"} for entry in versions])
    with pytest.raises(GanealogyError, match=r"v1 is not trained: add it to tree\.versions"):
        outlook(seeded, "v3")


def test_a_share_that_could_mean_two_things_is_a_usage_error(seeded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run(seeded, monkeypatch, "seeds", "v3", "--difference", "10")
    assert result.exit_code == 2 and "write 10% or 0.1" in result.output
    assert "worse distance is 1.1 times" in run(seeded, monkeypatch, "seeds", "--help").output
