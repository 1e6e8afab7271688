"""Every benchmark runs, quickly: it prints its table, and its JSON says what was claimed and measured."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
SCRIPTS = {  # the least number of claims that each must judge
    "training": 2,
    "bf16_equivalence": 1,
    "evaluation": 8,
    "supply": 2,
    "preprocess": 2,
    "startup": 6,
    "growth": 1,
    "gpu": 5,  # one more where a processor has bf16
    "metrics": 3,
    "scale": 4,
    "side_by_side": 4,
}
ARGUMENTS = {
    "gpu": ["--device", "cpu"],  # its way on a card, as far as a processor can go it
    "evaluation": ["--threads", "1"],
    "metrics": ["--threads", "1"],
}
EQUAL = "apart from pytorch-fid's"
"""In a claim whose number no haste makes untrue."""


@pytest.mark.slow
@pytest.mark.parametrize("name", SCRIPTS)
def test_it_runs_quickly_and_says_what_it_found(name, tmp_path):
    target = tmp_path / "found.json"
    command = [sys.executable, f"benchmarks/{name}.py", "--quick", "--json", str(target), *ARGUMENTS.get(name, [])]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(target.read_text())
    assert found["quick"] and len(found["claims"]) >= SCRIPTS[name]
    for claim in found["claims"]:
        above = claim["value"] >= claim["target"]
        assert claim["met"] == (above if claim["at_least"] else claim["value"] <= claim["target"])
        assert claim["met"] or EQUAL not in claim["text"]
    for row in found["measurements"]:
        assert isinstance(row["value"], str) or row["value"] == row["value"], row
    assert "target" in done.stdout
    assert any(EQUAL in claim["text"] for claim in found["claims"]) == (name == "evaluation")


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a GPU")
def test_without_a_gpu_nothing_is_claimed_and_the_next_script_runs(tmp_path):
    target = tmp_path / "found.json"
    command = [sys.executable, "benchmarks/gpu.py", "--json", str(target)]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("- no GPU here") and done.stdout.count("\n") == 1
    found = json.loads(target.read_text())
    assert found["claims"] == [] and found["measurements"] == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_it_still_shows_what_it_measured(number, tmp_path):
    target = tmp_path / "found.json"
    command = [sys.executable, "benchmarks/gpu.py", "--device", "cpu", "--quick", "--threads", "1"]
    command += ["--json", str(target), "--versions", *["v1"] * 500]
    process = subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        while '"v1: rate"' not in (target.read_text() if target.exists() else ""):  # there before it ends
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(number)
        shown, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 128 + number
    note = f"stopped by {number.name}: the rest was not measured"
    found = json.loads(target.read_text())
    names = {row["what"] for row in found["measurements"]}
    assert {"device", "v1, notebook, with data", "memory, a copy", "v1, 2 at a time, fp32"} <= names
    assert {"features by effnet_lite0", "v1: rate", "v1: traffic", "v1: sampling"} <= names
    assert found["notes"][-1] == note and len(found["claims"]) >= SCRIPTS["gpu"]
    for text in ("One GPU", "v1: rate", "v1 in tf32, data loading included", note):
        assert text in shown


def test_each_script_is_described():
    text = (ROOT / "benchmarks" / "README.md").read_text()
    scripts = {path.stem for path in (ROOT / "benchmarks").glob("*.py")}
    assert set(SCRIPTS) <= scripts
    assert [name for name in sorted(scripts) if f"`{name}.py`" not in text] == []


def test_every_version_fits_the_benchmarks_smallest_protocol(tmp_path, monkeypatch):
    """The largest trees are only measured at full length."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from measuring.workspace import SHIPPED, Workspace

    assert "w0" in Workspace(tmp_path / "tree", len(SHIPPED) + 1, 1).ganealogy("plan")
