"""Intervals and verdicts, checked against published and hand-computed numbers; their error rates by simulation."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.meta_analysis import effectsize_smd
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import ttost_ind

from ganealogy.verdicts.significance import (
    ALPHA,
    BETTER,
    EQUIVALENT,
    NO_DIFFERENCE,
    NOT_MEASURED,
    NOT_YET,
    TOO_FEW,
    WORSE,
    Verdict,
    estimate,
    hedges_g,
    holm,
    two_one_sided,
    verdicts,
    welch,
)

# Student's sleep data ("Student", Biometrika 6, 1908): extra hours under two drugs. R's t.test(extra ~ group) prints
# t = -1.8608, df = 17.776, p-value = 0.07939, 95 percent confidence interval -3.3654832 0.2054832.
DRUG_1 = np.array([0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0])
DRUG_2 = np.array([1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4])

PARENT = [200.0, 210.0, 190.0, 205.0, 195.0]
LOWER = [150.0, 155.0, 160.0, 145.0, 152.0]
HIGHER = [260.0, 250.0, 255.0, 265.0, 258.0]
ALIKE = [200.0, 211.0, 191.0, 204.0, 196.0]


def against(child: Sequence[float], parent: Sequence[float] = PARENT, metric: str = "fid", **more: object) -> Verdict:
    """Return the verdict of a tree with one edge."""
    mean_image = more.pop("mean_image", 1000.0)
    return verdicts(metric, {"p": parent, "c": child}, {"p": None, "c": "p"}, mean_image, **more)["c"]  # type: ignore[arg-type]


# ---------------------------------------------------------------- against independent computations


def test_welch_matches_r() -> None:
    test = welch(DRUG_1, DRUG_2)
    assert float(test.p) == pytest.approx(0.07939, abs=5e-6)
    assert (float(test.low), float(test.high)) == pytest.approx((-3.3654832, 0.2054832), abs=1e-7)
    assert float(test.difference) == pytest.approx(-1.58)


def test_holm_matches_a_hand_computed_example() -> None:
    # sorted .005 .01 .03 .04, times 4 3 2 1, then never below the one before
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.01, math.nan]) == pytest.approx([0.02, 1.0]) and holm([]) == []


def test_holm_matches_statsmodels() -> None:
    rng = np.random.default_rng(0)
    for count in range(1, 41):
        p = rng.uniform(size=count) ** rng.choice([1, 4])
        p[rng.integers(count)] = p[0]  # ties
        assert holm(p) == pytest.approx(multipletests(p, method="holm")[1], rel=1e-12)


def test_a_verdict_is_welchs_test_on_the_logarithms() -> None:
    verdict = against(LOWER)
    a, b = np.log(LOWER), np.log(PARENT)
    va, vb = a.var(ddof=1) / 5, b.var(ddof=1) / 5
    freedom = (va + vb) ** 2 / (va**2 / 4 + vb**2 / 4)
    t, error = (a.mean() - b.mean()) / math.sqrt(va + vb), math.sqrt(va + vb)
    half = stats.t.ppf(0.975, freedom) * error
    assert verdict.word == BETTER
    assert verdict.p == verdict.p_raw == pytest.approx(2 * stats.t.sf(abs(t), freedom))
    assert verdict.effect == pytest.approx(stats.gmean(LOWER) / stats.gmean(PARENT))
    ends = math.exp(a.mean() - b.mean() - half), math.exp(a.mean() - b.mean() + half)
    assert (verdict.low, verdict.high) == pytest.approx(ends)


def test_hedges_g_matches_statsmodels() -> None:
    for a, b in [(DRUG_1, DRUG_2), (DRUG_1[:6], DRUG_2)]:
        ours, theirs = hedges_g(a, b), effectsize_smd(a.mean(), a.std(ddof=1), len(a), b.mean(), b.std(ddof=1), len(b))
        assert ours == pytest.approx(theirs[0], rel=1e-12)


def test_two_one_sided_tests_match_statsmodels() -> None:
    for bound in (0.5, 2.0, 4.0):
        theirs = ttost_ind(DRUG_1, DRUG_2, -bound, bound, usevar="unequal")[0]
        assert float(two_one_sided(DRUG_1, DRUG_2, bound)) == pytest.approx(theirs, rel=1e-9)


def test_the_interval_is_that_of_the_mean_logarithm() -> None:
    interval = estimate("fid", PARENT)
    low, high = stats.t.interval(0.95, 4, np.log(PARENT).mean(), stats.sem(np.log(PARENT)))
    assert (interval.mean, interval.low, interval.high) == pytest.approx(
        (stats.gmean(PARENT), math.exp(low), math.exp(high))
    )
    assert interval.scale == "log"
    kid = estimate("kid_x", [-0.001, 0.002, 0.004])
    assert kid.scale == "linear" and kid.mean == pytest.approx(0.005 / 3)
    assert kid.high is not None and kid.high - kid.mean == pytest.approx(
        stats.t.ppf(0.975, 2) * stats.sem([-0.001, 0.002, 0.004])
    )


# ---------------------------------------------------------------- every word


def test_better_and_worse_follow_the_metrics_direction() -> None:
    assert against(LOWER).word == BETTER and against(HIGHER).word == WORSE and against(ALIKE).word == NO_DIFFERENCE
    assert against(LOWER, metric="recall_x").word == WORSE and against(HIGHER, metric="recall_x").word == BETTER
    assert against(LOWER, metric="kid_x").word == BETTER
    assert against(HIGHER, metric="kid_x").effect == pytest.approx(57.6)  # a difference, not a ratio


def test_a_verdict_needs_five_seeds_of_both_versions() -> None:
    for child, parent in [(LOWER[:4], PARENT), (LOWER, PARENT[:4]), (LOWER[:1], PARENT[:1])]:
        verdict = against(child, parent)
        assert verdict.word == TOO_FEW and verdict.p is None and verdict.low is None
        assert f"{len(child)} of c and {len(parent)} of p" in verdict.why
    assert against(LOWER[:4]).effect == pytest.approx(stats.gmean(LOWER[:4]) / stats.gmean(PARENT))


def test_diverged_seeds_are_missing_values_and_counted() -> None:
    verdict = against([*LOWER, math.nan], planned={"c": 7, "p": 8})
    assert verdict.word == BETTER and "2 of 7 seeds of c, 3 of 8 seeds of p" in verdict.why
    assert against([*LOWER[:4], math.inf]).word == TOO_FEW
    assert "without a number" not in against(LOWER, planned={"c": 5, "p": 5}).why


@pytest.mark.parametrize(("child", "parent"), [(LOWER, [1500.0] * 5), ([1500.0, 1400.0], PARENT), ([1000.0], [999.0])])
def test_not_yet_if_a_version_does_not_beat_the_mean_image(child: list[float], parent: list[float]) -> None:
    verdict = against(child, parent)
    assert verdict.word == NOT_YET and "not better than the mean image (1000)" in verdict.why and verdict.p is None


def test_the_mean_image_anchors_distances_only_and_a_missing_one_is_reported() -> None:
    assert (
        against([0.9, 0.91, 0.92, 0.93, 0.9], [0.1, 0.11, 0.12, 0.1, 0.1], "recall_x", mean_image=0.05).word == BETTER
    )
    verdict = against(LOWER, mean_image=None)
    assert verdict.word == BETTER and "mean image was not measured" in verdict.why
    assert against(LOWER, mean_image=math.nan).word == BETTER


def test_untestable_edges_give_a_reason_and_roots_have_no_verdict() -> None:
    values = {"v1": PARENT, "v2": [], "v3": [math.nan], "v4": LOWER, "v5": [0.0, 1.0, 2.0, 3.0, 4.0], "v6": [-1.0] * 5}
    parents = {"v1": None, "v2": "v1", "v3": "v1", "v4": "v0", "v5": "v1", "v6": "v1", "v7": "v2"}
    results = verdicts("fid", values, parents, None)
    assert list(results) == ["v2", "v3", "v4", "v5", "v6", "v7"]
    assert {verdict.word for verdict in results.values()} == {NOT_MEASURED}
    assert "v2 has no fid" in results["v2"].why and "v3 has no fid" in results["v3"].why
    assert "parent v0 is not among" in results["v4"].why
    assert "v5 has fid = 0, which has no logarithm" in results["v5"].why and "v6" in results["v6"].why
    assert "v7 and v2 have no fid" in results["v7"].why
    assert "neither higher nor lower" in against(LOWER, metric="diversity_x").why
    assert verdicts("fid", {}, {}, None) == {}


def test_versions_without_spread_get_no_error_and_no_difference() -> None:
    same = against([100.0] * 5, [100.0] * 5)
    assert (same.word, same.p, same.effect) == (NO_DIFFERENCE, 1.0, 1.0) and "the same number" in same.why
    apart = against([90.0] * 5, [100.0] * 5, margin=0.5)
    assert (apart.word, apart.p) == (NO_DIFFERENCE, None) and "cannot be tested" in apart.why
    assert apart.effect == pytest.approx(0.9)
    one_side = against([100.0] * 5, PARENT)
    assert one_side.word == BETTER  # Welch uses the other side's spread
    assert against([0.0] * 5, [0.0] * 5, "recall_x").word == NO_DIFFERENCE


def test_estimates_without_an_interval_and_without_a_logarithm() -> None:
    assert estimate("fid", [7.0]) == estimate("fid", [7.0, math.nan]) and estimate("fid", [7.0]).low is None
    assert math.isnan(estimate("fid", []).mean) and estimate("fid", []).values == ()
    zero = estimate("fid", [0.0, 1.0])
    assert zero.scale == "linear" and zero.mean == 0.5
    assert estimate("fid", [1e-300, 1e300]).high is None  # beyond the largest number
    assert estimate("fid", [473.0] * 5).mean == 473.0


def test_the_holm_family_is_the_tested_edges() -> None:
    values = {"p": PARENT, "a": LOWER, "b": ALIKE, "c": HIGHER, "few": LOWER[:2], "none": []}
    results = verdicts("fid", values, {name: None if name == "p" else "p" for name in values}, 1000.0)
    raw = [results[name].p_raw for name in "abc"]
    assert [results[name].p for name in "abc"] == pytest.approx(holm([p for p in raw if p is not None]))
    assert results["a"].p == pytest.approx(min(3 * (raw[0] or 0), 1)) or results["c"].p == pytest.approx(
        3 * (raw[2] or 0)
    )
    assert "after Holm over 3 edges" in results["a"].why


def test_equivalence_needs_a_margin_and_a_small_spread() -> None:
    assert against(ALIKE).word == NO_DIFFERENCE
    shown = against(ALIKE, margin=0.1)
    assert (
        shown.word == EQUIVALENT and shown.label == "equivalent within 10 %" and shown.p is not None and shown.p < 0.05
    )
    assert against(ALIKE, margin=0.01).word == NO_DIFFERENCE
    assert against(LOWER, margin=0.5).word == BETTER  # a shown difference is not replaced
    bound = math.log(1.1)
    p = ttost_ind(np.log(ALIKE), np.log(PARENT), -bound, bound, usevar="unequal")[0]
    assert shown.p == shown.p_raw == pytest.approx(p)
    assert against(ALIKE[:3], margin=0.1).word == TOO_FEW
    assert against(ALIKE, metric="kid_x", margin=0.1).word == NO_DIFFERENCE, "a margin is a ratio: distances only"


def test_heavy_libraries_are_imported_only_for_a_test() -> None:
    code = """if True:
        import sys
        from ganealogy.verdicts.significance import estimate, verdicts
        results = verdicts("fid", {"a": [1.0, 2.0], "b": [2.0, 3.0]}, {"b": "a"}, 9.0, margin=0.1)
        estimate("fid", [1.0, 2.0])
        assert results["b"].word == "too few seeds"
        print(sorted({"torch", "statsmodels", "pandas"} & set(sys.modules)), "scipy.stats" in sys.modules)"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "[] False"


