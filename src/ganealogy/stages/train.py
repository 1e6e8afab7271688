"""The train stage: one run from its plan to its record, taken up where it stood, handed over when it is whole."""

from __future__ import annotations

import json
import os
import platform
import resource
import shutil
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from ganealogy.errors import GanealogyError
from ganealogy.files import atomic
from ganealogy.lineage import fingerprint
from ganealogy.params.schema import Settings, Train
from ganealogy.runtime import process
from ganealogy.stages import _stage
from ganealogy.stages._training_progress import TrainingBar

WORK = Path("build/wip")
"""Below the main workspace: work in progress, by run key."""
CHECKPOINT_FACTS = {"step", "ticks", "summed", "best", "seconds", "resumed"}
"""What `training/loop.py` needs of a checkpoint beside its tensors."""


def train(version: str, seed: int, settings: Settings) -> int:
    """Train one version with one seed, or go on with it. Returns the exit code: 0, or 143/130 when told to stop.

    A version that diverges is a result: it is recorded and the code is 0.
    """
    process.die_with_parent()
    interruption = process.Interruption()
    first = process.is_first_rank()
    run = _stage.run_directory(version, seed)
    path = _stage.PLAN / "versions" / f"{version}.json"
    plan = _stage.read_plan(path)
    from ganealogy.data import packed  # numpy, which a person who mistyped need not wait for

    manifest = packed.read_manifest(_stage.PACKED)
    _stage.verify_packed(manifest, _stage.PACKED)
    data = manifest["dataset"]
    key = atomic.digest([plan["fingerprint"], data, seed])
    work = process.main_workspace() / WORK / key[:20]
    with (
        process.explain_full_disk(work, run),
        process.exclusive_lock(work, f"{version} with seed {seed}") if first else nullcontext(),
    ):
        if first:
            _stage.remove_temp_files([run / "train", run / "cost" / "train.json"])
        return _train(
            plan, seed, data, key, work, settings.train, interruption, _stage.InputSnapshot([path, _stage.PACKED])
        )


def _train(
    plan: dict[str, Any],
    seed: int,
    data: str,
    key: str,
    work: Path,
    settings: Train,
    interruption: process.Interruption,
    inputs: _stage.InputSnapshot,
) -> int:
    from ganealogy import tracking
    from ganealogy.data import packed
    from ganealogy.runtime import distributed
    from ganealogy.training import loop
    from ganealogy.training.run_files import RunFiles

    device = _stage.setup_device(settings)
    if device == "cuda" and settings.deterministic:
        repeat_on_cuda()
    version = plan["version"]
    facts = {
        "version": version,
        "parent": plan["parent"],
        "seed": seed,
        "plan": plan["fingerprint"],
        "data": data,
        "key": key,
        "recipe": plan["recipe"],
        "protocol": plan["protocol"],
    }
    if process.is_first_rank():
        announce_precision(facts, device)
        tidy(work, facts)  # before the other ranks are met, who then look for the same checkpoint
    watcher = TrainingBar(f"{version} seed {seed}", plan["protocol"]["batch_size"], work / "train" / "metrics.jsonl")
    images = packed.open_split(_stage.PACKED, "train")
    planned = (plan["protocol"]["image_size"], plan["protocol"]["image_size"], plan["protocol"]["channels"])
    if images.shape[1:] != planned:
        path = _stage.PACKED / "train.npy"
        raise GanealogyError(f"{path}: pictures {images.shape[1:]}, where the plan is for {planned}; {packed.CURE}")
    labels = None
    if plan["recipe"]["labels"]:
        labels = packed.open_labels(_stage.PACKED, "train", plan["protocol"]["classes"])
    with distributed.process_group(device) as device:

        def share(record: RunFiles) -> loop.Outcome:
            checkpoints, asked = work / "checkpoints", lambda: bool(interruption)
            return loop.train(plan, seed, data, images, record, checkpoints, device, watcher, asked, labels)

        if not distributed.is_first():
            with tempfile.TemporaryDirectory() as unread:
                outcome = share(RunFiles(Path(unread), facts))
            return interruption.exit_code if outcome.status == "interrupted" else 0
        with tracking.LiveSync(work, stopped=lambda: bool(interruption)):
            outcome = share(RunFiles(work / "train", facts))
    watcher.close()
    if outcome.status == "interrupted":
        print(
            f"ganealogy: {version} seed {seed} {outcome.run['reason']}; it goes on from there next time",
            file=sys.stderr,
        )
        return interruption.exit_code
    if outcome.status == "diverged":
        print(f"ganealogy: {version} seed {seed} diverged {outcome.run['reason']}; recorded", file=sys.stderr)
    fingerprint.verify(plan["code"], "while it trained")
    fingerprint.verify_loaded(plan["code"])
    inputs.verify()
    weights = sorted((work / "train" / "weights").glob("*.safetensors"))
    sums = {path.stem: atomic.sha256(path) for path in weights}
    atomic.write_json(work / "train" / "run.json", {**outcome.run, "weights": sums})
    run = _stage.run_directory(version, seed)
    atomic.write_json(run / "cost" / "train.json", cost(outcome, device))
    hand_over(work / "train", run / "train")
    # Checkpoints first: one without the record that it goes on from would end in another record.
    if (work / "checkpoints").is_dir():  # there are none where the training diverged at once
        shutil.rmtree(work / "checkpoints")
    shutil.rmtree(work)  # the lock goes too: there is nothing left to hold
    return 0


