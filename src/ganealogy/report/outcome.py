"""What the ideas of a tree achieved, in one sentence: the opening of the page, the Markdown file and the summary.

An idea is a listed version with a parent. Its result is its verdict on the primary metric. A merge counts twice: each
parent is compared with what the other one brings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ganealogy.report import wording
from ganealogy.report.findings import Findings, Version
from ganealogy.verdicts.metric_kinds import scale
from ganealogy.verdicts.significance import (
    BARRED,
    BETTER,
    BETTER_SURVIVORS,
    DIVERGES_LESS,
    DIVERGES_MORE,
    EQUIVALENT,
    NO_DIFFERENCE,
    NOT_COMPARED,
    NOT_MEASURED,
    NOT_YET,
    TOO_FEW,
    WORDS,
    WORSE,
    WORSE_THAN_SURVIVORS,
    SecondEdge,
    Verdict,
    child_of,
)

OPEN = "open"
RESULTS = {
    BETTER: ("helped", "helped"),
    WORSE: ("harmed", "harmed"),
    EQUIVALENT: ("makes no difference", "make no difference"),
    DIVERGES_MORE: ("diverges more often", "diverge more often"),
    DIVERGES_LESS: ("diverges less often", "diverge less often"),
    OPEN: ("is open", "are open"),
}
"""Result → what is said of one idea and of several; any verdict that is not listed is open."""
NOT_COMPARABLE, NO_PARENT, DIVERGED = "not yet comparable", "without a measured parent", "diverged"
COPIES = "copying training pictures"
WHY_OPEN = (
    *(NO_DIFFERENCE, BETTER_SURVIVORS, WORSE_THAN_SURVIVORS, TOO_FEW),
    *(NOT_COMPARABLE, COPIES, DIVERGED, NO_PARENT, NOT_MEASURED, NOT_COMPARED),
)
"""In the order of the sentence."""


@dataclass(frozen=True)
class Outcome:
    ideas: str
    """The first half of the sentence: `Of 3 ideas, 1 helped and 2 are open (too few seeds)`."""
    best: str
    """The version with the best mean; empty if there is none."""
    note: str
    """What to know about the best version, or why there is none; may be empty."""

    @property
    def sentence(self) -> str:
        best = f"best: {self.best}{f' ({self.note})' if self.note else ''}" if self.best else self.note
        return f"{'; '.join(filter(None, (self.ideas, best)))}."


def outcome(findings: Findings, verdicts: Mapping[str, Verdict]) -> Outcome:
    """Count the ideas by result, and find the best version.

    `verdicts`: version → verdict on the primary metric, without roots.
    """
    if not findings.listed:
        return Outcome("The plan lists no version", "", "")
    best = best_version(findings)
    if best is not None:
        return Outcome(_ideas(findings, verdicts), best.name, ", ".join(_remarks(findings, best)))
    measured = any(version.values(findings.primary_metric) for version in findings.listed)
    none = "no version is better than 25 training pictures, repeated" if measured else "no version is measured yet"
    return Outcome(_ideas(findings, verdicts), "", none)


def basis(findings: Findings) -> str:
    """Return the metric behind the sentence and the protocol that all versions share, in one line."""
    metric = findings.primary_metric
    mean = "geometric mean" if scale(metric) == "log" else "mean"
    measure = " on ".join(filter(None, wording.metric_label(metric)))
    return f"{metric}: {measure}, {mean} over seeds, lower is better · {wording.protocol_line(findings)}"


def against_sentences(against: Mapping[str, Mapping[str, Verdict]]) -> list[str]:
    """Return a sentence for each version of evaluate.against: `Against v1: v3 and v9 better; v12 worse.`

    `against`: that version → version → verdict against it.
    """
    sentences = []
    for name, row in against.items():
        by_word = {word: [each for each in row if row[each].word == word] for word in WORDS}
        said = [f"{wording.joined(names)} {row[names[0]].label}" for names in by_word.values() if names]
        if said:
            sentences.append(f"Against {name}: {'; '.join(said)}.")
    return sentences


def best_version(findings: Findings) -> Version | None:
    """Return the listed version with the lowest mean of the primary metric, which is a distance.

    A version that is not better than the gate's anchor does not count. None if no version counts.
    """
    metric = findings.primary_metric
    means = [
        (mean, version)
        for version in findings.listed
        if (mean := version.mean(metric)) is not None and findings.passes_anchor(version, metric) is not False
    ]
    return min(means, key=lambda pair: pair[0])[1] if means else None


def results(verdicts: Mapping[str, Verdict]) -> Counter[str]:
    """Return result → number of ideas. `verdicts`: version → verdict on the primary metric, without roots."""
    return Counter(verdict.word if verdict.word in RESULTS else OPEN for verdict in verdicts.values())


def _ideas(findings: Findings, verdicts: Mapping[str, Verdict]) -> str:
    if not verdicts:
        return "No idea to test"
    found = results(verdicts)
    ends = {
        EQUIVALENT: next((each.detail for each in verdicts.values() if each.word == EQUIVALENT), ""),
        OPEN: f" ({_counts(_why_open(findings, verdicts))})",
    }
    total = len(verdicts)
    said = {word: RESULTS[word][found[word] > 1] + ends.get(word, "") for word in RESULTS if found[word]}
    if len(said) == 1:
        subject = {1: "The only idea", 2: "Both ideas"}.get(total, f"All {total} ideas")
        return f"{subject} {next(iter(said.values()))}"
    *first, last = (f"{found[word]} {text}" for word, text in said.items())
    return f"Of {total} ideas, {', '.join(first)} and {last}"


def _why_open(findings: Findings, verdicts: Mapping[str, Verdict]) -> Iterable[str]:
    """Yield the reason of each idea that is open."""
    versions = {version.name: version for version in findings.listed}
    for name, verdict in verdicts.items():
        if verdict.word == NOT_YET:
            yield NOT_COMPARABLE
        elif verdict.word == BARRED:
            yield COPIES
        elif verdict.word == NOT_MEASURED:
            version = versions[child_of(name)]
            parent = version.parents[1] if isinstance(name, SecondEdge) else version.parent
            yield _why_not_measured(findings, version, versions.get(parent or ""))
        elif verdict.word not in RESULTS:
            yield verdict.word


def _why_not_measured(findings: Findings, version: Version, parent: Version | None) -> str:
    if not version.values(findings.primary_metric):
        return DIVERGED if version.runs and all(run.status == "diverged" for run in version.runs) else NOT_MEASURED
    return NOT_MEASURED if parent and parent.values(findings.primary_metric) else NO_PARENT


def _counts(reasons: Iterable[str]) -> str:
    """Format reasons: `2 too few seeds, 1 not measured`, or without a number if all are the same."""
    counts = Counter(reasons)
    if len(counts) == 1:
        return next(iter(counts))
    return ", ".join(f"{counts[reason]} {reason}" for reason in WHY_OPEN if counts[reason])


def _remarks(findings: Findings, best: Version) -> list[str]:
    remarks = []
    if best.parent is None:
        remarks.append("a root" if sum(version.parent is None for version in findings.listed) > 1 else "the root")
    measured, planned = len(best.values(findings.primary_metric)), len(best.seeds)
    if measured < planned:
        remarks.append(f"{measured} of {wording.plural(planned, 'seed')}")
    return remarks + [
        f"{kind} in {len(runs)} of {wording.plural(planned, 'seed')}" for kind, runs in best.flagged.items()
    ]