# ---------------------------------------------------------------- error rates


EDGES, REPEATS = 8, 4000


def draw(
    rng: np.random.Generator, seeds: tuple[int, int], spreads: tuple[Sequence[float] | float, float], shift: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Logarithms of a parent (REPEATS, m) and of its eight children (REPEATS, EDGES, n)."""
    deviations = np.broadcast_to(np.asarray(spreads[0], float), (EDGES,))[:, None]
    parent = rng.normal(5, spreads[1], (REPEATS, seeds[1]))
    return parent, rng.normal(5 + shift, 1, (REPEATS, EDGES, seeds[0])) * deviations + (5 + shift) * (1 - deviations)


def p_values(parent: np.ndarray, children: np.ndarray) -> np.ndarray:
    return np.stack([welch(children[:, edge], parent).p for edge in range(EDGES)], axis=1)


def false_positives(p: np.ndarray) -> float:
    """Fraction of repetitions in which any edge is called different. It needs a raw p of at most ALPHA."""
    return sum(min(holm(row)) <= ALPHA for row in p[p.min(axis=1) <= ALPHA]) / len(p)


def test_the_simulations_use_the_rule_of_verdicts() -> None:
    parent, children = draw(np.random.default_rng(1), (5, 6), (0.1, 0.1), shift=0.15)
    p = p_values(parent, children)
    words = set()
    for repeat in range(25):
        values = {"p": np.exp(parent[repeat]), **{f"c{e}": np.exp(children[repeat, e]) for e in range(EDGES)}}
        results = verdicts("fid", values, {f"c{e}": "p" for e in range(EDGES)}, None)
        assert [results[f"c{e}"].p for e in range(EDGES)] == pytest.approx(holm(p[repeat]), rel=1e-6)
        assert [v.word != NO_DIFFERENCE for v in results.values()] == [q <= ALPHA for q in holm(p[repeat])]
        words |= {verdict.word for verdict in results.values()}
    assert len(words) > 1


NOMINAL = 0.05 + 3 * math.sqrt(0.05 * 0.95 / REPEATS)  # 5 % plus three standard errors


@pytest.mark.parametrize(
    ("seeds", "spreads"),
    [
        ((5, 5), (1.0, 1.0)),
        ((5, 5), (1.0, 3.0)),
        ((5, 5), ([1.0, 3.0] * 4, 1.0)),
        ((5, 5), (np.linspace(1, 3, EDGES).tolist(), 2.0)),
        ((5, 10), (1.0, 3.0)),
        ((10, 5), (3.0, 1.0)),
        ((5, 9), (1.0, 1.0)),
        ((5, 5), (2.0, 1.0)),
        ((5, 5), (3.0, 1.0)),
        ((5, 5), (5.0, 1.0)),
        ((12, 12), (3.0, 1.0)),
    ],
)
def test_the_family_wise_false_positive_rate_holds(
    seeds: tuple[int, int], spreads: tuple[Sequence[float] | float, float]
) -> None:
    rate = false_positives(p_values(*draw(np.random.default_rng(0), seeds, spreads)))
    assert rate <= NOMINAL
    if spreads == (1.0, 1.0):
        assert rate >= 0.01  # a rate of 0 would pass by never detecting anything


@pytest.mark.parametrize("edges", [15, 40])
@pytest.mark.parametrize("spread", [1.0, 3.0])
def test_the_false_positive_rate_holds_in_larger_trees(edges: int, spread: float) -> None:
    """Holm's first step alone decides whether any edge differs: the smallest p times the number of edges."""
    rng = np.random.default_rng(0)
    parent, children = rng.normal(size=(20_000, 5)), spread * rng.normal(size=(edges, 20_000, 5))
    smallest = np.min([welch(child, parent).p for child in children], axis=0)
    assert min(holm([float(smallest[0]), *[0.9] * (edges - 1)])) == pytest.approx(min(1, smallest[0] * edges))
    assert np.mean(smallest * edges <= ALPHA) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 20_000)


