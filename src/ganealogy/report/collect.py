"""Read the files of all stages into findings. An absent or broken file becomes a gap, not an error.

The plan decides what is reported: other run directories are not read, and `prune` removes those that the store has.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ganealogy.errors import GanealogyError, one_line, printable
from ganealogy.files import records
from ganealogy.files.records import RecordError
from ganealogy.lineage.changes import changes
from ganealogy.lineage.versions import Ablates
from ganealogy.report.findings import ANCHORS, COMPLETE, Conclusion, Findings, Gap, Json, Run, Version, number
from ganealogy.runs import store
from ganealogy.verdicts import noise
from ganealogy.workspace import ANCHORS as ANCHORS_FILE
from ganealogy.workspace import MANIFEST, NOISE, RUN_STAGES, RUNS, TREE, VERSION_NAME, plan_path, run_dir


def collect(root: Path = Path()) -> Findings:
    """Read the results of the versions and seeds that the plan under `root` lists.

    Raises: GanealogyError when there is no plan.
    """
    tree = _tree(root)
    gaps: list[Gap] = []
    manifest = _optional(root, MANIFEST, "description of the data set", "dvc repro preprocess", gaps)
    anchors = _optional(root, ANCHORS_FILE, "anchors beside the numbers", "dvc repro reference", gaps)
    versions = _versions(tree)
    for version in versions:
        if version.listed:
            version.fingerprint = _planned_fingerprint(root, version.name)
            version.runs = [_run(root, version, seed, gaps) for seed in version.seeds]
    findings = Findings(
        root=root,
        versions=versions,
        dataset=tree.get("dataset") or {},
        train=tree.get("protocol") or {},
        sample=tree.get("sample") or {},
        evaluate=tree.get("evaluate") or {},
        manifest=manifest,
        anchors=_anchors(anchors),
        battery=_values(anchors.get("battery")),
        anchors_described={**ANCHORS, **anchors.get("described", {})},
        gaps=gaps,
        left_out=list(tree.get("left_out") or []),
    )
    _exclude_other_protocols(findings)
    findings.noise = _noise(findings)
    _report_unmeasured(findings)
    if "fid" not in findings.metrics:
        gaps.append(Gap("fid: not measured", *findings.why_no_fid))
    return findings


def prune(root: Path | None = None) -> list[str]:
    """Remove the results of versions that the plan does not list, if the store has them; return these versions' names.

    Links stay, and whatever else is in a version's folder.
    """
    folder = root or Path()
    planned = {entry["name"] for entry in _tree(folder)["versions"] if entry.get("listed")}
    removed = []
    for path in sorted((folder / RUNS).glob("*")):
        version = VERSION_NAME.fullmatch(path.name) and not path.is_symlink()
        if version and path.name not in planned and store.held(path, root):
            for part in (*RUN_STAGES, "cost"):
                shutil.rmtree(path / part, ignore_errors=True)
            with suppress(OSError):  # not empty
                path.rmdir()
            removed.append(path.name)
    return removed


def _tree(root: Path) -> Json:
    path = root / TREE
    tree: Json = read_record(path, "to make it, run: ganealogy plan")
    entries = tree.get("versions")
    if not isinstance(entries, list) or not all(map(_is_version, entries)):
        raise GanealogyError(f"{path}: no list of versions; to make it again, run: ganealogy plan")
    return tree


def _is_version(entry: Any) -> bool:
    """Return whether this is an entry whose names may go into paths, anchors and commands."""
    if not isinstance(entry, dict):
        return False
    parents, ablates = entry.get("parents") or [], entry.get("ablates") or {}
    if not isinstance(parents, list) or not isinstance(ablates, dict):
        return False
    names = [entry.get("name"), entry.get("parent") or "v1", *parents, ablates.get("version") or "v1"]
    return all(isinstance(name, str) and VERSION_NAME.fullmatch(name) for name in names)


def read_record(path: Path, hint: str, keys: tuple[str, ...] = ()) -> Any:
    """Return a record, which may be a colleague's, without control characters in its texts."""
    return _printable(records.read_record(path, hint, keys))


