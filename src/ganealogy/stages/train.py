"""The train stage: train the seeds of a version, resume those that were interrupted, and publish what is complete.

A training works in build/wip/<run key> of the main workspace. There a killed or interrupted training is found again,
and a changed one, which has another key, starts afresh. A finished one moves to the store.
"""

from __future__ import annotations

import os
import platform
import shutil
import signal
import sys
import tempfile
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganealogy import budget
from ganealogy.errors import GanealogyError
from ganealogy.files import atomic
from ganealogy.files.records import read_record
from ganealogy.params import schema
from ganealogy.params.schema import Train
from ganealogy.record_types import CostJson, ManifestJson, RunIdentity, RunJson, VersionPlan
from ganealogy.runs import continuing, store
from ganealogy.runs.store import Entry
from ganealogy.runtime import memory, process
from ganealogy.runtime.workers import SendProgress
from ganealogy.stages import _seeds, _stage
from ganealogy.stages import _starts as starts
from ganealogy.stages._stage import Stage
from ganealogy.stages._training_progress import TrainingProgress
from ganealogy.workspace import MANIFEST, PACKED, RunDir, plan_path, run_key, run_name, seed_name, work_dir

if TYPE_CHECKING:
    from ganealogy.stages._jobs import Job
    from ganealogy.training.loop import Outcome, TrainingData


AS_SOURCE = "as-source"
"""File in a work folder: another training starts with this one's networks, so that its own process waits for it."""


def run(version: str, seeds: list[int] | None = None, ranks: int = 1) -> int:
    """Train a version, or resume it. Return the exit code: 0, or 143 / 130 after SIGTERM / Ctrl-C.

    A seed that diverges is a result: it is recorded, and the code is 0. `seeds`: None takes the plan's. `ranks`:
    processes that share each batch.
    """
    return _seeds.run("train", version, seeds, ranks)


def made_from(version: str, seed: int, run: RunDir) -> dict[str, str]:
    """Return the fingerprint of the version's plan, the digest of the data, the seed, and what it drives if not all."""
    plan = _stage.read_plan(plan_path(version), VersionPlan)
    manifest: ManifestJson = read_record(MANIFEST, "run `dvc repro preprocess`", ("dataset",))
    return digests(plan, manifest["dataset"], seed, run.vary)


def digests(plan: VersionPlan, data: str, seed: int, vary: str = "") -> dict[str, str]:
    """Return the digests of all that a training depends on; `data`: that of the packed pictures."""
    parts = {"plan": plan["fingerprint"], "data": data, "seed": str(seed)}
    parts["without_budget"] = continuing.digest(plan)
    if vary:
        parts["vary"] = vary
    return {**parts, "run": key(parts)}


def key(made_from: dict[str, str]) -> str:
    return run_key(made_from["plan"], made_from["data"], int(made_from["seed"]), made_from.get("vary", ""))


def make(version: str, seed: int, run: RunDir, send_progress: SendProgress | None = None) -> Entry:
    """Train one seed, or resume it, and put the result into the store. First train what it starts from, if need be.

    Raises: Terminated or KeyboardInterrupt when a signal stopped it, after the checkpoint.
    """
    return _make(_prepare(version, send_progress), seed, run.vary)


def make_source(job: Job, send_progress: SendProgress) -> None:
    """Train what a run starts from, in a worker, if the store lacks it."""
    _source(_prepare(job.version, send_progress), job.seed, job.vary)


@dataclass(frozen=True)
class Making:
    """A training that is being made, and its surroundings."""

    stage: Stage
    manifest: ManifestJson
    pictures: int
    interruption: process.Interruption
    send_progress: SendProgress | None

    @property
    def plan(self) -> VersionPlan:
        assert self.stage.version_plan is not None
        return self.stage.version_plan


def _prepare(version: str, send_progress: SendProgress | None) -> Making:
    interruption = process.Interruption()
    stage = _stage.prepare("train", version)
    from ganealogy.data import packed  # imported here: a wrong plan is reported before numpy is loaded

    manifest = packed.read_manifest(PACKED)
    _stage.verify_packed(manifest, PACKED)
    pictures = len(packed.open_split(PACKED, "train"))
    return Making(stage, manifest, pictures, interruption, send_progress)


def _make(making: Making, seed: int, vary: str = "", as_source: bool = False) -> Entry:
    """`as_source`: of another training. Then a process that trains it is waited for."""
    plan, stage, interruption = making.plan, making.stage, making.interruption
    start = _source(making, seed, vary) if "from" in plan else None
    identity = run_identity(plan, seed, making.manifest, vary, making.pictures)
    work, first = work_dir(identity["key"]), process.is_first_rank()
    waits = as_source or (work / AS_SOURCE).exists()
    what = None if waits else f"{plan['version']} with seed {seed_name(seed, vary)}"
    if as_source:
        work.mkdir(parents=True, exist_ok=True)
        (work / AS_SOURCE).touch()
    with process.explain_full_disk(work), process.exclusive_lock(work, what) if first else nullcontext():
        if waits and (entry := store.find("train", identity["key"])) is not None:
            shutil.rmtree(work)  # with the lock
            return entry
        settings = schema.load().train
        outcome, device = train(stage, identity, work, settings, interruption, making.send_progress, start, as_source)
        if outcome.status == "interrupted":
            if interruption.signal in (None, signal.SIGINT):
                raise KeyboardInterrupt
            raise process.Terminated(interruption.signal)
        stage.verify()
        parts = digests(plan, identity["data"], seed, vary)
        return publish(work, identity, outcome, device, parts) if first else None  # type: ignore[return-value]


