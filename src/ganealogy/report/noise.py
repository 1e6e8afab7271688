"""The section on noise: training against sampling, the kinds of draws, and where the choice of checkpoint decides."""

from __future__ import annotations

from ganealogy.record_types import NoiseJson
from ganealogy.report import wording
from ganealogy.report.findings import Findings, Json
from ganealogy.report.verdict_table import verdicts_for
from ganealogy.runtime.tables import Column, Fitted
from ganealogy.verdicts import noise
from ganealogy.verdicts.metric_kinds import scale
from ganealogy.verdicts.noise import LABELS, amount

Row = dict[str, str]
"""Heading → cell."""


def section(findings: Findings) -> Json:
    """Return the section's tables, of which some may be empty, and its sentences."""
    metric = findings.primary_metric
    record: NoiseJson | None = findings.noise or None  # type: ignore[assignment]
    unit = "of its logarithm, in percent of the value" if scale(metric) == "log" else "in its own unit"
    return {
        "about": (
            f"How much {metric} varies: standard deviations {unit}. Seeds differ by training, sample sets of a seed by "
            "their latents alone. More seeds reduce both parts, more samples per run only the second."
        ),
        "no_components": "It takes two seeds and two sample sets (sample.sets) of a version to tell.",
        "components": components(findings),
        "sets": by_set(findings),
        "draws": draws(record) if record else [],
        "draws_title": f"{record['version']}: which draws" if record else "",
        "draws_sentence": noise.sentence(noise.spreads(record), metric) if record else "",
        "command": f"ganealogy noise {findings.listed[0].name}" if findings.listed and not record else "",
    }


def components(findings: Findings) -> list[Row]:
    """Return a row per version that has at least two seeds with several sample sets."""
    metric, rows = findings.primary_metric, []
    for version in findings.listed:
        found = noise.components(metric, list(version.repeats(metric).values()))
        if found is not None:
            share = "–" if found.share is None else f"{100 * found.share:.0f} %"
            row = {"version": version.name, "seeds × sets": f"{found.seeds} × {found.sets}"}
            row |= {"total": amount(metric, found.total), "from training": amount(metric, found.training)}
            rows.append(row | {"from sampling": amount(metric, found.sampling), "share of training": share})
    return rows


def by_set(findings: Findings) -> str:
    """Return how the edges' words would change if another sample set were the judged one; empty with one set."""
    metric = findings.primary_metric
    repeats = {version.name: version.repeats(metric) for version in findings.listed}
    sets = min((len(values) for seeds in repeats.values() for values in seeds.values()), default=0)
    if sets < 2:
        return ""
    judged = []
    for index in range(sets):
        values = {name: {seed: each[index] for seed, each in seeds.items()} for name, seeds in repeats.items()}
        judged.append(verdicts_for(findings, metric, values))
    edges = [name for name, verdict in judged[0].items() if verdict.effect is not None]
    if not edges:
        return ""
    changed = [name for name in edges if len({verdicts[name].word for verdicts in judged}) > 1]
    text = f"Judged by each of the {sets} sample sets in turn, "
    if not changed:
        return text + f"{'every edge keeps its word' if len(edges) > 1 else 'the edge keeps its word'}."
    words = [f"{name} ({', then '.join(verdicts[name].label for verdicts in judged)})" for name in changed]
    return text + f"{len(changed)} of {wording.plural(len(edges), 'edge')} would change: {'; '.join(words)}."


def draws(record: NoiseJson) -> list[Row]:
    """Return a row per kind of draws of a record of `ganealogy noise`."""
    metric = record["lead"]
    return [
        {
            "varied": LABELS[kind],
            "runs": str(each.count),
            "standard deviation": amount(metric, each.sd),
            "95 % interval": f"{amount(metric, each.low)} to {amount(metric, each.high)}",
        }
        for kind, each in noise.spreads(record).items()
    ]


def terminal(record: NoiseJson) -> Fitted:
    """Return the table of `ganealogy noise`, with its sentence below."""
    metric = record["lead"]
    of = "of its logarithm, in percent of the value" if scale(metric) == "log" else "in its own unit"
    rows = draws(record)
    return Fitted(
        [Column(heading, wraps=True) for heading in (rows[0] if rows else ())],
        [list(row.values()) for row in rows],
        title=f"{record['version']}: how {metric} varies, {of}",
        caption=noise.sentence(noise.spreads(record), metric),
    )