def test_the_false_positive_rate_is_bounded_if_half_of_the_childrens_seeds_are_missing() -> None:
    """Five seeds of each child against ten of the parent, with three times its spread: Welch's worst case."""
    assert false_positives(p_values(*draw(np.random.default_rng(0), (5, 10), (3.0, 1.0)))) <= 0.07


def test_power_rises_with_seeds_and_difference() -> None:
    def detection_rate(seeds: int, shift: float) -> float:
        p = p_values(*draw(np.random.default_rng(2), (seeds, seeds), (1.0, 1.0), shift))[:400]
        return float(np.mean([np.array(holm(row)) <= ALPHA for row in p]))

    rates = [detection_rate(5, 1.5), detection_rate(8, 1.5), detection_rate(14, 1.5)]
    assert rates[0] + 0.1 < rates[1] < rates[2] - 0.1
    assert detection_rate(8, 1.0) < rates[1] < detection_rate(8, 2.0)


def test_differences_equal_to_the_margin_are_rarely_called_equivalent() -> None:
    """True differences equal to the margin. Holm over the undecided edges alone would exceed the error rate."""
    bound, spread, seeds = math.log(1.1), 0.06, 10
    rng = np.random.default_rng(3)
    parents, children = rng.normal(0, spread, (2, REPEATS, EDGES, seeds))
    children = children + bound
    different, equal = welch(children, parents).p, two_one_sided(children, parents, bound)
    candidates = np.flatnonzero(equal.min(axis=1) <= ALPHA)
    ours = among_the_undecided = 0
    for repeat in candidates:
        undecided = np.array(holm(different[repeat])) > ALPHA
        ours += bool((undecided & (np.array(holm(equal[repeat])) <= ALPHA)).any())
        among_the_undecided += bool(undecided.any() and min(holm(equal[repeat][undecided])) <= ALPHA)
    assert ours / REPEATS <= NOMINAL < 0.08 < among_the_undecided / REPEATS
    for repeat in candidates[:10]:
        values = {f"p{e}": np.exp(parents[repeat, e]) for e in range(EDGES)}
        values |= {f"c{e}": np.exp(children[repeat, e]) for e in range(EDGES)}
        results = verdicts("fid", values, {f"c{e}": f"p{e}" for e in range(EDGES)}, None, margin=0.1)
        undecided = np.array(holm(different[repeat])) > ALPHA
        expected = undecided & (np.array(holm(equal[repeat])) <= ALPHA)
        assert [results[f"c{e}"].word == EQUIVALENT for e in range(EDGES)] == expected.tolist()
