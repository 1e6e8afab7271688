"""The shared layers, each against a plain transcription of its definition."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import pad

from ganealogy.errors import GanealogyError
from ganealogy.networks.layers import sizes
from ganealogy.networks.layers.attention import SelfAttention
from ganealogy.networks.layers.batch_stddev import BatchStddev
from ganealogy.networks.layers.conditioning import ConditionalBatchNorm2d, Projection
from ganealogy.networks.layers.initialisation import initialise
from ganealogy.networks.layers.nearest import NearestConv2d
from ganealogy.networks.layers.resampling import double, halve, smooth


def features(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3))


def test_attention_with_a_zero_gate_is_the_identity() -> None:
    x = features(2, 16, 4, 4)
    assert torch.equal(SelfAttention(16)(x), x)


def test_attention_equals_the_papers_equations() -> None:
    """Place by place: beta[j, i] = softmax_i(f(x_i) . g(x_j)), o_j = v(sum_i beta[j, i] h(x_i)), y = gate * o + x."""
    layer = SelfAttention(16)
    layer.gate.data.fill_(0.7)
    x = features(1, 16, 3, 2)
    f, g, h, v = (part.weight.flatten(1) for part in (layer.key, layer.query, layer.value, layer.output))
    assert f.shape == g.shape == h.shape == (2, 16)
    places = x[0].flatten(1)  # (C, L)
    expected = torch.empty_like(places)
    for j in range(6):
        scores = torch.stack([(f @ places[:, i]) @ (g @ places[:, j]) for i in range(6)])
        beta = torch.exp(scores) / torch.exp(scores).sum()
        seen = sum(beta[i] * (h @ places[:, i]) for i in range(6))
        expected[:, j] = 0.7 * (v @ seen) + places[:, j]
    assert torch.allclose(layer(x)[0].flatten(1), expected, atol=1e-6)


def test_attention_can_be_differentiated_twice() -> None:
    """As penalties on D's gradient require."""
    layer = SelfAttention(8).double()
    layer.gate.data.fill_(0.5)
    assert torch.autograd.gradgradcheck(layer, features(1, 8, 2, 2).double().requires_grad_())


def test_nearest_doubling_and_convolution_are_two_plain_steps() -> None:
    layer, x = NearestConv2d(3, 5).double(), features(2, 3, 4, 6).double().requires_grad_()
    doubled = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    expected = torch.nn.functional.conv2d(doubled, layer.weight, padding=1)
    assert (layer(x) - expected).abs().max() < 1e-12
    weights = features(2, 5, 8, 12).double()
    for found, plain in zip(
        torch.autograd.grad((layer(x) * weights).sum(), [x, layer.weight]),
        torch.autograd.grad((expected * weights).sum(), [x, layer.weight]),
        strict=True,
    ):
        assert (found - plain).abs().max() < 1e-12


