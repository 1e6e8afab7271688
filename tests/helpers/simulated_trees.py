"""Simulated trees of versions, and the verdicts' statistic for many trees at once."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats
from scipy.special import stdtr

from ganealogy.verdicts.looks import ALPHA, LOOKS, STIFFNESS

SHAPES = ("normal", "heavy", "skewed")
SKEWED = 0.4
"""Sigma of the log-normal, whose skewness is then 1.3."""


class Scenario(NamedTuple):
    """A kind of tree without any difference. Version 0 is the root; `parents` are those of versions 1, 2, …"""

    parents: tuple[int, ...]
    spreads: tuple[float, ...]
    correlation: float
    """Of child and parent over seeds."""
    shape: str = "normal"
    name: str = ""


def scenarios(edges: int, shape: str) -> Iterator[Scenario]:
    """Yield stars, chains and mixed trees with equal and with 3:1 spreads and with correlations from −.5 to .9."""
    trees = {
        "star": tuple([0] * edges),
        "chain": tuple(range(edges)),
        "mixed": tuple((version - 1) // 2 for version in range(1, edges + 1)),
    }
    kinds = dict(itertools.islice(trees.items(), 1 if edges == 1 else 3))
    spreads = {
        "equal": [1.0] * (edges + 1),
        "children 3": [1.0, *[3.0] * edges],
        "root 3": [3.0, *[1.0] * edges],
        "every other 3": [3.0 if version % 2 else 1.0 for version in range(edges + 1)],
        "one 3": [1.0] * edges + [3.0],
        "one third": [3.0] * edges + [1.0],
    }
    for (tree, parents), (spread, row), correlation in itertools.product(
        kinds.items(), spreads.items(), (-0.5, 0.0, 0.5, 0.9)
    ):
        yield Scenario(parents, tuple(row), correlation, shape, f"{edges} edges, {tree}, {spread}, r {correlation}")


def draw(rng: np.random.Generator, scenario: Scenario, trees: int, seeds: int = max(LOOKS)) -> np.ndarray:
    """Return logarithms (trees, versions, seeds)."""
    depths = [0]
    for parent in scenario.parents:
        depths.append(depths[parent] + 1)
    signs = np.array([1 if scenario.correlation >= 0 or depth % 2 == 0 else -1 for depth in depths])
    share = abs(scenario.correlation)
    common, own = (
        _noise(rng, scenario.shape, (trees, 1, seeds)),
        _noise(rng, scenario.shape, (trees, len(signs), seeds)),
    )
    return np.array(scenario.spreads)[:, None] * (np.sqrt(share) * signs[:, None] * common + np.sqrt(1 - share) * own)


def differences(logs: np.ndarray, parents: Sequence[int]) -> np.ndarray:
    """Return child − parent (trees, edges, seeds)."""
    return logs[:, 1:] - logs[:, list(parents)]


def every_look(difference: np.ndarray) -> Iterator[tuple[int, np.ndarray, np.ndarray, np.ndarray, int]]:
    """Yield (look, p, mean, standard error, degrees of freedom) for each look; arrays are (trees, edges)."""
    edges = difference.shape[1]
    tree_freedom = min(STIFFNESS, 2 * (edges - 1))
    tree = difference[..., :5].var(axis=2, ddof=1).mean(axis=1, keepdims=True)
    for look in LOOKS:
        first = difference[..., :look]
        mean, own, freedom = first.mean(axis=2), first.var(axis=2, ddof=1), look - 1 + tree_freedom
        lifted = np.maximum(own, (tree_freedom * tree + (look - 1) * own) / freedom)
        error = np.sqrt(lifted / look)
        yield look, 2 * stdtr(freedom, -np.abs(mean) / error), mean, error, freedom


def least_p(difference: np.ndarray) -> np.ndarray:
    """Return the least p / share up to each look, (looks, trees, edges)."""
    return np.minimum.accumulate([p / LOOKS[look] for look, p, *_ in every_look(difference)], axis=0)


def error_rates(rng: np.random.Generator, scenario: Scenario, trees: int) -> tuple[float, float]:
    """Return the fractions of trees with any false word at the first look, and at any look.

    Holm's first step alone decides that: the least p times the number of edges.
    """
    least = least_p(differences(draw(rng, scenario, trees), scenario.parents)).min(axis=2) * len(scenario.parents)
    return float(np.mean(least[0] <= ALPHA)), float(np.mean(least[-1] <= ALPHA))


def power(
    rng: np.random.Generator, edges: int, effect: float, spread: float, correlation: float, trees: int
) -> list[float]:
    """Return the power by each look, at Holm's first step, in a star whose first child differs by `effect`."""
    scenario = Scenario(tuple([0] * edges), tuple([spread] * (edges + 1)), correlation)
    difference = differences(draw(rng, scenario, trees), scenario.parents)
    difference[:, 0] -= effect
    return [float(np.mean(least[:, 0] * edges <= ALPHA)) for least in least_p(difference)]


def _noise(rng: np.random.Generator, shape: str, size: tuple[int, ...]) -> np.ndarray:
    """Return numbers of mean 0 and variance 1: normal, Student's t with 5 degrees of freedom, or a log-normal."""
    if shape == "heavy":
        return rng.standard_t(5, size) / np.sqrt(5 / 3)
    if shape == "skewed":
        mean, variance = stats.lognorm(SKEWED).stats()
        return (rng.lognormal(0, SKEWED, size) - mean) / np.sqrt(variance)
    return rng.normal(size=size)
