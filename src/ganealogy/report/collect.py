"""Reads what the stages left on disk into findings; whatever is absent or broken becomes a stated gap.

Only the plan decides what is reported: a run directory that it does not list is not read (`prune` removes it).
"""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

from ganealogy.errors import GanealogyError
from ganealogy.lineage.changes import changes
from ganealogy.report.findings import ANCHORS, Findings, Gap, Json, Run, Version, number

PLAN = Path("build/plan")
RUNS = Path("build/runs")
MANIFEST = Path("data/packed/manifest.json")
REFERENCE = Path("data/reference")


def collect(root: Path = Path()) -> Findings:
    """Read what the plan under `root` lists.

    Raises: GanealogyError when there is no plan: without it nothing says what belongs in the report.
    """
    tree = _tree(root)
    gaps: list[Gap] = []
    manifest = _optional(root, MANIFEST, "facts of the dataset", "dvc repro preprocess", gaps)
    anchors = _optional(root, REFERENCE / "anchors.json", "anchors beside the numbers", "dvc repro reference", gaps)
    versions = _versions(tree)
    for version in versions:
        if version.listed:
            planned = _try(lambda name=version.name: _read_json(root / PLAN / f"versions/{name}.json")["fingerprint"])
            version.fingerprint = str(planned or "")
            version.runs = [_run(root, version.name, seed, gaps) for seed in tree["seeds"]]
    findings = Findings(
        root=root,
        versions=versions,
        seeds=tree["seeds"],
        dataset=tree.get("dataset") or {},
        train=tree.get("protocol") or {},
        sample=tree.get("sample") or {},
        evaluate=tree.get("evaluate") or {},
        manifest=manifest,
        anchors=_anchors(anchors),
        anchors_described={**ANCHORS, **anchors.get("described", {})},
        gaps=gaps,
    )
    _set_aside_other_protocols(findings)
    _tell_what_was_not_measured(findings)
    if "fid" not in findings.metrics:
        why = "it means pytorch-fid's Inception and nothing else, which was not used"
        gaps.append(Gap("fid: not measured", why, "ganealogy fetch inception, then dvc repro"))
    return findings


def prune(root: Path = Path()) -> list[str]:
    """Remove the run directories of versions and seeds that the plan no longer lists; returns their names.

    Only directories named like a run (`v3-0`) are touched, and links are left alone.
    """
    tree = _tree(root)
    kept = {f"{entry['name']}-{seed}" for entry in tree["versions"] if entry.get("listed") for seed in tree["seeds"]}
    dropped = []
    for path in sorted((root / RUNS).glob("*")):
        looks_like_a_run = re.fullmatch(r"[a-z][a-z0-9-]*-\d+", path.name)
        if looks_like_a_run and path.name not in kept and path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
            dropped.append(path.name)
    return dropped


def _tree(root: Path) -> Json:
    path = root / PLAN / "tree.json"
    try:
        tree = _read_json(path)
    except (OSError, ValueError) as error:
        raise GanealogyError(f"{path}: {_reason(error)}; make it with: ganealogy plan") from None
    if not isinstance(tree.get("versions"), list) or not isinstance(tree.get("seeds"), list):
        raise GanealogyError(f"{path}: no list of versions and seeds in it; make it anew with: ganealogy plan")
    return tree


def _versions(tree: Json) -> list[Version]:
    recipes = {entry["name"]: entry.get("recipe") or {} for entry in tree["versions"]}
    versions = [
        Version(
            name=entry["name"],
            title=entry.get("title") or entry["name"],
            idea=(entry.get("idea") or "").strip(),
            source=entry.get("source") or "",
            note=(entry.get("note") or "").strip(),
            parent=entry.get("parent"),
            listed=bool(entry.get("listed", True)),
            index=index,
            changes=changes(entry.get("changes"), recipes.get(entry.get("parent"), {}), recipes[entry["name"]]),
            recipe=recipes[entry["name"]],
            parameters=entry.get("parameters") or {},
            pinned_lr=bool(entry.get("pinned_lr")),
        )
        for index, entry in enumerate(tree["versions"])
    ]
    by_name = {version.name: version for version in versions}
    for version in versions:
        if version.parent in by_name:
            by_name[version.parent].children.append(version)
    return versions


def _run(root: Path, version: str, seed: int, gaps: list[Gap]) -> Run:
    run = Run(version, seed, root / RUNS / f"{version}-{seed}")
    record = run.directory / "train/run.json"
    try:
        train = _read_json(record)
        run.status, run.reason = str(train["status"]), str(train.get("reason") or "")
        run.steps, run.kimg = int(train.get("steps") or 0), float(train.get("kimg") or 0)
        run.best = train.get("best") or {}
        run.digest = str(train.get("key") or "")
    except FileNotFoundError:
        gaps.append(Gap(run.name, "it has not been trained", run.command))
        return run
    except (OSError, ValueError, KeyError, TypeError) as error:
        run.status, run.reason = "broken", f"train/run.json: {_reason(error)}"
        gaps.append(Gap(run.name, run.reason, f"{run.command} --force"))
        return run
    if run.status == "diverged":
        gaps.append(Gap(run.name, f"diverged at step {run.steps}: {run.reason or 'no reason was recorded'}"))
    elif run.status != "finished":
        why = f": {run.reason}" if run.reason else ""
        gaps.append(Gap(run.name, f"{run.status} at step {run.steps}{why}", run.command))
    planned = _try(lambda: _read_json(root / PLAN / f"versions/{version}.json")["fingerprint"])
    if planned and train.get("plan") and planned != train["plan"]:
        why = "it was trained with another recipe, protocol or code than the plan says now"
        gaps.append(Gap(run.name, why, run.command))
    _ticks(run, gaps)
    _costs(run, gaps)
    _metrics(run, gaps)
    return run