def repeat_on_cuda() -> None:
    """Have torch refuse CUDA algorithms that give other bits when they run again."""
    import torch

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts, which is later
    torch.use_deterministic_algorithms(True)
    # We read none, and filling it costs time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def announce_precision(facts: dict[str, Any], device: str) -> None:
    """Say where a device lacks the protocol's precision; `facts`: of the run's record."""
    from ganealogy.runtime import precision  # torch, which a person who mistyped need not wait for

    asked = facts["protocol"]["precision"]
    if (found := precision.on(device, asked)) != asked:
        name = f"{facts['version']} seed {facts['seed']}"
        print(f"ganealogy: {name} trains in {found}: this device has no {asked}", file=sys.stderr)


def tidy(work: Path, facts: dict[str, Any]) -> None:
    """What an earlier attempt left behind is made fit to go on from, or put aside; `facts`: of the run's record."""
    announce_fresh_start(work, facts)
    for stray in (work / "train").rglob(".*.tmp"):  # of a killed writer; the record is handed over as a whole
        stray.unlink()
    forget_without_record(work)
    set_aside_foreign(work / "checkpoints", facts["recipe"], facts["protocol"])


def announce_fresh_start(work: Path, facts: dict[str, Any]) -> None:
    """Where an interrupted training of this version stands under another plan, say what differs; it is left alone."""
    if (work / "checkpoints").is_dir():
        return
    for other in sorted(work.parent.glob("*/checkpoints/*.json")):
        path = other.parent.parent / "train" / "run.json"
        try:
            run = json.loads(path.read_text(encoding="utf-8"))
            same = (run["version"], run["seed"]) == (facts["version"], facts["seed"])
            same = same and all(isinstance(run[name], dict) for name in ("recipe", "protocol"))
        except (OSError, ValueError, KeyError, TypeError):
            continue  # not this training's to judge
        if same:
            differing = [name for name in ("recipe", "protocol", "data") if run.get(name) != facts[name]]
            keys = [
                key
                for name in ("recipe", "protocol")
                for key in sorted({*run[name], *facts[name]})
                if run[name].get(key) != facts[name].get(key)
            ]
            what = ", ".join(keys) or ("the data" if "data" in differing else "the code")
            print(
                f"{facts['version']} seed {facts['seed']}: starts afresh; {what} changed since it was interrupted",
                file=sys.stderr,
            )
            return


def forget_without_record(work: Path) -> None:
    """Drop checkpoints whose record is not there: to go on from one would leave the earlier curves and grids out."""
    checkpoints, metrics = work / "checkpoints", work / "train" / "metrics.jsonl"
    if checkpoints.is_dir() and not metrics.is_file():
        print(f"{metrics}: no such file; its checkpoints are of no use without it: starting afresh", file=sys.stderr)
        shutil.rmtree(checkpoints)


def set_aside_foreign(checkpoints: Path, recipe: dict[str, Any], protocol: dict[str, Any]) -> None:
    """Take checkpoints of other networks, or without all their facts, out of the way: whole files, but not ours.

    What is damaged is left to the training, which names it and takes an older one.
    """
    from safetensors import SafetensorError, safe_open

    from ganealogy.networks import _build

    wanted: dict[str, list[int]] = {}
    for path in sorted(checkpoints.glob("*.json"), reverse=True):
        if not wanted:
            networks = {"generator": _build.generator, "discriminator": _build.discriminator}
            wanted = {
                f"{name}/{key}": list(tensor.shape)
                for name, network in networks.items()
                for key, tensor in network(recipe, protocol).state_dict().items()
            }
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))["facts"]
            with safe_open(str(path.with_suffix(".safetensors")), "pt") as file:
                found = {
                    name: file.get_slice(name).get_shape()
                    for name in file.keys()  # noqa: SIM118 (no mapping: it has no iterator)
                    if name.startswith(("generator/", "discriminator/"))
                }
        except (OSError, ValueError, KeyError, TypeError, RecursionError, SafetensorError):
            continue
        if found != wanted or not isinstance(facts, dict) or not facts.keys() >= CHECKPOINT_FACTS:
            print(f"{path}: checkpoint cannot be used (not of this training); trying an older one", file=sys.stderr)
            path.rename(path.with_suffix(".foreign"))


def hand_over(source: Path, target: Path) -> None:
    """Give a finished record its final name. A copy, so that a kill at any moment leaves the source to begin from."""
    if target.exists():
        shutil.rmtree(target)
    beside = target.with_name(f".{target.name}.copy.tmp")
    shutil.rmtree(beside, ignore_errors=True)
    shutil.copytree(source, beside, copy_function=_link_or_copy)
    beside.replace(target)


def _link_or_copy(source: str, target: str) -> None:
    """On one file system both names are of one file, which costs no space; nothing writes to it any more."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def cost(outcome: Any, device: str) -> dict[str, Any]:
    """Clocks and host: everything about a training that may differ when it is repeated."""
    import torch

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    if device.startswith("cuda"):
        peak = torch.cuda.max_memory_allocated()
    return {
        "seconds": round(outcome.seconds, 2),
        "tick_seconds": outcome.tick_seconds,
        "images_per_second": round(outcome.images / max(outcome.seconds, 1e-9), 1),
        "peak_memory_bytes": peak,
        "device": device,
        "arithmetic": outcome.arithmetic,
        "device_name": torch.cuda.get_device_name()
        if device.startswith("cuda")
        else platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "host_cpus": os.cpu_count(),
        "resumed": outcome.resumed,
    }