def _source(making: Making, seed: int, vary: str) -> Entry:
    """Return the training that one starts from; train it if the store lacks it.

    Raises: GanealogyError if it diverged.
    """
    source = making.plan["from"]["plan"]
    record = starts.source_record(making.plan, seed, making.manifest["dataset"], vary)
    of = f"{source['version']} seed {record['seed']} at {record['kimg']:g} kimg"
    name = f"{making.plan['version']} seed {seed_name(seed, vary)}"
    entry = store.find("train", record["key"])
    if entry is None or not store.is_intact(entry):
        print(f"ganealogy: {name} starts from {of}, which is trained first", file=sys.stderr)
        stage = replace(making.stage, version_plan=source)
        entry = _make(replace(making, stage=stage), record["seed"], as_source=True)
    run = read_record(entry.out / "run.json", "train it again", kind=RunJson)
    if run["status"] != "finished":
        raise GanealogyError(
            f"{name}: {of}, from which it starts, {run['status']} {run['reason']}: choose fewer train.from.kimg"
        )
    return entry


def run_identity(
    plan: VersionPlan, seed: int, manifest: ManifestJson, vary: str = "", pictures: int | None = None
) -> RunIdentity:
    """Return the keys of run.json that do not change during a training.

    `pictures`: those of `train`, which a budget in epochs needs. The plan has epochs alone, so that its fingerprint is
    the same before and after the download.
    """
    identity: RunIdentity = {
        "version": plan["version"],
        "parent": plan["parent"],
        "seed": seed,
        "plan": plan["fingerprint"],
        "data": manifest["dataset"],
        "key": run_key(plan["fingerprint"], manifest["dataset"], seed, vary),
        "recipe": plan["recipe"],
        "protocol": budget.resolve(plan["protocol"], pictures),
    }
    if vary:
        identity["vary"] = vary
    if "from" in plan:
        identity["from"] = starts.source_record(plan, seed, manifest["dataset"], vary)
    return identity


def train(
    stage: Stage,
    identity: RunIdentity,
    work: Path,
    settings: Train,
    interruption: process.Interruption,
    send_progress: SendProgress | None = None,
    start: Entry | None = None,
    as_source: bool = False,
) -> tuple[Outcome, str]:
    """Train in `work`, from the end of a shorter training in the store if possible. Return outcome and device.

    `start`: the finished training whose networks it starts with; `as_source`: another training starts with its own.
    """
    from ganealogy import tracking
    from ganealogy.runtime import distributed
    from ganealogy.training import loop
    from ganealogy.training.run_files import RunFiles

    assert stage.version_plan is not None
    plan: VersionPlan = {**stage.version_plan, "protocol": identity["protocol"]}
    seed, vary = identity["seed"], identity.get("vary", "")
    name = f"{plan['version']} seed {seed_name(seed, vary)}"
    device = _stage.setup_device(settings)
    if device == "cuda" and settings.deterministic:
        use_deterministic_algorithms()
    if process.is_first_rank():
        announce_precision(name, plan["protocol"]["precision"], device)
        clean_up(work)  # before the other ranks look for a checkpoint
        if not (work / "checkpoints").is_dir() and not continuing.begin(name, work, plan, identity):
            announce_changes(work, name, identity)
    data = open_data(plan)
    begin = starts.read(plan, identity, start) if start is not None else None
    progress = TrainingProgress(name, plan["protocol"]["batch_size"], lambda: bool(interruption), send_progress)
    checkpoints = work / "checkpoints"
    with distributed.process_group(device) as device:
        if not distributed.is_first():
            with tempfile.TemporaryDirectory() as unused:
                files = RunFiles(Path(unused), checkpoints, identity)
                return loop.train(plan, seed, data, files, device, progress, vary, begin), device
        live = nullcontext() if vary or as_source else tracking.LiveSync(work, stopped=lambda: bool(interruption))
        with live:  # MLflow gets runs of the tree alone
            files = RunFiles(work / "train", checkpoints, identity)
            outcome = loop.train(plan, seed, data, files, device, progress, vary, begin)
    progress.close()
    if outcome.status == "interrupted":
        print(f"ganealogy: {name} {outcome.run['reason']}; the next `dvc repro` resumes it", file=sys.stderr)
    if outcome.status == "diverged":
        print(f"ganealogy: {name} diverged {outcome.run['reason']}; recorded as a result", file=sys.stderr)
    if outcome.status == "stopped":
        print(f"ganealogy: {name} was stopped {outcome.run['reason']}; recorded as a result", file=sys.stderr)
    return outcome, device