def _printable(content: Any) -> Any:
    if isinstance(content, str):
        return printable(content)
    if isinstance(content, dict):
        return {printable(key): _printable(value) for key, value in content.items()}
    return [_printable(value) for value in content] if isinstance(content, list) else content


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
            flops=entry.get("flops") or None,
            sample_flops=entry.get("sample_flops") or None,
            seeds=list(entry.get("seeds") or []),
            layers=entry.get("layers") or {},
            conclusion=_conclusion(entry.get("conclusion")),
            parents=list(entry.get("parents") or filter(None, [entry.get("parent")])),
            ablates=_ablates(entry.get("ablates")),
            in_force=list(entry.get("in_force") or []),
            start=entry["from"] if isinstance(entry.get("from"), dict) else {},
            overwritten=list(entry.get("overwritten") or []),
        )
        for index, entry in enumerate(tree["versions"])
    ]
    by_name = {version.name: version for version in versions}
    grown = {parent for version in versions for parent in version.parents}
    for version in versions:
        whole = by_name.get(version.ablates.get("version", ""))
        if whole is None or not whole.listed or version.name in grown:
            version.ablates = {}  # nothing to compare it with but its parent, or a part of the tree
        if version.ablates and whole is not None:
            whole.ablations.append(version)
        elif version.parent in by_name:
            by_name[version.parent].children.append(version)
    return versions


def _ablates(entry: Any) -> Json:
    """Return what a version takes apart, or nothing where that is damaged."""
    try:
        return Ablates.model_validate(entry).model_dump(exclude_none=True) if entry else {}
    except ValidationError:
        return {}


def _conclusion(entry: Any) -> Conclusion | None:
    text, numbers = (entry.get(key) if isinstance(entry, dict) else None for key in ("text", "numbers"))
    return Conclusion(text.strip(), str(numbers or "")) if isinstance(text, str) and text.strip() else None


def _planned_fingerprint(root: Path, version: str) -> str:
    """Return the fingerprint in the version's plan; empty without one."""
    try:
        return str(read_record(root / plan_path(version), "", ("fingerprint",))["fingerprint"] or "")
    except RecordError:
        return ""


def _run(root: Path, version: Version, seed: int, gaps: list[Gap]) -> Run:
    run = Run(version.name, seed, run_dir(version.name, seed, root))
    try:
        train = read_record(run.directory / "train/run.json", run.command, ("status",))
        run.status, run.reason = str(train["status"]), str(train.get("reason") or "")
        run.steps, run.kimg = int(train.get("steps") or 0), float(train.get("kimg") or 0)
        run.best = train.get("best") or {}
        run.health = [sign for sign in train.get("health") or [] if isinstance(sign, dict)]
        run.key = str(train.get("key") or "")
    except (RecordError, ValueError, TypeError) as error:
        if isinstance(error, RecordError) and error.absent:
            gaps.append(Gap(run.label, "it has not been trained", run.command))
            return run
        run.status, run.reason = "broken", f"train/run.json: {_fault(error)}"
        gaps.append(Gap(run.label, run.reason, f"{run.command} --force"))
        return run
    if run.status == "diverged":
        gaps.append(Gap(run.label, f"diverged at step {run.steps}: {run.reason or 'no reason was recorded'}"))
    elif run.status not in COMPLETE:
        why = f": {run.reason}" if run.reason else ""
        gaps.append(Gap(run.label, f"{run.status} at step {run.steps}{why}", run.command))
    if version.fingerprint and train.get("plan") and version.fingerprint != train["plan"]:
        why = "its recipe, protocol or code differs from the present plan's"
        gaps.append(Gap(run.label, why, run.command))
    _read_ticks(run, gaps)
    _read_cost(run, root, gaps)
    _read_metrics(run, gaps)
    return run


def _read_ticks(run: Run, gaps: list[Gap]) -> None:
    path = run.directory / "train/metrics.jsonl"
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            if isinstance(tick := json.loads(line), dict):
                run.ticks.append(tick)
    except (OSError, ValueError) as error:
        gaps.append(Gap(f"curves of {run.label}", f"train/metrics.jsonl: {_fault(error)}", f"{run.command} --force"))


def _read_cost(run: Run, root: Path, gaps: list[Gap]) -> None:
    path = run.directory.costs["train"]
    try:
        run.cost = read_record(path, run.command)
    except RecordError as error:
        gaps.append(Gap(f"cost of {run.label}", f"{path.relative_to(root)}: {error.fault}"))


def _read_metrics(run: Run, gaps: list[Gap]) -> None:
    try:
        record = read_record(run.directory / "evaluate/metrics.json", run.command)
        metrics, protocols = dict(record.get("metrics") or {}), dict(record.get("protocol") or {})
    except (RecordError, ValueError, TypeError) as error:
        if run.status in COMPLETE:
            why, hint = f"evaluate/metrics.json: {_fault(error)}", f"dvc repro evaluate@{run.version}"
            gaps.append(Gap(f"numbers of {run.label}", why, hint))
        return
    run.repeats = {
        name: [value for value in values if number(value) is not None]
        for name, values in _mapping(record, "repeats").items()
        if isinstance(values, list)
    }
    run.other = _mapping(_mapping(record, "other"), "metrics")
    run.ema = record["ema"] if isinstance(record.get("ema"), bool) else None
    run.classes = _mapping(record, "classes")
    run.neighbours = bool(record.get("neighbours"))
    run.flags = {name: flag for name, flag in _mapping(record, "flags").items() if isinstance(flag, dict)}
    run.not_measured = {name: str(why) for name, why in _mapping(record, "not_measured").items()}
    run.protocols = {name: protocol for name, protocol in protocols.items() if isinstance(protocol, dict)}
    for name, value in metrics.items():
        if (finite := number(value)) is not None:
            run.metrics[name] = finite
        elif value is not None:
            gaps.append(Gap(f"{name} of {run.label}", f"its value is {value!r}, which is not a finite number"))


