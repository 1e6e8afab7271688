"""The numbers for machines and terminals: what `dvc metrics`, `dvc plots` and a person at the prompt read."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from ganealogy.files import atomic
from ganealogy.report import judgement, wording
from ganealogy.report.collect import collect
from ganealogy.report.findings import Findings
from ganealogy.verdicts.significance import Estimate, Verdict

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table
    from rich.text import Text

METRICS = Path("reports/metrics.json")
FD = Path("reports/fd.csv")


def write_numbers(findings: Findings) -> tuple[Path, Path]:
    """Write `reports/metrics.json` and `reports/fd.csv`."""
    metrics, distances = findings.root / METRICS, findings.root / FD
    atomic.write_json(metrics, summary(findings))
    atomic.write_text(distances, tracked_distance(findings).to_csv(index_label="kimg", lineterminator="\n"))
    return metrics, distances


def summary(findings: Findings) -> dict[str, Any]:
    """Version → metric → mean over seeds, and how many seeds that was.

    One number a metric: `dvc exp show` makes a column of every leaf, and each seed's value lies in its run directory.
    Clocks stay out, so that an equal result is an equal file.
    """
    table: dict[str, Any] = {}
    for version in findings.listed:
        row: dict[str, Any] = {name: mean for name in findings.metrics if (mean := version.mean(name)) is not None}
        table[version.name] = {**row, "seeds": sum(bool(run.metrics) for run in version.runs)}
    return table


def tracked_distance(findings: Findings) -> pd.DataFrame:
    """The tracker's FD while training: indexed by kimg, a column a listed version, mean over the seeds that got there.

    A version without curves keeps an empty column: `dvc plots` asks for every name in `tree.versions`.
    """
    import pandas as pd

    columns: dict[str, dict[float, float]] = {}
    for version in findings.listed:
        values: defaultdict[float, list[float]] = defaultdict(list)
        for run in version.runs:
            for kimg, distance in run.series(findings.tracker):
                values[round(kimg, 6)].append(distance)
        columns[version.name] = {kimg: float(f"{fmean(found):.6g}") for kimg, found in values.items()}
    frame = pd.DataFrame({name: pd.Series(values, dtype=float) for name, values in columns.items()})
    return frame.sort_index()


def summary_table(root: Path = Path()) -> Table:
    """The table that ends a run in the terminal: version, what changed, FD with its interval, verdict, seconds.

    Raises: GanealogyError when there is no plan under `root`.
    """
    from rich.table import Table
    from rich.text import Text

    findings = collect(root)
    title = wording.protocol_line(findings)
    estimates, verdicts = judgement.estimates(findings, findings.lead), judgement.judge(findings, findings.lead)
    scale = "geometric mean" if any(found.scale == "log" for found in estimates.values()) else "mean"
    several = any(found.low is not None for found in estimates.values())
    caption = f"{findings.lead}: {scale} over seeds [95 % interval]" if several else None
    table = Table(title=title, title_style="dim", title_justify="left", box=None, pad_edge=False)
    table.caption, table.caption_style, table.caption_justify = caption and Text(caption), "dim", "left"
    table.add_column("version", no_wrap=True)
    table.add_column("what changed", overflow="fold")
    table.add_column(findings.lead, justify="right", no_wrap=True)
    if several:
        table.add_column("95 %", no_wrap=True)
    table.add_column("verdict", overflow="fold")
    table.add_column("seconds", justify="right", no_wrap=True)
    for version in findings.listed:
        seconds = version.cost("seconds")
        troubles = ", ".join(f"seed {run.seed} {run.status}" for run in version.troubles)
        changed = wording.what_changed(version) if version.parent else version.title
        table.add_row(
            Text(version.name),  # Text, since a title may hold what rich takes for markup
            Text(f"{changed} ({troubles})" if troubles else changed),
            *_estimated(estimates.get(version.name), several),
            Text(_judged(verdicts.get(version.name))),
            "–" if seconds is None else f"{seconds:.0f}",
        )
    return table


def _estimated(found: Estimate | None, interval: bool) -> list[str | Text]:
    """The cells of mean and interval; the second only where any version has one."""
    from rich.text import Text

    cells: list[str | Text] = [wording.figure(found.mean if found else None)]
    if interval:
        ends = found and found.low is not None and found.high is not None
        cells.append(Text(f"[{wording.figure(found.low)}, {wording.figure(found.high)}]" if found and ends else ""))
    return cells


def _judged(found: Verdict | None) -> str:
    """The verdict in a cell, with p where there is one; a dash for roots."""
    if found is None:
        return "–"
    return found.label if found.p is None else f"{found.label} (p {'< 0.001' if found.p < 0.001 else f'{found.p:.2g}'})"
