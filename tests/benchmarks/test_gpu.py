"""benchmarks/gpu.py on a CPU: memory, time limits and failures of single versions."""

import argparse
import gc
import importlib
import os
import sys
from pathlib import Path

import pytest
import torch

from ganealogy.training import cuda_graph, state

ROOT = Path(__file__).parents[2]


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    yield importlib.import_module("gpu")
    for name in [name for name in sys.modules if name.split(".")[0] in ("measuring", "gpu")]:
        del sys.modules[name]


@pytest.fixture
def bench(gpu):
    return gpu.Benchmark("One GPU", quick=True, json_path=None)


@pytest.fixture
def given():
    sizes = {"batch_size": 4, "width": 4, "count": 16, "side": 32, "rounds": 1, "steps": 1, "profiled_steps": 1}
    options = {"device": "cpu", "precision": "fp32", "minutes": 9, "deadline": float("inf"), "versions": ["v1"]}
    options |= {"bandwidth": 1e9}
    return argparse.Namespace(**sizes, **options)


class Refused:
    """A CUDA graph whose capture fails."""

    def run_eagerly(self, step):
        return step()

    def capture(self, step):
        raise RuntimeError("operation not permitted when stream is capturing")


def test_a_versions_memory_is_freed_after_its_measurement(gpu, bench, given, monkeypatch):
    monkeypatch.setattr(state, "DEFERRED_CHECK_DEVICES", {"cpu"})
    monkeypatch.setattr(cuda_graph, "CUDAGraph", Refused)
    given.steps = cuda_graph.WARM_UP + 1
    gc.collect()
    gc.disable()
    try:
        gpu.tree(bench, given, {"fp32": 1e12})
        assert not [thing for thing in gc.get_objects() if type(thing) is state.TrainingState]
    finally:
        gc.enable()
    refused = [note for note in bench.notes if "stream is capturing" in note]
    assert sorted(note.split(":")[0] for note in refused) == [
        f"v1, {variant}" for variant in sorted((gpu.PLAIN, gpu.UNTUNED, gpu.DETERMINISTIC))
    ], "each variant has a graph but the one without graphs"


def test_graphs_are_off_for_one_variant_only(gpu, bench, given, monkeypatch):
    monkeypatch.delenv(state.GRAPHS, raising=False)
    used = {}
    monkeypatch.setattr(gpu, "Ours", lambda *_, **__: state.use_graphs())
    for variant in gpu.VARIANTS:
        used[variant] = gpu.prepared(bench, given, "v1", None, "fp32", variant)
    assert used == {variant: variant != gpu.NO_GRAPHS for variant in gpu.VARIANTS}
    assert state.GRAPHS not in os.environ


def test_a_version_that_may_not_end_in_time_is_not_started(gpu, bench, given, monkeypatch):
    clock, took = [0.0], {"v1": 50.0, "v2": 200.0, "v3": 100.0, "v4": 1.0}

    def profile_version(_bench, _given, version, *_):
        clock[0] += took[version]
        return 1.0, 2.0, 3.0

    monkeypatch.setattr(gpu, "profile_version", profile_version)
    monkeypatch.setattr(gpu.time, "monotonic", lambda: clock[0])
    given.versions, given.deadline, given.minutes = list(took), 500.0, 8.5
    gpu.tree(bench, given, {"fp32": 1e12})
    assert clock[0] == 350, "after 350 of 500 seconds there is no time for one like v2"
    assert bench.notes == ["left out for --minutes 8.5: v4"]
    assert [claim.value for claim in bench.claims] == [1.0, 2.0, 3.0]


def test_a_version_that_fails_does_not_stop_the_others(gpu, bench, given, monkeypatch):
    def profile_version(_bench, _given, version, *_):
        if version == "v2":
            raise torch.OutOfMemoryError("CUDA out of memory\nin many words")
        return 1.0, 2.0, float(version[1:])

    monkeypatch.setattr(gpu, "profile_version", profile_version)
    given.versions = ["v1", "v2", "v3"]
    gpu.tree(bench, given, {"fp32": 1e12})
    assert bench.notes == ["v2 is not measured: CUDA out of memory"]
    assert bench.claims[-1].value == 3 and "(v3)" in bench.claims[-1].text