def test_doubling_repeats_pixels_and_filters_with_1_2_1() -> None:
    x = features(2, 3, 4, 4)
    doubled = torch.zeros(2, 3, 8, 8)
    for row in range(8):
        for column in range(8):
            for down, vertical in enumerate((0.25, 0.5, 0.25)):
                for right, horizontal in enumerate((0.25, 0.5, 0.25)):
                    i, j = row + down - 1, column + right - 1
                    if 0 <= i < 8 and 0 <= j < 8:
                        doubled[:, :, row, column] += vertical * horizontal * x[:, :, i // 2, j // 2]
    assert torch.allclose(double(x), doubled, atol=1e-6)


def test_halving_filters_with_1_2_1_and_averages() -> None:
    """The filter extends one pixel beyond the border, into zeros."""
    x = features(2, 3, 8, 8)
    padded = pad(x, (2, 2, 2, 2))
    rows = (padded[:, :, :-2] + 2 * padded[:, :, 1:-1] + padded[:, :, 2:]) / 4
    filtered = (rows[:, :, :, :-2] + 2 * rows[:, :, :, 1:-1] + rows[:, :, :, 2:]) / 4  # (2, 3, 10, 10)
    inner = filtered[:, :, 1:-1, 1:-1]
    halved = (inner[:, :, ::2, ::2] + inner[:, :, 1::2, ::2] + inner[:, :, ::2, 1::2] + inner[:, :, 1::2, 1::2]) / 4
    assert torch.allclose(halve(x), halved, atol=1e-6)


def test_smoothing_is_halving_without_the_stride() -> None:
    x = features(2, 3, 8, 6)
    assert torch.allclose(smooth(x, padding=1)[:, :, ::2, ::2], halve(x), atol=1e-6)
    wide = smooth(x, padding=2)
    assert wide.shape == (2, 3, 9, 7) and torch.allclose(wide[:, :, 1:-1, 1:-1], smooth(x, padding=1), atol=1e-6)


def test_resampling_preserves_a_constant_image() -> None:
    flat = torch.ones(1, 2, 8, 8)
    assert torch.allclose(double(flat)[:, :, 1:-1, 1:-1], torch.ones(1, 2, 14, 14))
    assert torch.allclose(halve(flat)[:, :, 1:-1, 1:-1], torch.ones(1, 2, 2, 2))


def test_conditional_batch_norm_has_a_scale_and_shift_per_class() -> None:
    x, labels = features(6, 4, 3, 3), torch.tensor([0, 1, 2, 0, 1, 2])
    layer = ConditionalBatchNorm2d(4, classes=3)
    assert torch.allclose(layer(x, labels), nn.BatchNorm2d(4)(x))
    with torch.no_grad():
        layer.affine.weight[2] = torch.tensor([2.0] * 4 + [5.0] * 4)  # class 2: scale 2, shift 5
    plain, conditioned = nn.BatchNorm2d(4)(x), layer(x, labels)
    assert torch.allclose(conditioned[labels == 2], plain[labels == 2] * 2 + 5, atol=1e-5)
    assert torch.allclose(conditioned[labels == 0], plain[labels == 0], atol=1e-6)


@pytest.mark.parametrize("spectral", [False, True])
def test_projection_is_an_inner_product_with_the_labels_row(spectral: bool) -> None:
    layer = Projection(5, classes=3, spectral=spectral).eval()
    x, labels = features(4, 5), torch.tensor([2, 0, 2, 1])
    table = layer.embedding.weight
    assert torch.allclose(layer(x, labels), torch.stack([table[k] @ row for k, row in zip(labels, x, strict=True)]))
    with pytest.raises(ValueError, match="needs labels"):
        layer(x, None)


def test_batch_stddev_adds_one_number_in_one_channel() -> None:
    x = features(5, 3, 2, 2)
    result = BatchStddev()(x)
    assert result.shape == (5, 4, 2, 2) and torch.equal(result[:, :3], x)
    spread = sum(x[:, c, i, j].std(unbiased=False) for c in range(3) for i in range(2) for j in range(2)) / 12
    assert torch.allclose(result[:, 3], spread.expand(5, 2, 2), atol=1e-6)


def test_batch_stddev_of_a_collapsed_batch_has_a_gradient() -> None:
    x = torch.ones(4, 2, 2, 2, requires_grad=True)
    BatchStddev()(x).sum().backward()
    assert x.grad is not None and torch.isfinite(x.grad).all()


def test_initialisations_have_their_distributions() -> None:
    torch.manual_seed(0)
    orthogonal = initialise(nn.Conv2d(8, 4, 3), "orthogonal").weight.flatten(1)
    assert torch.allclose(orthogonal @ orthogonal.T, torch.eye(4), atol=1e-5)
    normal = initialise(nn.Linear(200, 200), "normal").weight
    assert normal.std().item() == pytest.approx(0.02, rel=0.02)
    torch.manual_seed(1)
    expected = nn.Linear(3, 3).weight
    torch.manual_seed(1)
    assert torch.equal(initialise(nn.Linear(3, 3), "default").weight, expected)


@pytest.mark.parametrize(
    ("size", "expected"), [(16, (4, 2)), (28, (7, 2)), (32, (4, 3)), (48, (6, 3)), (80, (5, 4)), (128, (4, 5))]
)
def test_the_smallest_map_and_the_halvings_to_it(size: int, expected: tuple[int, int]) -> None:
    assert sizes.ladder(size, "net") == expected


@pytest.mark.parametrize("size", [8, 14, 30, 36, 100])
def test_a_size_without_enough_halvings_is_refused(size: int) -> None:
    with pytest.raises(GanealogyError, match=f"net: dataset.image_size {size} is not 4, 5, 6 or 7 doubled"):
        sizes.ladder(size, "net")
