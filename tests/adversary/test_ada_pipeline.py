"""ADA's pipeline against a transcription of the authors' code: the same draws in the same order, image by image."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn.functional import grid_sample

from ganealogy.adversary.augment import ada, ada_pipeline
from ganealogy.adversary.augment._pipeline import SYM6, Pipeline
from ganealogy.lineage.versions import read_family

Array = NDArray[np.float64]
COUNT = 24
BGC = (1.0, 1.0, 1.0, 0.0)
R3GAN = (1.0, 1.0, 0.5, 1.0)


@pytest.fixture(autouse=True)
def in_float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def pictures(channels: int = 3, side: int = 12) -> torch.Tensor:
    return torch.rand(COUNT, channels, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1


class Draws:
    """Uniform and normal draws for a batch; `kept` replaces those of most images by a neutral value."""

    def __init__(self, probability: float) -> None:
        self.probability = probability

    def kept(self, values: torch.Tensor, neutral: float, share: float = 1.0) -> Array:
        shape = (COUNT,) + (1,) * (values.ndim - 1)
        return np.where((torch.rand(shape) < share * self.probability).numpy(), values.numpy(), neutral)


def translate(x: float, y: float) -> Array:
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1.0]])


def scale(x: float, y: float) -> Array:
    return np.diag([x, y, 1.0])


def rotate(angle: float) -> Array:
    return np.array([[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1.0]])


def inverse_transforms(side: int, p: float, blit: float, geometry: float) -> list[Array]:
    """One 3 x 3 matrix per image, output pixel → input pixel, both from the centre."""
    draw, maps = Draws(p), [np.eye(3)] * COUNT

    def then(matrices: list[Array]) -> None:
        maps[:] = [map_ @ matrix for map_, matrix in zip(maps, matrices, strict=True)]

    if blit:
        then([scale(1 / (1 - 2 * flip), 1) for flip in draw.kept(torch.floor(torch.rand(COUNT) * 2), 0, blit)])
        quarters = draw.kept(torch.floor(torch.rand(COUNT) * 4), 0, blit)
        then([rotate(math.pi / 2 * quarter) for quarter in quarters])
        shifts = draw.kept((torch.rand(COUNT, 2) * 2 - 1) * 0.125, 0, blit)
        then([translate(-round(x * side), -round(y * side)) for x, y in shifts])
    if geometry:
        then([scale(1 / s, 1 / s) for s in draw.kept(torch.exp2(torch.randn(COUNT) * 0.2), 1, geometry)])
        each = Draws(1 - math.sqrt(1 - geometry * p))  # so that one of two rotations, or both, have probability p
        then([rotate(angle) for angle in each.kept((torch.rand(COUNT) * 2 - 1) * math.pi, 0)])
        then([scale(1 / s, s) for s in draw.kept(torch.exp2(torch.randn(COUNT) * 0.2), 1, geometry)])
        then([rotate(angle) for angle in each.kept((torch.rand(COUNT) * 2 - 1) * math.pi, 0)])
        then([translate(-x * side, -y * side) for x, y in draw.kept(torch.randn(COUNT, 2) * 0.125, 0, geometry)])
    return maps


def warped(channel: Array, inverse: Array) -> Array:
    """Pad by reflection, upsample with sym6, sample bilinearly, downsample with the flipped filter, crop."""
    side, taps, margin = len(channel), np.array(SYM6) / sum(SYM6), len(channel) - 1
    wide = np.pad(channel, margin, mode="reflect")
    for _ in range(2):  # rows, then columns
        spread = np.zeros((len(wide), 2 * wide.shape[1]))
        spread[:, ::2] = wide
        spread = np.pad(spread, ((0, 0), (6, 5)))
        wide = np.array([np.convolve(row, 2 * taps, mode="valid") for row in spread]).T
    out = 2 * side + 12
    inverse = translate(-0.5, -0.5) @ scale(2, 2) @ inverse @ scale(0.5, 0.5) @ translate(0.5, 0.5)
    centred = np.arange(out) + 0.5 - out / 2
    x, y = np.meshgrid(centred, centred)
    places = np.einsum("ij,jab->abi", inverse, np.stack([x, y, np.ones_like(x)]))[..., :2] / (len(wide) / 2)
    fine = grid_sample(torch.tensor(wide)[None, None], torch.tensor(places)[None], align_corners=False)[0, 0].numpy()
    fine = fine[1:-1, 1:-1]
    for _ in range(2):
        fine = np.array([np.correlate(row, taps, mode="valid")[::2] for row in fine]).T
    return fine


def colour_matrices(channels: int, p: float, share: float) -> list[Array]:
    """One 4 x 4 matrix per image, on (R, G, B, 1)."""
    draw, maps = Draws(p), [np.eye(4)] * COUNT
    luma = np.array([1, 1, 1, 0]) / math.sqrt(3)
    onto = np.outer(luma, luma)

    def then(matrices: list[Array]) -> None:
        maps[:] = [matrix @ map_ for map_, matrix in zip(maps, matrices, strict=True)]

    def brighter(by: float) -> Array:
        matrix = np.eye(4)
        matrix[:3, 3] = by
        return matrix

    def turned(angle: float) -> Array:
        """Rodrigues' formula around the axis of greys."""
        x, y, z = luma[:3]
        cross = np.array([[0, -z, y, 0], [z, 0, -x, 0], [-y, x, 0, 0], [0, 0, 0, 0]])
        return np.eye(4) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross

    then([brighter(b) for b in draw.kept(torch.randn(COUNT) * 0.2, 0, share)])
    then([np.diag([c, c, c, 1]) for c in draw.kept(torch.exp2(torch.randn(COUNT) * 0.5), 1, share)])
    then([np.eye(4) - 2 * onto * i for i in draw.kept(torch.floor(torch.rand(COUNT) * 2), 0, share)])
    if channels == 3:
        then([turned(angle) for angle in draw.kept((torch.rand(COUNT) * 2 - 1) * math.pi, 0, share)])
        then([onto + (np.eye(4) - onto) * s for s in draw.kept(torch.exp2(torch.randn(COUNT)), 1, share)])
    return maps


