"""What all stages have in common."""

import os

import pytest
import torch

from ganealogy.errors import GanealogyError
from ganealogy.params.schema import Train
from ganealogy.runtime import process
from ganealogy.stages import _stage, train


@pytest.fixture
def torch_as_it_was(monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    yield
    torch.use_deterministic_algorithms(False)
    os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)


def test_a_deterministic_training_on_cuda_repeats_exactly(torch_as_it_was):
    train.use_deterministic_algorithms()
    assert torch.are_deterministic_algorithms_enabled()
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert not torch.utils.deterministic.fill_uninitialized_memory


@pytest.mark.parametrize(
    ("device", "deterministic", "expected"), [("cuda", True, True), ("cuda", False, False), ("cpu", True, False)]
)
def test_only_a_deterministic_training_on_cuda_refuses_algorithms(
    monkeypatch, tmp_path, device, deterministic, expected
):
    class StartedError(Exception):
        pass

    def start(*_: object) -> None:
        raise StartedError

    calls = []
    settings = Train(kimg=1, batch_size=8, lr=2e-4, deterministic=deterministic)
    monkeypatch.setattr(_stage, "setup_device", lambda _settings: device)
    monkeypatch.setattr(train, "use_deterministic_algorithms", lambda: calls.append(True))
    monkeypatch.setattr(train, "clean_up", start)
    plan = {"version": "v1", "parent": None, "fingerprint": "", "recipe": {}, "protocol": {"precision": "fp32"}}
    stage = _stage.Stage([], {}, plan, {}, _stage.InputSnapshot([]))
    with pytest.raises(StartedError):
        identity = {"seed": 0, "protocol": plan["protocol"]}
        train.train(stage, identity, tmp_path, settings, process.Interruption())
    assert bool(calls) is expected


@pytest.mark.parametrize(
    ("precision", "printed"),
    [("fp32", ""), ("bf16", ""), ("tf32", "ganealogy: v1 seed 3 trains in fp32: this device has no tf32\n")],
)
def test_a_cpu_prints_that_it_has_no_tf32(capsys, precision, printed):
    train.announce_precision("v1 seed 3", precision, "cpu")
    assert capsys.readouterr().err == printed


def test_deps_and_outs_are_those_of_dvc_yaml():
    deps, outs = _stage.deps_and_outs("sample", "v3")
    assert [*map(str, deps)] == ["build/plan/stages/sample.json", "build/runs/v3/train", "data/packed/manifest.json"]
    assert [*map(str, outs)] == ["build/runs/v3/sample", "build/runs/v3/cost/sample"]
    assert "reports/metrics.json" in map(str, _stage.deps_and_outs("report")[1])


def test_outside_a_project_a_stage_says_where_it_has_to_run(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(GanealogyError, match=r"dvc\.yaml: no such file; run in the project's folder"):
        _stage.deps_and_outs("sample", "v3")


def test_a_hostile_version_name_reaches_no_path():
    with pytest.raises(GanealogyError, match="is not a version name"):
        _stage.deps_and_outs("train", "../x")


@pytest.fixture
def freed(monkeypatch):
    """The calls of `keep_freed`, which is replaced: it changes the whole process."""
    kept: list[bool] = []
    monkeypatch.setattr(_stage.memory, "keep_freed", lambda: kept.append(True))
    return kept


def test_a_stage_keeps_freed_memory(freed):
    assert _stage.setup_device(Train(kimg=1, batch_size=8, lr=2e-4, device="cpu", threads=1)) == "cpu"
    assert freed


@pytest.mark.parametrize("deterministic", [True, False])
def test_cudnn_measures_algorithms_unless_the_training_is_deterministic(freed, monkeypatch, deterministic):
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", deterministic)
    _stage.setup_device(Train(kimg=1, batch_size=8, lr=2e-4, device="cpu", threads=1, deterministic=deterministic))
    assert torch.backends.cudnn.benchmark is not deterministic
