"""Every benchmark runs; how fast it finds us is not a test's matter."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_evaluation(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "benchmarks/evaluation.py",
        "--quick",
        "--threads",
        "1",
        "--json",
        str(tmp_path / "b.json"),
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    numbers = json.loads((tmp_path / "b.json").read_text())
    rows = {row["what"]: row for row in numbers["rows"]}
    assert {"FID, both folders", "FD in bf16, both folders", "FID, statistics of the reals kept"} <= set(rows)
    for what in ("FID, both folders", "FID, statistics of the reals kept"):
        row = rows[what]
        assert abs(row["value"] / row["peer_value"] - 1) < 1e-4
        assert row["ratio"] == row["peer_s"] / row["ours_s"] > 0
    assert any(what.startswith("Fréchet step") for what in rows) and any(what.startswith("PRDC") for what in rows)
