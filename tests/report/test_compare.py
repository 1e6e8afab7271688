"""Comparison of experiments made by `dvc exp run`; the workspace's only stage copies prepared results."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from helpers.fabricated import HOSTILE, edit, fabricate, fabricate_run
from helpers.pipeline import Workspace

from ganealogy.errors import GanealogyError
from ganealogy.report.collect import collect
from ganealogy.report.compare import cells, compare, differing, render, version_names
from ganealogy.report.experiments import Experiment, read
from ganealogy.workspace import run_dir

OUTS = ["build/plan", "build/runs", "data/packed", "data/reference"]


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fabricated project at another learning rate: v1 and v3 have other results, v7 the same."""
    root = fabricate(tmp_path_factory.mktemp("other"))
    for version, quality in (("v1", 0.9), ("v3", 0.95)):
        for seed in (0, 1):
            for folder in run_dir(version, seed, root).folders.values():
                shutil.rmtree(folder)
            run = fabricate_run(root, version, seed, quality)
            edit(run / "train/run.json", key=f"{version}-{seed} at another rate")
    protocol = json.loads((root / "build/plan/tree.json").read_text())["protocol"]
    edit(root / "build/plan/tree.json", protocol={**protocol, "lr": 0.0004})
    return root


@pytest.fixture
def sides(shared_project: Path, other: Path) -> list[Experiment]:
    return [Experiment("base", "1" * 40, collect(shared_project)), Experiment("faster", "2" * 40, collect(other))]


def test_differing_settings_are_listed(sides: list[Experiment]) -> None:
    assert differing(sides) == [("train.lr", ["0.0002", "0.0004"])]
    sides[1].findings.listed[1].recipe["latent"]["size"] = 64
    assert ("v3: latent.size", ["128", "64"]) in differing(sides)
    assert differing([sides[0], sides[0]]) == []


def test_differing_code_with_equal_settings_is_listed(sides: list[Experiment], shared_project: Path) -> None:
    again = Experiment("again", "", collect(shared_project))
    again.findings.listed[0].fingerprint = "of other code"
    assert differing([sides[0], again]) == [("v1: code", ["plan-v1", "of other code"[:12]])]


def test_seeds_of_one_version_are_listed_as_in_params_yaml(sides: list[Experiment]) -> None:
    sides[1].findings.listed[1].seeds.extend([7, 5])
    assert differing(sides) == [("train.lr", ["0.0002", "0.0004"]), ("tree.more_seeds.v3", ["–", "7, 5"])]
    for version in sides[1].findings.listed:
        version.seeds = [0, 1, 2]
    assert differing(sides) == [("tree.seeds", ["0, 1", "0, 1, 2"]), ("train.lr", ["0.0002", "0.0004"])]


def test_rows_are_versions_and_columns_experiments(sides: list[Experiment]) -> None:
    assert version_names(sides) == ["v1", "v3", "v5", "v7"]
    table = cells(sides, version_names(sides), "fd_pixel8")
    base, faster = table["v1"]
    assert base.verdict is None and base.note == ""
    assert faster.verdict is not None and faster.verdict.effect == pytest.approx(
        faster.estimate.mean / base.estimate.mean  # type: ignore[union-attr]
    )
    assert table["v7"][1].note == "the same runs" and table["v7"][1].verdict is None


def test_no_verdict_between_a_version_and_the_same_one_from_trained_networks(sides: list[Experiment]) -> None:
    sides[1].findings.listed[0].start = {"version": "v3", "seed": "same", "kimg": 10.0}
    other = cells(sides, ["v1"], "fd_pixel8")["v1"][1]
    assert other.verdict is None and other.note == "another start: not compared"
    sides[0].findings.listed[0].start = dict(sides[1].findings.listed[0].start)
    assert cells(sides, ["v1"], "fd_pixel8")["v1"][1].verdict is not None


def test_no_verdict_for_another_protocol_other_data_or_a_missing_version(sides: list[Experiment]) -> None:
    for run in sides[1].findings.runs:
        run.protocols.get("fd_pixel8", {})["fakes"] = 100
    other = cells(sides, ["v1"], "fd_pixel8")["v1"][1]
    assert other.verdict is None and other.note == "another protocol: not compared"
    kid = cells(sides, ["v1"], "kid_effnet_lite0")["v1"][1]
    assert kid.verdict is None and kid.note == "" and kid.estimate is not None, "words for the primary metric alone"
    sides[1].findings.manifest["dataset"] = "of other pictures"
    assert cells(sides, ["v1"], "kid_effnet_lite0")["v1"][1].note == "another protocol: not compared"
    sides[1].findings.versions = [version for version in sides[1].findings.versions if version.name != "v1"]
    assert cells(sides, ["v1"], "fd_pixel8")["v1"][1].note == "not in this experiment"


