"""Each command that README and docs show is run, word for word, on the tiny protocol; one that is not run fails."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.request
import zipfile
from pathlib import Path

import numpy as np
import pytest
from helpers.pipeline import ROOT, Workspace, fresh, ran
from PIL import Image

PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
TEXT = "\n".join(page.read_text() for page in PAGES)


def shown() -> set[str]:
    """Commands in code spans and in bash blocks, without comments."""
    blocks = re.findall(r"^```([^\n]*)\n(.*?)^```", TEXT, flags=re.S | re.M)
    lines = [line for language, text in blocks if language == "bash" for line in text.splitlines()]
    typed = [re.sub(r"\s+# .*", "", line) for line in lines]
    prose = re.sub(r"^```.*?^```", "", TEXT, flags=re.S | re.M)
    spans = [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]
    return {line for line in [*typed, *spans] if line.startswith(("make ", "dvc ", "ganealogy ", "source "))}


RUN_HERE = {
    "make repro",
    "make test",
    "make ui",
    "source .venv/bin/activate",
    "dvc repro",
    "dvc repro train@v3",
    "dvc exp run -S train.lr=0.0004",
    "dvc exp run -S 'tree.versions=[v1,v3]'",
    "dvc exp show",
    "ganealogy plan",
    "ganealogy new my-idea --parent v8",
    "ganealogy tree",
    "ganealogy show v10",
    "ganealogy diff v3 v10",
    "ganealogy summary",
    "ganealogy sync",
    "ganealogy use anime",
    "ganealogy use folder --path my-pictures",
    "ganealogy fetch inception",
    "ganealogy report --exp A B",
    "ganealogy seeds v8",
    "ganealogy export v3 0",
    "ganealogy doctor",
    "ganealogy measure --real photos --fake samples.zip --extractor effnet_lite0",
    "ganealogy --help",
}
RUN_ELSEWHERE = {
    "dvc exp run": "tests/test_pipeline.py",
    "dvc exp run --temp": "tests/tracking/test_places.py",
    "dvc repro --single-item": "tests/faults/test_remedies.py",
    "dvc exp show --only-changed --drop '.*/|.*components|versions|package|lead'": "tests/test_pipeline.py",
    "dvc plots diff": "tests/test_pipeline.py",
    "dvc plots show": "tests/test_pipeline.py",
    "ganealogy export": "tests/export/test_generate.py",
    "ganealogy live": "tests/export/test_live_page.py",
    "ganealogy ui": "tests/tracking/test_mlflow_ui.py",
    "ganealogy use cifar10": "tests/params/test_presets.py",
    "ganealogy init": "tests/test_own_project.py",
    "ganealogy init demo": "tests/test_own_project.py",
    "ganealogy init faces --pictures my-pictures --hours 2": "tests/test_own_project.py",
    "ganealogy tree --all": "tests/test_own_project.py",
    "ganealogy generate v8 -n 1000 --seed 7": "tests/export/test_generate.py",
    "ganealogy judge v8 --against v1 --require better": "tests/report/test_as_json.py",
    "ganealogy use notebook": "tests/params/test_presets.py",
    "ganealogy show v8 --layers": "tests/lineage/test_layers.py",
    "ganealogy calibrate": "tests/test_calibrate.py",
    "ganealogy calibrate mimicry-dcgan": "tests/test_calibrate.py",
    "ganealogy measure": "tests/evaluation/test_standalone.py",
    "ganealogy check": "tests/project/test_check.py",
    "ganealogy conclude v8": "tests/report/test_conclusions.py",
    'ganealogy conclude v8 "Helps; keep it."': "tests/report/test_conclusions.py",
    "ganealogy gc": "tests/runs/test_gc.py",
    "ganealogy ablate v12": "tests/cli/test_ablate.py",
    "ganealogy ablate v12 --only": "tests/cli/test_ablate.py",
    "ganealogy ablate v24": "tests/cli/test_ablate.py",
    "ganealogy ablate v24 --only": "tests/cli/test_ablate.py",
    "ganealogy ablate v12 --pairs": "tests/cli/test_ablate.py",
    "ganealogy ablate v6 --split": "tests/cli/test_ablate.py",
    "ganealogy new together --parent v8 --parent v23": "tests/lineage/test_tables.py",
    "ganealogy settle": "tests/test_settle.py",
    "ganealogy settle --at-most 12": "tests/test_settle.py",
    "ganealogy settle v8": "tests/test_settle.py",
    "ganealogy report": "tests/benchmarks/test_gpu_day.py",
    "ganealogy report --projects . ../faces": "tests/report/test_across.py",
    "ganealogy show v12": "tests/lineage/test_ideas.py",
    "ganealogy noise v1": "tests/stages/test_noise.py",
    "ganealogy noise v1 --runs 5": "tests/stages/test_noise.py",
    "make live": "tests/export/test_live_page.py",
    "make test-fast": "tests/test_makefile.py",
    "make setup": ".ci/run",
    "make setup-dev": "tests/test_makefile.py",
    "make lock": "tests/test_makefile.py",
    "make lint": ".ci/run",
    "make docs": ".ci/run",
    "make test-oldest": ".ci/run",
    "make soak": "tests/faults/conftest.py",
    "make bench": "tests/benchmarks/test_scripts.py",
    "ganealogy doctor --fix": "tests/runtime/test_rwlock.py",
    "ganealogy repro": "tests/test_repro.py",
    "ganealogy repro --address auto": "tests/cluster/test_repro.py",
    "ganealogy repro --address auto --gpus-per-run 4": "tests/cluster/test_ranks.py",
    "ganealogy train v7 --seeds 0 --ranks 4": "tests/cluster/test_ranks.py",
    "ganealogy evaluate v7 --seeds 0 --ranks 4": "tests/cluster/test_ranks.py",
}
"""Commands with tests of their own, which do the same with other arguments or in less time."""
NOT_FOR_TYPING = ("dvc remote ", "dvc checkout --force")
"""DVC's own: for a server of the reader, and one that deletes files."""


