"""Words: a table of trees with their words and p's, and every rule on its own."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ganealogy.verdicts.looks import ALPHA, LOOKS
from ganealogy.verdicts.significance import (
    BARRED,
    BETTER,
    BETTER_SURVIVORS,
    DIVERGES_LESS,
    DIVERGES_MORE,
    EQUIVALENT,
    NO_DIFFERENCE,
    NOT_MEASURED,
    NOT_YET,
    TOO_FEW,
    WORSE,
    WORSE_THAN_SURVIVORS,
    Verdict,
    family,
    seed_correlation,
    verdicts,
)

# Words and p's of random trees, from another implementation of the procedure (scipy.stats, statsmodels' Holm). Values
# are listed by seed; null: the seed was lost.
TREES = json.loads(Path(__file__).with_name("trees.json").read_text())
OPEN = (NO_DIFFERENCE, BETTER_SURVIVORS, WORSE_THAN_SURVIVORS)

PARENT = [200.0, 210.0, 190.0, 205.0, 195.0]
LOWER = [150.0, 155.0, 146.0, 152.0, 145.0]
HIGHER = [260.0, 270.0, 252.0, 265.0, 258.0]
ALIKE = [200.5, 211.0, 190.0, 204.0, 195.5]
LOST = math.nan


def by_seed(values: Sequence[float | None]) -> dict[int, float]:
    return {seed: math.nan if value is None else value for seed, value in enumerate(values)}


def against(child: Sequence[float], parent: Sequence[float] = PARENT, metric: str = "fid", **more: Any) -> Verdict:
    """Return the verdict of a tree with one edge."""
    return verdicts(metric, {"p": by_seed(parent), "c": by_seed(child)}, {"p": None, "c": "p"}, **more)["c"]


def repeated(values: Sequence[float], seeds: int, child_factor: float = 1.0) -> list[float]:
    return [child_factor * value for value in (list(values) * 8)[:seeds]]


@pytest.mark.parametrize("tree", TREES)
def test_the_table_of_trees(tree: dict[str, Any]) -> None:
    values = {name: by_seed(row) for name, row in tree["values"].items()}
    found = verdicts("fid", values, tree["parents"], margin=0.1)
    assert list(found) == list(tree["expected"])
    for child, expected in tree["expected"].items():
        verdict = found[child]
        words = {"open": OPEN, "diverges more": (DIVERGES_MORE,), "diverges less": (DIVERGES_LESS,)}
        words["too few seeds"] = (TOO_FEW, NOT_MEASURED)  # not measured: no seed of one side has a value
        assert verdict.word in words.get(expected["word"], (expected["word"],))
        if verdict.p is not None:
            assert (verdict.p, verdict.p_equal) == pytest.approx((expected["p"], expected["p_equal"]), rel=1e-6)
        if expected["look"] is not None:
            assert verdict.effect == pytest.approx(expected["ratio"])
            assert (verdict.low, verdict.high) == pytest.approx((expected["low"], expected["high"]))
            assert f"{expected['pairs']} pairs of seeds" in verdict.why


def test_the_table_has_every_word() -> None:
    words = {expected["word"] for tree in TREES for expected in tree["expected"].values()}
    assert words == {"better", "worse", "equivalent", "open", "too few seeds", "diverges more", "diverges less"}


# ---------------------------------------------------------------- every word


def test_better_and_worse() -> None:
    better, worse, neither = against(LOWER), against(HIGHER), against(ALIKE)
    assert (better.word, worse.word, neither.word) == (BETTER, WORSE, NO_DIFFERENCE)
    assert better.effect == pytest.approx(math.exp(np.mean(np.log(LOWER) - np.log(PARENT))))
    assert better.high is not None and better.high < 1 and worse.low is not None and worse.low > 1
    assert better.why.startswith("0.748 times p (") and "after 1 look and Holm over 1 edge, 5 pairs" in better.why
    kid = against([value / 1000 for value in HIGHER], [value / 1000 for value in PARENT], "kid_x", margin=0.1)
    assert kid.word == WORSE and kid.effect == pytest.approx(0.061), "a difference, not a ratio"


def test_a_verdict_needs_five_seeds_of_both_versions() -> None:
    for child, parent in [(LOWER[:4], PARENT), (LOWER, PARENT[:4]), (LOWER[:1], PARENT[:1])]:
        verdict = against(child, parent)
        both = min(len(child), len(parent))
        assert verdict.word == TOO_FEW and verdict.p is None and verdict.low is None
        assert f"{both} seed{'' if both == 1 else 's'} of both c and p: a verdict needs 5" in verdict.why
        assert verdict.effect == pytest.approx(math.exp(np.mean(np.log(child[:both]) - np.log(parent[:both]))))
    apart = verdicts("fid", {"p": {0: 1.0}, "c": {1: 2.0}}, {"c": "p"})["c"]
    assert apart.word == TOO_FEW and apart.effect is None


def test_between_two_looks_the_verdict_is_that_of_the_earlier() -> None:
    five = against(LOWER, margin=0.1)
    for extra in ([900.0], [900.0, 0.1]):
        assert against([*LOWER, *extra], [*PARENT, *extra[::-1]], margin=0.1) == Verdict(
            **{**vars(five), "why": f"{five.why}, the first 5 of {5 + len(extra)}"}
        )
    assert against([*LOWER, 900.0, 900.0, 900.0], [*PARENT, *PARENT[:3]]).effect != five.effect
    rows = repeated(LOWER, 45), repeated(PARENT, 45)
    assert against(rows[0][:40], rows[1][:40]).effect == against([*rows[0][:40], *[1e6] * 5], rows[1]).effect


def test_a_word_once_given_stays() -> None:
    noisy = [350.0, 90.0, 400.0, 120.0, 300.0, 80.0, 333.0]
    assert against([*LOWER, *noisy], [*PARENT, *PARENT, *PARENT[:2]]).word == BETTER


def test_intervals_are_intersected_over_the_looks() -> None:
    five, eight = against(ALIKE), against([*ALIKE, 130.0, 330.0, 150.0], [*PARENT, *PARENT[:3]])
    assert (eight.low, eight.high) == (five.low, five.high), "the later look is wider"
    assert eight.effect != five.effect
    narrow = against(repeated(ALIKE, 8), repeated(PARENT, 8))
    assert narrow.low is not None and five.low is not None and narrow.low > five.low


def test_the_family_is_every_edge_and_those_without_a_test_count() -> None:
    alone = against(LOWER).p
    values = {"p": by_seed(PARENT), "c": by_seed(LOWER), "few": by_seed(LOWER[:2]), "none": {}}
    found = verdicts("fid", values, {name: None if name == "p" else "p" for name in values})
    assert alone is not None and found["c"].p == pytest.approx(3 * alone) and "Holm over 3 edges" in found["c"].why
    assert (found["few"].word, found["none"].word) == (TOO_FEW, NOT_MEASURED)
    absent = verdicts("fid", values, {"p": "v0", "c": "p", "few": "p", "none": "p"})
    assert "its parent v0 is not among the versions compared" in absent["p"].why and absent["c"].p == found["c"].p


def test_equivalence_needs_a_margin_and_a_small_spread() -> None:
    assert against(ALIKE).word == NO_DIFFERENCE
    shown = against(ALIKE, margin=0.1)
    assert (shown.word, shown.label) == (EQUIVALENT, "equivalent within 10 %") and "of two one-sided tests" in shown.why
    assert shown.p_equal is not None and shown.p_equal <= ALPHA < (shown.p or 0)
    assert against(ALIKE, margin=0.005).word == NO_DIFFERENCE
    assert against(LOWER, margin=0.5).word == BETTER, "a shown difference is not replaced"
    kid = [value / 1000 for value in ALIKE], [value / 1000 for value in PARENT]
    assert against(*kid, metric="kid_x", margin=0.1).word == NO_DIFFERENCE, "a margin is a ratio: log scale only"


# ---------------------------------------------------------------- lost seeds


def test_a_version_that_loses_its_seeds_diverges_more_often() -> None:
    verdict = against([LOST] * 5)
    assert (verdict.word, verdict.effect) == (DIVERGES_MORE, None) and verdict.p is not None and verdict.p <= ALPHA
    assert "lost: 5 of 5 seeds of c" in verdict.why and "p = 0.0039 after 1 look" in verdict.why
    assert against(LOWER, [LOST] * 5).word == DIVERGES_LESS
    assert against([LOST] * 4, PARENT).word == NOT_MEASURED, "four seeds are no look"


def test_survivors_give_no_word() -> None:
    child, parent = [LOST, LOST, LOST, *LOWER], [*PARENT[:3], *PARENT]
    verdict = against(child, parent, margin=0.5)
    assert (verdict.word, verdict.label) == (BETTER_SURVIVORS, "better where it survived (5 of 8)")
    assert "lost: 3 of 8 seeds of c" in verdict.why and verdict.high is not None and verdict.high < 1
    reverse = against(parent, child)
    assert reverse.label == "worse where its parent survived (5 of 8)"
    assert against([LOST, LOST, LOST, *ALIKE], parent, margin=0.5).word == NO_DIFFERENCE, "nor are they equivalent"
    assert against([*LOWER, LOST, LOST, LOST], [*PARENT, *PARENT[:3]]).word == BETTER, "given at the first look"


def test_losses_on_the_worse_side_or_on_both_keep_the_word() -> None:
    assert against([*HIGHER, LOST, *HIGHER[:2]], repeated(PARENT, 8)).word == WORSE
    assert against([LOST, *LOWER, *LOWER[:2]], [LOST, *PARENT, *PARENT[:2]]).word == BETTER
    assert (
        "lost: 1 of 8 seeds of c, 1 of 8 seeds of p"
        in against([LOST, *LOWER, *LOWER[:2]], [LOST, *PARENT, *PARENT[:2]]).why
    )


# ---------------------------------------------------------------- gate, copies, and what cannot be tested


def test_not_yet_only_if_both_sides_are_behind_the_gate() -> None:
    for gate, word in ((180.0, BETTER), (140.0, NOT_YET), (1000.0, BETTER), (None, BETTER)):
        assert against(LOWER, gate=gate).word == word
    behind = against(LOWER, gate=140.0)
    assert "neither c nor p is better than the gate (140)" in behind.why and behind.p is None
    assert behind.effect == against(LOWER).effect and behind.low is not None
    assert against([900.0 + at for at in range(5)], gate=300.0).word == WORSE, "its parent has passed the gate"
    assert against(LOWER[:2], gate=140.0).word == NOT_YET and against(LOWER[:2], gate=180.0).word == TOO_FEW
    assert against([LOST] * 5, [900.0] * 5, gate=300.0).word == NOT_MEASURED
    later = against([*LOWER, 900.0, 900.0, 900.0], repeated(PARENT, 8), gate=180.0)
    assert later.word == BETTER and "after 1 look" in later.why, "the gate is closed at the second look only"
    counted = {"p": by_seed(PARENT), "c": by_seed(LOWER), "x": by_seed(HIGHER)}
    found = verdicts("fid", counted, {"p": None, "c": "p", "x": "p"}, gate=180.0)
    assert found["x"].word == NOT_YET and "Holm over 2 edges" in found["c"].why


def test_copies_give_no_word() -> None:
    for name in ("c", "p"):
        verdict = against(LOWER, barred={name: {4}})
        assert (verdict.word, verdict.label) == (BARRED, f"no word: {name} copies training pictures")
        assert verdict.p is None and verdict.effect is not None
    both = against(LOWER, barred={"c": [0], "p": [0]})
    assert both.label == "no word: c and p copy training pictures"
    assert against([*LOWER, 1.0], [*PARENT, 1.0], barred={"c": {5}, "x": {0}}).word == BETTER, "not in the look"
    assert against(LOWER[:3], barred={"c": {0}}).word == TOO_FEW


def test_untestable_edges_give_a_reason_and_roots_have_no_verdict() -> None:
    rows: dict[str, list[float]] = {"v1": PARENT, "v2": [], "v3": [LOST], "v4": LOWER, "v5": [0.0, 1, 2, 3, 4]}
    values = {name: by_seed(row) for name, row in rows.items()} | {"v6": by_seed([-1.0] * 5)}
    parents = {"v1": None, "v2": "v1", "v3": "v1", "v4": "v0", "v5": "v1", "v6": "v1", "v7": "v2"}
    results = verdicts("fid", values, parents)
    assert list(results) == ["v2", "v3", "v4", "v5", "v6", "v7"]
    assert {verdict.word for verdict in results.values()} == {NOT_MEASURED}
    assert "v2 has no fid" in results["v2"].why and "v3 has no fid; lost: 1 of 1 seeds of v3" in results["v3"].why
    assert "v5 has fid = 0, which has no logarithm" in results["v5"].why and "v6 has" in results["v6"].why
    assert "v7 and v2 have no fid" in results["v7"].why
    assert verdicts("fid", {}, {}) == {}


def test_versions_without_spread_get_no_error_and_no_word() -> None:
    for factor in (1.0, 0.5):
        verdict = against(repeated(PARENT, 5, factor), margin=0.1)
        assert (verdict.word, verdict.p, verdict.low) == (NO_DIFFERENCE, 1.0, None)
        assert "without a spread there is no test" in verdict.why and verdict.effect == pytest.approx(factor)
    values = {"p": by_seed(PARENT), "c": by_seed(PARENT), "x": by_seed(ALIKE), "y": by_seed(HIGHER)}
    found = verdicts("fid", values, {"p": None, "c": "p", "x": "p", "y": "p"}, margin=0.1)
    assert found["c"].word == EQUIVALENT, "the tree's spread makes a test"


def test_the_seed_correlation_is_pooled_within_edges() -> None:
    rows = {
        "p": [100.0, 110.0, 121.0],
        "a": [10.0, 11.0, 12.1, 13.0],
        "b": [121.0, 110.0, 100.0],
        "c": [5.0, LOST, 4.0],
    }
    values = {name: by_seed(row) for name, row in rows.items()}

    def correlation(parents: Mapping[str, str | None]) -> float | None:
        return seed_correlation(family("fid", values, parents))

    assert correlation({"p": None, "a": "p"}) == pytest.approx(1) and correlation({"b": "p"}) == pytest.approx(-1)
    assert correlation({"a": "p", "b": "p"}) == pytest.approx(0, abs=1e-12)
    assert correlation({}) is None and correlation({"p": None}) is None
    logs = {name: np.log(row) for name, row in rows.items()}
    sides = [(logs["a"][:3], logs["p"]), (logs["c"][[0, 2]], logs["p"][[0, 2]])]
    centred = [np.concatenate([side[at] - side[at].mean() for side in sides]) for at in (0, 1)]
    expected = centred[0] @ centred[1] / math.sqrt((centred[0] @ centred[0]) * (centred[1] @ centred[1]))
    assert correlation({"a": "p", "c": "p"}) == pytest.approx(expected)


def test_heavy_libraries_are_not_imported() -> None:
    code = """if True:
        import sys
        from ganealogy.verdicts.significance import verdicts
        rows = {"a": {0: 1.0, 1: 2.0, 2: 3.0, 3: 4.0, 4: 5.0}, "b": {0: 2.0, 1: 3.0, 2: 3.5, 3: 4.0, 4: 5.0}}
        assert "scipy" not in sys.modules
        assert verdicts("fid", rows, {"b": "a"}, margin=0.1)["b"].p is not None
        assert not {"torch", "statsmodels", "pandas", "scipy.stats"} & set(sys.modules)"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_look_is_used() -> None:
    for look in LOOKS:
        before = against(repeated(LOWER, look - 1), repeated(PARENT, look - 1)).why
        assert ("after" in before) is (look > 5) and f"{look} pairs of seeds" not in before
        assert f"{look} pairs of seeds" in against(repeated(LOWER, look), repeated(PARENT, look)).why
