"""fp32 is IEEE and tf32 is TF32, by torch's switches, and a training records its arithmetic; on the CPU."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

import numpy as np
import pytest
import torch
from helpers.tiny_loop import plan
from torch import nn

from ganealogy.adversary import build as adversary
from ganealogy.errors import GanealogyError
from ganealogy.evaluation.extractors._network import NetworkExtractor
from ganealogy.lineage import recipe as recipes
from ganealogy.networks import _build as networks
from ganealogy.params import schema as module
from ganealogy.params.schema import Train, parse
from ganealogy.runtime import precision
from ganealogy.sampling.generate import generate

Switches = tuple[bool, bool]


def switches() -> Switches:
    """Return whether a GPU's convolutions and matrix products may use TF32."""
    return torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32


@pytest.fixture(autouse=True)
def torchs_defaults() -> Iterator[None]:
    """Check torch's defaults, TF32 in convolutions only, before and after each test."""
    assert switches() == (True, False)
    yield
    assert switches() == (True, False)


@pytest.mark.parametrize(("name", "expected"), [("fp32", False), ("tf32", True), ("bf16", True)])
def test_the_switches_are_set_inside_and_restored(name: str, expected: bool) -> None:
    with pytest.raises(ValueError, match="stopped"), precision.float32_as(name):
        assert switches() == (expected, expected)
        raise ValueError("stopped")
    assert switches() == (True, False)


def observe(version: str, name: str, changes: dict[str, Any] | None = None) -> tuple[dict[str, set[Any]], Any]:
    """Run a step. Return D's switches and dtypes per network's step, forward and backward, and the GAN."""
    planned = plan(version, changes, precision=name)
    recipe, protocol = planned["recipe"], planned["protocol"]
    generator, discriminator = networks.generator(recipe, protocol), networks.discriminator(recipe, protocol)
    game = adversary.game(recipe, generator, discriminator, name)
    seen: dict[str, set[Any]] = {}
    step = ["d"]
    convolution = next(part for part in discriminator.modules() if isinstance(part, nn.Conv2d))

    def forward(_module: nn.Module, _inputs: Any, output: torch.Tensor) -> None:
        seen.setdefault(step[0], set()).add((switches(), output.dtype))
        if output.requires_grad:
            output.register_hook(lambda _gradient: seen.setdefault(f"{step[0]} backward", set()).add(switches()))

    convolution.register_forward_hook(forward)
    generator_step = game.generator_step

    def g_step(*arguments: Any) -> Any:
        step[0] = "g"
        return generator_step(*arguments)

    game.generator_step = g_step
    game.step(lambda _index: torch.rand(4, 3, 16, 16) * 2 - 1)
    return seen, game.gan


F32, BF16 = torch.float32, torch.bfloat16
ON, OFF = (True, True), (False, False)


@pytest.mark.parametrize(
    ("version", "name", "d", "g"),
    [
        ("v1", "fp32", (OFF, F32), (OFF, F32)),
        ("v1", "tf32", (ON, F32), (ON, F32)),
        ("v1", "bf16", (ON, BF16), (ON, BF16)),
        ("v10", "fp32", (OFF, F32), (OFF, F32)),
        ("v10", "tf32", (ON, F32), (ON, F32)),
        ("v10", "bf16", (ON, F32), (ON, BF16)),
    ],
)
def test_steps_run_in_the_precision_of_the_protocol(version: str, name: str, d: Any, g: Any) -> None:
    seen, _ = observe(version, name)
    assert seen == {"d": {d}, "d backward": {d[0]}, "g": {g}, "g backward": {g[0]}}
    assert switches() == (True, False)


@pytest.mark.parametrize(
    ("name", "override", "d", "g"),
    [
        ("tf32", "fp32", (OFF, F32), (ON, F32)),
        ("bf16", "fp32", (OFF, F32), (ON, BF16)),
        ("bf16", "bf16", (ON, BF16), (ON, BF16)),
        ("fp32", "tf32", (ON, F32), (OFF, F32)),
    ],
)
def test_a_recipe_may_override_the_precision_of_differentiated_steps(name: str, override: str, d: Any, g: Any) -> None:
    seen, _ = observe("v10", name, {"adversary": {"penalty_precision": override}})
    assert seen == {"d": {d}, "d backward": {d[0]}, "g": {g}, "g backward": {g[0]}}
    plain, _ = observe("v1", name, {"adversary": {"penalty_precision": override}})
    assert plain["d"] == {g}, "v1 has no penalty"


def test_the_arithmetic_used_is_described(monkeypatch: pytest.MonkeyPatch) -> None:
    on_cpu = {name: observe("v10", name)[1].describe_precision() for name in ("fp32", "tf32", "bf16")}
    assert on_cpu == {"fp32": "fp32", "tf32": "fp32", "bf16": "bf16, fp32 where a penalty differentiates D"}
    assert observe("v1", "bf16")[1].describe_precision() == "bf16"
    for capability, expected in (((8, 0), "tf32"), ((9, 0), "tf32"), ((7, 5), "fp32")):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device, found=capability: found)
        assert precision.on("cuda:0", "tf32") == expected
        assert precision.on("cuda:0", "bf16") == "bf16"


def test_sampling_and_extractors_always_use_ieee() -> None:
    seen: list[tuple[str, Switches]] = []

    class Seen(nn.Module):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name, self.weight = name, nn.Parameter(torch.ones(()))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append((self.name, switches()))
            return x[:, :3].reshape(len(x), 3, 1, 1) if x.ndim == 2 else x

    class Network(NetworkExtractor):
        name, dimension, batches = "own", 3, {"cpu": 2}

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.model(x).mean((2, 3))  # type: ignore[no-any-return]

    with precision.float32_as("tf32"):
        generate(Seen("generator"), torch.zeros(5, 4))
        Network(Seen("extractor"), "cpu").features(np.zeros((3, 8, 8, 3), np.uint8))
        assert switches() == ON
    assert set(seen) == {("generator", OFF), ("extractor", OFF)}


def test_an_unknown_precision_is_refused_with_the_legal_ones() -> None:
    assert get_args(module.Precision) == get_args(precision.Precision)
    settings = {"kimg": 1, "batch_size": 8, "lr": 2e-4}
    assert parse(Train, settings | {"precision": "tf32"}, "params.yaml").precision == "tf32"
    with pytest.raises(GanealogyError, match=r"precision = 'fp16'.*'fp32', 'tf32' or 'bf16'"):
        parse(Train, settings | {"precision": "fp16"}, "params.yaml")
    with pytest.raises(GanealogyError, match=r"adversary\.penalty_precision = 'half'.*'fp32', 'tf32' or 'bf16'"):
        recipes.check(recipes.merge(plan("v10")["recipe"], {"adversary": {"penalty_precision": "half"}}), "v99.yaml")