def transcription(images: torch.Tensor, p: float, groups: tuple[float, float, float, float]) -> Array:
    blit, geometry, color, cutout = groups
    shown = images.numpy()
    count, channels, side, _ = shown.shape
    if blit or geometry:
        inverses = inverse_transforms(side, p, blit, geometry)
        shown = np.array([[warped(channel, inverses[i]) for channel in shown[i]] for i in range(count)])
    if color:
        matrices, coloured = colour_matrices(channels, p, color), []
        for picture, matrix in zip(shown, matrices, strict=True):
            rgb = np.broadcast_to(picture, (3, side, side)).reshape(3, -1)
            coloured.append((matrix[:3, :3] @ rgb + matrix[:3, 3:])[:channels].reshape(channels, side, side))
        shown = np.array(coloured)
    if cutout:
        sizes = Draws(p).kept(torch.full((COUNT, 1), 0.5), 0, cutout)
        line = (np.arange(side) + 0.5) / side
        for picture, (size,), (x, y) in zip(shown, sizes, torch.rand(COUNT, 2).tolist(), strict=True):
            hole = (abs(line[:, None] - y) < size / 2) & (abs(line - x) < size / 2)
            picture[:, hole] = 0
    return shown


@pytest.mark.parametrize("groups", [(1.0, 0, 0, 0), (0, 1.0, 0, 0), (0, 0, 1.0, 0), (0, 0, 0, 1.0), BGC, R3GAN])
@pytest.mark.parametrize(("channels", "p"), [(3, 0.0), (3, 0.4), (3, 1.0), (1, 0.8)])
def test_the_pipeline_equals_the_transcription(
    groups: tuple[float, float, float, float], channels: int, p: float
) -> None:
    images = pictures(channels)
    torch.manual_seed(7)
    expected = transcription(images.clone(), p, groups)
    torch.manual_seed(7)
    shown = Pipeline(*groups)(images, torch.tensor(p))
    np.testing.assert_allclose(shown.numpy(), expected, atol=1e-9)
    torch.manual_seed(7)
    assert torch.equal(Pipeline(*groups)(images, p), shown), "a number does as a tensor does"
    if p == 0:
        torch.testing.assert_close(shown, images, atol=1e-9, rtol=0)
    else:
        assert (shown - images).abs().flatten(1).amax(1).gt(0.01).sum() > COUNT / 10


