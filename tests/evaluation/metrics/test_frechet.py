"""The Fréchet distance against closed forms, scipy and pytorch-fid, on every branch, also for singular covariances."""

from __future__ import annotations

import numpy as np
import pytest
from pytorch_fid.fid_score import calculate_frechet_distance
from scipy import linalg

from ganealogy.errors import GanealogyError
from ganealogy.evaluation import features
from ganealogy.evaluation.metrics import frechet
from ganealogy.evaluation.metrics.frechet import Moments, frechet_distance

RNG = np.random.default_rng(0)


@pytest.fixture(params=[10_000, 1], ids=["numpy", "scipy"])
def library(request, monkeypatch):
    """Treat the features as narrow, then as wide."""
    monkeypatch.setattr(frechet, "WIDE", request.param)


both = pytest.mark.usefixtures("library")


def correlated(count: int, dimension: int, seed: int = 0, decay: float = 0.0) -> np.ndarray:
    """Correlated features; with `decay`, their variances fall by many orders of magnitude."""
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((dimension, dimension)) / np.sqrt(dimension)
    scales = np.exp(-decay * np.arange(dimension) / dimension)
    return (rng.standard_normal((count, dimension)) * scales) @ mixing + rng.standard_normal(dimension)


def by_scipy(a: np.ndarray, b: np.ndarray) -> float:
    covariances = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = linalg.sqrtm(covariances[0] @ covariances[1]).real
    mean_term = ((a.mean(0) - b.mean(0)) ** 2).sum()
    return float(mean_term + np.trace(covariances[0]) + np.trace(covariances[1]) - 2 * np.trace(root))


def fd(a: np.ndarray, b: np.ndarray) -> float:
    return frechet_distance(Moments.of(a), Moments.of(b))


def test_closed_form_of_two_gaussians_whose_covariances_commute():
    spread_a, spread_b, shift = np.array([1.0, 2.0, 0.0]), np.array([3.0, 0.5, 4.0]), np.array([1.0, -2.0, 3.0])
    a = Moments(np.zeros(3), covariance=np.diag(spread_a**2))
    b = Moments(shift, covariance=np.diag(spread_b**2))
    expected = (shift**2).sum() + ((spread_a - spread_b) ** 2).sum()
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-12)


def test_closed_form_in_two_dimensions():
    # tr (AB)^1/2 = sqrt(tr AB + 2 sqrt det AB) for 2 x 2
    a, b = np.array([[2.0, 0.7], [0.7, 1.0]]), np.array([[1.0, -0.4], [-0.4, 3.0]])
    overlap = np.sqrt(np.trace(a @ b) + 2 * np.sqrt(np.linalg.det(a @ b)))
    got = frechet_distance(Moments(np.zeros(2), covariance=a), Moments(np.ones(2), covariance=b))
    assert got == pytest.approx(2 + np.trace(a) + np.trace(b) - 2 * overlap, rel=1e-12)


@pytest.mark.parametrize(("count_a", "count_b"), [(200, 300), (10, 300), (300, 10), (20, 15)])
@both
def test_equals_scipy_on_every_branch(count_a, count_b):
    a, b = correlated(count_a, 24, seed=1), correlated(count_b, 24, seed=2)
    assert fd(a, b) == pytest.approx(by_scipy(a, b), rel=1e-6)  # scipy's root of a singular product is less precise
    assert fd(a, b) == pytest.approx(fd(b, a), rel=1e-9)


def test_a_thin_set_and_its_covariance_give_the_same_distance():
    """Features take the Gram matrix, a covariance takes the eigenvectors."""
    a, b = correlated(40, 64, seed=1), correlated(50, 64, seed=2)
    dense = [Moments(x.mean(0), covariance=np.cov(x, rowvar=False)) for x in (a, b)]
    assert Moments.of(a).thin and not dense[0].thin
    assert frechet_distance(*dense) == pytest.approx(fd(a, b), rel=1e-7)


