"""`reports/compare.html`: DVC experiments side by side, one row per version, one column per experiment."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup
from PIL import Image

from ganealogy.files import atomic
from ganealogy.lineage.flatten import as_text, flatten
from ganealogy.report import charts, columns, experiments, palette, pictures, wording
from ganealogy.report.experiments import Experiment
from ganealogy.report.findings import Findings, Json, Version, number
from ganealogy.report.page import environment, static
from ganealogy.report.problems import problems
from ganealogy.report.verdict_table import (
    copying,
    css_class,
    effect,
    effect_range,
    interval,
    no_interval,
    trained,
    verdict_label,
)
from ganealogy.verdicts import estimates, significance
from ganealogy.verdicts.estimates import Estimate
from ganealogy.verdicts.significance import Verdict
from ganealogy.workspace import COMPARISON_PAGE

SAMPLES = (6_000_000, pictures.SAMPLES[1])


@dataclass(frozen=True)
class Cell:
    """One metric of one version in one experiment, and its verdict against the first experiment's value."""

    estimate: Estimate | None
    verdict: Verdict | None
    note: str
    """Why there is no number or no verdict; may be empty."""
    chart: Markup


def compare(names: list[str], root: Path = Path()) -> Path:
    """Write `reports/compare.html` for two or more experiments and return its path.

    Raises: GanealogyError as `experiments.read` does.
    """
    with tempfile.TemporaryDirectory(prefix="ganealogy-") as folder:
        page = render(experiments.read(names, root, Path(folder)))
    atomic.write_text(root / COMPARISON_PAGE, page)
    return root / COMPARISON_PAGE


def render(sides: list[Experiment]) -> str:
    """Return the page as text. `sides` are the columns; all others are compared with the first."""
    versions = version_names(sides)
    uris, _ = pictures.fitted(_sheets(sides), SAMPLES)
    metrics = measured(sides)
    first = {metric for side in sides for metric in columns.headline(side.findings)}
    functions = (effect, effect_range, verdict_label, css_class, interval, no_interval, problems, columns.direction)
    template = environment(*functions).get_template("compare.html")
    return template.render(
        sides=sides,
        versions=versions,
        titles={version.name: version.title for side in reversed(sides) for version in side.findings.listed},
        listed=[_by_name(side) for side in sides],
        differing=differing(sides),
        headline=[metric for metric in metrics if metric in first],
        others=[metric for metric in metrics if metric not in first],
        table={metric: cells(sides, versions, metric) for metric in metrics},
        sheets=uris,
        pixels=all(wording.shown_as_pixels(side.findings) for side in sides),
        palette=[palette.colour(index) for index in range(len(versions))],
        styles=Markup(static("theme.css") + static("page.css")),
        scripts=[Markup(static("theme.js")), Markup(static("zoom.js"))],
    )


def version_names(sides: list[Experiment]) -> list[str]:
    """Return every listed version, in order of first appearance."""
    return list(dict.fromkeys(version.name for side in sides for version in side.findings.listed))


def measured(sides: list[Experiment]) -> list[str]:
    return list(dict.fromkeys(metric for side in sides for metric in columns.all_columns(side.findings)))


def differing(sides: list[Experiment]) -> list[tuple[str, list[str]]]:
    """Return (dotted key, its value in each experiment) for all keys that differ: settings first, then recipes.

    A version with equal recipe and training settings but another fingerprint gets a row for its code.
    """
    settings = [_settings(side.findings) for side in sides]
    rows = _differing_rows(settings)
    train = [{key: value for key, value in side.items() if key.startswith("train.")} for side in settings]
    same_train = all(side == train[0] for side in train)
    for name in version_names(sides):
        versions = [version for side in sides if (version := _by_name(side).get(name))]
        if len(versions) < len(sides):
            continue
        recipes = _differing_rows([_texts(version.recipe, f"{name}: ") for version in versions])
        rows += recipes
        fingerprints = [version.fingerprint for version in versions]
        if not recipes and same_train and len(set(fingerprints)) > 1:
            rows.append((f"{name}: code", [fingerprint[:12] or "–" for fingerprint in fingerprints]))
    return rows


