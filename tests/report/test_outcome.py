"""The sentence that opens page, Markdown and summary."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.five_seeds import edit_tree, make_tree, remove_metrics

from ganealogy.report import markdown, page, pictures, terminal
from ganealogy.report.collect import collect
from ganealogy.report.findings import Findings, Run, Version
from ganealogy.report.outcome import against_sentences, basis, outcome
from ganealogy.report.verdict_table import against_for, verdicts_for
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
    WORDS,
    WORSE,
    Verdict,
)
from ganealogy.workspace import run_dir

METRIC = "fd_pixel8"
SAME = Verdict(EQUIVALENT, detail=" within 10 %")


def version(
    name: str, parent: str | None, values: list[float], status: str = "finished", planned: int | None = None
) -> Version:
    """Return a listed version with a run per value, and runs of this status for the other planned seeds."""
    made = Version(name, name, "", "", "", parent, True, 0, [], {}, {}, False, list(range(planned or len(values))))
    made.runs = [Run(name, seed, run_dir(name, seed), status) for seed in made.seeds]
    for run, value in zip(made.runs, values, strict=False):
        run.status, run.metrics = "finished", {METRIC: value}
    return made


def findings(*versions: Version, gate: float = 473.0) -> Findings:
    anchors = {METRIC: {"rep25": gate}}
    return Findings(Path(), list(versions), {}, {}, {}, {"lead": METRIC}, {}, anchors, {}, [])


def sentence(*verdicts: Verdict) -> str:
    """Return the sentence of a root v1 with one child per verdict; the children are measured, v2 is the best."""
    children = [version(f"v{number}", "v1", [100.0 + number]) for number in range(2, len(verdicts) + 2)]
    made = findings(version("v1", None, [200.0]), *children)
    return outcome(made, {child.name: verdict for child, verdict in zip(children, verdicts, strict=True)}).sentence


def of(root: Path) -> str:
    found = collect(root)
    return outcome(found, verdicts_for(found, found.primary_metric)).sentence


@pytest.fixture
def seeded(tmp_path: Path) -> Path:
    return make_tree(tmp_path)


@pytest.mark.parametrize(
    ("word", "one", "two", "three"),
    [
        (BETTER, "helped", "helped", "helped"),
        (WORSE, "harmed", "harmed", "harmed"),
        (EQUIVALENT, "makes no difference within 10 %", *["make no difference within 10 %"] * 2),
        (NO_DIFFERENCE, "is open (no difference shown)", *["are open (no difference shown)"] * 2),
        (TOO_FEW, "is open (too few seeds)", *["are open (too few seeds)"] * 2),
        (NOT_YET, "is open (not yet comparable)", *["are open (not yet comparable)"] * 2),
        (BARRED, "is open (copying training pictures)", *["are open (copying training pictures)"] * 2),
        (DIVERGES_MORE, "diverges more often", *["diverge more often"] * 2),
        (DIVERGES_LESS, "diverges less often", *["diverge less often"] * 2),
        (BETTER_SURVIVORS, "is open (better where it survived)", *["are open (better where it survived)"] * 2),
    ],
)
def test_one_two_and_many_ideas_with_the_same_verdict(word: str, one: str, two: str, three: str) -> None:
    verdict = Verdict(word, detail=" within 10 %" if word == EQUIVALENT else "")
    assert sentence(verdict) == f"The only idea {one}; best: v2."
    assert sentence(verdict, verdict) == f"Both ideas {two}; best: v2."
    assert sentence(verdict, verdict, verdict) == f"All 3 ideas {three}; best: v2."


def test_every_verdict_is_counted_and_the_others_are_not_mentioned() -> None:
    better, worse, none = Verdict(BETTER), Verdict(WORSE), Verdict(NO_DIFFERENCE)
    few, behind = Verdict(TOO_FEW), Verdict(NOT_YET)
    assert sentence(better, worse, SAME, none) == (
        "Of 4 ideas, 1 helped, 1 harmed, 1 makes no difference within 10 % and 1 is open (no difference shown); "
        "best: v2."
    )
    assert sentence(behind, few, better, better, few, SAME, none, SAME) == (
        "Of 8 ideas, 2 helped, 2 make no difference within 10 % and 4 are open (1 no difference shown, 2 too few "
        "seeds, 1 not yet comparable); best: v2."
    )
    assert sentence(worse, worse, few) == "Of 3 ideas, 2 harmed and 1 is open (too few seeds); best: v2."


@pytest.mark.parametrize("word", [*WORDS, "a word of a later version"])
def test_the_counts_add_up_to_the_number_of_ideas(word: str) -> None:
    text = sentence(Verdict(BETTER), Verdict(word), Verdict(word), Verdict(WORSE)).partition(" (")[0]
    counts = [int(part.split()[0]) for part in text.removeprefix("Of 4 ideas, ").replace(" and ", ", ").split(", ")]
    assert text.startswith("Of 4 ideas, ") and sum(counts) == 4


def test_the_margin_is_that_of_the_plan(seeded: Path) -> None:
    assert of(seeded) == ("Of 3 ideas, 1 helped, 1 harmed and 1 makes no difference within 10 %; best: v3.")
    edit_tree(seeded, evaluate={"lead": METRIC, "equivalence_margin": 0.25})
    assert "1 makes no difference within 25 %" in of(seeded)
    edit_tree(seeded, evaluate={"lead": METRIC, "equivalence_margin": 0.001})
    assert of(seeded) == ("Of 3 ideas, 1 helped, 1 harmed and 1 is open (no difference shown); best: v3.")


def test_diverged_and_unmeasured_versions_and_their_children_are_open() -> None:
    made = findings(
        version("v1", None, [200.0] * 4),
        version("v2", "v1", [], "diverged", 4),
        version("v3", "v2", [150.0] * 4),
        version("v4", "v1", [], "missing", 4),
        version("v5", "v4", [], "diverged", 4),
        version("v6", "v9", [160.0] * 4),
        version("v7", "v1", [-1.0] * 4),
        version("v8", "v1", [], "diverged", 4),
    )
    made.versions[-1].runs[0].status = "missing"
    verdicts = verdicts_for(made, METRIC)
    assert {verdict.word for verdict in verdicts.values()} == {NOT_MEASURED}
    assert outcome(made, verdicts).ideas == (
        "All 7 ideas are open (2 diverged, 2 without a measured parent, 3 not measured)"
    )


def test_seeds_without_a_number_leave_too_few(seeded: Path) -> None:
    remove_metrics(seeded, "v3", 4)
    assert of(seeded) == "Of 3 ideas, 1 harmed and 2 are open (too few seeds); best: v3 (4 of 5 seeds)."


def test_a_version_whose_parent_is_not_listed_is_open(seeded: Path) -> None:
    versions = json.loads((seeded / "build/plan/tree.json").read_text())["versions"]
    edit_tree(seeded, versions=[entry | {"listed": entry["name"] in ("v1", "v5")} for entry in versions])
    assert of(seeded) == "The only idea is open (without a measured parent); best: v5."


def test_trees_without_an_idea() -> None:
    one, other = version("v1", None, [200.0]), version("mnist-mlp", None, [150.0])
    assert outcome(findings(one), {}).sentence == "No idea to test; best: v1 (the root)."
    assert outcome(findings(one, other), {}).sentence == "No idea to test; best: mnist-mlp (a root)."
    assert outcome(findings(version("v1", None, [], planned=5)), {}).sentence == (
        "No idea to test; no version is measured yet."
    )
    assert outcome(findings(), {}).sentence == "The plan lists no version."


def test_the_best_version_may_be_the_root_or_incomplete_or_flagged() -> None:
    root, child = version("v1", None, [100.0] * 5), version("v2", "v1", [90.0, 92.0], "diverged", 5)
    worse = {"v2": Verdict(WORSE)}
    assert outcome(findings(root, child), worse).sentence.endswith("; best: v2 (2 of 5 seeds).")
    child.runs[0].metrics[METRIC] = 1000.0
    assert outcome(findings(root, child), worse).sentence.endswith("; best: v1 (the root).")
    root.runs[3].flags = {"collapsed_pixel8": {"flag": True, "why": "equal samples"}}
    assert outcome(findings(root, child), worse).sentence.endswith("; best: v1 (the root, collapsed in 1 of 5 seeds).")


def test_a_version_behind_the_gate_is_not_the_best() -> None:
    versions = version("v1", None, [100.0]), version("v2", "v1", [90.0])
    few = {"v2": Verdict(TOO_FEW)}
    assert outcome(findings(*versions, gate=95.0), few).best == "v2"
    assert outcome(findings(*versions, gate=90.0), few).sentence == (
        "The only idea is open (too few seeds); no version is better than 25 training pictures, repeated."
    )


def test_nothing_measured(seeded: Path) -> None:
    for name in ("v1", "v3", "v5", "v7"):
        for seed in range(5):
            remove_metrics(seeded, name, seed)
    expected = "All 3 ideas are open (not measured); no version is measured yet."
    assert of(seeded) == expected
    found = collect(seeded)
    html = page.render(found, pictures.gather(found))
    assert f'<p class="outcome">{expected}</p>' in html and expected in markdown.render(found, {})


def test_page_and_markdown_open_with_the_sentence(seeded: Path) -> None:
    found = collect(seeded)
    html, text = page.render(found, pictures.gather(found)), markdown.render(found, {})
    ideas = "Of 3 ideas, 1 helped, 1 harmed and 1 makes no difference within 10 %"
    assert f'<p class="outcome">{ideas}; best: <a href="#version-v3">v3</a>.</p>' in html
    assert html.index('class="outcome"') < html.index('<section id="tree"')
    line = (
        f"{METRIC}: Fréchet distance on 8×8 pixels, geometric mean over seeds, lower is better · 4 versions × 5 seeds"
    )
    assert basis(found) == line and f'<p class="sub">{line}</p>' in html
    first = [line for line in text.splitlines() if line][1:3]
    assert first == [f"**{ideas}; best: v3.**", f"<sub>{markdown.plain(line)}</sub>"]


def test_contrasts_are_grouped_by_word() -> None:
    better, worse = Verdict(BETTER), Verdict(WORSE)
    rows = {"v1": {"v3": worse, "v7": better, "v8": SAME, "v9": better}, "v2": {"v3": Verdict(NO_DIFFERENCE)}, "v4": {}}
    assert against_sentences(rows) == [
        "Against v1: v7 and v9 better; v3 worse; v8 equivalent within 10 %.",
        "Against v2: v3 no difference shown.",
    ]


def test_page_markdown_and_summary_open_with_contrasts(seeded: Path) -> None:
    edit_tree(seeded, evaluate={"lead": METRIC, "against": ["v3"]})
    found = collect(seeded)
    [said] = against_sentences(against_for(found))
    gallery = pictures.gather(found)
    html, text = page.write_page(found, gallery, {}).read_text(), markdown.write_markdown(found, gallery).read_text()
    assert said.startswith("Against v3: ") and said in html.partition("<section")[0]
    assert said in text.partition("## ")[0].replace("\\", "")
    assert said in "".join(str(part) for part in terminal.summary(seeded, 80).renderables)
