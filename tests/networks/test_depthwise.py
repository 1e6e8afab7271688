"""Depthwise convolutions and their replacements have the same values and first and second derivatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.nn.functional import conv2d
from torch.utils._python_dispatch import TorchDispatchMode

from ganealogy.evaluation.extractors import effnet_lite0
from ganealogy.networks.layers import depthwise, resampling
from ganealogy.networks.r3gan import Discriminator, FullSizeDepthwiseConv

Map = Callable[[torch.Tensor], torch.Tensor]


@pytest.fixture
def replaced(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return a function that selects the replacements for the rest of the test."""
    return lambda: monkeypatch.setattr(depthwise, "REPLACED", frozenset({"cpu"}))


def features(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64).requires_grad_()


def weighted_sum() -> FullSizeDepthwiseConv:
    torch.manual_seed(0)
    return FullSizeDepthwiseConv(3, 3, 4, groups=3, bias=False).double()


CASES: dict[str, Map] = {
    "double": resampling.double,
    "halve": resampling.halve,
    "smooth": lambda x: resampling.smooth(x, padding=2),
}


def with_derivatives(function: Map, x: torch.Tensor) -> list[torch.Tensor]:
    """Return the values, the gradient of a function of them, and the gradient of its squared norm."""
    y = function(x)
    (first,) = torch.autograd.grad(y.tanh().sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), x)
    return [y.detach(), first.detach(), second]


@pytest.mark.parametrize("name", CASES)
def test_the_replacement_is_the_same_function(name: str, replaced: Callable[[], None]) -> None:
    function, x = CASES[name], features(2, 3, 4, 6)
    convolved = with_derivatives(function, x)
    replaced()
    assert_same(with_derivatives(function, x), convolved)
    assert torch.autograd.gradcheck(function, x)
    assert torch.autograd.gradgradcheck(function, x)


def test_the_weighted_sum_equals_the_convolution() -> None:
    layer, x = weighted_sum(), features(2, 3, 4, 4)
    convolved = with_derivatives(lambda maps: conv2d(maps, layer.weight, groups=3), x)
    assert_same(with_derivatives(layer, x), convolved)
    assert torch.autograd.gradgradcheck(layer, x)


def assert_same(actual: list[torch.Tensor], expected: list[torch.Tensor]) -> None:
    for one, other in zip(actual, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-13, atol=1e-14)


class Depthwise(TorchDispatchMode):
    """Count depthwise convolutions of several channels."""

    count = 0

    def __torch_dispatch__(self, function: Any, types: Any, given: Any = (), named: Any = None) -> Any:
        if function is torch.ops.aten.convolution.default:
            features, weight = given[:2]
            self.count += weight.shape[1] == 1 and features.shape[1] > 1
        return function(*given, **(named or {}))


def test_the_replacement_has_no_depthwise_convolution(replaced: Callable[[], None]) -> None:
    """In R3GAN's D: neither forward nor in the backward pass of a gradient penalty."""
    discriminator = Discriminator(3, 16, 8)

    def count() -> int:
        images = torch.randn(2, 3, 16, 16, requires_grad=True)
        with Depthwise() as seen:
            (gradient,) = torch.autograd.grad(discriminator(images).sum(), images, create_graph=True)
            gradient.square().sum().backward()
        return int(seen.count)

    assert count() > 0
    replaced()
    assert count() == 0


def test_the_weighted_sum_has_the_convolutions_state_dict() -> None:
    assert weighted_sum().state_dict().keys() == torch.nn.Conv2d(3, 3, 4, groups=3, bias=False).state_dict().keys()


def test_an_extractors_features_do_not_depend_on_the_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = torch.randint(0, 256, (3, 32, 32, 3), dtype=torch.uint8).numpy()
    default = effnet_lite0.load("cpu").features(pictures)
    monkeypatch.setitem(effnet_lite0.LAYOUTS, "cpu", torch.contiguous_format)
    extractor = effnet_lite0.load("cpu")
    assert extractor.model._conv_head.weight.is_contiguous()  # type: ignore[union-attr, operator]
    torch.testing.assert_close(torch.from_numpy(extractor.features(pictures)), torch.from_numpy(default))