def by_singular_values(a: np.ndarray, b: np.ndarray) -> float:
    """The definition with centred features as roots; exact also for n < d."""
    roots = [(x - x.mean(0)) / np.sqrt(len(x) - 1) for x in (a, b)]
    overlap = np.linalg.svd(roots[0] @ roots[1].T, compute_uv=False).sum()
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + sum((r**2).sum() for r in roots) - 2 * overlap)


@both
@pytest.mark.parametrize("counts", [(80, 90), (90, 80), (300, 90), (300, 400)])
@pytest.mark.parametrize("decay", [0.0, 8.0, 30.0])
def test_eigenvalues_equal_the_svd_to_1e_7(counts, decay):
    a, b = (correlated(count, 128, seed, decay) for seed, count in enumerate(counts))
    assert fd(a, b) == pytest.approx(by_singular_values(a, b), rel=1e-7)


def test_the_svd_is_used_only_if_rounding_could_matter(monkeypatch):
    calls = []
    svd = np.linalg.svd
    monkeypatch.setattr(np.linalg, "svd", lambda *args, **kwargs: calls.append(1) or svd(*args, **kwargs))
    a, b = correlated(80, 128, seed=1), correlated(90, 128, seed=2)
    assert fd(a, b) > 1 and not calls
    assert fd(a, a + 1e-9) < 1e-9 and calls


@pytest.mark.parametrize("count", [250, 1250])
@pytest.mark.filterwarnings("ignore:The `disp` argument is deprecated")  # pytorch-fid's call of scipy's sqrtm
@pytest.mark.filterwarnings("ignore:Matrix is singular")  # there, where images are fewer than dimensions
def test_equals_pytorch_fid_on_either_side_of_the_dimension(count):
    """Like 1,000 and 5,000 images at a quarter of Inception's size, where pytorch-fid would take minutes.

    The features resemble those of a pooled ReLU: positive, skewed, dependent.
    """
    sets = [np.maximum(correlated(count, 512, seed, decay=6) + 0.1 * seed, 0) for seed in (1, 2)]
    theirs = calculate_frechet_distance(*(x for s in sets for x in (s.mean(0), np.cov(s, rowvar=False))))
    assert theirs > 1
    assert fd(*sets) == pytest.approx(theirs, rel=1e-4)


@both
@pytest.mark.parametrize("count", [5, 63, 64, 65, 500])
@pytest.mark.parametrize("decay", [0.0, 12.0, 40.0])
def test_identical_sets_have_distance_0(count, decay):
    a = correlated(count, 64, decay=decay)
    assert 0 <= fd(a, a) <= 1e-6
    assert 0 <= fd(a, a[::-1].copy()) <= 1e-6


@both
def test_constant_sets_have_a_closed_form():
    constant, other = np.tile(RNG.standard_normal(16), (40, 1)), correlated(100, 16)
    assert fd(constant, constant) == 0
    expected = ((constant[0] - other.mean(0)) ** 2).sum() + np.trace(np.cov(other, rowvar=False))
    assert fd(constant, other) == pytest.approx(expected, rel=1e-12)
    assert fd(other, constant) == pytest.approx(expected, rel=1e-12)
    assert fd(constant[:8], other) == pytest.approx(expected, rel=1e-12)  # fewer images than dimensions
    assert np.isfinite(fd(other[:8], constant[:8]))


@both
def test_repeated_and_dead_features_are_allowed():
    """As a network's ReLU produces them."""
    a, b = correlated(300, 12, seed=1), correlated(300, 12, seed=2)
    wide_a, wide_b = (np.hstack([x, x[:, :4], np.zeros((len(x), 8))]) for x in (a, b))
    repeated_a, repeated_b = (x * np.r_[np.full(4, np.sqrt(2)), np.ones(8)] for x in (a, b))
    assert fd(wide_a, wide_b) == pytest.approx(fd(repeated_a, repeated_b), rel=1e-6)


