"""The pipeline as its users use it: DVC's commands on the tiny protocol, in a path with spaces."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.pipeline import COMPARE, Workspace, after_repro, fresh, ran
from PIL import Image

from ganealogy.workspace import NOISE, run_dir

RUNS = "build/runs"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, str]:
    """A workspace after its first `dvc repro`, and what that printed."""
    return after_repro(tmp_path_factory, tmp_path_factory.mktemp("a path") / "with spaces")


@pytest.fixture
def workspace(finished: tuple[Workspace, str], tmp_path: Path) -> Workspace:
    """A copy of the finished workspace, to change at will."""
    shutil.copytree(finished[0].path, tmp_path / "my work", symlinks=True)
    return Workspace(tmp_path / "my work")


def test_one_command_goes_from_pictures_to_the_report(finished: tuple[Workspace, str]) -> None:
    workspace, output = finished
    assert ran(output)[:5] == ["inputs", "plan", "download", "preprocess", "reference"]
    assert ran(output)[-1] == "report"
    page = (workspace.path / "reports" / "index.html").read_text()
    assert "One-sided label smoothing" in page and "not measured" in page
    numbers = json.loads((workspace.path / "reports" / "metrics.json").read_text())
    assert set(numbers["lead"]) == {"v1", "v3"} and numbers["open"] == 1
    assert set(json.loads((workspace.path / "reports" / "all-metrics.json").read_text())) == {"v1", "v3"}
    for name in ("v1", "v3"):
        run = run_dir(name, 0, workspace.path)
        assert json.loads((run / "train/run.json").read_text())["status"] == "finished"
        assert (run / "sample/walk.webp").stat().st_size > 0


def test_git_has_to_track_only_dvc_lock_and_the_record_of_the_inputs(finished: tuple[Workspace, str]) -> None:
    workspace, _ = finished
    assert workspace.run("git", "status", "--short").stdout.split() == ["??", "data/inputs.json", "??", "dvc.lock"]


def test_a_second_time_nothing_runs(workspace: Workspace) -> None:
    assert ran(workspace.dvc("repro")) == ["inputs"]
    assert workspace.dvc("status").split() == ["inputs:", "always", "changed"]


def test_comments_and_unused_code_rerun_nothing_but_the_plan(workspace: Workspace) -> None:
    workspace.edit("versions/v3.yaml", "title:", "# why not\ntitle:")
    workspace.edit("params.yaml", "  kimg: 0.064", "  kimg: 0.064   # short")
    workspace.append("src/ganealogy/adversary/losses/bce.py", "# a comment")
    (workspace.path / "src/ganealogy/adversary/losses/unused.py").write_text("def loss():\n    return None\n")
    assert ran(workspace.dvc("repro")) == ["inputs", "plan"]


def test_an_edited_text_rerenders_the_report_only(workspace: Workspace) -> None:
    workspace.edit("versions/v3.yaml", "One-sided label smoothing", "Label smoothing on one side")
    assert ran(workspace.dvc("repro")) == ["inputs", "plan", "report"]


def test_another_record_of_the_noise_rerenders_the_report_only(workspace: Workspace) -> None:
    (workspace.path / NOISE).write_text("{}")
    assert ran(workspace.dvc("repro")) == ["inputs", "report"]


def test_a_versions_value_retrains_it_and_its_descendants_only(workspace: Workspace) -> None:
    workspace.edit("versions/v3.yaml", "real_target: 0.9", "real_target: 0.8")
    stages = ran(workspace.dvc("repro"))
    assert stages == ["inputs", "plan", "train@v3", "sample@v3", "evaluate@v3", "report"]
    workspace.edit("versions/v1.yaml", "real_target: 1.0", "real_target: 0.95")
    workspace.edit("versions/v1.yaml", "slope: 0.2", "slope: 0.1")
    workspace.dvc("repro", "plan")
    assert {"train@v1", "train@v3"} <= set(ran(workspace.dvc("repro", "--dry")))


def test_edited_code_retrains_only_the_versions_that_use_it(workspace: Workspace) -> None:
    """Only v6 clips, and only the evaluation uses KID."""
    workspace.append("src/ganealogy/adversary/constraints/clip.py", "UNUSED = 1")
    assert ran(workspace.dvc("repro")) == ["inputs", "plan"]
    workspace.append("src/ganealogy/evaluation/metrics/kid.py", "UNUSED = 1")
    workspace.dvc("repro", "plan")
    stages = ran(workspace.dvc("repro", "--dry"))
    assert "evaluate@v1" in stages and not any(stage.startswith(("train", "sample")) for stage in stages)


def test_another_number_of_threads_reruns_nothing(workspace: Workspace) -> None:
    workspace.edit("params.yaml", "  threads: 1", "  threads: 2")
    assert ran(workspace.dvc("repro")) == ["inputs", "plan"]


def test_one_run_can_be_trained_alone(workspace: Workspace) -> None:
    shutil.rmtree(workspace.path / RUNS / "v3")
    output = workspace.dvc("repro", "train@v3")
    assert "train@v1" not in ran(output) and (run_dir("v3", 0, workspace.path) / "train/run.json").exists()


def test_experiments(workspace: Workspace) -> None:
    """`dvc exp run -S`, in the workspace and in a temporary copy, then the tables that compare."""
    workspace.run("git", "add", "dvc.lock", "data/inputs.json")
    workspace.run("git", "commit", "-q", "-m", "first results")
    workspace.dvc("exp", "run", "-n", "faster", "-S", "train.lr=0.0004", "-S", "tree.versions=[v3]")
    plan = json.loads((workspace.path / "build/plan/versions/v3.json").read_text())
    assert plan["recipe"]["optimizers"]["generator"]["lr"] == 0.0004
    workspace.dvc("exp", "run", "--temp", "-n", "alone", "-S", "tree.versions=[v1]", "-S", "sample.count=60")
    rows = {row["Experiment"]: row for row in csv.DictReader(io.StringIO(workspace.dvc("exp", "show", "--csv")))}
    assert rows["faster"]["train.lr"] == "0.0004"
    assert float(rows["faster"]["lead.v3"]) > 0 and float(rows["alone"]["lead.v1"]) > 0
    table = workspace.dvc(*COMPARE, COLUMNS="100").splitlines()
    assert max(map(len, table)) <= 100
    [heading] = [line.split() for line in table if "Experiment" in line]
    assert heading == [*("Experiment", "Created", "distance", "open"), *("tree.versions", "train.lr", "sample.count")]
    compared = workspace.ganealogy("report", "--exp", "faster", "alone")
    assert compared.returncode == 0, compared.stdout
    page = (workspace.path / "reports/compare.html").read_text()
    assert "sample.count" in page and "not in this experiment" in page and "another protocol" in page
    workspace.dvc("exp", "apply", "faster")
    assert "0.0004" in workspace.dvc("params", "diff")
    assert "lead.v3" in workspace.dvc("metrics", "show")
    workspace.dvc("plots", "show", "-o", "build/plots")
    page = (workspace.path / "build" / "plots" / "index.html").read_text()
    assert all(f"{name} while training" in page for name in ("Frechet distance", "D's loss", "G's loss"))
    shown = [workspace.path / "build/plots" / path for path in re.findall(r'<img src="([^"]+)"', page)]
    assert {path.name.rpartition("reports_samples_")[2] for path in shown} == {"real-pictures.png", "v3-samples.png"}
    assert all(Image.open(io.BytesIO(path.read_bytes())).width == 530 for path in shown)


def test_dvcs_own_tables_compare_with_the_last_commit(workspace: Workspace) -> None:
    """`dvc metrics diff` and `dvc plots diff` after a changed parameter show both sides."""
    workspace.run("git", "add", "dvc.lock")
    workspace.run("git", "commit", "-q", "-m", "first results")
    workspace.edit("params.yaml", "reals: 64", "reals: 70")
    assert "train@v1" not in ran(workspace.dvc("repro"))
    changed = json.loads(workspace.dvc("metrics", "diff", "--all", "--json"))["reports/metrics.json"]
    for metric in ("lead.v1", "lead.v3"):
        assert changed[metric]["old"] > 0 and changed[metric]["new"] > 0 and changed[metric]["diff"] != 0
    assert changed["open"] == {"old": 1, "new": 1, "diff": 0}, "--all shows what stayed, too"
    assert ["reports/metrics.json", "open", "1", "1", "0"] in [
        line.split() for line in workspace.dvc("metrics", "diff", "--all").splitlines()
    ]
    workspace.dvc("plots", "diff", "-o", "build/plots")
    page = (workspace.path / "build" / "plots" / "index.html").read_text()
    assert "Frechet distance while training" in page
    assert all(f'"rev": "{side}"' in page for side in ("HEAD", "workspace"))
    pictures = re.findall(r'<p>(HEAD|workspace)</p>\s*<img src="[^"]*v1-samples.png"', page)
    assert sorted(pictures) == ["HEAD", "workspace"], "side by side"


def test_another_size_needs_no_new_download(workspace: Workspace) -> None:
    stages = ran(workspace.dvc("exp", "run", "-S", "dataset.image_size=32", "-S", "tree.versions=[v3]"))
    assert "download" not in stages and stages[:4] == ["inputs", "plan", "preprocess", "reference"]
    assert json.loads((workspace.path / "data/packed/manifest.json").read_text())["image_size"] == 32
    assert not (workspace.path / RUNS / "v1").exists(), "the report prunes runs that are no longer listed"


def test_results_pushed_to_a_remote_are_pulled_elsewhere(workspace: Workspace, tmp_path: Path) -> None:
    workspace.dvc("remote", "add", "-d", "store", str(tmp_path / "remote store"))
    workspace.dvc("push")
    for name in ("build", "data/raw", "data/packed", "data/reference", "reports", ".dvc/cache"):
        shutil.rmtree(workspace.path / name)
    workspace.dvc("pull")
    assert (workspace.path / "reports" / "index.html").exists()
    assert ran(workspace.dvc("repro")) == ["inputs"]


BAD = {
    "train.lr=abc": r"params.yaml: train.lr = 'abc'",
    "train.lr=-1": "train.lr = -1",
    "train.lr=.nan": "train.lr = nan",
    "train.kimg=0": "train.kimg = 0",
    "++train.kimgs=3": "unknown key 'train.kimgs'; known here:",
    "dataset.name=cats": "dataset.name = 'cats'",
    "dataset.image_size=50": "50 is not 4, 5, 6 or 7 doubled at least twice",
    "tree.versions=[v1,v99]": "no version 'v99'",
    "tree.versions=[v1,v1]": "listed twice: v1",
    "tree.seeds=[-1]": "tree.seeds.0 = -1",
    "tree.seeds=[0.5]": "tree.seeds.0 = 0.5",
    "train.tracker=fid": (
        "train.tracker: unknown name 'fid'; known: "
        "clip, dinov2, dinov2_vitl14, effnet_lite0, effnet_lite0_64, inception, inception_bf16, "
        "layout_edges_32_64, mnist_cnn, pictures, pixel8"
    ),
    "evaluate.extractors=[vgg]": "evaluate.extractors: unknown name 'vgg'",
    "dataset.name=folder": "dataset.path must name",
}


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return fresh(tmp_path_factory.mktemp("bad") / "input")


@pytest.mark.parametrize("change", BAD)
def test_a_wrong_parameter_is_named_before_anything_is_fetched(planned: Workspace, change: str) -> None:
    shutil.copy(Path("tests/tiny.yaml"), planned.path / "params.yaml")
    key, value = change.lstrip("+").split("=", 1)
    section, name = key.split(".")
    lines = (planned.path / "params.yaml").read_text().splitlines()
    at = lines.index(f"{section}:")
    kept = [line for line in lines if not line.strip().startswith(f"{name}:") or lines.index(line) < at]
    kept.insert(at + 1, f"  {name}: {value}")
    (planned.path / "params.yaml").write_text("\n".join(kept) + "\n")
    done = planned.ganealogy("plan")
    assert done.returncode == 2 and BAD[change] in done.stdout
    assert len(done.stdout.strip().splitlines()) == 1, "one line"
    assert not (planned.path / "data" / "raw").exists()


def test_dvc_stops_at_the_plan(planned: Workspace) -> None:
    shutil.copy(Path("tests/tiny.yaml"), planned.path / "params.yaml")
    output = planned.dvc("exp", "run", "-S", "train.lr=abc", check=False)
    assert "train.lr = 'abc'" in output and "Running stage 'download'" not in output
    planned.run("git", "checkout", "-q", "params.yaml")


def test_a_hostile_version_name_never_reaches_a_shell(planned: Workspace) -> None:
    shutil.copy(Path("tests/tiny.yaml"), planned.path / "params.yaml")
    planned.edit("params.yaml", "[v1, v3]", '["v1; touch pwned"]')
    output = planned.dvc("repro", check=False)
    assert "is not a version name" in output
    assert not list(planned.path.rglob("pwned"))


def test_the_plan_is_quick_and_shows_the_family(planned: Workspace) -> None:
    shutil.copy(Path("tests/tiny.yaml"), planned.path / "params.yaml")
    done = planned.ganealogy("plan")
    assert done.returncode == 0 and "└ v3" in done.stdout and "loss.real_target 1.0 → 0.9" in done.stdout


def start_training(workspace: Workspace, *command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command,
        cwd=workspace.path,
        env=workspace.environment(GANEALOGY_STEP_SECONDS="0.1"),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def wait_for(condition, process: subprocess.Popen[str], what: str) -> None:
    for _ in range(600):
        if condition():
            return
        if process.poll() is not None:
            pytest.fail(f"{what} did not appear: {process.stdout.read() if process.stdout else ''}")
        time.sleep(0.05)
    pytest.fail(f"{what} did not appear in time")


def long_training(workspace: Workspace) -> None:
    """A training of v1 whose steps `start_training` slows down so that it can be hit, planned but not begun."""
    workspace.edit("params.yaml", "  kimg: 0.064", "  kimg: 0.96")
    workspace.edit("params.yaml", "  ticks: 2", "  ticks: 12")
    workspace.dvc("repro", "plan", "preprocess")


def checkpoints(workspace: Workspace) -> list[Path]:
    return list((workspace.path / "build" / "wip").glob("*/checkpoints/*.json"))


def holder(workspace: Workspace) -> int:
    """Return the process that trains."""
    return int(next((workspace.path / "build" / "wip").glob("*/holder")).read_text())


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stopped_training_saves_a_checkpoint_and_resumes_later(workspace: Workspace, number: int, code: int) -> None:
    long_training(workspace)
    train = [sys.executable, "-m", "ganealogy", "train", "v1", "--seeds", "0"]
    process = start_training(workspace, *train)
    wait_for(lambda: checkpoints(workspace), process, "a checkpoint")
    second = workspace.run(*train, check=False)
    assert second.returncode == 2, "a second trainer is refused"
    assert f"is being trained by process {holder(workspace)};" in second.stdout
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == code, output
    assert "the next `dvc repro` resumes it" in output
    workspace.edit("params.yaml", "  kimg: 0.96", "  kimg: 0.96   # the same")
    done = workspace.run(*train)
    cost = json.loads(run_dir("v1", 0, workspace.path).costs["train"].read_text())
    assert cost["resumed"] == 1 and done.returncode == 0
    assert not checkpoints(workspace), "a finished training leaves none in progress"


def test_killing_dvc_ends_the_training_too(workspace: Workspace) -> None:
    long_training(workspace)
    process = start_training(workspace, sys.executable, "-m", "dvc", "repro", "train@v1")
    wait_for(lambda: checkpoints(workspace), process, "a checkpoint")
    trainer = holder(workspace)
    process.kill()
    process.communicate()
    for _ in range(200):
        try:
            os.kill(trainer, 0)
        except ProcessLookupError:
            break
        time.sleep(0.05)
    else:
        os.kill(trainer, signal.SIGKILL)
        pytest.fail("the trainer outlived dvc")


def test_code_edited_under_a_training_fails_it(workspace: Workspace) -> None:
    long_training(workspace)
    process = start_training(workspace, sys.executable, "-m", "ganealogy", "train", "v1", "--seeds", "0")
    wait_for(lambda: checkpoints(workspace), process, "a checkpoint")
    workspace.append("src/ganealogy/adversary/losses/bce.py", "EDITED = True")
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 2 and "losses.bce: edited while the stage ran" in output


def test_a_version_that_diverges_is_reported_beside_the_others(workspace: Workspace) -> None:
    """v5 with a learning rate that no training survives."""
    workspace.edit("params.yaml", "[v1, v3]", "[v1, v5]")
    workspace.edit("versions/v5.yaml", "lr: 0.02", "lr: 1.0, momentum: 0.999")
    workspace.edit("params.yaml", "  kimg: 0.064", "  kimg: 2")
    output = workspace.dvc("repro")
    assert ran(output)[-1] == "report"
    statuses = {
        name: json.loads((run_dir(name, 0, workspace.path) / "train/run.json").read_text()) for name in ("v1", "v5")
    }
    assert statuses["v1"]["status"] == "finished"
    assert statuses["v5"]["status"] == "diverged" and "at step" in statuses["v5"]["reason"]
    assert "diverged" in (workspace.path / "reports/report.md").read_text()
