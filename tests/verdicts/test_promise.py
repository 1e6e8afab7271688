"""What docs/metrics.md promises of verdicts, by simulation: error over all looks, power, lost seeds, equivalence.

The simulation has a statistic of its own for many trees at once (`simulated_trees`), which the first test holds against
the product's. The soak tests hold every number of the two tables in docs/metrics.md.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from helpers.simulated_trees import (
    SHAPES,
    Scenario,
    differences,
    draw,
    error_rates,
    every_look,
    least_p,
    power,
    scenarios,
)
from scipy.special import stdtr

from ganealogy.verdicts.looks import ALPHA, EQUIVALENCE_SHARES, LOOKS, holm
from ganealogy.verdicts.significance import (
    BETTER,
    BETTER_SURVIVORS,
    EQUIVALENT,
    NO_DIFFERENCE,
    WORSE,
    Verdict,
    verdicts,
)

DOCS = (Path(__file__).parents[2] / "docs/metrics.md").read_text(encoding="utf-8")
STAR = Scenario(tuple([0] * 7), tuple([1.0] * 8), 0.5)
CHAIN = Scenario((0, 1, 2), (3.0, 1.0, 1.0, 3.0), 0.0)
PAIR = Scenario((0,), (1.0, 3.0), -0.5)
# Among the worst of the grid.
WORST = [
    Scenario((0,), (1.0, 1.0), 0.0),
    Scenario((0, 1), (3.0, 1.0, 3.0), 0.0),
    Scenario((0, 1, 2), (3.0, 3.0, 3.0, 1.0), -0.5),
    Scenario(tuple([0] * 7), (1.0, *[3.0, 1.0] * 3, 3.0), 0.9),
    Scenario(tuple([0] * 15), (1.0, *[3.0, 1.0] * 7, 3.0), 0.9),
    Scenario(tuple([0] * 7), (1.0, *[3.0, 1.0] * 3, 3.0), 0.9, "heavy"),
    Scenario(tuple(range(7)), (3.0, *[1.0] * 7), 0.5, "heavy"),
]
MARGIN = 0.1


def upper(rate: float, trees: int) -> float:
    """Return the rate plus three standard errors."""
    return rate + 3 * math.sqrt(rate * (1 - rate) / trees)


def of(logs: np.ndarray, scenario: Scenario) -> dict[str, Verdict]:
    """Return the product's verdicts on one tree of logarithms (versions, seeds); NaN: lost."""
    values = {f"v{at}": {seed: math.exp(value) for seed, value in enumerate(row)} for at, row in enumerate(logs)}
    parents = {f"v{at}": f"v{parent}" for at, parent in enumerate(scenario.parents, start=1)}
    return verdicts("fid", values, parents, margin=MARGIN)


def equivalence_p(difference: np.ndarray) -> np.ndarray:
    """Return the least p / share of the two one-sided tests over all looks, (trees, edges)."""
    bound = math.log1p(MARGIN)
    return np.min(
        [
            stdtr(freedom, (np.abs(mean) - bound) / error) / EQUIVALENCE_SHARES[look]
            for look, _, mean, error, freedom in every_look(difference)
        ],
        axis=0,
    )


@pytest.mark.parametrize("scenario", [STAR, CHAIN, PAIR])
def test_the_simulation_has_the_products_statistic(scenario: Scenario) -> None:
    logs = 0.05 * draw(np.random.default_rng(0), scenario, 25)
    logs[:, 1] -= 0.05
    difference = differences(logs, scenario.parents)
    different, equal = least_p(difference), equivalence_p(difference)
    words = set()
    for tree in range(25):
        for at, look in enumerate(LOOKS):
            found = list(of(logs[tree, :, :look], scenario).values())
            p = holm(different[at, tree])
            assert [verdict.p for verdict in found] == pytest.approx(p, rel=1e-6)
            assert [verdict.word in (BETTER, WORSE) for verdict in found] == [value <= ALPHA for value in p]
            words |= {verdict.word for verdict in found}
        assert [verdict.p_equal for verdict in found] == pytest.approx(holm(equal[tree]), rel=1e-6)
    assert words >= {BETTER, NO_DIFFERENCE}


@pytest.mark.parametrize("scenario", WORST)
def test_at_most_one_tree_in_twenty_has_a_false_word_over_five_looks(scenario: Scenario) -> None:
    first, ever = error_rates(np.random.default_rng(0), scenario, 8000)
    assert 0.005 < first <= ever <= upper(0.05, 8000)


def test_a_look_after_each_seed_would_break_the_promise() -> None:
    """With the whole level at each look, as if each were the only one."""
    difference = differences(draw(np.random.default_rng(0), STAR, 4000), STAR.parents)
    any_look = np.any([p.min(axis=1) * 7 <= ALPHA for _, p, *_ in every_look(difference)], axis=0)
    assert any_look.mean() > 0.055