def _noise(findings: Findings) -> Json:
    """Return the record of `ganealogy noise`; empty if it is absent, damaged, or of another plan, data or protocol."""
    keys = ("version", "runs", "plan", "data", "lead", "protocol", "values")
    try:
        record: Json = read_record(findings.root / NOISE, "", keys)
    except RecordError:
        return {}
    version = next((each for each in findings.listed if each.name == record["version"]), None)
    measured = [run.protocols.get(record["lead"]) for run in version.runs] if version else []
    belongs = (
        version is not None
        and record["plan"] == version.fingerprint
        and record["data"] == findings.manifest.get("dataset")
        and record["lead"] == findings.primary_metric
        and record["protocol"] in measured
    )
    try:
        return record if belongs and noise.spreads(record) else {}  # type: ignore[arg-type]
    except (AttributeError, TypeError, ValueError):
        return {}


def _report_unmeasured(findings: Findings) -> None:
    """Add one gap per metric and reason, with all runs it applies to."""
    labels: dict[tuple[str, str], list[str]] = {}
    for run in findings.runs:
        for metric, why in run.not_measured.items():
            if metric.endswith("_se") or (metric == "fid" and "fid" not in findings.metrics):  # `collect` reports them
                continue
            labels.setdefault((metric, why), []).append(run.label)
    for (metric, why), runs in labels.items():
        where = "every run" if len(runs) == len(findings.runs) > 1 else ", ".join(runs)
        findings.gaps.append(Gap(f"{metric} of {where}", f"not measured: {why}"))


def _exclude_other_protocols(findings: Findings) -> None:
    """Move values whose protocol differs from the most common one into the gaps: they are not comparable."""
    for metric in findings.metrics:
        measured = [run for run in findings.runs if metric in run.metrics]
        protocols = {run.label: json.dumps(run.protocols.get(metric), sort_keys=True) for run in measured}
        most_common = Counter(protocols.values()).most_common(1)[0][0]
        usual = json.loads(most_common) or {}
        for run in measured:
            if protocols[run.label] != most_common:
                differences = _differences(run.protocols.get(metric) or {}, usual)
                hint = f"dvc repro --force evaluate@{run.version}"
                gap = Gap(f"{metric} of {run.label}", f"measured by another protocol: {differences}", hint)
                findings.gaps.append(gap)
                del run.metrics[metric]


def _differences(protocol: Json, usual: Json) -> str:
    keys = sorted(key for key in usual | protocol if usual.get(key) != protocol.get(key))
    if len(keys) > 1 and "fingerprint" in keys:
        keys = [*(key for key in keys if key != "fingerprint"), "fingerprint"]  # causes before their digest
    return ", ".join(f"{key} {protocol.get(key)} where the others have {usual.get(key)}" for key in keys)


def _anchors(content: Json) -> dict[str, dict[str, float]]:
    """Return metric → anchor → value, in the order of ANCHORS."""
    tables = _values(content.get("metrics", content))
    return {metric: {name: row[name] for name in ANCHORS if name in row} for metric, row in tables.items()}


def _values(tables: Any) -> dict[str, dict[str, float]]:
    """Return metric → set of pictures → value, without what is no number."""
    return {
        metric: {name: value for name, each in row.items() if (value := number(each)) is not None}
        for metric, row in (tables.items() if isinstance(tables, dict) else ())
        if isinstance(row, dict)
    }


def _optional(root: Path, path: Path, what: str, hint: str, gaps: list[Gap]) -> Json:
    try:
        content: Json = read_record(root / path, hint)
    except RecordError as error:
        gaps.append(Gap(what, f"{path}: {error.fault}", hint))
        return {}
    return content


def _mapping(content: Json, key: str) -> Json:
    value = content.get(key)
    return value if isinstance(value, dict) else {}


def _fault(error: Exception) -> str:
    if isinstance(error, RecordError):
        return error.fault
    return (isinstance(error, OSError) and error.strerror) or f"not valid ({one_line(error)})"
