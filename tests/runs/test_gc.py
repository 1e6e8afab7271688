"""`ganealogy gc`: runs that no branch, tag or experiment names go, all others stay."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from pathlib import Path

import pytest
from helpers.pipeline import Workspace, with_results

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A committed workspace with v1 and v3, and an experiment with v1 at another rate."""
    workspace = with_results(tmp_path_factory, tmp_path_factory.mktemp("gc") / "my work")
    workspace.dvc("remote", "add", "-q", "-d", "store", str(workspace.path.parent / "remote"))
    workspace.dvc("repro")
    workspace.run("git", "add", "-A")
    workspace.run("git", "commit", "-q", "-m", "first results")
    workspace.dvc("exp", "run", "-n", "faster", "-S", "train.lr=0.0004", "-S", "tree.versions=[v1]")
    workspace.run("git", "checkout", "-q", "--", ".")
    workspace.dvc("repro")  # the plan of the first results again
    return workspace


@pytest.fixture
def workspace(finished: Workspace, tmp_path: Path) -> Workspace:
    shutil.copytree(finished.path, tmp_path / "my work", symlinks=True)
    return Workspace(tmp_path / "my work")


def entries(workspace: Workspace) -> dict[str, int]:
    stages = ("train", "sample", "evaluate")
    return {stage: len(list((workspace.path / "build/store" / stage).glob("*"))) for stage in stages}


def test_what_a_branch_or_an_experiment_names_stays(workspace: Workspace) -> None:
    assert entries(workspace) == {"train": 3, "sample": 3, "evaluate": 3}
    assert workspace.ganealogy("gc").stdout == "nothing to remove; 9 results are in use\n"
    workspace.run("git", "tag", "-a", "paper", "-m", "annotated")
    workspace.edit("params.yaml", "lr: 0.0002", "lr: 0.0003")
    workspace.edit("params.yaml", "[v1, v3]", "[v1]")
    workspace.dvc("repro")
    workspace.run("git", "checkout", "-q", "--", ".")
    workspace.dvc("repro")
    done = workspace.ganealogy("gc", "--yes")
    assert "results 1 of train, 1 of sample, 1 of evaluate; 9 in use stay" in done.stdout and "frees " in done.stdout
    assert entries(workspace) == {"train": 3, "sample": 3, "evaluate": 3}
    workspace.dvc("exp", "remove", "faster")
    assert "1 of train" in workspace.ganealogy("gc", "--yes").stdout
    assert entries(workspace) == {"train": 2, "sample": 2, "evaluate": 2}
    shutil.rmtree(workspace.path / "build/runs")
    output = workspace.dvc("repro", "--force")
    assert ": done in" not in output, "the runs of the workspace are still in the store"


def test_nothing_is_removed_without_a_yes(workspace: Workspace) -> None:
    workspace.dvc("exp", "remove", "faster")
    done = workspace.ganealogy("gc")
    assert "frees" in done.stdout and done.returncode == 130, "no terminal to answer at"
    assert entries(workspace)["train"] == 3


def test_a_revision_that_cannot_be_read_stops_it(workspace: Workspace) -> None:
    shutil.rmtree(workspace.path / ".dvc/cache")
    done = workspace.ganealogy("gc", "--yes")
    assert done.returncode == 2 and "not in DVC's cache" in done.stdout and "dvc fetch --all-commits" in done.stdout
    assert entries(workspace)["train"] == 3
    workspace.dvc("exp", "remove", "faster")
    assert "1 of train" in workspace.ganealogy("gc", "--yes", "--ignore-unknown").stdout
    assert entries(workspace) == {"train": 2, "sample": 2, "evaluate": 2}, "the workspace's own plan is there"