def _ticks(run: Run, gaps: list[Gap]) -> None:
    path = run.directory / "train/metrics.jsonl"
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            if isinstance(tick := json.loads(line), dict):
                run.ticks.append(tick)
    except (OSError, ValueError) as error:
        gaps.append(Gap(f"curves of {run.name}", f"train/metrics.jsonl: {_reason(error)}", f"{run.command} --force"))


def _costs(run: Run, gaps: list[Gap]) -> None:
    try:
        run.cost = _read_json(run.directory / "cost/train.json")
    except (OSError, ValueError) as error:
        gaps.append(Gap(f"cost of {run.name}", f"cost/train.json: {_reason(error)}"))


def _metrics(run: Run, gaps: list[Gap]) -> None:
    try:
        found = _read_json(run.directory / "evaluate/metrics.json")
        measured, protocols = dict(found.get("metrics") or {}), dict(found.get("protocol") or {})
    except (OSError, ValueError, TypeError) as error:
        if run.status == "finished":
            cure = f"dvc repro evaluate@{run.key}"
            gaps.append(Gap(f"numbers of {run.name}", f"evaluate/metrics.json: {_reason(error)}", cure))
        return
    run.checkpoint, run.checkpoint_kimg = str(found.get("checkpoint") or ""), number(found.get("kimg"))
    run.ema = found["ema"] if isinstance(found.get("ema"), bool) else None
    run.neighbours = bool(found.get("neighbours"))
    run.flags = {name: flag for name, flag in _mapping(found, "flags").items() if isinstance(flag, dict)}
    run.not_measured = {name: str(why) for name, why in _mapping(found, "not_measured").items()}
    run.protocols = {name: protocol for name, protocol in protocols.items() if isinstance(protocol, dict)}
    for name, value in measured.items():
        if (finite := number(value)) is not None:
            run.metrics[name] = finite
        elif value is not None:
            gaps.append(Gap(f"{name} of {run.name}", f"its value is {value!r}, which is not a finite number"))


def _tell_what_was_not_measured(findings: Findings) -> None:
    """One gap a metric and reason, however many runs share it."""
    shared: dict[tuple[str, str], list[str]] = {}
    for run in findings.runs:
        for metric, why in run.not_measured.items():
            if metric.endswith("_se"):  # told with the estimate whose error it is
                continue
            shared.setdefault((metric, why), []).append(run.name)
    for (metric, why), names in shared.items():
        where = "every run" if len(names) == len(findings.runs) > 1 else ", ".join(names)
        findings.gaps.append(Gap(f"{metric} of {where}", f"not measured: {why}"))


def _mapping(content: Json, key: str) -> Json:
    found = content.get(key)
    return found if isinstance(found, dict) else {}


def _set_aside_other_protocols(findings: Findings) -> None:
    """Numbers measured in another way than most are no comparison: out of the table, into the gaps."""
    for metric in findings.metrics:
        measured = [run for run in findings.runs if metric in run.metrics]
        ways = {run.name: json.dumps(run.protocols.get(metric), sort_keys=True) for run in measured}
        usual = Counter(ways.values()).most_common(1)[0][0]
        for run in measured:
            if ways[run.name] != usual:
                usual_way, own_way = json.loads(usual) or {}, run.protocols.get(metric) or {}
                keys = sorted(key for key in usual_way | own_way if usual_way.get(key) != own_way.get(key))
                if len(keys) > 1 and "fingerprint" in keys:
                    keys = [*(key for key in keys if key != "fingerprint"), "fingerprint"]  # what differs, then its sum
                told = ", ".join(f"{key} {own_way.get(key)} where the others have {usual_way.get(key)}" for key in keys)
                cure = f"dvc repro --force evaluate@{run.key}"
                findings.gaps.append(Gap(f"{metric} of {run.name}", f"measured by another protocol: {told}", cure))
                del run.metrics[metric]


def _anchors(content: Json) -> dict[str, dict[str, float]]:
    """Metric → anchor → value."""
    tables = content.get("metrics", content)
    return {
        metric: {name: value for name in ANCHORS if (value := number(row.get(name))) is not None}
        for metric, row in tables.items()
        if isinstance(row, dict)
    }


def _optional(root: Path, path: Path, what: str, cure: str, gaps: list[Gap]) -> Json:
    try:
        return _read_json(root / path)
    except (OSError, ValueError) as error:
        gaps.append(Gap(what, f"{path}: {_reason(error)}", cure))
        return {}


def _read_json(path: Path) -> Json:
    content = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(content, dict):
        raise ValueError("not a JSON object")
    return content


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    if isinstance(error, KeyError):
        return f"no {error} in it"
    return f"not valid ({str(error).splitlines()[0]})" if str(error) else type(error).__name__


def _try(read: Any) -> Any:
    """The value, or None where a check has nothing to compare with: its absence is reported elsewhere."""
    try:
        return read()
    except (OSError, ValueError, KeyError):
        return None
