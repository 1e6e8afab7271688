"""Problems of a version: unfinished runs and flags of the evaluation, in a short and a long form."""

from __future__ import annotations

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
    """Return each diverged run with its step and reason, then other unfinished runs by status, then raised flags."""
    lines = [
        Problem(
            f"seed {run.seed} diverged", f"seed {run.seed} diverged at step {run.steps:,}: {_reason(run)}", _reason(run)
        )
        for run in version.runs
        if run.status == "diverged"
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
    return reason.removeprefix(f"at step {run.steps}: ")  # the training's reason names the step too


def _seeds(runs: list[Run], version: Version) -> str:
    if len(runs) == len(version.runs) > 2:
        return "all seeds"
    numbers = ", ".join(str(run.seed) for run in runs)
    return f"seed {numbers}" if len(runs) == 1 else f"seeds {numbers}"
