"""How a stage settles on its machine."""

import os

import pytest
import torch

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


def test_cuda_is_told_to_repeat_itself(torch_as_it_was):
    train.repeat_on_cuda()
    assert torch.are_deterministic_algorithms_enabled()
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert not torch.utils.deterministic.fill_uninitialized_memory


@pytest.mark.parametrize(
    ("device", "deterministic", "told"), [("cuda", True, True), ("cuda", False, False), ("cpu", True, False)]
)
def test_only_a_deterministic_training_on_cuda_is(monkeypatch, tmp_path, device, deterministic, told):
    class BegunError(Exception):
        pass

    def begin(*_: object) -> None:
        raise BegunError

    asked = []
    settings = Train(kimg=1, batch_size=8, lr=2e-4, deterministic=deterministic)
    monkeypatch.setattr(_stage, "settle", lambda _settings: device)
    monkeypatch.setattr(train, "repeat_on_cuda", lambda: asked.append(True))
    monkeypatch.setattr(train, "announce_fresh_start", begin)
    plan = {"version": "v1", "parent": None, "fingerprint": "", "recipe": {}, "protocol": {"precision": "fp32"}}
    with pytest.raises(BegunError):
        train._train(plan, 0, "", "", tmp_path, settings, process.Interruption(), _stage.InputSnapshot([]))
    assert bool(asked) is told


@pytest.mark.parametrize(
    ("precision", "said"),
    [("fp32", ""), ("bf16", ""), ("tf32", "ganealogy: v1 seed 3 trains in fp32: this device has no tf32\n")],
)
def test_a_processor_has_no_tf32_and_says_so(capsys, precision, said):
    facts = {"version": "v1", "seed": 3, "protocol": {"precision": precision}}
    train.announce_precision(facts, "cpu")
    assert capsys.readouterr().err == said


@pytest.fixture
def freed(monkeypatch):
    """How often `keep_freed` was called; it changes the whole process."""
    kept: list[bool] = []
    monkeypatch.setattr(_stage.memory, "keep_freed", lambda: kept.append(True))
    return kept


def test_stages_keep_their_memory(freed):
    assert _stage.setup_device(Train(kimg=1, batch_size=8, lr=2e-4, device="cpu", threads=1)) == "cpu"
    assert freed


@pytest.mark.parametrize("deterministic", [True, False])
def test_cudnn_looks_for_the_fastest_algorithm_unless_it_must_repeat_itself(freed, monkeypatch, deterministic):
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", deterministic)
    _stage.setup_device(Train(kimg=1, batch_size=8, lr=2e-4, device="cpu", threads=1, deterministic=deterministic))
    assert torch.backends.cudnn.benchmark is not deterministic
