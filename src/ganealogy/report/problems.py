"""Problems of a version: unfinished runs, flags of the evaluation and signs in the training, short and long."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ganealogy.report.findings import Run, Version

WORSENED_RATIO = 1.5
"""The table marks a version whose tracker distance at the last tick exceeds the best one by this factor."""


@dataclass(frozen=True)
class Problem:
    short: str
    """For the tree."""
    long: str
    """For the table."""
    why: str


def problems(version: Version) -> list[Problem]:
    """Return each diverged or stopped run with its reason, other unfinished runs by status, flags, and signs."""
    lines = [
        Problem(
            f"seed {run.seed} {ended}", f"seed {run.seed} {ended} at step {run.steps:,}: {_reason(run)}", _reason(run)
        )
        for status, ended in (("diverged", "diverged"), ("stopped", "was stopped"))
        for run in version.runs
        if run.status == status
    ]
    by_status: dict[str, list[Run]] = {}
    for run in version.unfinished:
        if run.status != "diverged":
            by_status.setdefault(run.status, []).append(run)
    for status, runs in by_status.items():
        short = f"{_seeds(runs, version)} {status}"
        why = "; ".join(dict.fromkeys(run.reason for run in runs if run.reason))
        lines.append(Problem(short, f"{short}: {why}" if why else short, why))
    for kind, runs in version.flagged.items():
        why = "; ".join(
            dict.fromkeys(
                why for run in runs for name, why in run.flag_reasons.items() if name.startswith(kind) and why
            )
        )
        long = f"{kind} ({_seeds(runs, version)})"
        lines.append(Problem(kind, f"{long}: {why}" if why else long, why))
    return lines + _signs(version)


def _signs(version: Version) -> list[Problem]:
    """Return one problem per sign that the trainings showed, with the sentence of each run that it did not stop."""
    found: dict[str, list[tuple[Run, str]]] = {}
    for run in version.runs:
        for each in run.health:
            if run.status == "stopped" and str(each.get("sentence")) in run.reason:
                continue
            ended = "" if each.get("until") is None else f", until {each['until']} kimg"
            found.setdefault(str(each.get("sign")), []).append((run, f"{each.get('sentence')}{ended}"))
    lines = []
    for sign, shown in found.items():
        seeds = _seeds([run for run, _ in shown], version)
        why = "; ".join(f"seed {run.seed}: {sentence}" for run, sentence in shown)
        lines.append(Problem(f"{sign} while training ({seeds})", f"{sign} while training: {why}", why))
    return lines


def worsened(best: float | None, last: float | None) -> bool:
    """Return whether the tracker's distance rose well above its best value."""
    return best is not None and last is not None and best > 0 and last / best > WORSENED_RATIO


def reason_missing(version: Version, metric: str) -> str:
    """Return why a version has no value of a metric; empty if no run gives a reason."""
    reasons = [run.not_measured[metric] for run in version.runs if metric in run.not_measured]
    return "; ".join(dict.fromkeys(reasons or [problem.long for problem in problems(version)]))


def _reason(run: Run) -> str:
    reason = run.reason or "no reason was recorded"
    return re.sub(rf"^at step {run.steps}(?: of \d+)?: ", "", reason)  # the training's reason names the step too


def _seeds(runs: list[Run], version: Version) -> str:
    if len(runs) == len(version.runs) > 2:
        return "all seeds"
    numbers = ", ".join(str(run.seed) for run in runs)
    return f"seed {numbers}" if len(runs) == 1 else f"seeds {numbers}"
