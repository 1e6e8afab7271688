"""What stands beside a verdict without a word of its own: other judges, the other checkpoint, collapsed runs.

An edge is marked where a judge or the checkpoint points the other way, or its parent collapsed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import fmean

from ganealogy.report import wording
from ganealogy.report.findings import Findings, Version
from ganealogy.report.verdict_table import effect, verdict_label, verdicts_for
from ganealogy.verdicts.estimates import half_width, mean
from ganealogy.verdicts.metric_kinds import higher_is_better, is_distance, scale, split
from ganealogy.verdicts.primary_metric import distances
from ganealogy.verdicts.significance import BETTER, WORSE, Verdict


def marks(findings: Findings, verdicts: Mapping[str, Verdict]) -> dict[str, dict[str, str]]:
    """Return version → mark → sentence, for edges on which another checkpoint or judge says the opposite, or the parent
    collapsed.

    `verdicts`: by the leading metric and the measured checkpoint.
    """
    found: dict[str, dict[str, str]] = {}
    for mark, sentences in (
        ("best and last disagree", checkpoints_disagree(findings, verdicts)),
        ("judges disagree", judges_disagree(findings)),
        ("parent collapsed", collapsed_parents(findings, verdicts)),
    ):
        for name, sentence in sentences.items():
            found.setdefault(name, {})[mark] = sentence
    return found


def collapsed_parents(findings: Findings, verdicts: Mapping[str, Verdict]) -> dict[str, str]:
    """Return child → sentence, for compared edges with a collapsed run of the parent; the child's are its problems."""
    collapsed = {version.name: version.flagged.get("collapsed", []) for version in findings.listed}
    return {
        version.name: f"parent collapsed: {wording.joined([run.label for run in runs])}, by which a child looks better"
        for version in findings.listed
        if version.name in verdicts and verdicts[version.name].effect is not None
        if (runs := collapsed.get(version.parent or ""))
    }


def opinions(findings: Findings) -> list[str]:
    """Return the distances that stand beside the leading one: every other extractor's first or whitened distance."""
    chosen = []
    for extractor in findings.evaluate.get("extractors", []):
        names = distances(extractor)
        whitened = [name for name in names if name.startswith("fd_w64_")]
        chosen += [name for name in [*whitened, *names] if name in findings.metrics][:1]
    lead = split(findings.primary_metric)[1]
    return [name for name in chosen if is_distance(name) and split(name)[1] != lead and name != "fd_pixel8"]


def judges_disagree(findings: Findings) -> dict[str, str]:
    """Return version → sentence, for the edges on which a second opinion points the other way."""
    listed = {version.name: version for version in findings.listed}
    sentences = {}
    for version in findings.listed:
        if version.parent in listed and (against := _pointing_away(findings, version, listed[version.parent])):
            verb = "points" if len(against) == 1 else "point"
            sentences[version.name] = f"judges disagree: {wording.joined(against)} {verb} the other way"
    return sentences


def _pointing_away(findings: Findings, child: Version, parent: Version) -> list[str]:
    """Return the second opinions that point the other way than the leading metric, beyond the spread over seeds.

    That is: the 95 % t interval of their differences, paired by seed, excludes 0 on the side opposite to the leading
    metric's mean difference.
    """
    lead = _paired(findings.primary_metric, child, parent)
    if len(lead) < 2:
        return []
    against = []
    for metric in opinions(findings):
        differences = _paired(metric, child, parent)
        if len(differences) < 3 or not (half := half_width(differences)):
            continue
        if abs(fmean(differences)) > half and fmean(differences) * fmean(lead) < 0:
            against.append(metric)
    return against


def other_checkpoint(findings: Findings) -> str:
    """Return the name of the checkpoint that is not the measured one."""
    return "last" if findings.sample.get("checkpoint") == "best" else "best"


def other_heading(findings: Findings) -> str:
    """Return the heading of the primary metric at that checkpoint."""
    return f"by {other_checkpoint(findings)}"


def other_means(findings: Findings) -> dict[str, float]:
    """Return version → mean of the primary metric at the checkpoint that is not the measured one, where they differ."""
    metric = findings.primary_metric
    pairs = [(version, version.other_values(metric)) for version in findings.listed]
    return {
        version.name: mean(metric, others.values())
        for version, others in pairs
        if any(value != version.values(metric)[seed] for seed, value in others.items())
    }


def checkpoints_disagree(findings: Findings, verdicts: Mapping[str, Verdict]) -> dict[str, str]:
    """Return version → sentence, for the edges on which the checkpoints best and last point opposite ways.

    `verdicts`: by the measured checkpoint. Rule: one of the two is better or worse, and the other has the opposite
    word, or a 95 % interval wholly on the other side of no difference.
    """
    metric = findings.primary_metric
    others = {version.name: version.other_values(metric) for version in findings.listed}
    if not any(others.values()):
        return {}
    name, other_name = findings.sample.get("checkpoint", "last"), other_checkpoint(findings)
    by_other = verdicts_for(findings, metric, others)
    sentences = {}
    for child, verdict in verdicts.items():
        other = by_other[child]
        sides = {_side(metric, verdict), _side(metric, other)}
        if sides == {BETTER, WORSE} and {verdict.word, other.word} & {BETTER, WORSE}:
            both = {name: verdict, other_name: other}
            parts = [f"{effect(metric, both[key])} {verdict_label(both[key])} by {key}" for key in sorted(both)]
            sentences[child] = f"best and last disagree: {', '.join(parts)}"
    return sentences


def _paired(metric: str, child: Version, parent: Version) -> list[float]:
    """Return the differences, child less parent, of the seeds that both have, on the metric's scale."""
    sides: tuple[Mapping[int, float], ...] = (child.values(metric), parent.values(metric))
    pairs = [(sides[0][seed], sides[1][seed]) for seed in sides[0] if seed in sides[1]]
    if scale(metric) == "log":
        pairs = [(math.log(a), math.log(b)) for a, b in pairs if a > 0 and b > 0]
    return [a - b for a, b in pairs]


def _side(metric: str, verdict: Verdict) -> str:
    """Return better or worse: the word, else the side on which the whole 95 % interval lies; empty if it has none."""
    if verdict.word in (BETTER, WORSE):
        return verdict.word
    none = 1.0 if scale(metric) == "log" else 0.0
    if verdict.low is None or verdict.high is None or verdict.low <= none <= verdict.high:
        return ""
    return BETTER if (verdict.low > none) == higher_is_better(metric) else WORSE
