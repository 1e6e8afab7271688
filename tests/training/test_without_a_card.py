"""Each version's step on fake tensors of a GPU, without a GPU.

Fake tensors have shapes, types and devices, and no values: a step that reads a value, or mixes devices, fails here.
torch cannot run a backward pass on them, so gradients are made up.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from helpers.tiny_loop import KINDS, plan_of_kind
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ganealogy.adversary import build as adversary
from ganealogy.adversary.optimizers._scheduled_adam import ScheduledAdam
from ganealogy.files.images import to_uint8
from ganealogy.networks import _build as networks
from ganealogy.training import health

pytestmark = [
    pytest.mark.skipif(torch.version.cuda is None, reason="torch without CUDA has no such tensors"),
    pytest.mark.filterwarnings("default"),
]


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeTensorMode]:
    def backward(loss: torch.Tensor, inputs: list[torch.Tensor], retain_graph: bool = False) -> None:
        assert loss.is_cuda and loss.requires_grad
        for parameter in inputs:
            parameter.grad = torch.empty_like(parameter)

    def grad(outputs: torch.Tensor, images: torch.Tensor, create_graph: bool) -> tuple[torch.Tensor]:
        assert outputs.is_cuda and outputs.requires_grad
        return (images * outputs.sum(),)

    monkeypatch.setattr(torch.Tensor, "backward", backward)
    monkeypatch.setattr(torch.autograd, "grad", grad)
    with FakeTensorMode() as mode, torch.device("cuda"):
        yield mode


class OnTheCard(TorchDispatchMode):
    """Refuse operations on tensors of the CPU: a CUDA graph cannot contain their copies to the GPU."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        devices = {value.device.type for value in tree_leaves((args, kwargs)) if isinstance(value, torch.Tensor)}
        assert "cpu" not in devices, function
        return function(*args, **(kwargs or {}))


# Autocast wants a card; v19 reads its frozen weights from a file.
of_each_kind = pytest.mark.parametrize("kind", [kind for kind in KINDS if not kind.endswith("bf16") and kind != "v19"])


@of_each_kind
def test_no_step_reads_a_value_or_leaves_the_gpu(card: FakeTensorMode, kind: str) -> None:
    planned = plan_of_kind(kind)
    recipe, protocol = planned["recipe"], planned["protocol"]
    generator, discriminator = networks.generator(recipe, protocol), networks.discriminator(recipe, protocol)
    game = adversary.game(recipe, generator, discriminator, protocol["precision"])
    game.gan.defer_divergence_checks()
    side = protocol["image_size"]
    reals = torch.rand(8, protocol["channels"], side, side)
    progress = torch.zeros((), dtype=torch.float64)
    with OnTheCard():
        for _ in range(2):
            statistics = game.step(lambda _index: reals, None, progress)
    updates = (game.gan.g_optimizer, game.gan.d_optimizer)
    kept = [tensor for update in updates for state in update.optimizer.state.values() for tensor in state.values()]
    assert len(kept) >= len(updates[0].parameters)
    assert {tensor.device.type for tensor in [*statistics.values(), *kept]} == {"cuda"}
    if kind.startswith("v16"):
        assert isinstance(updates[0].optimizer, ScheduledAdam)
        assert updates[0].optimizer.param_groups[0]["lr"].dtype is torch.float32
    with pytest.raises(DataDependentOutputException):
        statistics["g_loss"].item()


@of_each_kind
def test_the_scores_of_a_tick_mix_no_devices(card: FakeTensorMode, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    planned = plan_of_kind(kind)
    recipe, protocol = planned["recipe"], planned["protocol"]
    generator, discriminator = networks.generator(recipe, protocol), networks.discriminator(recipe, protocol)
    gan = adversary.game(recipe, generator, discriminator, protocol["precision"]).gan
    pictures = np.zeros((40, protocol["image_size"], protocol["image_size"], protocol["channels"]), np.uint8)
    fetched: list[torch.Tensor] = []

    def numpy(tensor: torch.Tensor) -> Any:
        fetched.append(tensor)
        return np.zeros(tensor.shape, np.float32)

    monkeypatch.setattr(health, "copy", SimpleNamespace(deepcopy=lambda network: network))  # fake tensors have no copy
    monkeypatch.setattr(torch.Tensor, "numpy", numpy)
    monkeypatch.setattr(torch, "from_numpy", lambda array: torch.empty(array.shape, dtype=torch.uint8, device="cpu"))
    check = health.HealthCheck(pictures, pictures[:32], 8)
    scores = check.score(gan, pictures, torch.zeros(40, dtype=torch.int64, device="cpu"), 0.5, 0)
    expected = {} if kind == "flow" else {"train": (40,), "held_out": (32,), "fakes": (40,)}
    assert {name: found.shape for name, found in scores.items()} == expected
    assert {(tensor.device.type, tensor.shape) for tensor in fetched} <= {("cpu", (8,))}, "means alone leave the GPU"


def test_images_become_bytes_on_the_gpu(card: FakeTensorMode, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[torch.dtype] = []
    monkeypatch.setattr(torch.Tensor, "cpu", lambda tensor: fetched.append(tensor.dtype) or torch.Tensor())
    monkeypatch.setattr(torch.Tensor, "numpy", lambda tensor: None)
    to_uint8(torch.rand(2, 3, 8, 8))
    assert fetched == [torch.uint8]


def test_a_scalar_from_the_cpu_is_noticed(card: FakeTensorMode) -> None:
    """torch adds it to a GPU's tensor without a complaint."""
    on_card, scalar = torch.zeros(3), torch.zeros((), device="cpu")
    assert (on_card + scalar).is_cuda
    with pytest.raises(AssertionError, match=r"aten\.add"), OnTheCard():
        on_card + scalar


def test_fake_tensors_notice_reads_and_mixed_devices(card: FakeTensorMode) -> None:
    def read() -> Any:
        return torch.zeros(()).item()

    with pytest.raises(DataDependentOutputException):
        read()
    with pytest.raises(RuntimeError, match="device"):
        torch.zeros(3) + torch.zeros(3, device="cpu")
