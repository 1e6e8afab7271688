"""The examples of docs/extending.md work as they are written: one pipeline runs with all of them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers.own_project import own_project
from helpers.pipeline import ROOT, Workspace, fresh

from ganealogy.cli.main import cli

PAGE = (ROOT / "docs" / "extending.md").read_text()
BLOCKS = re.findall(r"^```(?:python|yaml)\n# (\S+?)(, [^\n]*)?\n(.*?)^```", PAGE, flags=re.S | re.M)
FILES = {name: content for name, place, content in BLOCKS if not place}
IMPORT = re.search(r"with the import `(.+?)`", PAGE)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A project with the page's files in their places, after `dvc repro`."""
    workspace = fresh(tmp_path_factory.mktemp("extended") / "project")
    for name, content in FILES.items():
        (workspace.path / name).write_text(content)
    ((measure, _, entry),) = [block for block in BLOCKS if block[1]]
    assert IMPORT is not None
    text = (workspace.path / measure).read_text()
    text = text.replace("METRICS = (\n", f"METRICS = (\n{entry}", 1)
    text = text.replace("\nfrom ganealogy", f"\n{IMPORT.group(1)}\nfrom ganealogy", 1)
    (workspace.path / measure).write_text(text)
    workspace.edit("params.yaml", "[v1, v3]", "[example]")
    workspace.edit("params.yaml", "name: avatars", "name: stripes")
    workspace.edit("params.yaml", "[pixel8]", "[pixel8, mean_colour]")
    workspace.dvc("repro")
    return workspace


def test_the_page_has_an_example_of_each_kind() -> None:
    folders = {str(Path(name).parent).removeprefix("src/ganealogy/") for name in FILES}
    components = {"adversary/losses", "adversary/penalties", "networks", "data/sources"}
    assert folders == components | {"evaluation/extractors", "evaluation/metrics", "versions"}


def test_the_version_trains_with_the_new_components(workspace: Workspace) -> None:
    run = json.loads((workspace.path / "build/runs/example/train/0/run.json").read_text())
    assert run["status"] == "finished" and run["recipe"]["adversary"]["loss"]["margin"] == 0.5
    last = (workspace.path / "build/runs/example/train/0/metrics.jsonl").read_text().splitlines()[-1]
    assert json.loads(last)["penalty"] > 0
    code = json.loads((workspace.path / "build/plan/versions/example.json").read_text())["code"]
    for component in ("adversary.losses.squared_hinge", "adversary.penalties.logit_drift", "networks.tiny_conv"):
        assert f"ganealogy.{component}" in code, "part of the fingerprint"


def test_the_new_extractor_and_metric_measure_it(workspace: Workspace) -> None:
    metrics = json.loads((workspace.path / "build/runs/example/evaluate/0/metrics.json").read_text())["metrics"]
    assert metrics["fd_mean_colour"] > 0
    assert metrics["mean_distance_mean_colour"] > 0 and metrics["mean_distance_pixel8"] > 0
    anchors = json.loads((workspace.path / "data/reference/anchors.json").read_text())["metrics"]
    assert anchors["mean_distance_pixel8"]["floor"] < metrics["mean_distance_pixel8"]


def test_the_report_has_all_of_it(workspace: Workspace) -> None:
    page = (workspace.path / "reports/index.html").read_text()
    assert "Squared hinge with logit drift" in page and "Stripes" in page


def test_in_a_project_of_ones_own_the_components_pass_the_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A metric is an entry of the package's table, so it needs a checkout."""
    with own_project(tmp_path, monkeypatch):
        for name, content in FILES.items():
            if "/metrics/" not in name:
                path = Path(name.replace("src/ganealogy", "components"))
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(content)
        done = CliRunner().invoke(cli, ["check"], catch_exceptions=False, standalone_mode=False)
    lines = done.output.splitlines()
    assert done.return_value == 0 and [line[0] for line in lines] == ["✓"] * 6, lines
    assert [line.split(":")[0] for line in lines] == [
        "✓ adversary.losses.squared_hinge",
        "✓ adversary.penalties.logit_drift",
        "✓ data.sources.stripes",
        "✓ evaluation.extractors.mean_colour",
        "✓ networks.tiny_conv",
        "✓ example",
    ]


def test_the_examples_pass_ruff(workspace: Workspace) -> None:
    written = [name for name in FILES if name.endswith(".py")]
    workspace.run("ruff", "check", *written)
    workspace.run("ruff", "format", "--check", *written)
