"""The commands for half an hour with a card, rehearsed on the processor; and what they leave when they are cut off."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "benchmarks" / "gpu_day"
pytestmark = pytest.mark.timeout(1200)  # the rehearsal takes minutes on a busy machine


def bash(script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    command = ["bash", str(FOLDER / script), *arguments]
    return subprocess.run(
        command,
        env={**inherited, "PATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=1000,
        check=False,
    )


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rehearsal")
    done = bash("rehearse.sh", str(folder))
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def lines_of(archive: Path, run: str = "") -> list[str]:
    """Of the metrics.jsonl of a run, such as v1/train/0; by default of the only one."""
    with tarfile.open(archive) as content:
        (name,) = [name for name in content.getnames() if name.endswith("metrics.jsonl") and run in name]
        file = content.extractfile(name)
        assert file is not None
        return file.read().decode().splitlines()


def names_in(archive: Path) -> set[str]:
    with tarfile.open(archive) as content:
        return set(content.getnames())


def test_each_command_leaves_its_results(rehearsed: Path) -> None:
    out = rehearsed / "out"
    probe = (out / "probe.txt").read_text()
    assert "!!" not in probe and "[blocks " in probe and "effnet_lite0, contiguous: " in probe
    assert " passed" in (out / "pytest.txt").read_text() and "failed" not in (out / "pytest.txt").read_text()
    measured = {row["what"] for row in json.loads((out / "gpu.json").read_text())["measurements"]}
    assert {"v1, 2 at a time, fp32", "v1: traffic", "metrics of 300, all"} <= measured
    for project, runs in {
        "long": ["v1/{}/0", "v2/{}/0"],
        "r3gan": ["v1/{}/0", "v16/{}/0"],
        "seeds": ["v1/{}/0", "v1/{}/1", "v2/{}/0", "v2/{}/1"],
        "bf16": ["v1/{}/0", "v1/{}/1"],
    }.items():
        records, pictures = out / f"{project}-records.tgz", out / f"{project}-pictures.tgz"
        for run in runs:
            assert len(lines_of(records, run.format("train"))) == 3, "the untrained generator and two ticks"
            assert f"build/runs/{run.format('evaluate')}/metrics.json" in names_in(records)
        assert {"params.yaml", "train-v1.log", "build/runs/v1/cost/train/0.json"} <= names_in(records)
        assert "build/runs/v1/sample/0/grid.png" in names_in(pictures)
        assert not any("/1/" in name for name in names_in(pictures)), "seed 0 alone"


def test_the_archives_make_a_report_elsewhere(rehearsed: Path, tmp_path: Path) -> None:
    for name in ("src", "versions", "presets"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    for archive in (rehearsed / "out").glob("seeds-*.tgz"):
        with tarfile.open(archive) as content:
            content.extractall(tmp_path, filter="data")
    environment = {**os.environ, "PYTHONPATH": "src"}
    command = [sys.executable, "-m", "ganealogy", "report"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    table = (tmp_path / "reports/report.md").read_text()
    assert "2 seeds" in table and "v2" in table


def test_precisions_are_compared_with_the_first(rehearsed: Path) -> None:
    lines = (rehearsed / "out/equivalence.txt").read_text().splitlines()
    assert [line.partition(":")[0] for line in lines] == ["tf32 / fp32", "bf16 / fp32"]
    assert lines[0].startswith("tf32 / fp32: 1.000 ["), "the same on a processor"


@pytest.mark.parametrize(
    ("other", "word"), [([101.0, 99.0, 100.0], "equivalent"), ([120.0, 119.0, 121.0], "not shown to be equivalent")]
)
def test_equivalence_is_within_a_tenth(tmp_path: Path, other: list[float], word: str) -> None:
    for name, values in {"fp32": [100.0, 101.0, 99.0], "tf32": other}.items():
        shutil.copytree(ROOT / "versions", tmp_path / name / "versions")
        shutil.copy(ROOT / "tests/tiny.yaml", tmp_path / name / "params.yaml")
        for seed, value in enumerate(values):
            file = tmp_path / name / f"build/runs/v1/evaluate/{seed}/metrics.json"
            file.parent.mkdir(parents=True)
            file.write_text(json.dumps({"metrics": {"fd_pixel8": value}}))
    path = f"{ROOT / 'src'}:{ROOT / 'benchmarks'}"
    command = [sys.executable, str(FOLDER / "equivalence.py"), "fp32", "tf32"]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=True
    )
    assert f"3 and 3 runs: {word} within 10 %" in done.stdout


def test_the_budget_is_of_the_measured_rate(tmp_path: Path) -> None:
    """20 kimg a second for all runs together where nothing was measured."""
    script = f'. "{FOLDER}/common.sh"; budget 10 100 50 1000; budget 1 100 50 1000; budget 100 100 50 1000'
    environment = {**os.environ, "WORK": str(tmp_path), "OUT": str(tmp_path / "out")}

    def budgets() -> list[str]:
        return subprocess.run(
            ["bash", "-c", script], env=environment, capture_output=True, text=True, check=True
        ).stdout.split()

    assert budgets() == ["200", "1000", "50"]
    rows = [{"what": f"v1, {number} at a time, tf32", "value": 10_000.0 * number} for number in (1, 4)]
    (tmp_path / "gpu.json").write_text(json.dumps({"measurements": rows}))
    assert budgets() == ["400", "1000", "50"]


def test_a_training_that_is_cut_off_leaves_its_curves_and_goes_on(rehearsed: Path, tmp_path: Path) -> None:
    work, out = rehearsed / "work", tmp_path / "out"
    given = {"DEVICE": "cpu", "HIDDEN": str(FOLDER / "hidden"), "BAG": str(rehearsed / "bag"), "WORK": str(work)}
    given |= {"OUT": str(out), "GANEALOGY_THREADS": "1", "OMP_NUM_THREADS": "1", "BATCH": "8", "WIDTH": "4"}
    given |= {
        "TICKS": "1000",
        "TRACKED": "32",
        "SAMPLES": "50",
        "REALS": "64",
        "LEAD": "fd_pixel8",
        "SIDE": "16",
        "VERSIONS": "v1",
    }
    (work / "long").rename(work / "before")
    # So long that the set-up takes half of it on a busy machine.
    done = bash("2-long.sh", KIMG="400", LIMIT="100", KEPT="10", **given)
    assert "train v1: exit 124" in done.stdout, done.stdout
    assert len(lines_of(out / "long-records.tgz")) > 1
    assert list((work / "long" / "build" / "wip").glob("*/checkpoints/*.safetensors"))


def test_the_third_command_needs_the_results_of_the_first_two(tmp_path: Path) -> None:
    done = bash("3-r3gan.sh", WORK=str(tmp_path / "work"), OUT=str(tmp_path / "out"))
    assert done.returncode == 3 and "pictures.zip: no such file; begin with the first two commands" in done.stdout


def test_the_rehearsal_hides_what_it_says() -> None:
    code = "import json\ntry:\n    import mlflow\nexcept ModuleNotFoundError as error:\n    print(error)"
    environment = {**os.environ, "PYTHONPATH": str(FOLDER / "hidden")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "No module named 'mlflow' (hidden)\n"
