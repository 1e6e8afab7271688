"""How a stage runs: its plan in, its code and its inputs checked before and after, on the machine's own terms.

The train stage has more to it: see training_stage.py.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ganealogy.errors import GanealogyError
from ganealogy.files import atomic
from ganealogy.lineage import fingerprint
from ganealogy.params.schema import VERSION_NAME, Settings, Train
from ganealogy.runtime import memory, process

PLAN = Path("build/plan")
RAW, PACKED, REFERENCE = Path("data/raw"), Path("data/packed"), Path("data/reference")
RUNS = Path("build/runs")
REPORTS = [Path("reports") / name for name in ("index.html", "report.md", "report", "fd.csv", "metrics.json")]
FEATURES = Path("build/features")
"""Below the main workspace too: features of networks, by what they are of."""


def run_directory(version: str, seed: int) -> Path:
    """Raises: GanealogyError for what is no version's name: it becomes part of paths."""
    if not VERSION_NAME.fullmatch(version):
        raise GanealogyError(f"{version!r} is not a version name: a small letter, then small letters, digits and '-'")
    return RUNS / f"{version}-{seed}"


def features_directory() -> Path:
    return process.main_workspace() / FEATURES


@contextmanager
def stage(
    name: str,
    cost: Path | None = None,
    version: str | None = None,
    deps: Sequence[Path] = (),
    outs: Sequence[Path] = (),
) -> Iterator[dict[str, Any]]:
    """The stage's plan; its code, plan and inputs are the same before and after, or the stage fails.

    `cost`: where its seconds go; `version`: whose networks it runs (a change in them comes with the trained weights);
    `deps`, `outs`: the files and directories that it reads and writes.

    Raises: GanealogyError also for a disk that is full, naming `outs`.
    """
    process.die_with_parent()
    remove_temp_files([*outs, *([cost] if cost else [])])
    plans = [PLAN / "stages" / f"{name}.json", *([PLAN / "versions" / f"{version}.json"] if version else [])]
    read = [read_plan(path) for path in plans]
    code = {module: digest for planned in read for module, digest in planned["code"].items()}
    inputs = InputSnapshot([*deps, *plans])
    began = time.monotonic()
    with process.explain_full_disk(*outs):
        yield read[0]
        fingerprint.verify(code, "while it ran")
        fingerprint.verify_loaded(code)
        inputs.verify()
        if cost is not None:
            atomic.write_json(cost, {"seconds": round(time.monotonic() - began, 3)})


def read_plan(path: Path) -> dict[str, Any]:
    """Raises: GanealogyError when there is no plan, it is damaged, or the sources are not those it was made for."""
    cure = "run `dvc repro plan` first, and name a version of tree.versions"
    if not path.is_file():
        raise GanealogyError(f"{path} is not there: {cure}")
    try:
        planned = json.loads(path.read_text(encoding="utf-8"))
        code = planned["code"]
        if not isinstance(code, dict) or not all(isinstance(part, str) for part in (*code, *code.values())):
            raise ValueError("its 'code' is no mapping of modules to hashes")
    except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise GanealogyError(f"{path}: not a plan ({error}): {cure}") from None
    fingerprint.verify(code, "since the plan was made")
    whole: dict[str, Any] = planned
    return whole


class InputSnapshot:
    """What a stage reads, as it stood when it began: DVC hashes it only when the stage has ended."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = list(paths)
        self.state = self._look()

    def verify(self) -> None:
        """Raises: GanealogyError when a file was edited, added or removed since; plans count by their content."""
        now = self._look()
        changed = sorted(path for path in {*self.state, *now} if self.state.get(path) != now.get(path))
        if changed:
            more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
            raise GanealogyError(
                f"{changed[0]}{more}: changed while the stage ran; its results would be filed under inputs that did "
                "not make them. Run `dvc repro` again"
            )

    def _look(self) -> dict[str, Any]:
        files = [file for path in self.paths for file in (path.rglob("*") if path.is_dir() else [path])]
        return {str(file): self._state(file) for file in files if file.is_file()}

    @staticmethod
    def _state(file: Path) -> Any:
        if PLAN in file.parents:
            return atomic.sha256(file)  # a plan made anew with the same content is the same plan
        status = file.stat()
        return status.st_size, status.st_mtime_ns


def verify_packed(manifest: dict[str, Any], directory: Path) -> None:
    """Raises: GanealogyError when packed pictures are not those of the manifest: a bit flipped, another set."""
    sums = manifest.get("sha256")
    for name, expected in sums.items() if isinstance(sums, dict) else ():
        path = directory / Path(name).name
        if not path.is_file() or atomic.sha256(path) != expected:
            raise GanealogyError(f"{path}: absent or damaged: not the sha256 of manifest.json; run `dvc repro`")


def report_inputs() -> list[Path]:
    """What the report reads: of the run directories only those that the plan lists, as it removes the others."""
    try:
        tree = json.loads((PLAN / "tree.json").read_text(encoding="utf-8"))
        listed = [entry["name"] for entry in tree["versions"] if entry["listed"]]
        runs = [run_directory(name, seed) for name in listed for seed in tree["seeds"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []  # the report itself says what is wrong with its plan
    return [PLAN / "tree.json", PACKED / "manifest.json", REFERENCE / "anchors.json", REFERENCE / "real.png", *runs]


def remove_temp_files(outs: Sequence[Path]) -> None:
    """Remove what a killed writer left beside its file; DVC empties output directories, not what lies beside them."""
    for out in outs:
        for stray in out.parent.glob(f".{out.name}.*tmp"):
            if stray.is_dir():
                shutil.rmtree(stray)
            else:
                stray.unlink(missing_ok=True)


def launch_with_torchrun(ranks: int, stage: str, version: str, seed: int, settings: Settings) -> int:
    """The stage on several processes of this machine, by torchrun; returns the exit code.

    Raises: GanealogyError when the batch cannot be shared so, or there are too few GPUs.
    """
    batch = settings.train.batch_size
    if stage == "train" and batch % ranks:
        raise GanealogyError(f"params.yaml: train.batch_size = {batch} does not divide by {ranks} ranks: change one")
    if setup_device(settings.train) == "cuda":
        import torch

        if torch.cuda.device_count() < ranks:
            raise GanealogyError(f"{ranks} ranks need a GPU each, and there are {torch.cuda.device_count()}")
    read_plan(PLAN / "versions" / f"{version}.json")
    return process.torchrun(ranks, [stage, version, str(seed)], process.threads(settings.train.threads))


def setup_device(settings: Train) -> str:
    """Give torch its threads; returns the device to work on, "cuda" or "cpu".

    Raises: GanealogyError when CUDA is asked for and not there.
    """
    import torch

    memory.keep_freed()
    torch.set_num_threads(process.threads(settings.threads))
    torch.backends.cudnn.benchmark = not settings.deterministic  # the fastest algorithm for each shape, found once
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise GanealogyError("params.yaml: train.device is cuda, and torch sees no GPU; set it to auto or cpu")
    return "cuda" if settings.device != "cpu" and torch.cuda.is_available() else "cpu"