def cells(sides: list[Experiment], versions: list[str], metric: str) -> dict[str, list[Cell]]:
    """Return version → one cell per experiment.

    The first experiment's primary metric has verdicts, which are one family: each version with itself in the first
    experiment, seed by seed. Values of different protocols get no verdict.
    """
    first = sides[0].findings
    listed = [_by_name(side) for side in sides]
    protocols = [_protocol(side.findings, metric) for side in sides]
    values: dict[str, dict[int, float]] = {}
    parents: dict[str, str | None] = {}
    barred: dict[str, set[int]] = {}
    measured = [trained(side.findings, metric) for side in sides]
    verdicts: dict[str, Verdict] = {}
    for name in versions:
        for at, side in enumerate(sides):
            version = listed[at].get(name)
            other = listed[0].get(name)
            comparable = protocols[at] == protocols[0] and not _same_runs(version, other)
            comparable = comparable and not _starts_differ(version, other)
            if version is not None and (at == 0 or comparable):
                label = f"{name} of {side.name}"
                values[label], barred[label] = measured[at][name], copying(side.findings)[name]
                parents[label] = None if at == 0 else f"{name} of {sides[0].name}"
    if metric == first.primary_metric:
        margin = number(first.evaluate.get("equivalence_margin"))
        verdicts = significance.verdicts(metric, values, parents, margin=margin, gate=first.gate, barred=barred)
    return {
        name: [
            _cell(side.findings, listed[at].get(name), metric, verdicts.get(f"{name} of {side.name}"),
                  _note(at, listed[at].get(name), listed[0].get(name), metric, protocols))
            for at, side in enumerate(sides)
        ]
        for name in versions
    }  # fmt: skip


def _by_name(side: Experiment) -> dict[str, Version]:
    return {version.name: version for version in side.findings.listed}


def _cell(findings: Findings, version: Version | None, metric: str, verdict: Verdict | None, note: str) -> Cell:
    values = list(version.values(metric).values()) if version else []
    if version is None or not values:
        return Cell(None, None, note, Markup())
    estimate = estimates.estimate(metric, values)
    return Cell(estimate, verdict, note, charts.strip_chart(findings, version, metric, estimate))


def _note(at: int, version: Version | None, first: Version | None, metric: str, protocols: list[str]) -> str:
    if version is None:
        return "not in this experiment"
    if not version.values(metric):
        return "no number"
    if at and protocols[at] != protocols[0]:
        return "another protocol: not compared"
    if at and _same_runs(version, first):
        return "the same runs"
    if at and _starts_differ(version, first):
        return "another start: not compared"
    return ""


def _starts_differ(one: Version | None, other: Version | None) -> bool:
    """Return whether one of both starts from a trained version, and the other one from another or from scratch."""
    return one is not None and other is not None and one.start != other.start


def _same_runs(one: Version | None, other: Version | None) -> bool:
    """Return whether both are the same trainings, which DVC took from its cache."""
    if one is None or other is None:
        return False
    keys = [{run.key for run in version.runs if run.key} for version in (one, other)]
    return bool(keys[0]) and keys[0] == keys[1] and _numbers(one) == _numbers(other)


def _numbers(version: Version) -> list[dict[str, float]]:
    return [run.metrics for run in version.runs]


def _protocol(findings: Findings, metric: str) -> str:
    """Return the metric's protocol and data set as JSON; values are comparable only if it is equal."""
    protocols = [run.protocols.get(metric) for run in findings.runs if metric in run.metrics]
    return json.dumps([findings.manifest.get("dataset"), protocols[0] if protocols else None], sort_keys=True)


def _settings(findings: Findings) -> dict[str, str]:
    tree: Json = {
        "versions": ", ".join(version.name for version in findings.listed),
        "seeds": ", ".join(map(str, findings.shared_seeds)),
    }
    more = {name: ", ".join(map(str, seeds)) for name, seeds in findings.more_seeds.items()}
    sections = {
        "dataset": findings.dataset,
        "tree": tree | ({"more_seeds": more} if more else {}),
        "train": findings.train,
        "sample": findings.sample,
        "evaluate": findings.evaluate,
    }
    return _texts(sections)


def _texts(content: Json, prefix: str = "") -> dict[str, str]:
    """Return {"train": {"lr": 0.1}} as {"train.lr": "0.1"}, with a prefix before each key."""
    return {prefix + key: "none" if value is None else as_text(value) for key, value in flatten(content).items()}


def _differing_rows(tables: list[dict[str, str]]) -> list[tuple[str, list[str]]]:
    keys = dict.fromkeys(key for table in tables for key in table)
    rows = [(key, [table.get(key, "–") for table in tables]) for key in keys]
    return [(key, row) for key, row in rows if len(set(row)) > 1]


def _sheets(sides: list[Experiment]) -> dict[str, Image.Image]:
    """Return `<index of the experiment>/<version>` → samples of the first seed that has some."""
    sheets: dict[str, Image.Image] = {}
    for at, side in enumerate(sides):
        for version in side.findings.listed:
            for run in version.runs:
                if run.status in ("missing", "broken"):
                    continue
                sheet = pictures.samples(run, side.findings)
                if sheet is not None:
                    sheets[f"{at}/{version.name}"] = sheet
                    break
    return sheets
