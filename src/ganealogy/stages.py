"""How a stage runs: its plan in, its code checked before and after, its record handed over when it is whole."""

from __future__ import annotations

import json
import os
import platform
import resource
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ganealogy import atomic, process
from ganealogy.errors import GanealogyError
from ganealogy.lineage import fingerprint
from ganealogy.progress import Progress
from ganealogy.settings import Settings, Train

PLAN = Path("build/plan")
RAW, PACKED, REFERENCE = Path("data/raw"), Path("data/packed"), Path("data/reference")
RUNS = Path("build/runs")
WORK = Path("build/wip")
"""Below the main workspace: work in progress, by run key."""


def run_directory(version: str, seed: int) -> Path:
    return RUNS / f"{version}-{seed}"


@contextmanager
def stage(name: str, cost: Path | None = None, version: str | None = None) -> Iterator[dict[str, Any]]:
    """The stage's plan; its code is the plan's before and after, or the stage fails.

    `cost`: where its seconds go; `version`: whose networks it runs (a change in them comes with the trained weights).
    """
    process.die_with_parent()
    planned = read_plan(PLAN / "stages" / f"{name}.json")
    code = planned["code"] | (read_plan(PLAN / "versions" / f"{version}.json")["code"] if version else {})
    began = time.monotonic()
    yield planned
    fingerprint.verify(code, "while it ran")
    fingerprint.verify_loaded(code)
    if cost is not None:
        atomic.write_json(cost, {"seconds": round(time.monotonic() - began, 3)})


def read_plan(path: Path) -> dict[str, Any]:
    """Raises: GanealogyError when there is no plan, or the sources are not those that it was made for."""
    if not path.is_file():
        raise GanealogyError(f"{path} is not there: run `dvc repro plan` first, and name a version of tree.versions")
    planned: dict[str, Any] = json.loads(path.read_text())
    fingerprint.verify(planned["code"], "since the plan was made")
    return planned


def train(version: str, seed: int, settings: Settings) -> int:
    """Train one version with one seed, or go on with it. Returns the exit code: 0, or 143/130 when told to stop.

    A version that diverges is a result: it is recorded and the code is 0.
    """
    process.die_with_parent()
    interruption = process.Interruption()
    plan = read_plan(PLAN / "versions" / f"{version}.json")
    data = json.loads((PACKED / "manifest.json").read_text())["dataset"]
    key = atomic.digest([plan["fingerprint"], data, seed])
    work = process.root() / WORK / key[:20]
    with process.only_one(work, f"{version} with seed {seed}"):
        return _train(plan, seed, data, key, work, settings.train, interruption)


def _train(
    plan: dict[str, Any],
    seed: int,
    data: str,
    key: str,
    work: Path,
    settings: Train,
    interruption: process.Interruption,
) -> int:
    from ganealogy import tracking
    from ganealogy.data import packed
    from ganealogy.training import loop
    from ganealogy.training.record import Record

    device = settle(settings)
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
    announce_fresh_start(work, facts)
    watcher = Bar(f"{version} seed {seed}", plan["protocol"]["batch_size"])
    images = packed.open_split(PACKED, "train")
    labels = packed.open_labels(PACKED, "train") if plan["recipe"]["labels"] else None
    record = Record(work / "train", facts)
    with tracking.LiveSync(work):
        outcome = loop.train(
            plan, seed, data, images, record, work / "checkpoints", device, watcher, lambda: bool(interruption), labels
        )
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
    run = run_directory(version, seed)
    atomic.write_json(run / "cost" / "train.json", cost(outcome, device))
    hand_over(work / "train", run / "train")
    shutil.rmtree(work)  # the lock goes too: there is nothing left to hold
    return 0


def settle(settings: Train) -> str:
    """Give torch its threads; returns the device to work on, "cuda" or "cpu".

    Raises: GanealogyError when CUDA is asked for and not there.
    """
    import torch

    process.keep_memory()
    torch.set_num_threads(process.threads(settings.threads))
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise GanealogyError("params.yaml: train.device is cuda, and torch sees no GPU; set it to auto or cpu")
    return "cuda" if settings.device != "cpu" and torch.cuda.is_available() else "cpu"


def repeat_on_cuda() -> None:
    """Have torch refuse CUDA algorithms that give other bits when they run again."""
    import torch

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts, which is later
    torch.use_deterministic_algorithms(True)
    # We read none, and filling it costs time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def announce_fresh_start(work: Path, facts: dict[str, Any]) -> None:
    """Where an interrupted training of this version stands under another plan, say what differs; it is left alone."""
    if (work / "checkpoints").is_dir():
        return
    for other in sorted(work.parent.glob("*/checkpoints/*.json")):
        path = other.parent.parent / "train" / "run.json"
        if not path.is_file():
            continue
        run = json.loads(path.read_text())
        if (run["version"], run["seed"]) == (facts["version"], facts["seed"]):
            differing = [name for name in ("recipe", "protocol", "data") if run[name] != facts[name]]
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


def hand_over(source: Path, target: Path) -> None:
    """Move a finished record to its final name; across file systems by a copy beside it."""
    if target.exists():
        shutil.rmtree(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name}.tmp")
    shutil.rmtree(beside, ignore_errors=True)
    shutil.move(source, beside)
    beside.replace(target)


def cost(outcome: Any, device: str) -> dict[str, Any]:
    """Clocks and host: everything about a training that may differ when it is repeated."""
    import torch

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    if device == "cuda":
        peak = torch.cuda.max_memory_allocated()
    return {
        "seconds": round(outcome.seconds, 2),
        "images_per_second": round(outcome.images / max(outcome.seconds, 1e-9), 1),
        "peak_memory_bytes": peak,
        "device": device,
        "device_name": torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "host_cpus": os.cpu_count(),
        "resumed": outcome.resumed,
    }


class Bar:
    """The progress of a training in kimg; warnings on lines of their own."""

    def __init__(self, label: str, batch_size: int) -> None:
        self.label, self.batch_size = label, batch_size
        self.progress: Progress | None = None

    def begin(self, step: int, steps: int) -> None:
        total, initial = (count * self.batch_size / 1000 for count in (steps, step))
        self.progress = Progress(self.label, round(total, 3), "kimg", round(initial, 3))

    def stepped(self, step: int, images: int, note: str) -> None:
        assert self.progress is not None
        self.progress.update(images / 1000, note)

    def warn(self, text: str) -> None:
        print(f"ganealogy: {self.label}: {text}", file=sys.stderr)

    def close(self) -> None:
        if self.progress is not None:
            self.progress.close()
