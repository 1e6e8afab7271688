"""What benchmarks/gpu.py does for a short loan of a card, without one."""

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
    sizes = {"batch_size": 4, "width": 4, "count": 16, "side": 32, "rounds": 1, "steps": 1, "looked_at": 1}
    options = {"device": "cpu", "precision": "fp32", "minutes": 9, "deadline": float("inf"), "versions": ["v1"]}
    return argparse.Namespace(**sizes, **options)


class Refused:
    """A graph that cannot be recorded."""

    def play(self, step):
        return step()

    def record(self, step):
        raise RuntimeError("operation not permitted when stream is capturing")


def test_a_versions_memory_is_free_once_it_is_measured(gpu, bench, given, monkeypatch):
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
        f"v1, {way}" for way in sorted((gpu.PLAIN, gpu.UNTUNED, gpu.REPEATABLE))
    ], "each way has a graph but the one that is measured without"


def test_graphs_are_switched_off_for_one_way_alone(gpu, bench, given, monkeypatch):
    monkeypatch.delenv(state.GRAPHS, raising=False)
    used = {}
    monkeypatch.setattr(gpu, "Ours", lambda *_, **__: state.use_graphs())
    for way in gpu.WAYS:
        used[way] = gpu.prepared(bench, given, "v1", None, "fp32", way)
    assert used == {way: way != gpu.LAUNCHED for way in gpu.WAYS}
    assert state.GRAPHS not in os.environ


def test_no_version_is_begun_that_may_not_end_in_time(gpu, bench, given, monkeypatch):
    clock, took = [0.0], {"v1": 50.0, "v2": 200.0, "v3": 100.0, "v4": 1.0}

    def look_at(_bench, _given, version, *_):
        clock[0] += took[version]
        return 1.0, 2.0, 3.0

    monkeypatch.setattr(gpu, "look_at", look_at)
    monkeypatch.setattr(gpu.time, "monotonic", lambda: clock[0])
    given.versions, given.deadline, given.minutes = list(took), 500.0, 8.5
    gpu.tree(bench, given, {"fp32": 1e12})
    assert clock[0] == 350, "after 350 of 500 seconds there is no time for one like v2"
    assert bench.notes == ["left out for --minutes 8.5: v4"]
    assert [claim.value for claim in bench.claims] == [1.0, 2.0, 3.0]


def test_a_version_that_fails_leaves_the_others(gpu, bench, given, monkeypatch):
    def look_at(_bench, _given, version, *_):
        if version == "v2":
            raise torch.OutOfMemoryError("CUDA out of memory\nin many words")
        return 1.0, 2.0, float(version[1:])

    monkeypatch.setattr(gpu, "look_at", look_at)
    given.versions = ["v1", "v2", "v3"]
    gpu.tree(bench, given, {"fp32": 1e12})
    assert bench.notes == ["v2 is not measured: CUDA out of memory"]
    assert bench.claims[-1].value == 3 and "(v3)" in bench.claims[-1].text
