"""`reports/compare.html`: DVC experiments side by side, a row a version, a column an experiment."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from ganealogy.files import atomic
from ganealogy.report import charts, columns, experiments, palette, pictures
from ganealogy.report.experiments import Experiment
from ganealogy.report.findings import Findings, Version, number
from ganealogy.report.judged import effect, effect_range, interval, standing, word
from ganealogy.report.page import environment, static
from ganealogy.report.troubles import troubles
from ganealogy.verdicts import significance
from ganealogy.verdicts.significance import Estimate, Verdict

PAGE = Path("reports/compare.html")
SAMPLES = (6_000_000, pictures.SAMPLES[1])


@dataclass(frozen=True)
class Cell:
    """One metric of one version in one experiment, and its verdict against the first experiment's."""

    version: Version | None
    metric: str
    estimate: Estimate | None
    verdict: Verdict | None
    note: str
    """Why there is no number, or none to compare; empty when there is nothing to say."""
    chart: Markup


def compare(names: list[str], root: Path = Path()) -> Path:
    """Write `reports/compare.html` for two or more experiments and return its path.

    Raises: GanealogyError as `experiments.read` does.
    """
    with tempfile.TemporaryDirectory(prefix="ganealogy-") as folder:
        page = render(experiments.read(names, root, Path(folder)))
    atomic.write_text(root / PAGE, page)
    return root / PAGE


def render(sides: list[Experiment]) -> str:
    """The page as text; `sides` in the order of the columns, the first being what the others are held against."""
    versions = version_names(sides)
    sheets = {f"{at}/{name}": sheet for at, name, sheet in _sheets(sides, versions)}
    uris, _ = pictures.fitted(sheets, SAMPLES)
    metrics = measured(sides)
    first = {metric for side in sides for metric in columns.leading(side.findings)}
    leading = [metric for metric in metrics if metric in first]
    template = environment(effect, effect_range, standing, interval, troubles, columns.direction).get_template(
        "compare.html"
    )
    return template.render(
        sides=sides,
        versions=versions,
        titles={version.name: version.title for side in reversed(sides) for version in side.findings.listed},
        found=[{version.name: version for version in side.findings.listed} for side in sides],
        differing=differing(sides),
        leading=leading,
        others=[metric for metric in metrics if metric not in leading],
        table={metric: cells(sides, versions, metric) for metric in metrics},
        sheets=uris,
        verdict_word=word,
        palette=[palette.colour(index) for index in range(len(versions))],
        styles=Markup(static("theme.css") + static("page.css")),
        scripts=[Markup(static("theme.js")), Markup(static("zoom.js"))],
    )


def version_names(sides: list[Experiment]) -> list[str]:
    """Every version that some experiment lists, in the order of the first that does."""
    return list(dict.fromkeys(version.name for side in sides for version in side.findings.listed))


def measured(sides: list[Experiment]) -> list[str]:
    return list(dict.fromkeys(metric for side in sides for metric in columns.ordered(side.findings)))


def differing(sides: list[Experiment]) -> list[tuple[str, list[str]]]:
    """(dotted key, its value in each experiment) where they are not all the same: protocol first, then recipes, then
    versions whose recipe and protocol agree while their code does not."""
    settings = [_settings(side.findings) for side in sides]
    rows = _rows(settings)
    for name in version_names(sides):
        own = [{v.name: v for v in side.findings.listed}.get(name) for side in sides]
        recipes = [dict(_leaves(version.recipe, f"{name}: ")) if version else {} for version in own]
        if None not in own:
            rows += _rows(recipes)
            prints = [version.fingerprint for version in own if version]
            same = all(recipe == recipes[0] for recipe in recipes)
            trained = [{key: each[key] for key in each if key.startswith("train.")} for each in settings]
            if same and len(set(prints)) > 1 and all(each == trained[0] for each in trained):
                rows.append((f"{name}: code", [fingerprint[:12] or "–" for fingerprint in prints]))
    return rows


