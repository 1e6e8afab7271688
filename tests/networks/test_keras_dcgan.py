"""`mnist-dcgan` against Keras: with the weights of the tutorial's models, the outputs are the same."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

# Set before Keras is imported, which would write its settings into the home directory.
os.environ["KERAS_BACKEND"] = "torch"
os.environ["KERAS_HOME"] = tempfile.mkdtemp(prefix="keras-")

import keras
import numpy as np
import pytest
import torch
from keras import layers
from torch import nn

from ganealogy.errors import GanealogyError
from ganealogy.networks import keras_dcgan
from ganealogy.networks._build import parameter_count

atexit.register(shutil.rmtree, os.environ["KERAS_HOME"], ignore_errors=True)


@pytest.fixture(autouse=True)
def on_the_cpu():
    """By default Keras' torch backend uses a GPU if there is one."""
    with keras.device("cpu"):
        yield


def tutorials_generator() -> keras.Model:
    """https://www.tensorflow.org/tutorials/generative/dcgan, with LeakyReLU's default slope of 0.3 written out."""
    return keras.Sequential(
        [
            keras.Input((100,)),
            layers.Dense(7 * 7 * 256, use_bias=False),
            layers.BatchNormalization(),
            layers.LeakyReLU(0.3),
            layers.Reshape((7, 7, 256)),
            layers.Conv2DTranspose(128, (5, 5), strides=(1, 1), padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.LeakyReLU(0.3),
            layers.Conv2DTranspose(64, (5, 5), strides=(2, 2), padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.LeakyReLU(0.3),
            layers.Conv2DTranspose(1, (5, 5), strides=(2, 2), padding="same", use_bias=False, activation="tanh"),
        ]
    )


def tutorials_discriminator() -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(64, (5, 5), strides=(2, 2), padding="same"),
            layers.LeakyReLU(0.3),
            layers.Dropout(0.3),
            layers.Conv2D(128, (5, 5), strides=(2, 2), padding="same"),
            layers.LeakyReLU(0.3),
            layers.Dropout(0.3),
            layers.Flatten(),
            layers.Dense(1),
        ]
    )


def values_of(layer: keras.layers.Layer) -> list[torch.Tensor]:
    return [weight.value.detach().clone() for weight in layer.weights]


def copy_weights(model: keras.Model, network: nn.Module) -> None:
    """Copy Keras' weights in order: kernels are (H, W, in, out), or (H, W, out, in) if transposed."""
    ours = [
        m
        for m in network.modules()
        if isinstance(m, nn.Linear | nn.Conv2d | nn.ConvTranspose2d | nn.BatchNorm1d | nn.BatchNorm2d)
    ]
    theirs = [layer for layer in model.layers if layer.weights]
    assert len(ours) == len(theirs)
    with torch.no_grad():
        for source, target in zip(theirs, ours, strict=True):
            values = values_of(source)
            if isinstance(target, nn.BatchNorm1d | nn.BatchNorm2d):
                for slot, value in zip(("weight", "bias", "running_mean", "running_var"), values, strict=True):
                    getattr(target, slot).copy_(value)
                continue
            target.weight.copy_(values[0].T if isinstance(target, nn.Linear) else values[0].permute(3, 2, 0, 1))
            if len(values) > 1:
                target.bias.copy_(values[1])


def perturb(model: keras.Model) -> None:
    """Move BatchNorm's weights and statistics and all biases away from 0 and 1, which would hide mistakes."""
    random = torch.Generator().manual_seed(4)
    for weight in (weight for layer in model.layers for weight in layer.weights):
        if len(weight.shape) == 1:
            with torch.no_grad():
                weight.value.add_(torch.rand(weight.shape, generator=random) * 0.4 + 0.1)


@pytest.fixture(scope="module")
def generators() -> tuple[keras.Model, nn.Module]:
    keras.utils.set_random_seed(0)
    with keras.device("cpu"):
        model = tutorials_generator()
        perturb(model)
    network = keras_dcgan.generator(100, 1, 28, 64)
    copy_weights(model, network)
    return model, network


def keras_output(model: keras.Model, inputs: np.ndarray, training: bool) -> torch.Tensor:
    with torch.no_grad():
        result: torch.Tensor = model(torch.from_numpy(inputs), training=training)
        return result


@pytest.mark.parametrize("training", [False, True])
def test_g_equals_keras(generators: tuple[keras.Model, nn.Module], training: bool) -> None:
    model, network = generators
    z = np.random.default_rng(1).standard_normal((8, 100)).astype(np.float32)
    expected = keras_output(model, z, training).permute(0, 3, 1, 2)
    with torch.no_grad():
        images = network.train(training)(torch.from_numpy(z))
    assert images.shape == (8, 1, 28, 28) and images.std() > 0.02
    assert (images - expected).abs().max() < 1e-5


