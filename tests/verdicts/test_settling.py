"""Which edges get more seeds, and what the plan of looks keeps: simulated."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from ganealogy.verdicts import looks, settling
from ganealogy.verdicts.looks import ALPHA, EQUIVALENCE_SHARES, LOOKS, Look, TreeSpread
from ganealogy.verdicts.settling import EdgeState

METRIC = "fd_pixel8"
SPREAD, CORRELATION = 0.064, 0.44
"""Of v1's five seeds in the demo: standard deviation of the logarithm; correlation of children with parents."""


def settled(rng: np.random.Generator, effects: list[float], spread: float, correlation: float) -> list[EdgeState]:
    """Settle a star whose children differ from the root by these log ratios; return the edges' last states."""
    names = [f"v{at}" for at in range(len(effects) + 1)]
    parents = {name: None if name == "v0" else "v0" for name in names}
    shared = rng.normal(size=40) * math.sqrt(correlation)
    own = rng.normal(size=(len(names), 40)) * math.sqrt(1 - correlation)
    values = np.exp(spread * (shared + own) + np.array([0.0, *effects])[:, None])
    have = dict.fromkeys(names, 5)
    while True:
        table = {name: dict(enumerate(map(float, values[at, : have[name]]))) for at, name in enumerate(names)}
        states = settling.states(METRIC, table, parents, margin=0.1)
        todo = [state for state in states if state.next_look]
        if not todo:
            return states
        for state in todo:
            for name in (state.child, state.parent):
                have[name] = max(have[name], state.next_look or 0)


@pytest.mark.parametrize("correlation", [0.0, CORRELATION])
def test_at_most_one_tree_in_twenty_without_differences_shows_one(correlation: float) -> None:
    rng, trees = np.random.default_rng(1), 200
    wrong = sum(
        any(state.verdict.word in ("better", "worse") for state in settled(rng, [0.0] * 5, SPREAD, correlation))
        for _ in range(trees)
    )
    assert wrong / trees <= 0.05


@pytest.mark.parametrize("correlation", [0.0, CORRELATION])
def test_a_fifth_less_is_decided_with_nine_seeds_on_average(correlation: float) -> None:
    rng, seeds = np.random.default_rng(2), []
    for _ in range(40):
        states = settled(rng, [math.log(0.8)] * 4 + [0.0] * 5, SPREAD, correlation)
        assert all(state.verdict.word == "better" for state in states[:4])
        seeds += [state.pairs for state in states[:4]]
    assert np.mean(seeds) <= 9


def test_each_edge_stops_with_a_reason() -> None:
    states = settled(np.random.default_rng(3), [math.log(0.5), 0.0, 0.02], 0.05, 0.0)
    assert all(state.next_look is None and state.why for state in states)
    assert states[0].why == "better" and states[0].pairs == 5


def rows(*values: list[float]) -> dict[str, dict[int, float]]:
    return {f"v{at}": dict(enumerate(row)) for at, row in enumerate(values)}


PARENTS = {"v0": None, "v1": "v0"}
NOISY = [100.0, 130.0, 90.0, 115.0, 80.0, 125.0, 95.0, 105.0, 120.0, 85.0, 110.0, 92.0]


def test_an_open_edge_gets_the_next_look() -> None:
    for have, look in ((0, 5), (2, 5), (5, 8), (6, 8), (8, 12)):
        [state] = settling.states(METRIC, rows(NOISY[:have], NOISY[-have:][:have]), PARENTS)
        assert state.next_look == look and not state.why


def test_the_most_seeds_end_an_edge() -> None:
    [state] = settling.states(METRIC, rows(NOISY[:8], NOISY[4:]), PARENTS, at_most=8)
    assert state.next_look is None and state.why == "8 of at most 8 seeds"


def test_twelve_seeds_without_hope_end_an_edge() -> None:
    other = [0.97 * value for value in NOISY[1:] + NOISY[:1]]
    [state] = settling.states(METRIC, rows(NOISY, other), PARENTS, margin=0.1)
    assert state.next_look is None and state.why.startswith("neither word is likely with 40 seeds: ")


def test_a_version_that_copies_gets_no_more_seeds() -> None:
    [state] = settling.states(METRIC, rows(NOISY[:5], NOISY[1:6]), PARENTS, barred={"v1": {0}})
    assert state.next_look is None and "copies training pictures" in state.why


def look(mean: float, deviation: float, seeds: int = 12) -> Look:
    rng = np.random.default_rng(4)
    values = rng.normal(size=seeds)
    values = mean + deviation * (values - values.mean()) / values.std(ddof=1)
    return looks.look_at([looks.Pair(float(value), 0) for value in values], TreeSpread(deviation**2, 6), math.log(1.1))


def test_the_chance_of_a_difference_is_that_of_the_noncentral_t() -> None:
    last = look(0.05, 0.1)
    freedom = last.freedom + 28
    critical = stats.t.isf(ALPHA * LOOKS[40] / 7 / 2, freedom)
    expected = stats.nct.sf(critical, freedom, 0.05 / (0.1 / math.sqrt(40)))
    assert settling.chance_of_difference(last, 7, 40) == pytest.approx(expected, rel=1e-6)
    assert settling.chance_of_difference(look(5.0, 0.1), 7, 40) == 1.0


def test_the_chance_of_equivalence_agrees_with_a_simulation() -> None:
    last, bound = look(0.01, 0.12), math.log(1.1)
    rng = np.random.default_rng(5)
    freedom = last.freedom + 28
    means = rng.normal(0.01, 0.12 / math.sqrt(40), 40_000)
    errors = 0.12 / math.sqrt(40) * np.sqrt(rng.chisquare(freedom, 40_000) / freedom)
    critical = stats.t.isf(ALPHA * EQUIVALENCE_SHARES[40] / 7, freedom)
    simulated = np.mean(np.abs(means) + critical * errors < bound)
    assert settling.chance_of_equivalence(last, 7, 40, bound) == pytest.approx(simulated, abs=0.02)
    assert settling.chance_of_equivalence(last, 7, 40, None) == 0.0
