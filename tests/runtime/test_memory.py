"""That freed memory is kept: touching as much again costs no page faults; and that it is rarely looked for."""

import subprocess
import sys

import pytest

CODE = """
import resource, sys
from ganealogy.runtime import memory
if sys.argv[1] == "kept":
    memory.keep_freed()
import torch
torch.set_num_threads(1)
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(10 * 2**20)  # 40 MiB, more than glibc's own threshold ever grows to
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(min(faults() for _ in range(20)))  # the first few are new memory either way
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a setting of glibc")
def test_freed_memory_stays_with_the_process():
    faults = {
        mode: int(subprocess.run([sys.executable, "-c", CODE, mode], capture_output=True, text=True, check=True).stdout)
        for mode in ("returned", "kept")
    }
    assert faults["kept"] < faults["returned"] / 10


@pytest.mark.parametrize(("rarely", "least", "most"), [("pass", 50, 2000), ("memory.collect_rarely()", 0, 20)])
def test_importing_torch_looks_for_cycles_a_few_times(rarely: str, least: int, most: int) -> None:
    count = "import gc, torch; print(sum(generation['collections'] for generation in gc.get_stats()))"
    code = f"from ganealogy.runtime import memory; {rarely}; {count}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert least < int(done.stdout) < most
