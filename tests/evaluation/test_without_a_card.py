"""The metrics on fake CUDA tensors, which need no GPU.

Fake tensors have shapes, types and devices but no values. A step that reads a value, which would force a sync, or that
mixes devices fails here. With a GPU the values are compared too.
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
def copies_to_host(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ends]:
    """Tensors copied to the host, in order: device, type and shape."""
    if torch.version.cuda is None:
        pytest.skip("this torch has no CUDA support, not even for fake tensors")
    copies: Ends = []

    def cpu(tensor: torch.Tensor) -> torch.Tensor:
        copies.append((tensor.device.type, tensor.dtype, tuple(tensor.shape)))
        return tensor

    monkeypatch.setattr(torch.Tensor, "cpu", cpu)
    monkeypatch.setattr(torch.Tensor, "numpy", lambda tensor: np.zeros(tensor.shape))
    monkeypatch.setitem(neighbours.TILE_SIDES, "cuda", 64)
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield copies


def test_nearest_neighbours_copy_only_their_results_to_the_host(copies_to_host: Ends) -> None:
    fakes, reals = sets(200, 150)
    manifolds = prdc.Manifolds(np.ones(200), np.ones(150), "cuda")
    neighbours.nearest(fakes, reals, 5, "cuda", manifolds.add_tile)
    assert copies_to_host == [("cuda", torch.int64, (200, 5)), ("cuda", torch.float64, (200, 5))]
    counted = (manifolds.balls_per_fake, manifolds.covered, manifolds.recalled)
    assert {tensor.device.type for tensor in counted} == {"cuda"}


def test_radii_copy_only_their_result_to_the_host(copies_to_host: Ends) -> None:
    neighbours.squared_radii(sets(200, 150)[0], 5, "cuda")
    assert copies_to_host == [("cuda", torch.float64, (200, 5))]


@pytest.mark.parametrize(("subsets", "size"), [(10, 20), (100, 75)], ids=["a product per subset", "every pair once"])
def test_kernel_sums_copy_only_their_result_to_the_host(copies_to_host: Ends, subsets: int, size: int) -> None:
    kid.kid(*sets(200, 150), subsets=subsets, size=size, device="cuda")
    assert copies_to_host == [("cuda", torch.float64, (subsets,))] * 3


def test_moments_copy_only_their_result_to_the_host(copies_to_host: Ends) -> None:
    features.moments(sets(200, 150)[0], "cuda")
    assert copies_to_host == [("cuda", torch.float64, (16,)), ("cuda", torch.float64, (16, 16))]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_gives_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(neighbours.TILE_SIDES, "cuda", 256)
    fakes, reals = sets(700, 900, 128)
    fakes[:50] = reals[:50]
    results = []
    for device in ("cpu", "cuda"):
        radii = [neighbours.squared_radii(side, 5, device) for side in (fakes, reals)]
        indices, distances = neighbours.nearest(fakes, reals, 5, device)
        np.testing.assert_array_equal(distances[:50, 0], 0)
        estimate = kid.kid(fakes, reals, device=device)
        results.append((*radii, indices, distances, estimate, features.moments(fakes, device).covariance))
        results[-1] += (list(prdc.prdc(fakes, reals, *radii, device=device).values()),)
    for on_cpu, on_gpu in zip(*results, strict=True):
        np.testing.assert_allclose(on_gpu, on_cpu, rtol=1e-10, atol=1e-12)