def open_data(plan: VersionPlan) -> TrainingData:
    """Open the training and the held-out pictures, and their labels if the recipe uses them.

    Raises: GanealogyError when they are damaged or not of the plan's shape.
    """
    from ganealogy.data import packed
    from ganealogy.training.loop import TrainingData

    protocol = plan["protocol"]
    images = packed.open_split(PACKED, "train")
    shape = (protocol["image_size"], protocol["image_size"], protocol["channels"])
    if images.shape[1:] != shape:
        path = PACKED / "train.npy"
        raise GanealogyError(
            f"{path}: pictures {images.shape[1:]}, but the plan has {shape}; run `dvc repro preprocess`"
        )
    labels = packed.open_labels(PACKED, "train", protocol["classes"]) if plan["recipe"]["labels"] else None
    held_out = packed.open_split(PACKED, "holdout")
    held_out_labels = None if labels is None else packed.open_labels(PACKED, "holdout", protocol["classes"])
    return TrainingData(images, labels, held_out, held_out_labels)


def use_deterministic_algorithms() -> None:
    """Let torch refuse CUDA algorithms whose results differ from run to run."""
    import torch

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts, which is later
    torch.use_deterministic_algorithms(True)
    # We never read uninitialised memory, and filling it costs time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def announce_precision(name: str, precision: Any, device: str) -> None:
    """Print a line if the device lacks the protocol's precision."""
    from ganealogy.runtime import precision as precisions

    if (used := precisions.on(device, precision)) != precision:
        print(f"ganealogy: {name} trains in {used}: this device has no {precision}", file=sys.stderr)


def clean_up(work: Path) -> None:
    """Remove the leftovers of an earlier attempt that cannot be used."""
    checkpoints, metrics = work / "checkpoints", work / "train" / "metrics.jsonl"
    for temporary in (work / "train").rglob(".*.tmp"):  # of a killed writer
        temporary.unlink()
    if checkpoints.is_dir() and not metrics.is_file():
        # Resuming from them would lose the earlier curves and grids.
        print(
            f"ganealogy: {metrics}: no such file, so its checkpoints cannot be used: starting afresh", file=sys.stderr
        )
        shutil.rmtree(checkpoints)


def announce_changes(work: Path, name: str, identity: RunIdentity) -> None:
    """Print a line if another interrupted training of the same version and seed is not resumed."""
    if changes := changes_since_interrupted(work, identity):
        print(f"ganealogy: {name}: starts afresh; {changes} changed since it was interrupted", file=sys.stderr)


def changes_since_interrupted(work: Path, identity: RunIdentity) -> str:
    """Return what differs from another interrupted training of the same version and seed; empty if there is none."""
    for checkpoint in sorted(work.parent.glob("*/checkpoints/*.json")):
        try:
            other = read_record(checkpoint.parents[1] / "train" / "run.json", "")
            if all(other.get(key) == identity.get(key) for key in ("version", "seed", "vary")):
                before = {**other["recipe"], **other["protocol"], "data": other["data"]}
                now = {**identity["recipe"], **identity["protocol"], "data": identity["data"]}
                return (
                    ", ".join(key for key in sorted({*before, *now}) if before.get(key) != now.get(key)) or "the code"
                )
        except (GanealogyError, KeyError, TypeError):
            continue  # another training's files
    return ""


def publish(work: Path, identity: RunIdentity, outcome: Outcome, device: str, made_from: dict[str, str]) -> Entry:
    """Write the final run.json, put the run and its last checkpoint into the store, and remove `work`."""
    weights = sorted((work / "train" / "weights").glob("*.safetensors"))
    sums = {path.stem: atomic.sha256(path) for path in weights}
    atomic.write_json(work / "train" / "run.json", {**outcome.run, "weights": sums})
    name = run_name(identity["version"], identity["seed"], identity.get("vary", ""))
    checkpoints = work / "checkpoints"
    for older in sorted(checkpoints.glob("*.json"))[:-1]:
        older.unlink()
        older.with_suffix(".safetensors").unlink()
    entry = store.put(
        "train", identity["key"], name, work / "train", cost(outcome, device), made_from, state=checkpoints
    )
    # Checkpoints first: one without its run files would be resumed without the earlier curves.
    shutil.rmtree(checkpoints, ignore_errors=True)
    shutil.rmtree(work)  # with the lock
    return entry


def cost(outcome: Outcome, device: str) -> CostJson:
    """Return clocks and host: everything about a training that may differ when it is repeated."""
    import torch

    peak = memory.peak()
    device_name = platform.processor() or platform.machine()
    if device.startswith("cuda"):
        peak, device_name = torch.cuda.max_memory_allocated(), torch.cuda.get_device_name()
    return {
        "seconds": round(outcome.seconds, 2),
        "cpu_seconds": round(outcome.cpu_seconds, 2),
        "tick_seconds": outcome.tick_seconds,
        "images_per_second": round(outcome.images / max(outcome.seconds, 1e-9), 1),
        "peak_memory_bytes": peak,
        "device": device,
        "arithmetic": outcome.precision,
        "device_name": device_name,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "host_cpus": os.cpu_count(),
        "resumed": outcome.resumed,
    }