def test_the_commands_in_the_message_fetch_what_is_needed(workspace: Workspace, tmp_path: Path) -> None:
    """A commit's plan, and an experiment's, come by different commands."""
    workspace.run("git", "init", "-q", "--bare", str(tmp_path / "bare"))
    workspace.run("git", "remote", "add", "origin", str(tmp_path / "bare"))
    workspace.dvc("push")
    workspace.dvc("exp", "push", "origin", "faster")
    shutil.rmtree(workspace.path / ".dvc/cache")
    said = workspace.ganealogy("gc", "--yes").stdout
    assert said.startswith("ganealogy: HEAD, faster: ")
    commits, experiments = re.findall(r"`(dvc .+?)`", said)
    workspace.dvc(*commits.split()[1:])
    said = workspace.ganealogy("gc", "--yes").stdout
    assert said.startswith("ganealogy: faster: ") and re.findall(r"`(dvc .+?)`", said) == [experiments]
    workspace.dvc(*experiments.replace("<git remote>", "origin").split()[1:])
    assert workspace.ganealogy("gc", "--yes").stdout == "nothing to remove; 9 results are in use\n"


def test_the_workspaces_own_plan_is_made_by_the_command_in_the_message(workspace: Workspace) -> None:
    (workspace.path / "data/packed/manifest.json").unlink()
    said = workspace.ganealogy("gc", "--yes").stdout
    assert "`dvc repro preprocess` (the workspace)" in said
    workspace.dvc("repro", "preprocess")
    assert "the plan is not in DVC's cache" not in workspace.ganealogy("gc", "--yes").stdout


def test_unfinished_trainings_of_no_plan_go(workspace: Workspace) -> None:
    stale = workspace.path / "build/wip/0123456789abcdef0123"
    (stale / "checkpoints").mkdir(parents=True)
    notes = workspace.path / "build/wip/my notes"
    notes.mkdir()
    (stale / "checkpoints" / "000000004.safetensors").write_bytes(bytes(2_000_000))
    done = workspace.ganealogy("gc", "--yes")
    assert done.stdout == "frees 2 MB: results 1 unfinished; 9 in use stay\n" and not stale.exists()
    assert notes.exists(), "it is no run's"


def test_what_killed_processes_left_in_the_store_goes(workspace: Workspace) -> None:
    store = workspace.path / "build/store"
    old = [store / "train/.0123456789abcdef0123.77.tmp", store / "sample/.0123456789abcdef0123.pull"]
    fresh_one = store / "train/.abcdef0123456789abcd.78.tmp"
    for folder in [*old, fresh_one]:
        (folder / "out").mkdir(parents=True)
        (folder / "out/weights").write_bytes(bytes(1_500_000))
    an_hour_ago = time.time() - 3700
    for path in (path for folder in old for path in [folder / "out/weights", folder / "out", folder]):
        os.utime(path, (an_hour_ago, an_hour_ago))
    assert "frees 3 MB: results 2 unfinished; 9 in use stay" in workspace.ganealogy("gc", "--yes").stdout
    assert not any(folder.exists() for folder in old), "nobody writes them any more"
    assert fresh_one.exists(), "another process may be writing it"


def test_an_entry_of_another_format_is_no_error(workspace: Workspace) -> None:
    path = next((workspace.path / "build/store/train").glob("*/entry.json"))
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "made_from": {}}))
    assert "1 of train" in workspace.ganealogy("gc", "--yes").stdout


def test_what_a_larger_budget_will_continue_stays_until_it_has(workspace: Workspace) -> None:
    workspace.edit("params.yaml", "kimg: 0.064", "kimg: 0.128")
    workspace.edit("params.yaml", "ticks: 2", "ticks: 4")
    workspace.dvc("repro", "preprocess")
    workspace.run("git", "commit", "-q", "-a", "-m", "a larger budget")
    for name in workspace.run("git", "for-each-ref", "--format=%(refname)", "refs/exps").stdout.split():
        workspace.run("git", "update-ref", "-d", name)  # DVC's own, of the commit before
    assert "results 1 of train, 3 of sample, 3 of evaluate; 2 in use" in workspace.ganealogy("gc", "--yes").stdout
    output = workspace.dvc("repro")
    assert output.count("continues from the 0.064 kimg that are there") == 2
    assert "results 2 of train; 6 in use" in workspace.ganealogy("gc", "--yes").stdout
