"""The train stage: train one run, resuming if interrupted, and publish its outputs when complete.

A training works in build/wip/<run key> of the main workspace. There a killed or interrupted training is found again,
and a changed one, which has another key, starts afresh.
"""

from __future__ import annotations

import os
import platform
import resource
import shutil
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganealogy.errors import GanealogyError
from ganealogy.files import atomic
from ganealogy.files.records import read_record
from ganealogy.params import schema
from ganealogy.params.schema import Train
from ganealogy.runtime import process
from ganealogy.stages import _stage
from ganealogy.stages._stage import Stage
from ganealogy.stages._training_progress import TrainingProgress
from ganealogy.workspace import PACKED, CostJson, ManifestJson, RunIdentity, VersionPlan, run_dir, run_key, work_dir

if TYPE_CHECKING:
    from ganealogy.training.loop import Outcome, TrainingData


def run(version: str, seed: int, ranks: int = 1) -> int:
    """Train one version with one seed, or resume it. Return the exit code: 0, or 143 / 130 after SIGTERM / Ctrl-C.

    A version that diverges is a result: it is recorded, and the code is 0. `ranks`: processes that share each batch.
    """
    settings = schema.load()
    if ranks > 1:
        return _stage.launch_with_torchrun(ranks, "train", version, seed, settings)
    process.die_with_parent()
    interruption = process.Interruption()
    stage = _stage.prepare("train", version, seed)
    from ganealogy.data import packed  # imported here: a wrong plan is reported before numpy is loaded

    manifest = packed.read_manifest(PACKED)
    _stage.verify_packed(manifest, PACKED)
    assert stage.version_plan is not None
    identity = run_identity(stage.version_plan, seed, manifest)
    work, first = work_dir(identity["key"]), process.is_first_rank()
    with (
        process.explain_full_disk(work, run_dir(version, seed)),
        process.exclusive_lock(work, f"{version} with seed {seed}") if first else nullcontext(),
    ):
        if first:
            _stage.remove_temp_files(stage.outs)
        return train(stage, identity, work, settings.train, interruption)


def run_identity(plan: VersionPlan, seed: int, manifest: ManifestJson) -> RunIdentity:
    """Return the keys of run.json that do not change during a training."""
    return {
        "version": plan["version"],
        "parent": plan["parent"],
        "seed": seed,
        "plan": plan["fingerprint"],
        "data": manifest["dataset"],
        "key": run_key(plan["fingerprint"], manifest["dataset"], seed),
        "recipe": plan["recipe"],
        "protocol": plan["protocol"],
    }


def train(stage: Stage, identity: RunIdentity, work: Path, settings: Train, interruption: process.Interruption) -> int:
    """Train in `work`, then verify code and inputs, and publish. Return the exit code."""
    from ganealogy import tracking
    from ganealogy.runtime import distributed
    from ganealogy.training import loop
    from ganealogy.training.run_files import RunFiles

    plan = stage.version_plan
    assert plan is not None
    name = f"{plan['version']} seed {identity['seed']}"
    device = _stage.setup_device(settings)
    if device == "cuda" and settings.deterministic:
        use_deterministic_algorithms()
    if process.is_first_rank():
        announce_precision(name, plan["protocol"]["precision"], device)
        clean_up(work, name, identity)  # before the other ranks look for a checkpoint
    data = open_data(plan)
    progress = TrainingProgress(name, plan["protocol"]["batch_size"], should_stop=lambda: bool(interruption))
    checkpoints = work / "checkpoints"
    with distributed.process_group(device) as device:
        if not distributed.is_first():
            with tempfile.TemporaryDirectory() as unused:
                files = RunFiles(Path(unused), checkpoints, identity)
                outcome = loop.train(plan, identity["seed"], data, files, device, progress)
            return interruption.exit_code if outcome.status == "interrupted" else 0
        with tracking.LiveSync(work, stopped=lambda: bool(interruption)):
            files = RunFiles(work / "train", checkpoints, identity)
            outcome = loop.train(plan, identity["seed"], data, files, device, progress)
    progress.close()
    if outcome.status == "interrupted":
        print(f"ganealogy: {name} {outcome.run['reason']}; the next `dvc repro` resumes it", file=sys.stderr)
        return interruption.exit_code
    if outcome.status == "diverged":
        print(f"ganealogy: {name} diverged {outcome.run['reason']}; recorded as a result", file=sys.stderr)
    stage.verify()
    publish(work, run_dir(plan["version"], identity["seed"]), outcome, device)
    return 0


def open_data(plan: VersionPlan) -> TrainingData:
    """Open the training pictures, and their labels if the recipe uses them.

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
    return TrainingData(images, labels)


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


def clean_up(work: Path, name: str, identity: RunIdentity) -> None:
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
    elif not checkpoints.is_dir() and (changes := changes_since_interrupted(work, identity)):
        print(f"ganealogy: {name}: starts afresh; {changes} changed since it was interrupted", file=sys.stderr)


def changes_since_interrupted(work: Path, identity: RunIdentity) -> str:
    """Return what differs from another interrupted training of the same version and seed; empty if there is none."""
    for checkpoint in sorted(work.parent.glob("*/checkpoints/*.json")):
        try:
            other = read_record(checkpoint.parents[1] / "train" / "run.json", "")
            if (other["version"], other["seed"]) == (identity["version"], identity["seed"]):
                before = {**other["recipe"], **other["protocol"], "data": other["data"]}
                now = {**identity["recipe"], **identity["protocol"], "data": identity["data"]}
                return (
                    ", ".join(key for key in sorted({*before, *now}) if before.get(key) != now.get(key)) or "the code"
                )
        except (GanealogyError, KeyError, TypeError):
            continue  # another training's files
    return ""


def publish(work: Path, run: Path, outcome: Outcome, device: str) -> None:
    """Write the final run.json and the cost, move the outputs to the run directory, and remove `work`."""
    weights = sorted((work / "train" / "weights").glob("*.safetensors"))
    sums = {path.stem: atomic.sha256(path) for path in weights}
    atomic.write_json(work / "train" / "run.json", {**outcome.run, "weights": sums})
    atomic.write_json(run / "cost" / "train.json", cost(outcome, device))
    copy_into_place(work / "train", run / "train")
    # Checkpoints first: one without its run files would be resumed without the earlier curves.
    shutil.rmtree(work / "checkpoints", ignore_errors=True)
    shutil.rmtree(work)  # with the lock


def copy_into_place(source: Path, target: Path) -> None:
    """Replace `target` by a copy of `source`, which a kill at any moment leaves intact."""
    if target.exists():
        shutil.rmtree(target)
    copy = target.with_name(f".{target.name}.copy.tmp")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(source, copy, copy_function=_link_or_copy)
    copy.replace(target)


def _link_or_copy(source: str, target: str) -> None:
    """Hard-link where both are on one file system, which costs no space; neither file is written to again."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def cost(outcome: Outcome, device: str) -> CostJson:
    """Return clocks and host: everything about a training that may differ when it is repeated."""
    import torch

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    device_name = platform.processor() or platform.machine()
    if device.startswith("cuda"):
        peak, device_name = torch.cuda.max_memory_allocated(), torch.cuda.get_device_name()
    return {
        "seconds": round(outcome.seconds, 2),
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
