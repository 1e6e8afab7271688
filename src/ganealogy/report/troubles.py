"""What went wrong with a version, in lines short enough for the tree and long enough for the table."""

from __future__ import annotations

from dataclasses import dataclass

from ganealogy.report.findings import Run, Version

FELL_BACK = 1.5
"""The tracker's distance at the end over the one at best from which on the table points at it."""


@dataclass(frozen=True)
class Trouble:
    short: str
    long: str
    why: str


def troubles(version: Version) -> list[Trouble]:
    """Diverged runs one by one with their step and reason; others by their status; then what the evaluation flagged."""
    lines = [
        Trouble(
            f"seed {run.seed} diverged", f"seed {run.seed} diverged at step {run.steps:,}: {_reason(run)}", _reason(run)
        )
        for run in version.runs
        if run.status == "diverged"
    ]
    others: dict[str, list[Run]] = {}
    for run in version.troubles:
        if run.status != "diverged":
            others.setdefault(run.status, []).append(run)
    for status, runs in others.items():
        told = f"{_seeds(runs, version)} {status}"
        why = "; ".join(dict.fromkeys(run.reason for run in runs if run.reason))
        lines.append(Trouble(told, f"{told}: {why}" if why else told, why))
    for kind, runs in version.raised.items():
        why = "; ".join(
            dict.fromkeys(why for run in runs for name, why in run.raised.items() if name.startswith(kind) and why)
        )
        told = f"{kind} ({_seeds(runs, version)})"
        lines.append(Trouble(kind, f"{told}: {why}" if why else told, why))
    return lines


def worsened(best: float | None, last: float | None) -> bool:
    """Whether training went on well past its best."""
    return best is not None and last is not None and best > 0 and last / best > FELL_BACK


def why_none(version: Version, metric: str) -> str:
    """Why a version has no number of a metric, as its runs tell; empty when they do not."""
    told = [run.not_measured[metric] for run in version.runs if metric in run.not_measured]
    return "; ".join(dict.fromkeys(told or [line.long for line in troubles(version)]))


def _reason(run: Run) -> str:
    reason = run.reason or "no reason was recorded"
    return reason.removeprefix(f"at step {run.steps}: ")  # the training says the step too


def _seeds(runs: list[Run], version: Version) -> str:
    if len(runs) == len(version.runs) > 2:
        return "all seeds"
    numbers = ", ".join(str(run.seed) for run in runs)
    return f"seed {numbers}" if len(runs) == 1 else f"seeds {numbers}"