def test_does_not_depend_on_order_or_on_a_common_rotation():
    a, b = correlated(80, 16, seed=1), correlated(90, 16, seed=2)
    rotation, _ = np.linalg.qr(RNG.standard_normal((16, 16)))
    assert fd(RNG.permutation(a), RNG.permutation(b)) == pytest.approx(fd(a, b), rel=1e-10)
    assert fd(a @ rotation, b @ rotation) == pytest.approx(fd(a, b), rel=1e-10)


def test_float32_features_are_summed_in_float64():
    a = (correlated(3000, 8, seed=1) + 1000).astype(np.float32)
    b = (correlated(3000, 8, seed=2) + 1000).astype(np.float32)
    assert fd(a, b) == pytest.approx(fd(a.astype(np.float64), b.astype(np.float64)), rel=1e-12)


@pytest.mark.parametrize(("fakes", "wide"), [(100, 10_000), (6, 10_000), (6, 1)])
def test_the_reals_root_is_computed_once(fakes, wide, monkeypatch):
    calls, cholesky = [], np.linalg.cholesky
    monkeypatch.setattr(frechet, "WIDE", wide)
    monkeypatch.setattr(np.linalg, "cholesky", lambda covariance: calls.append(1) or cholesky(covariance))
    reals = Moments.of(correlated(100, 8, seed=1))
    for seed in (2, 3):
        frechet_distance(Moments.of(correlated(fakes, 8, seed=seed)), reals)
    assert len(calls) == 1


@pytest.mark.parametrize(("dimension", "count", "expected"), [(192, 200, 0), (1280, 20, 0), (1280, 1300, 1)])
def test_scipy_is_called_for_two_wide_covariances_only(dimension, count, expected, monkeypatch):
    calls, eigvalsh = [], linalg.eigvalsh
    monkeypatch.setattr(linalg, "eigvalsh", lambda *args, **kwargs: calls.append(1) or eigvalsh(*args, **kwargs))
    rng = np.random.default_rng(0)
    frechet_distance(*(Moments.of(rng.standard_normal((count, dimension))) for _ in range(2)))
    assert len(calls) == expected


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (np.zeros((1, 4)), "n >= 2"),
        (np.zeros((0, 4)), "n >= 2"),
        (np.zeros(4), "n >= 2"),
        (np.array([[0.0, np.nan], [1.0, 1.0]]), "NaN"),
    ],
)
def test_features_without_a_covariance_are_rejected(features, message):
    with pytest.raises(GanealogyError, match=message):
        Moments.of(features)


def test_different_dimensions_are_rejected():
    with pytest.raises(GanealogyError, match="4 and 5 dimensions"):
        fd(np.eye(4), np.eye(5))


def test_does_not_modify_the_features():
    a = correlated(40, 6)
    before = a.copy()
    Moments.of(a)
    features.moments_by_torch(a, "cpu")
    np.testing.assert_array_equal(a, before)


@pytest.mark.parametrize("decay", [0.0, 8.0])
@pytest.mark.parametrize("count", [32, 33, 400])
def test_moments_by_torch_equal_numpys(count, decay):
    """The computation for a GPU, here on the CPU."""
    a, b = (correlated(count, 32, seed, decay).astype(np.float32) for seed in range(2))
    ours, theirs = features.moments_by_torch(a, "cpu"), Moments.of(a)
    assert not ours.thin and not theirs.thin
    np.testing.assert_allclose(ours.mean, theirs.mean, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(ours.covariance, theirs.covariance, rtol=1e-12, atol=1e-14)
    assert ours.trace == pytest.approx(theirs.trace, rel=1e-12)
    reals = Moments.of(b)
    # Covariances that agree to 1e-12 give distances that agree to about 1e-11: some processors add in another order.
    assert frechet_distance(ours, reals) == pytest.approx(frechet_distance(theirs, reals), rel=1e-10)


def test_bad_features_are_rejected_before_they_are_sent_to_a_gpu():
    with pytest.raises(GanealogyError, match="NaN"):
        features.moments(np.full((4, 2), np.nan), "cuda")
    assert features.moments(np.ones((2, 3)), "cuda").thin  # two images of three dimensions need no GPU