def power_rows() -> Iterator[tuple[float, float, list[list[float]]]]:
    """Yield (log-sd, effect, per cent by look and correlation) of the table in docs/metrics.md."""
    for line in DOCS.splitlines():
        if found := re.fullmatch(r"\| (0\.\d\d) \| (\d+) % \|((?: \d+/\d+/\d+ \|){5})", line):
            cells = [list(map(float, cell.split("/"))) for cell in found[3].replace("|", " ").split()]
            yield float(found[1]), int(found[2]) / 100, cells


def check_power(trees: int, tolerance: float) -> None:
    rng, rows = np.random.default_rng(1), list(power_rows())
    assert len(rows) == 9
    for spread, effect, cells in rows:
        found = [power(rng, 7, math.log1p(effect), spread, correlation, trees) for correlation in (0.0, 0.5, 0.9)]
        assert pytest.approx(np.array(cells), abs=tolerance) == 100 * np.array(found).T


def test_power_is_that_of_the_documents() -> None:
    check_power(1500, 4.5)
    by_five = next(cells[0] for spread, effect, cells in power_rows() if (spread, effect) == (0.08, 0.2))
    assert by_five == pytest.approx([40, 79, 100], abs=2)


def survivors_seem_better(difference: np.ndarray) -> bool:
    """Return the verdict of a paired t test of the survivors, for one edge of three."""
    kept = difference[~np.isnan(difference)]
    t = kept.mean() / kept.std(ddof=1) * math.sqrt(len(kept)) if len(kept) > 4 else 0.0
    return bool(t < 0 and 2 * stdtr(len(kept) - 1, t) < ALPHA / 3)


def test_survivors_of_a_version_that_diverges_are_not_called_better() -> None:
    """The child scatters three times as much and loses its bad seeds: a comparison of survivors would favour it."""
    scenario = Scenario((0, 0, 0), (1.0, 3.0, 3.0, 3.0), 0.0)
    logs = 0.08 * draw(np.random.default_rng(2), scenario, 500, 12)
    logs[logs > 0.16] = math.nan
    ours = naive = 0
    for tree in logs:
        found = [verdict.word for verdict in of(tree, scenario).values()]
        ours += BETTER in found
        naive += any(survivors_seem_better(row - tree[0]) for row in tree[1:])
    assert ours / 500 <= upper(0.05, 500) and naive / 500 > 0.15
    words = [verdict.word for tree in logs for verdict in of(tree, scenario).values()]
    assert BETTER_SURVIVORS in words


def test_differences_equal_to_the_margin_are_rarely_called_equivalent() -> None:
    logs = 0.06 * draw(np.random.default_rng(3), STAR, 8000)
    logs[:, 1:] += math.log1p(MARGIN)
    false = equivalence_p(differences(logs, STAR.parents)).min(axis=1) * 7 <= ALPHA
    assert 0.005 < false.mean() <= upper(0.05, 8000)
    same = equivalence_p(differences(0.03 * draw(np.random.default_rng(4), STAR, 2000), STAR.parents))
    assert np.mean(same * 7 <= ALPHA) > 0.9
    assert EQUIVALENT in {
        verdict.word for verdict in of(0.01 * draw(np.random.default_rng(5), STAR, 1)[0], STAR).values()
    }


def test_all_intervals_of_a_tree_hold_together() -> None:
    logs, covered = draw(np.random.default_rng(6), CHAIN, 400, 12), 0
    for tree in 0.1 * logs:
        ends = [(verdict.low, verdict.high) for look in (5, 8, 12) for verdict in of(tree[:, :look], CHAIN).values()]
        covered += all(low is not None and high is not None and low <= 1 <= high for low, high in ends)
    assert covered / 400 >= 0.95 - 3 * math.sqrt(0.05 * 0.95 / 400)


@pytest.mark.soak
@pytest.mark.parametrize("edges", [1, 2, 3, 7, 15, 40])
def test_the_table_of_error_rates(edges: int) -> None:
    """1,000 kinds of tree, some minutes for each number of edges."""
    trees = 20_000
    cells = re.search(rf"^\| {edges} \|(.*)\|$", DOCS, re.MULTILINE)
    assert cells is not None
    for shape, cell in zip(SHAPES, cells[1].split("|"), strict=True):
        average, worst = (float(number) / 100 for number in cell.split(","))
        rates = [
            error_rates(np.random.default_rng(at), each, trees)[1] for at, each in enumerate(scenarios(edges, shape))
        ]
        assert np.mean(rates) == pytest.approx(average, abs=0.0015) and max(rates) == pytest.approx(worst, abs=0.006)
        assert shape == "skewed" or max(rates) <= 0.05


@pytest.mark.soak
def test_the_table_of_power() -> None:
    check_power(20_000, 1.6)
