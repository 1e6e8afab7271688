"""The U-Net of flow matching: its sampler against scipy's integrator, its layers and its parameters."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp
from torch.nn import functional as F

from ganealogy.errors import GanealogyError
from ganealogy.networks import flow_unet
from ganealogy.networks._build import parameter_count


def trained_a_little(**options: object) -> flow_unet.Generator:
    """A network of 16 pixels in float64 whose velocity depends on picture and time: at first it would be a shortcut."""
    torch.manual_seed(0)
    network = flow_unet.generator(256, 1, 16, 4, **options).double().eval()
    for parameter in network.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    return network


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("midpoint", 2)])
def test_the_sampler_converges_to_scipys_solution(solver: str, order: int) -> None:
    """At least with the solver's order: twice as many steps give half, or a quarter, of the error."""
    network = trained_a_little(solver=solver)
    noise = torch.randn(1, 256, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def slope(time: float, flat: np.ndarray) -> np.ndarray:
        x = torch.from_numpy(flat).view(1, 1, 16, 16)
        return network.velocity(x, torch.tensor([time], dtype=torch.float64)).flatten().numpy()

    with torch.no_grad():
        exact = solve_ivp(slope, (0, 1), noise[0].numpy(), method="DOP853", rtol=1e-6, atol=1e-6).y[:, -1]
        errors = []
        for steps in (64, 128):
            network.steps = steps
            errors.append(np.abs(network(noise).flatten().numpy() - exact).max())
    assert errors[1] < 0.05 * np.abs(exact).max()
    assert math.log2(errors[0] / errors[1]) > order - 0.3


def test_one_eulers_step_adds_the_velocity_at_the_noise() -> None:
    network = trained_a_little(steps=1, solver="euler")
    noise = torch.randn(2, 256, dtype=torch.float64)
    images = noise.view(2, 1, 16, 16)
    assert torch.equal(network(noise), images + network.velocity(images, torch.zeros(2, dtype=torch.float64)))


def test_a_block_is_the_transcription() -> None:
    torch.manual_seed(0)
    block = flow_unet.Block(8, 16, 12).double()
    block.outer[-1].weight.data.normal_()
    x, embedded = torch.randn(2, 8, 4, 4, dtype=torch.float64), torch.randn(2, 12, dtype=torch.float64)
    first, last = block.inner[-1], block.outer[-1]
    h = F.conv2d(F.silu(normalised(x, 8)), first.weight, first.bias, padding=1)
    h = h + (embedded @ block.time.weight.T + block.time.bias)[:, :, None, None]
    h = F.conv2d(F.silu(normalised(h, 8)), last.weight, last.bias, padding=1)
    expected = F.conv2d(x, block.shortcut.weight, block.shortcut.bias) + h
    assert (block(x, embedded) - expected).abs().max() < 1e-9


def normalised(x: torch.Tensor, groups: int) -> torch.Tensor:
    parts = x.view(len(x), groups, -1)
    centred = parts - parts.mean(2, keepdim=True)
    return (centred / (parts.var(2, unbiased=False, keepdim=True) + 1e-5).sqrt()).view_as(x)


def test_time_is_embedded_as_sines_and_cosines() -> None:
    found = flow_unet.sinusoids(torch.tensor([0.0, 0.3], dtype=torch.float64), 8)
    frequencies = [10_000 ** (-k / 4) for k in range(4)]
    expected = [[f(1000 * t * w) for f in (math.sin, math.cos) for w in frequencies] for t in (0.0, 0.3)]
    assert found.tolist() == [pytest.approx(row) for row in expected]


def test_parameters_follow_from_the_layers() -> None:
    w, channels = 32, 3

    def convolution(c_in: int, c_out: int, side: int = 3) -> int:
        return side * side * c_in * c_out + c_out

    def block(c_in: int, c_out: int) -> int:
        shortcut = convolution(c_in, c_out, 1) if c_in != c_out else 0
        return (
            2 * c_in
            + convolution(c_in, c_out)
            + convolution(4 * w, c_out, 1)
            + 2 * c_out
            + (convolution(c_out, c_out) + shortcut)
        )

    time = convolution(2 * w, 4 * w, 1) + convolution(4 * w, 4 * w, 1)
    down = block(w, w) + block(w, 2 * w) + block(2 * w, 4 * w)
    up = block(8 * w, 4 * w) + block(6 * w, 2 * w) + block(3 * w, w)
    ends = convolution(channels, w) + 2 * w + convolution(w, channels)
    expected = time + ends + down + block(4 * w, 4 * w) + up
    assert parameter_count(flow_unet.generator(3072, channels, 32, w)) == expected == 1_380_163


@pytest.mark.parametrize(
    ("latent", "size", "message"),
    [(100, 16, "latent.size 100: .* set it to image"), (30**2, 30, "image_size 30 is not a multiple of 4 from 16 up")],
)
def test_what_it_cannot_draw_is_refused(latent: int, size: int, message: str) -> None:
    with pytest.raises(GanealogyError, match=message):
        flow_unet.generator(latent, 1, size, 4)