def test_the_page_escapes_text_and_lists_what_the_cache_lacks(sides: list[Experiment]) -> None:
    sides[1].missing = [f"build/runs/v{number}/evaluate" for number in range(8)]
    html = render(sides)
    assert HOSTILE not in html and "&lt;script&gt;alert(1)" in html
    assert "DVC's cache and remote lack build/runs/v0/evaluate" in html and "and 2 more" in html
    assert html.count('alt="Samples of v1 in') == 2
    assert "http" not in html.replace("http-equiv", ""), "nothing from a network"


@pytest.fixture(scope="module")
def workspace(shared_project: Path, other: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A DVC workspace with two experiments, `base` and `faster`."""
    path = tmp_path_factory.mktemp("a path") / "with spaces"
    path.mkdir()
    copies = "".join(f"shutil.copytree(f'{{source}}/{out}', '{out}', dirs_exist_ok=True)\n" for out in OUTS)
    sources = f"{{'0.0002': {str(shared_project)!r}, '0.0004': {str(other)!r}}}"
    rate = "open('params.yaml').read().split()[-1]"
    (path / "make.py").write_text(f"import shutil\nsource = {sources}[{rate}]\n{copies}")
    (path / "params.yaml").write_text("train:\n  lr: 0.0002\n")
    outs = "\n".join(f"    - {out}" for out in OUTS)
    stage = (
        f"stages:\n  make:\n    cmd: python make.py\n    deps: [make.py]\n    params: [train.lr]\n    outs:\n{outs}\n"
    )
    (path / "dvc.yaml").write_text(stage)
    (path / ".gitignore").write_text("/build\n/data\n/reports\n")
    workspace = Workspace(path)
    workspace.run("git", "init", "-q", "-b", "main")
    workspace.run("git", "config", "user.name", "Test")
    workspace.run("git", "config", "user.email", "test@example.org")
    workspace.dvc("init", "-q")
    workspace.dvc("config", "core.analytics", "false")
    workspace.run("git", "add", "-A")
    workspace.run("git", "commit", "-q", "-m", "start")
    workspace.dvc("exp", "run", "-n", "base")
    workspace.dvc("exp", "run", "-n", "faster", "-S", "train.lr=0.0004")
    return workspace


def test_experiments_are_read_without_a_checkout(workspace: Workspace) -> None:
    before = workspace.run("git", "status", "--short").stdout
    shutil.rmtree(workspace.path / "build")  # the workspace's files are not read
    page = compare(["base", "faster"], workspace.path)
    html = page.read_text()
    assert page == workspace.path / "reports/compare.html"
    assert "train.lr" in html and "<td>0.0002</td><td>0.0004</td>" in html
    assert "the same runs" in html and html.count("<img src=") >= 6
    assert "cache and remote lack" not in html
    assert not (workspace.path / "build").exists()
    assert workspace.run("git", "status", "--short").stdout == before


def test_an_unknown_name_lists_the_experiments(workspace: Workspace) -> None:
    with pytest.raises(GanealogyError, match=r"fster: no such experiment.*experiments: base, faster"):
        compare(["base", "fster"], workspace.path)


@pytest.mark.parametrize("names", [[], ["base"], ["base", "base"]])
def test_it_needs_two_different_names(workspace: Workspace, names: list[str]) -> None:
    with pytest.raises(GanealogyError, match="two or more experiments"):
        compare(names, workspace.path)


def test_a_folder_without_dvc_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(GanealogyError, match="not a DVC project"):
        compare(["a", "b"], tmp_path)


def test_a_commit_without_results_is_an_error(workspace: Workspace) -> None:
    with pytest.raises(GanealogyError, match=r"main \(.{7}\): build/plan was never made"):
        compare(["base", "main"], workspace.path)


def changed(workspace: Workspace, project: Path, into: Path) -> Path:
    """Return a copy of the workspace that has the project's results, not recorded by DVC."""
    copy = Path(shutil.copytree(workspace.path, into, symlinks=True))
    for folder in ("build", "data"):
        shutil.copytree(project / folder, copy / folder, dirs_exist_ok=True)
    return copy


def test_seeds_of_one_version_are_read(workspace: Workspace, other: Path, tmp_path: Path) -> None:
    copy = changed(workspace, other, tmp_path / "copy")
    tree = copy / "build/plan/tree.json"
    versions = json.loads(tree.read_text())["versions"]
    edit(tree, versions=[entry | {"seeds": [0, 1, 5] if entry["name"] == "v3" else [0, 1]} for entry in versions])
    fabricate_run(copy, "v3", 5, 0.9)
    sides = read(["base", "workspace"], copy, tmp_path / "into")
    assert [len(side.findings.versions[1].values("fd_pixel8")) for side in sides] == [2, 3]
    assert [len(side.findings.versions[0].values("fd_pixel8")) for side in sides] == [2, 2]


def test_an_experiment_of_an_older_ganealogy_is_an_error(workspace: Workspace, other: Path, tmp_path: Path) -> None:
    copy = changed(workspace, other, tmp_path / "copy")
    tree = copy / "build/plan/tree.json"
    versions = json.loads(tree.read_text())["versions"]
    for entry in versions:
        del entry["seeds"]
    edit(tree, versions=versions, seeds=[0, 1])
    with pytest.raises(GanealogyError, match="workspace: made by an older Ganealogy"):
        compare(["base", "workspace"], copy)


def test_outputs_missing_from_the_cache_are_listed_with_the_command(workspace: Workspace, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(workspace.path, tmp_path / "copy", symlinks=True))
    marker = b'"key": "v1-0 at another rate"'
    objects = [path for path in (copy / ".dvc/cache/files/md5").rglob("*") if path.is_file()]
    (lost,) = [path for path in objects if marker in path.read_bytes()]
    lost.chmod(0o644)
    lost.unlink()
    html = compare(["base", "faster"], copy).read_text()
    assert "faster: DVC's cache and remote lack build/runs/v1/train" in html and "<code>dvc exp push" in html
    shutil.rmtree(copy / ".dvc/cache")
    with pytest.raises(GanealogyError, match=r"DVC's cache.*dvc exp push"):
        compare(["base", "faster"], copy)


def test_results_come_by_the_commands_in_the_message(workspace: Workspace, tmp_path: Path) -> None:
    """The cache is on another machine, and the DVC remote is newer than the experiments."""
    there = Workspace(Path(shutil.copytree(workspace.path, tmp_path / "there", symlinks=True)))
    there.run("git", "init", "-q", "--bare", str(tmp_path / "bare"))
    there.run("git", "remote", "add", "origin", str(tmp_path / "bare"))
    here = Workspace(Path(shutil.copytree(there.path, tmp_path / "here", symlinks=True)))
    shutil.rmtree(here.path / ".dvc/cache")
    for name in ("base", "faster"):
        with pytest.raises(GanealogyError, match=f"{name} .*DVC's cache") as caught:
            compare(["base", "faster"], here.path)
        push, _, add = re.findall("`(.*?)`", str(caught.value))
        for machine in (there, here):
            machine.run(*add.replace("NAME ADDRESS", f"store {tmp_path / 'store'} -f").split())
        there.run(*push.replace("<git remote>", "origin").split())
    assert "cache and remote lack" not in compare(["base", "faster"], here.path).read_text()


def test_two_experiments_of_one_name_are_told_apart_by_their_commits(workspace: Workspace, tmp_path: Path) -> None:
    copy = Workspace(Path(shutil.copytree(workspace.path, tmp_path / "copy", symlinks=True)))
    commits = copy.dvc("exp", "list", "--sha-only").split()
    for message in ("another base", "newer than both"):
        copy.run("git", "commit", "-q", "--allow-empty", "-m", message)
        if message == "another base":
            base = copy.run("git", "rev-parse", "HEAD").stdout.strip()
            copy.run("git", "update-ref", f"refs/exps/{base[:2]}/{base[2:]}/base", commits[1])
    with pytest.raises(GanealogyError, match=r"base: more than one experiment.*dvc exp list"):
        compare(["base", "faster"], copy.path)
    shown = copy.dvc("exp", "list", "--all-commits", "--sha-only").split()
    assert set(commits) <= set(shown) and compare(commits, copy.path).is_file()