def test_its_first_and_second_derivatives_exist() -> None:
    pipeline = Pipeline(*R3GAN)

    def shown(images: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(3)
        return pipeline(images, 0.9)[:, :, ::3, ::3] ** 2

    images = pictures(side=8)[:2].requires_grad_()
    assert torch.autograd.gradcheck(shown, (images,), fast_mode=True)
    assert torch.autograd.gradgradcheck(shown, (images,), fast_mode=True)


@pytest.mark.parametrize("size", [16, 33])
def test_integer_shifts_and_quarter_turns_lose_nothing(size: int) -> None:
    """The filters are orthogonal: with the blit group alone, a pixel keeps its value, but for flips."""
    torch.manual_seed(0)
    images = pictures(side=size)
    whole = Pipeline(1.0, 0, 0, 0)(images, 1.0)
    kept = [
        any(
            torch.allclose(image.rot90(turns, (1, 2)).roll((down, right), (1, 2))[:, 4:-4, 4:-4], after[:, 4:-4, 4:-4])
            for turns in range(4)
            for down in range(-5, 6)
            for right in range(-5, 6)
        )
        for image, after in zip(images, whole, strict=True)
    ]
    assert 4 <= sum(kept) <= 20, "about half; sym6 is not symmetric, so flipped pictures are filtered"


def test_v16_has_r3gans_strengths() -> None:
    """Of the authors' `augment_kwargs` and `aug_scheduler`: all of geometry and cutout, half of colour, 0 to 0.3."""
    (block,) = read_family(["v16"])["v16"].recipe["adversary"]["augment"]
    assert block["name"] == "ada_pipeline"
    options = {key: value for key, value in block.items() if key != "name"}
    augmentation = ada_pipeline.augment(**options)
    pipeline = augmentation.pipeline
    assert (pipeline.blit, pipeline.geometry, pipeline.color, pipeline.cutout) == R3GAN
    assert options["probability"] == {"from": 0.0, "to": 0.3, "shape": "cosine", "until": 0.5}


def test_ada_uses_bgc() -> None:
    pipeline = ada.augment().pipeline
    assert (pipeline.blit, pipeline.geometry, pipeline.color, pipeline.cutout) == BGC


def test_no_probability_changes_no_bit() -> None:
    images = pictures()
    assert ada_pipeline.augment(probability=0.0)(images, 0.5) is images


@pytest.mark.parametrize("share", [0.1, 0.4])
def test_ada_crosses_its_range_in_a_share_of_the_budget(share: float) -> None:
    """At any budget, and with any number of D steps per G step; StyleGAN2-ADA's step is batch · interval / 500 kimg."""
    for steps, d_steps in ((200, 1), (1000, 2)):
        adaptive, sure, reached = ada.augment(share=share), torch.ones(8), None
        for step in range(steps):
            for _ in range(d_steps):
                adaptive.observe(sure, step / steps)
            if adaptive.probability == 1 and reached is None:
                reached = (step + 1) / steps
        assert reached == pytest.approx(share, abs=8 / steps)
    adaptive, batch = ada.augment(share=500 / 25_000), 64
    for step in range(8):
        adaptive.observe(sure, step * batch / 25e6)
    assert adaptive.probability - (3 * batch / 500e3) == pytest.approx(batch * 4 / 500e3), "the second adjustment"