def test_every_command_shown_is_run_below() -> None:
    known = RUN_HERE | RUN_ELSEWHERE.keys()
    listed = {line for line in shown() if not line.startswith(NOT_FOR_TYPING)}
    assert listed == known, f"to run in this file: {listed - known}; not shown any more: {known - listed}"
    assert all((ROOT / place).is_file() for place in RUN_ELSEWHERE.values())


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A checkout with this test's environment as its .venv, after `make repro`."""
    workspace = fresh(tmp_path_factory.mktemp("read") / "me first")
    workspace.edit("params.yaml", "seeds: [0]", "seeds: [0, 1]")
    (workspace.path / ".venv").symlink_to(Path(sys.executable).parent.parent)
    done = workspace.run("make", "repro", "--assume-old", ".venv/.ready")
    assert "One-sided label smoothing" in done.stdout and "file:///" in done.stdout
    return workspace


def typed(workspace: Workspace, command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """As a person types it, after `source .venv/bin/activate`."""
    return workspace.run("bash", "-c", f"source .venv/bin/activate && {command}", check=check)


def test_make_repro_again_runs_no_stage(workspace: Workspace) -> None:
    done = workspace.run("make", "repro", "--assume-old", ".venv/.ready")
    assert ran(done.stdout) == ["inputs", "inputs"] and ": done in" not in done.stdout


def test_make_test_runs_the_suite(workspace: Workspace) -> None:
    done = workspace.run(
        "make", "test", "--assume-old", ".venv/.ready-dev", "PYTEST_ARGS=-n 0 tests/lineage/test_fingerprint.py"
    )
    assert re.search(r"\d+ passed", done.stdout)


def test_a_finished_tree_is_up_to_date_and_has_tables_and_curves(workspace: Workspace) -> None:
    typed(workspace, "dvc repro")
    assert ran(typed(workspace, "dvc repro train@v3").stdout) == ["inputs"]
    assert "└ v3" in typed(workspace, "ganealogy plan").stdout
    assert "v3" in typed(workspace, "ganealogy summary").stdout
    assert "lead.v1" in typed(workspace, "dvc metrics show").stdout
    typed(workspace, "dvc plots show -o build/plots")
    assert "Frechet distance while training" in (workspace.path / "build" / "plots" / "index.html").read_text()


def test_experiments_are_recorded_and_compared(workspace: Workspace) -> None:
    workspace.run("git", "add", "dvc.lock", "params.yaml")
    workspace.run("git", "commit", "-q", "-m", "results")
    typed(workspace, "dvc exp run -S train.lr=0.0004")
    typed(workspace, "dvc exp run -S 'tree.versions=[v1,v3]'")
    assert "train.lr" in typed(workspace, "dvc exp show --no-pager --csv").stdout
    names = typed(workspace, "dvc exp list --name-only").stdout.split()
    assert len(names) == 2
    typed(workspace, f"ganealogy report --exp {names[0]} HEAD")  # A and B: an experiment and a commit
    page = (workspace.path / "reports" / "compare.html").read_text()
    assert names[0] in page and "train.lr" in page and "0.0004" in page
    workspace.run("git", "checkout", "-q", "params.yaml")  # -S has rewritten it


def test_a_new_version_trains_alone_and_joins_the_tree(workspace: Workspace) -> None:
    block = re.search(r"```yaml\n(.*?)```", (ROOT / "docs" / "versions.md").read_text(), flags=re.S)
    assert block
    typed(workspace, "ganealogy new my-idea --parent v8")
    (workspace.path / "versions" / "my-idea.yaml").write_text(block.group(1))
    shown_tree = typed(workspace, "ganealogy plan").stdout
    assert "my-idea" in shown_tree and "v8 (not trained)" in re.sub(r"\s+", " ", shown_tree)
    output = typed(workspace, "dvc repro").stdout
    assert "train@my-idea" in output and "Running stage 'train@v1'" not in output


def test_results_can_be_exported_planned_checked_and_posted(workspace: Workspace) -> None:
    typed(workspace, "dvc repro")
    typed(workspace, "ganealogy export v3 0")
    assert [path.suffix for path in (workspace.path / "reports" / "live").iterdir()] == [".onnx"]
    said = typed(workspace, "ganealogy seeds v3").stdout  # the tiny tree has no v8
    assert "10 %" in said and "tree.more_seeds" in said
    assert "torch" in typed(workspace, "ganealogy doctor", check=False).stdout
    assert "Maintenance" in typed(workspace, "ganealogy --help").stdout
    typed(workspace, "ganealogy sync")


def test_any_two_sets_of_pictures_can_be_measured(workspace: Workspace, tmp_path: Path) -> None:
    for name, seed in (("photos", 1), ("samples", 2)):
        (tmp_path / name).mkdir()
        drawn = np.random.default_rng(seed).integers(0, 256, (6, 16, 16, 3), np.uint8)
        for index, pixels in enumerate(drawn):
            Image.fromarray(pixels).save(tmp_path / name / f"{index}.png")
    with zipfile.ZipFile(tmp_path / "samples.zip", "w") as archive:
        for path in (tmp_path / "samples").iterdir():
            archive.write(path, path.name)
    command = "ganealogy measure --real photos --fake samples.zip --extractor effnet_lite0"
    done = subprocess.run(
        ["bash", "-c", f"source '{workspace.path / '.venv/bin/activate'}' && {command}"],
        cwd=tmp_path,  # anywhere: no params.yaml, no plan
        env=workspace.environment(PYTHONPATH=str(workspace.path / "src")),
        capture_output=True,
        text=True,
        check=True,
    )
    assert "fd_effnet_lite0" in done.stdout and "kid_effnet_lite0" in done.stdout


def test_tree_show_and_diff_print_the_family(workspace: Workspace) -> None:
    assert "└── v8" in typed(workspace, "ganealogy tree").stdout
    assert "gradient_penalty" in typed(workspace, "ganealogy show v10").stdout
    assert "wasserstein" in typed(workspace, "ganealogy diff v3 v10").stdout


def test_a_folder_of_pictures_is_a_data_set(workspace: Workspace) -> None:
    """The demo's avatars, as a folder of files."""
    with zipfile.ZipFile(next((workspace.path / "data" / "raw").glob("*.zip"))) as archive:
        archive.extractall(workspace.path / "my-pictures")
    (workspace.path / "my-pictures" / "notes.png").write_text("not a picture")
    assert "folder" in typed(workspace, "ganealogy use folder --path my-pictures").stdout
    for old, new in [
        ("image_size: 64", "image_size: 16"),
        ("kimg: 64", "kimg: 0.064"),
        ("batch_size: 32", "batch_size: 8"),
        ("count: 500", "count: 50"),
        ("extractors: [layout_edges_32_64, pixel8, pictures, effnet_lite0_64]", "extractors: [pixel8]"),
        ("lead: fd_layout_edges_32_64", "lead: fd_pixel8"),
        ("versions: [v1, v20, v21, v22, v23, v24]", "versions: [v1]"),
        ("holdout: 0.1", "holdout: 0.2"),
    ]:
        workspace.edit("params.yaml", old, new)
    typed(workspace, "dvc repro")
    assert "notes.png" in (workspace.path / "data" / "packed" / "manifest.json").read_text()


def test_use_prints_the_changes_and_fetch_turns_on_fid(workspace: Workspace) -> None:
    difference = typed(workspace, "ganealogy use anime").stdout
    assert "+  name: anime" in difference
    typed(workspace, "ganealogy use avatars")
    before = (workspace.path / "params.yaml").read_text()
    done = typed(workspace, "mkdir empty && GANEALOGY_MIRROR=empty ganealogy fetch inception", check=False)
    if done.returncode:  # without the network: one line with a hint, and params.yaml unchanged
        assert done.returncode == 2 and "pt_inception" in done.stdout
        assert (workspace.path / "params.yaml").read_text() == before and "inception" not in before


def test_make_ui_serves_the_comparison(workspace: Workspace) -> None:
    process = subprocess.Popen(
        ["make", "ui", "--assume-old", ".venv/.ready"],
        cwd=workspace.path,
        env=workspace.environment(),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        address, lines = None, []
        assert process.stdout
        for line in process.stdout:
            lines.append(line)
            found = re.search(r"http://127\.0\.0\.1:\d+/\S*", line)
            if found:
                address = found.group()
                break
        assert address and "compareRunsMode=CHART" in address, "".join(lines)
        with urllib.request.urlopen(address.split("#")[0], timeout=20) as page:
            assert page.status == 200
    finally:
        os.killpg(process.pid, signal.SIGINT)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        finally:
            process.stdout.close()
