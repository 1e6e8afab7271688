"""Numbers for programs: `dvc metrics`, `dvc exp show` and `dvc plots`."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from statistics import fmean
from typing import TYPE_CHECKING

from ganealogy.files import atomic
from ganealogy.report.findings import Findings, Json
from ganealogy.report.outcome import OPEN, best_version, results
from ganealogy.report.verdict_table import verdicts_for
from ganealogy.verdicts.significance import BETTER, DIVERGES_LESS, DIVERGES_MORE, EQUIVALENT, WORSE, Verdict
from ganealogy.workspace import REPORT_ALL_METRICS, REPORT_CURVES, REPORT_LOSSES, REPORT_METRICS

if TYPE_CHECKING:
    import pandas as pd

COUNTED = {BETTER: "helped", WORSE: "harmed", OPEN: "open"}
"""Result of an idea → the key of its count."""
COUNTED_IF_ANY = {EQUIVALENT: "equivalent", DIVERGES_MORE: "diverges_more", DIVERGES_LESS: "diverges_less"}


def write_numbers(findings: Findings) -> None:
    """Write `reports/metrics.json`, `reports/all-metrics.json` and the curves, `reports/*.csv`."""
    root, verdicts = findings.root, verdicts_for(findings, findings.primary_metric)
    text = json.dumps(lead(findings, verdicts), indent=2, allow_nan=False)  # unsorted: DVC keeps the order of columns
    atomic.write_text(root / REPORT_METRICS, f"{text}\n")
    atomic.write_json(root / REPORT_ALL_METRICS, all_metrics(findings, verdicts))
    for column, path in {findings.tracker: REPORT_CURVES, **REPORT_LOSSES}.items():
        atomic.write_text(root / path, curves(findings, column).to_csv(index_label="kimg", lineterminator="\n"))


def lead(findings: Findings, verdicts: Mapping[str, Verdict]) -> Json:
    """Return the outcome on the lead metric: best version, lowest distance, results of ideas, distance per version.

    No version is the best where none passes the gate, as after a short training. The lowest distance is there anyway.
    `dvc exp show` makes a column of each leaf, in this order, so that there is nothing else.
    Times are left out, so that equal results give equal files.
    """
    metric = findings.primary_metric
    best, counts = best_version(findings), results(verdicts)
    means = {each.name: mean for each in findings.listed if (mean := each.mean(metric)) is not None}
    return {
        "best": best.name if best else None,
        "distance": min(means.values(), default=None),
        **{key: counts[result] for result, key in COUNTED.items()},
        **{key: counts[result] for result, key in COUNTED_IF_ANY.items() if counts[result]},
        "lead": means,
    }


def all_metrics(findings: Findings, verdicts: Mapping[str, Verdict]) -> Json:
    """Return version → metric → mean over seeds, with the number of seeds and the verdict on the lead metric.

    Run directories hold each seed's value.
    """
    table: Json = {}
    for version in findings.listed:
        row: Json = {name: mean for name in findings.metrics if (mean := version.mean(name)) is not None}
        row |= {"seeds": sum(bool(run.metrics) for run in version.runs)}
        table[version.name] = row | ({"verdict": verdicts[version.name].word} if version.name in verdicts else {})
    return table


def tracked_distance(findings: Findings) -> pd.DataFrame:
    """Return the curves of the tracker's FD."""
    return curves(findings, findings.tracker)


def curves(findings: Findings, column: str) -> pd.DataFrame:
    """Return a column of metrics.jsonl during training: index kimg, a column per listed version, mean over its seeds.

    A version without curves has an empty column: `dvc plots` needs one for every name in `tree.versions`.
    """
    import pandas as pd

    columns: dict[str, dict[float, float]] = {}
    for version in findings.listed:
        values: defaultdict[float, list[float]] = defaultdict(list)
        for run in version.runs:
            for kimg, value in run.series(column):
                values[round(kimg, 6)].append(value)
        columns[version.name] = {kimg: float(f"{fmean(seeds):.6g}") for kimg, seeds in values.items()}
    frame = pd.DataFrame({name: pd.Series(values, dtype=float) for name, values in columns.items()})
    return frame.sort_index()
