"""Freed memory is reused without page faults, and collections of cycles are rare."""

import subprocess
import sys

import pytest

CODE = """
import resource, sys
from ganealogy.runtime import memory
if sys.argv[1] == "reused":
    memory.keep_freed()
import torch
torch.set_num_threads(1)
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(10 * 2**20)  # 40 MiB, more than glibc's own threshold ever grows to
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(min(faults() for _ in range(20)))  # the first few calls use new memory in both modes
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs glibc")
def test_freed_memory_is_reused_without_page_faults():
    faults = {
        mode: int(subprocess.run([sys.executable, "-c", CODE, mode], capture_output=True, text=True, check=True).stdout)
        for mode in ("returned", "reused")
    }
    assert faults["reused"] < faults["returned"] / 10


@pytest.mark.parametrize(("setting", "least", "most"), [("pass", 50, 2000), ("memory.collect_rarely()", 0, 20)])
def test_importing_torch_runs_few_collections(setting: str, least: int, most: int) -> None:
    count = "import gc, torch; print(sum(generation['collections'] for generation in gc.get_stats()))"
    code = f"from ganealogy.runtime import memory; {setting}; {count}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert least < int(done.stdout) < most