def cells(sides: list[Experiment], versions: list[str], metric: str) -> dict[str, list[Cell]]:
    """Version → a cell an experiment.

    All verdicts of a metric are one Holm family, and none is given across protocols.
    """
    first = sides[0].findings
    own = [{version.name: version for version in side.findings.listed} for side in sides]
    ways = [_protocol(side.findings, metric) for side in sides]
    values: dict[str, list[float]] = {}
    parents: dict[str, str | None] = {}
    for name in versions:
        for at, found in enumerate(own):
            version = found.get(name)
            comparable = at == 0 or (ways[at] == ways[0] and not _same_runs(version, own[0].get(name)))
            if version is not None and (at == 0 or comparable):
                label = f"{name} of {sides[at].name}"
                values[label] = list(version.values(metric).values())
                parents[label] = None if at == 0 else f"{name} of {sides[0].name}"
    anchor = first.anchors.get(metric, {}).get("mean_image")
    margin = number(first.evaluate.get("equivalence_margin"))
    judged = significance.verdicts(metric, values, parents, anchor, margin=margin)
    return {
        name: [
            _cell(sides[at].findings, found.get(name), metric, judged.get(f"{name} of {sides[at].name}"),
                  _note(at, found.get(name), own[0].get(name), metric, ways))
            for at, found in enumerate(own)
        ]
        for name in versions
    }  # fmt: skip


def _cell(findings: Findings, version: Version | None, metric: str, verdict: Verdict | None, note: str) -> Cell:
    values = list(version.values(metric).values()) if version else []
    if version is None or not values:
        return Cell(version, metric, None, None, note, Markup())
    estimate = significance.estimate(metric, values)
    return Cell(version, metric, estimate, verdict, note, charts.strip_chart(findings, version, metric, estimate))


def _note(at: int, version: Version | None, first: Version | None, metric: str, ways: list[str]) -> str:
    if version is None:
        return "not in this experiment"
    if not version.values(metric):
        return "no number"
    if at and ways[at] != ways[0]:
        return "another protocol: not compared"
    if at and _same_runs(version, first):
        return "the same runs"
    return ""


def _same_runs(one: Version | None, other: Version | None) -> bool:
    """Whether both are the very same trainings, which DVC took from its cache."""
    if one is None or other is None:
        return False
    digests = [{run.digest for run in version.runs if run.digest} for version in (one, other)]
    return bool(digests[0]) and digests[0] == digests[1] and _numbers(one) == _numbers(other)


def _numbers(version: Version) -> list[dict[str, float]]:
    return [run.metrics for run in version.runs]


def _protocol(findings: Findings, metric: str) -> str:
    """How the metric was measured, and on which data: numbers of one name compare only where this is equal."""
    ways = [run.protocols.get(metric) for run in findings.runs if metric in run.metrics]
    return json.dumps([findings.manifest.get("dataset"), ways[0] if ways else None], sort_keys=True)


def _settings(findings: Findings) -> dict[str, str]:
    sections = {
        "dataset": findings.dataset,
        "tree": {"versions": ", ".join(v.name for v in findings.listed), "seeds": ", ".join(map(str, findings.seeds))},
        "train": findings.train,
        "sample": findings.sample,
        "evaluate": findings.evaluate,
    }
    return dict(_leaves(sections))


def _leaves(value: Any, key: str = "") -> list[tuple[str, str]]:
    if isinstance(value, dict):
        joint = "" if not key or key.endswith(": ") else "."
        return [pair for name, each in value.items() for pair in _leaves(each, f"{key}{joint}{name}")]
    return [(key, "none" if value is None else value if isinstance(value, str) else json.dumps(value))]


def _rows(tables: list[dict[str, str]]) -> list[tuple[str, list[str]]]:
    keys = dict.fromkeys(key for table in tables for key in table)
    rows = [(key, [table.get(key, "–") for table in tables]) for key in keys]
    return [(key, row) for key, row in rows if len(set(row)) > 1]


def _sheets(sides: list[Experiment], versions: list[str]) -> list[tuple[int, str, Any]]:
    """Of each version in each experiment the first seed's samples; the same latents where their sizes agree."""
    found = []
    for at, side in enumerate(sides):
        for version in side.findings.listed:
            for run in version.runs:
                if run.status in ("missing", "broken"):
                    continue
                sheet = pictures.samples(run, side.findings)
                if sheet is not None:
                    found.append((at, version.name, sheet))
                    break
    return found
