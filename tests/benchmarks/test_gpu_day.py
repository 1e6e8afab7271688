"""The commands for half an hour with a card, rehearsed on the processor; and what they leave when they are cut off."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks" / "gpu_day"


def bash(script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    command = ["bash", str(FOLDER / script), *arguments]
    return subprocess.run(
        command,
        env={**inherited, "PATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rehearsal")
    done = bash("rehearse.sh", str(folder))
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def lines_of(archive: Path) -> list[str]:
    """Of metrics.jsonl, of which there is one."""
    with tarfile.open(archive) as content:
        (name,) = [name for name in content.getnames() if name.endswith("metrics.jsonl")]
        file = content.extractfile(name)
        assert file is not None
        return file.read().decode().splitlines()


def test_each_command_leaves_its_results(rehearsed: Path) -> None:
    out = rehearsed / "out"
    probe = (out / "probe.txt").read_text()
    assert "!!" not in probe and "[blocks " in probe and "effnet_lite0, contiguous: " in probe
    assert " passed" in (out / "pytest.txt").read_text() and "failed" not in (out / "pytest.txt").read_text()
    assert json.loads((out / "gpu.json").read_text())["measurements"]
    for name in ("long-v1", "long-v2", "r3gan-v1", "r3gan-v9", "r3gan-v16"):
        assert len(lines_of(out / f"{name}.tgz")) == 3, "the untrained generator and two ticks"
        with tarfile.open(out / f"{name}.tgz") as content:
            assert any(part.endswith("evaluate/0/metrics.json") for part in content.getnames())
    assert len(list(out.glob("train-*.log"))) == 4


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
    (archive,) = out.glob("*.tgz")
    assert len(lines_of(archive)) > 1
    assert list((work / "long" / "build" / "wip").glob("*/checkpoints/*.safetensors"))


def test_the_third_command_needs_the_results_of_the_first_two(tmp_path: Path) -> None:
    done = bash("3-r3gan.sh", WORK=str(tmp_path / "work"), OUT=str(tmp_path / "out"))
    assert done.returncode == 3 and "pictures.zip: no such file; begin with the first two commands" in done.stdout


def test_the_rehearsal_hides_what_it_says() -> None:
    code = "import json\ntry:\n    import mlflow\nexcept ModuleNotFoundError as error:\n    print(error)"
    environment = {**os.environ, "PYTHONPATH": str(FOLDER / "hidden")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "No module named 'mlflow' (hidden)\n"