def test_batch_norms_running_statistics_equal_keras() -> None:
    """torch's running variance uses the unbiased estimate, n / (n - 1) times Keras'; means are equal."""
    model, network = tutorials_generator(), keras_dcgan.generator(100, 1, 28, 64)
    copy_weights(model, network)
    z = np.random.default_rng(1).standard_normal((8, 100)).astype(np.float32)
    keras_output(model, z, True)
    with torch.no_grad():
        network.train()(torch.from_numpy(z))
    for theirs, ours, count in zip(
        [layer for layer in model.layers if isinstance(layer, layers.BatchNormalization)],
        [m for m in network.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d)],
        [8, 8 * 49, 8 * 196],
        strict=True,
    ):
        mean, variance = values_of(theirs)[2:]
        assert torch.allclose(ours.running_mean, mean, atol=1e-6)
        assert torch.allclose((ours.running_var - 0.99) * (count - 1) / count, variance - 0.99, atol=1e-6)


def test_d_equals_keras() -> None:
    keras.utils.set_random_seed(0)
    model, network = tutorials_discriminator(), keras_dcgan.discriminator(1, 28, 64)
    perturb(model)
    copy_weights(model, network)
    images = np.random.default_rng(2).uniform(-1, 1, (8, 28, 28, 1)).astype(np.float32)
    expected = keras_output(model, images, False).flatten()
    with torch.no_grad():
        logits = network.eval()(torch.from_numpy(images).permute(0, 3, 1, 2))
    assert logits.shape == (8,) and logits.std() > 0.01
    assert (logits - expected).abs().max() < 1e-5


def test_torchs_output_padding_gives_another_network() -> None:
    """The same kernel, cropped 2 before and 1 after, is shifted by one pixel."""
    ours = keras_dcgan.SameConvTranspose2d(3, 2)
    x = torch.randn(1, 3, 7, 7)
    symmetric = nn.functional.conv_transpose2d(x, ours.convolution.weight, stride=2, padding=2, output_padding=1)
    assert symmetric.shape == ours(x).shape == (1, 2, 14, 14)
    assert not torch.allclose(symmetric, ours(x), atol=1e-2)
    assert torch.allclose(symmetric[:, :, :-1, :-1], ours(x)[:, :, 1:, 1:], atol=1e-5), "one pixel aside"


def test_parameter_counts_equal_keras() -> None:
    G, D = keras_dcgan.generator(100, 1, 28, 64), keras_dcgan.discriminator(1, 28, 64)
    statistics = sum(buffer.numel() for name, buffer in G.named_buffers() if "running" in name)
    assert (parameter_count(G), statistics, parameter_count(D)) == (2_305_472, 25_472, 212_865)
    assert parameter_count(G) + statistics == tutorials_generator().count_params() == 2_330_944
    assert parameter_count(D) == tutorials_discriminator().count_params()


def test_initial_weights_are_distributed_as_keras() -> None:
    torch.manual_seed(0)
    keras.utils.set_random_seed(0)
    for network, model in (
        (keras_dcgan.generator(100, 1, 28, 64), tutorials_generator()),
        (keras_dcgan.discriminator(1, 28, 64), tutorials_discriminator()),
    ):
        ours = [p.detach() for p in network.parameters() if p.dim() > 1]
        theirs = [value for layer in model.layers for value in values_of(layer) if value.dim() > 1]
        for weight, kernel in zip(ours, theirs, strict=True):
            assert weight.numel() == kernel.numel()
            assert weight.abs().max().item() == pytest.approx(kernel.abs().max().item(), rel=0.02)
            assert weight.std().item() == pytest.approx(kernel.std().item(), rel=0.05)
        biases = [p for name, p in network.named_parameters() if p.dim() == 1 and name.endswith("bias")]
        assert biases and not any(bias.any() for bias in biases)


@pytest.mark.parametrize(("size", "channels"), [(28, 3), (32, 1), (36, 3)])
def test_output_shapes(size: int, channels: int) -> None:
    images = keras_dcgan.generator(9, channels, size, 4)(torch.randn(3, 9))
    assert images.shape == (3, channels, size, size) and images.abs().max() <= 1
    assert keras_dcgan.discriminator(channels, size, 4)(images).shape == (3,)


@pytest.mark.parametrize("size", [4, 30])
def test_an_unsupported_image_size_is_refused(size: int) -> None:
    with pytest.raises(GanealogyError, match=f"keras_dcgan: dataset.image_size {size} is not a multiple of 4"):
        keras_dcgan.discriminator(3, size, 4)
