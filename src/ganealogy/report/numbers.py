"""Numbers for programs and terminals: `dvc metrics`, `dvc plots` and `ganealogy summary`."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from ganealogy.files import atomic
from ganealogy.report import wording
from ganealogy.report.collect import collect
from ganealogy.report.findings import Findings, Json
from ganealogy.report.verdict_table import estimates_for, verdicts_for
from ganealogy.verdicts.significance import Estimate, Verdict
from ganealogy.workspace import REPORT_CURVES, REPORT_METRICS

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table
    from rich.text import Text


def write_numbers(findings: Findings) -> tuple[Path, Path]:
    """Write `reports/metrics.json` and `reports/fd.csv`."""
    metrics, distances = findings.root / REPORT_METRICS, findings.root / REPORT_CURVES
    atomic.write_json(metrics, summary(findings))
    atomic.write_text(distances, tracked_distance(findings).to_csv(index_label="kimg", lineterminator="\n"))
    return metrics, distances


def summary(findings: Findings) -> Json:
    """Return version → metric → mean over seeds, with the number of seeds.

    One number per metric, because `dvc exp show` makes a column of every leaf; run directories hold each seed's value.
    Times are left out, so that equal results give equal files.
    """
    table: Json = {}
    for version in findings.listed:
        row: Json = {name: mean for name in findings.metrics if (mean := version.mean(name)) is not None}
        table[version.name] = {**row, "seeds": sum(bool(run.metrics) for run in version.runs)}
    return table


def tracked_distance(findings: Findings) -> pd.DataFrame:
    """Return the tracker's FD during training: index kimg, a column per listed version, mean over its seeds.

    A version without curves has an empty column: `dvc plots` needs one for every name in `tree.versions`.
    """
    import pandas as pd

    columns: dict[str, dict[float, float]] = {}
    for version in findings.listed:
        values: defaultdict[float, list[float]] = defaultdict(list)
        for run in version.runs:
            for kimg, distance in run.series(findings.tracker):
                values[round(kimg, 6)].append(distance)
        columns[version.name] = {kimg: float(f"{fmean(seeds):.6g}") for kimg, seeds in values.items()}
    frame = pd.DataFrame({name: pd.Series(values, dtype=float) for name, values in columns.items()})
    return frame.sort_index()


def summary_table(root: Path = Path()) -> Table:
    """Return the terminal's table: version, changes, primary metric with its interval, verdict, seconds.

    Raises: GanealogyError when there is no plan under `root`.
    """
    from rich.table import Table
    from rich.text import Text

    findings = collect(root)
    metric = findings.primary_metric
    estimates, verdicts = estimates_for(findings, metric), verdicts_for(findings, metric)
    mean = "geometric mean" if any(estimate.scale == "log" for estimate in estimates.values()) else "mean"
    intervals = any(estimate.low is not None for estimate in estimates.values())
    caption = f"{metric}: {mean} over seeds [95 % interval]" if intervals else None
    title = wording.protocol_line(findings)
    table = Table(title=title, title_style="dim", title_justify="left", box=None, pad_edge=False)
    table.caption, table.caption_style, table.caption_justify = caption and Text(caption), "dim", "left"
    table.add_column("version", no_wrap=True)
    table.add_column("what changed", overflow="fold")
    table.add_column(metric, justify="right", no_wrap=True)
    if intervals:
        table.add_column("95 %", no_wrap=True)
    table.add_column("verdict", overflow="fold")
    table.add_column("seconds", justify="right", no_wrap=True)
    for version in findings.listed:
        seconds = version.cost("seconds")
        unfinished = ", ".join(f"seed {run.seed} {run.status}" for run in version.unfinished)
        changed = wording.what_changed(version) if version.parent else version.title
        table.add_row(
            Text(version.name),  # Text, because a title may contain rich's markup
            Text(f"{changed} ({unfinished})" if unfinished else changed),
            *_estimate_cells(estimates.get(version.name), intervals),
            Text(_verdict_cell(verdicts.get(version.name))),
            "–" if seconds is None else f"{seconds:.0f}",
        )
    return table


def _estimate_cells(estimate: Estimate | None, intervals: bool) -> list[str | Text]:
    """Return the cells of mean and interval; the second only if any version has an interval."""
    from rich.text import Text

    cells: list[str | Text] = [wording.figure(estimate.mean if estimate else None)]
    if intervals:
        has_ends = estimate and estimate.low is not None and estimate.high is not None
        ends = f"[{wording.figure(estimate.low)}, {wording.figure(estimate.high)}]" if estimate and has_ends else ""
        cells.append(Text(ends))
    return cells


def _verdict_cell(verdict: Verdict | None) -> str:
    """Return the verdict with p, if tested; a dash for roots."""
    if verdict is None:
        return "–"
    if verdict.p is None:
        return verdict.label
    return f"{verdict.label} (p {'< 0.001' if verdict.p < 0.001 else f'{verdict.p:.2g}'})"
