"""Numbers for programs: `dvc metrics` and `dvc plots`."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from ganealogy.files import atomic
from ganealogy.report.findings import Findings, Json
from ganealogy.workspace import REPORT_CURVES, REPORT_METRICS

if TYPE_CHECKING:
    import pandas as pd


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
