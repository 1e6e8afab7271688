"""The distances on tensors that claim to lie on a GPU, as far as that can be asked without one.

Such tensors have shapes, types and devices, and no numbers: a step that reads a number, which would wait for the card,
or that mixes what lies on the card with what lies on the host, fails here. With a card the numbers are compared too.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from ganealogy.evaluation import features
from ganealogy.evaluation.metrics import kid, neighbours, prdc

Ends = list[tuple[str, torch.dtype, tuple[int, ...]]]


def sets(count_a: int, count_b: int, dimension: int = 16) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    fakes = rng.standard_normal((count_a, dimension), np.float32)
    return fakes, rng.standard_normal((count_b, dimension), np.float32) * 1.1


@pytest.fixture
def left_the_card(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ends]:
    """What came back to the host, in order: where it was, its type and shape."""
    if torch.version.cuda is None:
        pytest.skip("torch without CUDA has no such tensors")
    found: Ends = []

    def cpu(tensor: torch.Tensor) -> torch.Tensor:
        found.append((tensor.device.type, tensor.dtype, tuple(tensor.shape)))
        return tensor

    monkeypatch.setattr(torch.Tensor, "cpu", cpu)
    monkeypatch.setattr(torch.Tensor, "numpy", lambda tensor: np.zeros(tensor.shape))
    monkeypatch.setitem(neighbours.SIDES, "cuda", 64)
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield found


def test_neighbours_and_manifolds_leave_it_once_they_are_known(left_the_card: Ends) -> None:
    fakes, reals = sets(200, 150)
    manifolds = prdc.Manifolds(np.ones(200), np.ones(150), "cuda")
    neighbours.nearest(fakes, reals, 5, "cuda", manifolds.watch)
    assert left_the_card == [("cuda", torch.int64, (200, 5)), ("cuda", torch.float64, (200, 5))]
    counted = (manifolds.about_fake, manifolds.covered, manifolds.recalled)
    assert {tensor.device.type for tensor in counted} == {"cuda"}


def test_radii_leave_it_once_they_are_known(left_the_card: Ends) -> None:
    neighbours.squared_radii(sets(200, 150)[0], 5, "cuda")
    assert left_the_card == [("cuda", torch.float64, (200,))]


@pytest.mark.parametrize(
    ("subsets", "size"), [(10, 20), (100, 75)], ids=["a product for each subset", "every pair once"]
)
def test_sums_of_kernels_leave_it_once_they_are_known(left_the_card: Ends, subsets: int, size: int) -> None:
    kid.kid(*sets(200, 150), subsets=subsets, size=size, device="cuda")
    assert left_the_card == [("cuda", torch.float64, (subsets,))] * 3


def test_a_covariance_leaves_it_once_it_is_known(left_the_card: Ends) -> None:
    features.moments(sets(200, 150)[0], "cuda")
    assert left_the_card == [("cuda", torch.float64, (16,)), ("cuda", torch.float64, (16, 16))]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_card_gives_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(neighbours.SIDES, "cuda", 256)
    fakes, reals = sets(700, 900, 128)
    fakes[:50] = reals[:50]
    found = []
    for device in ("cpu", "cuda"):
        radii = [neighbours.squared_radii(side, 5, device) for side in (fakes, reals)]
        indices, distances = neighbours.nearest(fakes, reals, 5, device)
        np.testing.assert_array_equal(distances[:50, 0], 0)
        estimate = kid.kid(fakes, reals, device=device)
        found.append((*radii, indices, distances, estimate, features.moments(fakes, device).covariance))
        found[-1] += (list(prdc.prdc(fakes, reals, *radii, device=device).values()),)
    for here, there in zip(*found, strict=True):
        np.testing.assert_allclose(there, here, rtol=1e-10, atol=1e-12)
