"""Planning builds the networks without values, and does not import torch's compiler."""

from __future__ import annotations

import subprocess
import sys

import pytest

PLAN = """
import sys
from pathlib import Path
from ganealogy.stages import plan
files = plan.make(Path(sys.argv[1]))
print(len([name for name in files if name.startswith("versions/")]), "torch._dynamo" in sys.modules)
"""


@pytest.mark.parametrize(("preset", "count"), [("demo", 10), ("celeba", 4), ("mnist", 2)])
def test_planning_does_not_import_torchs_compiler(preset: str, count: int) -> None:
    """Its import would take two thirds of the time of a plan."""
    command = [sys.executable, "-c", PLAN, f"presets/{preset}.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(count), "False"]
