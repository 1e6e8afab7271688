"""How a stage settles on its machine."""

import os

import pytest
import torch

from ganealogy import process, stages, training_stage
from ganealogy.settings import Train


@pytest.fixture
def torch_as_it_was(monkeypatch):
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    monkeypatch.setattr(torch.utils.deterministic, "fill_uninitialized_memory", True)
    yield
    torch.use_deterministic_algorithms(False)
    os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)


def test_cuda_is_told_to_repeat_itself(torch_as_it_was):
    training_stage.repeat_on_cuda()
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
    monkeypatch.setattr(stages, "settle", lambda _settings: device)
    monkeypatch.setattr(training_stage, "repeat_on_cuda", lambda: asked.append(True))
    monkeypatch.setattr(training_stage, "announce_fresh_start", begin)
    plan = {"version": "v1", "parent": None, "fingerprint": "", "recipe": {}, "protocol": {}}
    with pytest.raises(BegunError):
        training_stage._train(plan, 0, "", "", tmp_path, settings, process.Interruption(), stages.Inputs([]))
    assert bool(asked) is told


def test_stages_keep_their_memory(monkeypatch):
    kept = []
    monkeypatch.setattr(stages.memory, "keep_freed", lambda: kept.append(True))
    assert stages.settle(Train(kimg=1, batch_size=8, lr=2e-4, device="cpu", threads=1)) == "cpu"
    assert kept
