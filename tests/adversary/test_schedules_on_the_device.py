"""Schedules with a tensor progress, as CUDA graphs need them: the same values, and no value is read."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers.tiny_loop import plan
from torch.utils._python_dispatch import TorchDispatchMode

from ganealogy.adversary import build as adversary
from ganealogy.adversary.optimizers import adam, adamw
from ganealogy.adversary.optimizers._scheduled_adam import ScheduledAdam
from ganealogy.adversary.schedule import scheduled_value
from ganealogy.networks import _build as networks


class NoNumberIsRead(TorchDispatchMode):
    """Reading a value syncs with the GPU, which graph capture forbids."""

    def __torch_dispatch__(self, function: Any, types: Any, given: Any = (), named: Any = None) -> Any:
        assert function is not torch.ops.aten._local_scalar_dense.default, "a number is read"
        return function(*given, **(named or {}))


def scalar(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float64)


def test_reading_a_value_is_noticed() -> None:
    with pytest.raises(AssertionError, match="a number is read"), NoNumberIsRead():
        scalar(1.0).item()


@pytest.mark.parametrize("shape", ["cosine", "linear"])
@pytest.mark.parametrize("until", [0.5, 1.0])
def test_a_tensor_gives_what_a_number_gives(shape: str, until: float) -> None:
    ramp = {"from": 0.9, "to": 0.99, "shape": shape, "until": until}
    for progress in (0.0, 0.1, 0.25, 0.3333, until, 0.75, 1.0):
        with NoNumberIsRead():
            exact, plain = scheduled_value(ramp, scalar(progress), exact=True), scheduled_value(ramp, scalar(progress))
        assert isinstance(exact, torch.Tensor) and isinstance(plain, torch.Tensor)
        assert exact.item() == pytest.approx(scheduled_value(ramp, progress), rel=1e-15)
        assert plain.dtype is torch.float32 and plain.item() == torch.tensor(scheduled_value(ramp, progress)).item()
    assert scheduled_value(0.3, scalar(0.5)) == 0.3, "what does not move stays a number"


RAMPS: dict[str, Any] = {
    "betas": [{"from": 0.5, "to": 0.0, "shape": "linear"}, {"from": 0.9, "to": 0.99, "until": 0.5}],
    "lr": {"from": 1e-2, "to": 1e-3},
    "decay": {"from": 0.1, "to": 0.0},
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("on_device", [True, False], ids=["tensors", "numbers"])
@pytest.mark.parametrize("kind", ["adam", "adamw"])
def test_scheduled_adam_is_torchs(kind: str, on_device: bool, dtype: torch.dtype) -> None:
    """Compared with torch's single-tensor implementation, which gets numbers."""
    torch.manual_seed(0)
    begin = [torch.randn(3, 4, dtype=dtype), torch.randn(5, dtype=dtype)]
    ours, theirs = ([value.clone().requires_grad_() for value in begin] for _ in range(2))
    if kind == "adam":
        mine = adam.optimizer(ours, 1e-2, betas=RAMPS["betas"])
        peer: torch.optim.Optimizer = torch.optim.Adam(theirs, 1e-2, (0.5, 0.9), foreach=False, fused=False)
    else:
        mine = adamw.optimizer(ours, 1e-2, betas=RAMPS["betas"], weight_decay=RAMPS["decay"])
        peer = torch.optim.AdamW(theirs, 1e-2, (0.5, 0.9), weight_decay=0.1, foreach=False, fused=False)
    assert isinstance(mine, ScheduledAdam)
    for step in range(20):
        now = step / 20
        values = {
            "lr": scheduled_value(RAMPS["lr"], now),
            "betas": tuple(scheduled_value(beta, now) for beta in RAMPS["betas"]),
        }
        peer.param_groups[0].update(values)
        shown: Any = scalar(now) if on_device else now
        mine.param_groups[0].update(
            lr=scheduled_value(RAMPS["lr"], shown, exact=True),
            betas=tuple(scheduled_value(beta, shown, exact=True) for beta in RAMPS["betas"]),
        )
        if kind == "adamw":
            peer.param_groups[0]["weight_decay"] = scheduled_value(RAMPS["decay"], now)
            mine.param_groups[0]["weight_decay"] = scheduled_value(RAMPS["decay"], shown, exact=True)
        for one, other in zip(ours, theirs, strict=True):
            one.grad = torch.randn_like(one)
            other.grad = one.grad.clone()
        with NoNumberIsRead():
            mine.step()
        peer.step()
    tolerance = 1e-12 if dtype is torch.float64 else 1e-5
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)
        for key in ("exp_avg", "exp_avg_sq", "step"):
            torch.testing.assert_close(mine.state[one][key], peer.state[other][key], rtol=tolerance, atol=tolerance)
    assert mine.state_dict()["state"].keys() == peer.state_dict()["state"].keys()


def test_a_scheduled_rate_keeps_adam_fused() -> None:
    weights = [torch.zeros(2, requires_grad=True)]
    assert type(adam.optimizer(weights, 1e-3, betas=[0.5, 0.999])) is torch.optim.Adam
    assert type(adamw.optimizer(weights, 1e-3)) is torch.optim.AdamW


MOVING: dict[str, Any] = {
    "adversary": {
        "penalties": [
            {"name": "dragan", "weight": {"from": 1.0, "to": 5.0}, "deviation": {"from": 0.1, "to": 0.5}},
            {"name": "lecam", "weight": {"from": 0.1, "to": 0.5}},
            {"name": "bcr", "real_weight": {"from": 1.0, "to": 5.0}, "fake_weight": {"from": 1.0, "to": 5.0}},
            {"name": "gradient_penalty", "weight": {"from": 1.0, "to": 5.0}},
        ],
        "augment": [
            {"name": "diffaugment", "probability": {"from": 0.0, "to": 0.5}},
            {"name": "instance_noise", "deviation": {"from": 0.1, "to": 0.0}},
        ],
    },
    "discriminator": {"norm": "none"},
}
OPTIMIZERS = {
    "adam": {"betas": [{"from": 0.0, "to": 0.5}, 0.99]},
    "adamw": {"weight_decay": {"from": 0.1, "to": 0.0}},
    "rmsprop": {},
    "sgd": {},
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_each_scheduled_option_follows_a_tensor_progress(optimizer: str) -> None:
    """A step with every option scheduled: the same weights within float32 rounding."""
    moved = {"name": optimizer, "lr": 1e-3, "schedule": {"from": 1.0, "to": 0.25}, **OPTIMIZERS[optimizer]}
    planned = plan("v1", {**MOVING, "optimizers": {"generator": moved, "discriminator": moved}})
    after: dict[str, list[torch.Tensor]] = {}
    for kind in ("number", "tensor"):
        torch.manual_seed(0)
        recipe, protocol = planned["recipe"], planned["protocol"]
        generator, discriminator = networks.generator(recipe, protocol), networks.discriminator(recipe, protocol)
        game = adversary.game(recipe, generator, discriminator)
        game.gan.defer_divergence_checks()
        for step in range(3):
            reals = torch.rand(8, 3, 16, 16) * 2 - 1
            progress: Any = (step + 1) / 4
            game.step(lambda _index, reals=reals: reals, None, scalar(progress) if kind == "tensor" else progress)
        after[kind] = [*generator.parameters(), *discriminator.parameters()]
    for one, other in zip(after["number"], after["tensor"], strict=True):
        assert torch.isfinite(one).all()
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
