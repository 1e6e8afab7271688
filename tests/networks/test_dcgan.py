"""The DCGAN's shapes, parameter counts and norms."""

from __future__ import annotations

import pytest
import torch

from ganealogy.errors import GanealogyError
from ganealogy.networks import dcgan
from ganealogy.networks._build import parameter_count


@pytest.mark.parametrize(
    ("image_size", "d_count", "g_count"),
    [(32, 663_424, 1_183_616), (64, 2_765_696, 3_806_080), (128, 11_164_544, 13_245_312)],
)
def test_parameter_counts_equal_the_tutorials(image_size: int, d_count: int, g_count: int) -> None:
    with torch.device("meta"):
        assert parameter_count(dcgan.discriminator(3, image_size, 64)) == d_count
        assert parameter_count(dcgan.generator(128, 3, image_size, 64)) == g_count


def test_with_nearest_doubling_g_has_nine_weights_for_sixteen_behind_the_first_layer() -> None:
    first, whole = 128 * 256 * 16, 1_183_616 - 2 * (256 + 128 + 64)
    with torch.device("meta"):
        count = parameter_count(dcgan.generator(128, 3, 32, 64, doubling="nearest"))
    assert count == first + (whole - first) * 9 // 16 + 2 * (256 + 128 + 64) == 895_552


@pytest.mark.parametrize("image_size", [16, 20, 28, 32, 48, 64, 80])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("doubling", ["transposed", "nearest"])
def test_output_shapes_and_range(image_size: int, channels: int, doubling: str) -> None:
    images = dcgan.generator(12, channels, image_size, 4, doubling=doubling)(torch.randn(3, 12))
    assert images.shape == (3, channels, image_size, image_size)
    assert images.abs().max() <= 1
    assert dcgan.discriminator(channels, image_size, 4, batch_stddev=True)(images).shape == (3,)


def test_the_smallest_map_decides_the_kernel_beside_the_latents_and_the_logit() -> None:
    """48 = 6 · 2³: three doublings from 6x6, where a power of two begins at 4x4."""
    G, D = dcgan.generator(12, 3, 48, 4), dcgan.discriminator(3, 48, 4)
    assert [layer.weight.shape for layer in G.layers if isinstance(layer, torch.nn.ConvTranspose2d)] == [
        (12, 16, 6, 6),
        (16, 8, 4, 4),
        (8, 4, 4, 4),
        (4, 3, 4, 4),
    ]
    assert [layer.weight.shape for layer in D.layers if isinstance(layer, torch.nn.Conv2d)] == [
        (4, 3, 4, 4),
        (8, 4, 4, 4),
        (16, 8, 4, 4),
        (1, 16, 6, 6),
    ]


@pytest.mark.parametrize(("image_size", "near"), [(8, "16"), (12, "16"), (36, "32 or 40"), (100, "96 or 112")])
def test_an_unsupported_image_size_is_refused_with_the_nearest_ones(image_size: int, near: str) -> None:
    with pytest.raises(GanealogyError, match=rf"dcgan: dataset\.image_size {image_size} is not .*: use {near}$"):
        dcgan.generator(12, 3, image_size, 4)


def test_d_has_the_tutorials_layers() -> None:
    kinds = [type(layer).__name__ for layer in dcgan.discriminator(3, 64, 64).layers]
    block = ["Conv2d", "BatchNorm2d", "LeakyReLU"]
    assert kinds == block * 4 + ["Conv2d"]


def test_spectral_norm_makes_the_largest_singular_value_one() -> None:
    """Power iteration against an SVD, after some forward passes."""
    torch.manual_seed(0)
    network = dcgan.discriminator(3, 16, 4, norm="spectral")
    assert not any(isinstance(layer, torch.nn.BatchNorm2d) for layer in network.modules())
    for _ in range(60):
        network(torch.randn(2, 3, 16, 16))
    convolutions = [layer for layer in network.modules() if isinstance(layer, torch.nn.Conv2d)]
    assert convolutions
    for convolution in convolutions:
        assert convolution.bias is not None
        largest = torch.linalg.svdvals(convolution.weight.detach().flatten(1))[0]
        assert largest.item() == pytest.approx(1.0, abs=0.02)


def test_batch_stddev_and_initialisations_d_count_and_g() -> None:
    images = torch.randn(3, 1, 16, 16)
    network = dcgan.discriminator(1, 16, 4, norm="spectral", batch_stddev=True, init="orthogonal")
    assert network(images).shape == (3,)
    with torch.device("meta"):
        plain, aware = dcgan.discriminator(3, 32, 64), dcgan.discriminator(3, 32, 64, batch_stddev=True)
        assert parameter_count(aware) - parameter_count(plain) == 4 * 4, "one more channel into the last convolution"
    weight = dcgan.generator(128, 3, 32, 64, init="normal").layers[3].weight
    assert weight.std().item() == pytest.approx(0.02, rel=0.02)


@pytest.mark.parametrize("norm", ["batch", "spectral", "none"])
def test_images_and_logits_depend_on_the_class(norm: str) -> None:
    torch.manual_seed(0)
    G, D = dcgan.generator(12, 1, 16, 4, 3), dcgan.discriminator(1, 16, 4, 3, norm=norm)
    z, labels = torch.randn(6, 12), torch.tensor([0, 1, 2, 0, 1, 2])
    images = G(z, labels)
    assert torch.allclose(images, G(z, labels.flip(0)), atol=1e-6), "initially every class has scale 1 and shift 0"
    with torch.no_grad():
        for layer in G.modules():
            if isinstance(layer, torch.nn.Embedding):
                layer.weight.normal_()
    assert not torch.allclose(G(z, labels), G(z, labels.flip(0)), atol=1e-3)
    assert D.eval()(images, labels).shape == (6,)
    assert not torch.allclose(D(images, labels), D(images, labels.flip(0)), atol=1e-5)
    with pytest.raises(ValueError, match="class-conditional: it needs labels"):
        G(z)


def test_the_projection_is_added_to_the_unconditional_logit() -> None:
    """D(x, y) = psi(phi(x)) + y^T V phi(x), arXiv 1802.05637, with phi averaged over places."""
    torch.manual_seed(0)
    D = dcgan.discriminator(1, 16, 4, 3).eval()
    images, labels = torch.randn(5, 1, 16, 16), torch.tensor([2, 2, 0, 1, 0])
    phi = D.layers[:-1](images)
    expected = D.layers(images).flatten() + (D.projection.embedding.weight[labels] * phi.mean(dim=(2, 3))).sum(dim=1)
    assert torch.allclose(D(images, labels), expected, atol=1e-5)
