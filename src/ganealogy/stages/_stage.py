"""Context shared by all stages: read the plan, verify code and inputs before and after, set up the device.

The plan says what to compute; params.yaml says where and how fast (device, threads, mirror).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from ganealogy.errors import GanealogyError, Remedy
from ganealogy.files import atomic
from ganealogy.files.records import RecordError, read_record
from ganealogy.lineage import fingerprint
from ganealogy.params.schema import Train
from ganealogy.record_types import ManifestJson, StagePlan, VersionPlan
from ganealogy.runtime import memory, process
from ganealogy.workspace import PLAN, check_version_name, plan_path, stage_plan_path

Plan = TypeVar("Plan", VersionPlan, StagePlan)
PLANNING = Remedy("plan")


@dataclass(frozen=True)
class Stage:
    outs: list[Path]
    settings: Any
    """Of the stage's plan; empty for the train stage, whose plan is the version's."""
    version_plan: VersionPlan | None
    code: dict[str, str]
    inputs: InputSnapshot

    def verify(self) -> None:
        """Raises: GanealogyError when code or inputs changed while the stage ran."""
        fingerprint.verify(self.code, "while the stage ran")
        fingerprint.verify_loaded(self.code)
        self.inputs.verify()


@contextmanager
def run_stage(name: str) -> Iterator[Stage]:
    """Yield a stage without versions, and verify its code and inputs at the end.

    Raises: GanealogyError, also for a full disk, naming the outputs.
    """
    process.die_with_parent()
    stage = prepare(name)
    remove_temp_files(stage.outs)
    with process.explain_full_disk(*stage.outs):
        yield stage
        stage.verify()


def prepare(name: str, version: str | None = None) -> Stage:
    """Read a stage's plan and take a snapshot of its inputs.

    Raises: GanealogyError when there is no plan, it is damaged, or the sources changed since it was made.
    """
    deps, outs = deps_and_outs(name, version)
    version_plan = stage_plan = None
    plans: list[Path] = []
    code: dict[str, str] = {}
    if version is not None and name in ("train", "sample"):  # they run the version's networks
        plans.append(plan_path(version))
        version_plan = read_plan(plans[-1], VersionPlan)
        code |= all_code(version_plan)
    if name != "train":
        plans.append(stage_plan_path(name))
        stage_plan = read_plan(plans[-1], StagePlan)
        code |= stage_plan["code"]
    inputs = InputSnapshot([*deps, *plans])
    return Stage(outs, stage_plan["settings"] if stage_plan else {}, version_plan, code, inputs)


def all_code(plan: VersionPlan) -> dict[str, str]:
    """Return module → digest of a version's training, and of those that it starts from."""
    return {**(all_code(plan["from"]["plan"]) if "from" in plan else {}), **plan["code"]}


def deps_and_outs(stage: str, version: str | None = None) -> tuple[list[Path], list[Path]]:
    """Return the files that a stage reads and writes, from dvc.yaml.

    Raises: GanealogyError when dvc.yaml is absent or does not have the stage.
    """
    if version is not None:
        check_version_name(version)
    path = Path("dvc.yaml")
    try:
        text = path.read_text(encoding="utf-8")
        entry = yaml.safe_load(text.replace("${item.version}", version or ""))["stages"][stage]
        deps, outs = ([Path(item) for item in entry.get(key, [])] for key in ("deps", "outs"))
        outs += [Path(item) for item in entry.get("metrics", [])]
    except FileNotFoundError:
        raise GanealogyError(f"{path}: no such file; run in the project's folder") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
        reason = f"cannot be read ({type(error).__name__}: {error})"
        raise GanealogyError(f"{path}: {reason}; correct it, or drop your edits with `git checkout dvc.yaml`") from None
    return deps, outs


def read_plan(path: Path, kind: type[Plan]) -> Plan:
    """Read a plan and verify that the sources are those that it was made for.

    Raises: GanealogyError when there is no plan, it is damaged, or the sources changed since.
    """
    try:
        plan: Plan = read_record(path, PLANNING, kind=kind)
    except RecordError as error:
        if error.absent and kind is VersionPlan:
            raise GanealogyError(f"{error} first, with {path.stem} in tree.versions") from None
        raise
    fingerprint.verify(plan["code"], "since the plan was made")
    return plan


class InputSnapshot:
    """Sizes and times of the files that a stage reads. DVC hashes them only after the stage has ended."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = list(paths)
        self.state = self._read()

    def verify(self) -> None:
        """Raises: GanealogyError when a file was edited, added or removed; plans are compared by content."""
        now = self._read()
        changed = sorted(path for path in {*self.state, *now} if self.state.get(path) != now.get(path))
        if changed:
            more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
            raise GanealogyError(
                f"{changed[0]}{more}: changed while the stage ran, so its results do not belong to its inputs. "
                "Run `dvc repro` again"
            )

    def _read(self) -> dict[str, object]:
        files = [file for path in self.paths for file in (path.rglob("*") if path.is_dir() else [path])]
        return {str(file): self._state(file) for file in files if file.is_file()}

    @staticmethod
    def _state(file: Path) -> Any:
        if PLAN in file.parents:
            return atomic.sha256(file)  # planning again writes the same content anew
        status = file.stat()
        return status.st_size, status.st_mtime_ns


def verify_packed(manifest: ManifestJson, directory: Path) -> None:
    """Raises: GanealogyError when a packed array does not have the sha256 of its manifest."""
    sums = manifest.get("sha256")
    for name, expected in sums.items() if isinstance(sums, dict) else ():
        path, remedy = directory / Path(name).name, Remedy("preprocess").damaged
        if not path.is_file() or atomic.sha256(path) != expected:
            raise GanealogyError(f"{path}: absent or damaged (sha256 differs from manifest.json); {remedy}")


def remove_temp_files(outs: Sequence[Path]) -> None:
    """Remove the temporary files of a killed writer beside its outputs; DVC empties the output directories only."""
    for out in outs:
        for temporary in out.parent.glob(f".{out.name}.*tmp"):
            if temporary.is_dir():
                shutil.rmtree(temporary)
            else:
                temporary.unlink(missing_ok=True)


def setup_device(settings: Train) -> str:
    """Set torch's threads and kernel selection. Return the device, "cuda", "mps" or "cpu".

    `auto` is a NVIDIA GPU or the CPU. Apple's GPUs are taken only by name, because they have not been tried.

    Raises: GanealogyError when params.yaml names a GPU that torch does not see.
    """
    import torch

    memory.keep_freed()
    torch.set_num_threads(process.threads(settings.threads))
    torch.backends.cudnn.benchmark = not settings.deterministic  # measure once which algorithm is fastest per shape
    has_gpu = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if settings.device == "auto":
        return "cuda" if has_gpu["cuda"] else "cpu"
    if not has_gpu.get(settings.device, True):
        raise GanealogyError(
            f"params.yaml: train.device is {settings.device}, and torch sees no such GPU; set it to auto or cpu"
        )
    return settings.device
