"""Real stages in processes that a test may kill, forked from a server that has torch loaded."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import shutil
import signal
import sys
from collections.abc import Callable
from functools import partial
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["torch", "ganealogy.training.loop", "ganealogy.stages.train"])
DEADLINE_S = 900
SIZES = {"v14": (32, 3), "mnist-mlp": (28, 1), "mnist-dcgan": (28, 1), "conditional": (16, 1)}
"""(pixels, channels) of the versions that do not support 16 pixels or need the labels of mnist, which is grey."""


def workspace(folder: Path, version: str = "v1", kimg: float = 0.096, ticks: int = 3) -> Path:
    """Return a planned workspace with 160 packed pictures, ready for `train` with batches of 8."""
    from ganealogy.files import atomic
    from ganealogy.stages import plan

    size, channels = SIZES.get(version, (16, 3))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "params.yaml").write_text(
        f"dataset: {{name: {'mnist' if channels == 1 else 'avatars'}, image_size: {size}, channels: {channels}}}\n"
        f"tree: {{versions: [{version}], seeds: [0]}}\n"
        f"train: {{kimg: {kimg}, batch_size: 8, lr: 0.0002, width: 4, ticks: {ticks}, tracker_images: 32, "
        "device: cpu, threads: 1}\n"
        "sample: {count: 50, walk_frames: 8}\n"
        "evaluate: {extractors: [pixel8], lead: fd_pixel8, reals: 64}\n"
    )
    shutil.copy(ROOT / "dvc.yaml", folder)
    plan.write(plan.make(folder / "params.yaml", ROOT / "versions"), folder / "build" / "plan")
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 200, size)[None, :, None, None] * rng.random((160, 1, 1, channels))
    pictures = (ramp + rng.random((160, size, size, channels)) * 50).astype(np.uint8)
    packed = folder / "data" / "packed"
    packed.mkdir(parents=True)
    np.save(packed / "train.npy", pictures)
    np.save(packed / "holdout.npy", pictures[:32])
    if version == "conditional":
        np.save(packed / "train-labels.npy", np.arange(len(pictures)) % 10)
    sums = {name: atomic.sha256(packed / name) for name in ("train.npy", "holdout.npy")}
    counts = {"train": len(pictures), "holdout": 32}
    atomic.write_json(packed / "manifest.json", {"dataset": atomic.digest(sums), "sha256": sums, "counts": counts})
    return folder


def run(target: Callable[..., None], folder: Path, *arguments: Any, **options: Any) -> tuple[int, str]:
    """Run `target(*arguments)` in `folder` in a new process. Return its exit code and output."""
    process = begin(target, folder, *arguments, **options)
    process.join(DEADLINE_S)
    if process.is_alive():
        process.kill()
        process.join()
        raise AssertionError(f"{target.__name__} did not end in {DEADLINE_S} s: {said(folder)}")
    assert process.exitcode is not None
    return process.exitcode, said(folder)


def begin(target: Callable[..., None], folder: Path, *arguments: Any, **options: Any) -> ForkServerProcess:
    process = SERVER.Process(target=_inside, args=(target, str(folder), arguments, options), daemon=True)
    process.start()
    return process


def said(folder: Path) -> str:
    return (folder.parent / f"{folder.name}.log").read_text(errors="replace")


def _inside(target: Callable[..., None], folder: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
    log = os.open(f"{folder}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(log, stream)
    sys.stdout, sys.stderr = (open(stream, "w", buffering=1, closefd=False) for stream in (1, 2))  # noqa: SIM115
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in the background ignores it
    multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]  # stages start processes
    os.chdir(folder)
    os.environ.pop("DVC_ROOT", None)
    target(*arguments, **options)


def ended(work: Callable[[], None]) -> None:
    """Exit as the command line does."""
    from ganealogy.runtime import process

    sys.exit(process.report_errors(work, debug=False))


def train(
    version: str,
    kill_at_step: int | None = None,
    kill_at_write: int | None = None,
    edit: str | None = None,
    number: int = signal.SIGKILL,
) -> None:
    """Run the train stage with seed 0, without a worker.

    Kill it after a step, when all earlier writes are done, or at its n-th disk operation.

    `number`: another signal to send after the step; `edit`: a file to which a space is added after the fourth step.
    """
    from ganealogy.stages import _side_by_side, train
    from ganealogy.stages._training_progress import TrainingProgress
    from ganealogy.training.background_writer import BackgroundWriter

    if kill_at_step is not None:
        BackgroundWriter.submit = lambda self, write: self._run(write)  # type: ignore[method-assign]
        kill = partial(os.kill, os.getpid(), number)
        TrainingProgress.on_step = _at(TrainingProgress.on_step, kill_at_step, kill)  # type: ignore[method-assign]
    if edit is not None:
        spoil = partial(Path(edit).write_bytes, Path(edit).read_bytes() + b" ")
        TrainingProgress.on_step = _at(TrainingProgress.on_step, 4, spoil)  # type: ignore[method-assign]
    _Writes.kill_at = kill_at_write
    _Writes.watch()
    os.environ[_side_by_side.LIMIT] = "0"
    code: list[int] = []
    try:
        ended(lambda: code.append(train.run(version, [0])))
    finally:
        Path("writes").write_text(str(_Writes.count))
        if code:
            sys.exit(code[0])


def sample(version: str) -> None:
    from ganealogy.sampling import sample
    from ganealogy.workspace import run_dir

    plan = json.loads(Path("build/plan/stages/sample.json").read_text())
    ended(lambda: sample.sample(run_dir(version, 0), plan["settings"]) and None)


def verb(*arguments: str, file_limit: int | None = None) -> None:
    """Run the command line, without workers; no file may grow beyond `file_limit` bytes, as on a full disk.

    Ganealogy's modules are imported anew, so that the fingerprint's check sees those of the stage.
    """
    for name in [name for name in sys.modules if name.split(".")[0] == "ganealogy"]:
        del sys.modules[name]
    from ganealogy.cli.main import main

    if file_limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))
    os.environ["GANEALOGY_JOBS"] = "0"
    sys.argv = ["ganealogy", *arguments]
    main()


def _at(stepped: Callable[..., None], at: int, act: Callable[[], Any]) -> Callable[..., None]:
    def replacement(self: Any, step: int, scalars: dict[str, float] | None) -> None:
        stepped(self, step, scalars)
        if step == at:
            act()

    return replacement


class _Writes:
    """Counts the disk operations of this process, each before it is done."""

    count = 0
    kill_at: int | None = None

    @classmethod
    def watch(cls) -> None:
        for place, name in ((os, "fsync"), (Path, "replace"), (os, "link"), (shutil, "rmtree"), (Path, "unlink")):
            setattr(place, name, cls.counted(getattr(place, name)))

    @classmethod
    def counted(cls, function: Callable[..., Any]) -> Callable[..., Any]:
        def replacement(*arguments: Any, **options: Any) -> Any:
            cls.count += 1
            if cls.count == cls.kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **options)

        return replacement


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def result(folder: Path, version: str) -> dict[str, bytes]:
    """Return the files of a finished run, without clocks."""
    found = files(folder / "build" / "runs" / version)
    return {name: content for name, content in found.items() if not name.startswith("cost/")}


def litter(folder: Path) -> list[str]:
    """Return files that must not be left: temporary files, and work of a finished training."""
    strays = [path for path in folder.rglob("*") if path.name.endswith((".tmp", ".new")) or path.name == "holder"]
    return sorted(str(path.relative_to(folder)) for path in [*strays, *folder.glob("build/wip/*")])


def start_and_wait(version: str) -> None:
    """Start the stage's command and wait for it, as DVC does."""
    import subprocess

    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1", "GANEALOGY_THREADS": "1"}
    subprocess.run([sys.executable, "-m", "ganealogy", "train", version, "--seeds", "0"], env=environment, check=False)


def alive(pid: int) -> bool:
    """Return whether a process runs; a zombie does not."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def report() -> None:
    """Run the report stage without the sync to MLflow."""
    from ganealogy.report import build

    build.build()


def data(folder: Path) -> str:
    return str(json.loads((folder / "data" / "packed" / "manifest.json").read_text())["dataset"])


def in_module(file: str, function: str, *arguments: Any) -> None:
    """Call a function of a test file, which a new process cannot import by name."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("beside", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["beside"] = module
    spec.loader.exec_module(module)
    getattr(module, function)(*arguments)
