"""Paths, run names and run keys: each is written here once.

Paths cannot change results, so no fingerprint includes this module.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from ganealogy.errors import GanealogyError
from ganealogy.files import atomic

PARAMS = Path("params.yaml")
VERSIONS = Path("versions")
PRESETS = Path("presets")
COMPONENTS = Path("components")
"""The project's own components, in the same folders as the package's."""

_PACKAGE = Path(__file__).parent
SHIPPED = _PACKAGE / "shipped" if (_PACKAGE / "shipped").is_dir() else _PACKAGE.parents[1]
"""Folder of the files that come with Ganealogy, such as versions and presets: in a checkout its root."""

PLAN = Path("build/plan")
TREE = PLAN / "tree.json"
RUNS = Path("build/runs")
RAW, PACKED, REFERENCE = Path("data/raw"), Path("data/packed"), Path("data/reference")
MANIFEST = PACKED / "manifest.json"
INPUTS = Path("data/inputs.json")
"""Digests of what DVC does not see: see `stages/inputs.py`."""
ANCHORS = REFERENCE / "anchors.json"

REPORT_PAGE = Path("reports/index.html")
REPORT_MARKDOWN = Path("reports/report.md")
REPORT_FIGURES = Path("reports/report")
REPORT_CURVES = Path("reports/fd.csv")
REPORT_LOSSES = {"d_loss": Path("reports/d_loss.csv"), "g_loss": Path("reports/g_loss.csv")}
"""Column of metrics.jsonl → its curves."""
REPORT_METRICS = Path("reports/metrics.json")
"""What DVC shows: see `report/numbers.py`."""
REPORT_ALL_METRICS = Path("reports/all-metrics.json")
REPORT_SAMPLES = Path("reports/samples")
"""Samples of each version, for `dvc plots`."""
REPORT_PROGRESS = Path("reports/progress")
"""A film of each training, and its newest grid."""
NOISE = Path("reports/noise.json")
"""Of `ganealogy noise`."""
COMPARISON_PAGE = Path("reports/compare.html")
LIVE_PAGE = Path("reports/live.html")
ONNX_MODELS = Path("reports/live")

# Below the main workspace: `dvc exp run --temp` shares them.
WORK = Path("build/wip")
"""Unfinished runs, by key."""
STORE = Path("build/store")
"""Finished runs, by stage and key: see `runs/store.py`."""
LOGS = Path("build/logs")
"""What each run printed, <version>-<seed>.log."""
TIMES = Path("build/times")
"""Measured seconds of each recipe on each host: see `runs/estimate.py`."""
FEATURES = Path("build/features")
KNOWN_FILES = Path("build/inputs.json")
"""sha256 of input files by size and time."""
WEIGHTS = Path("build/weights")
NPM = Path("build/npm")
MLFLOW = Path("mlflow.db")
"""MLflow's own default, so that plain `mlflow ui` shows it."""
OLD_MLFLOW = Path("build/mlflow/mlflow.db")

VERSION_NAME = re.compile(r"[a-z][a-z0-9-]{0,63}")
"""Names of temporary files, of runs and of MLflow's models are longer by up to 60."""
NOT_A_VERSION_NAME = "is not a version name: a small letter, then small letters, digits and '-', 64 at most"
KEY_LENGTH = 20
"""Hexadecimal digits of a key in the name of its folder in `WORK` and `STORE`."""
RUN_STAGES = ("train", "sample", "evaluate")
"""Stages of one version and seed, in order."""


def main_root() -> Path:
    """Return the absolute path of the main workspace, also inside the copy that `dvc exp run --temp` works in."""
    return Path(os.environ.get("DVC_ROOT") or ".").resolve()


def with_shipped(folder: Path) -> list[Path]:
    """Return the project's own folder of a name, such as `VERSIONS`, then that of the files that come with Ganealogy.

    In a checkout the two are one. A file in an earlier folder replaces those of its name in later ones.
    """
    shipped = SHIPPED / folder
    return [folder] if folder.resolve() == shipped.resolve() else [folder, shipped]


def plan_path(version: str) -> Path:
    return PLAN / "versions" / f"{version}.json"


def stage_plan_path(stage: str) -> Path:
    return PLAN / "stages" / f"{stage}.json"


def check_version_name(name: str) -> str:
    """Return the name: it becomes part of paths, shell commands, HTML and MLflow's addresses.

    Raises: GanealogyError when it is not a small letter followed by small letters, digits and `-`.
    """
    if not VERSION_NAME.fullmatch(name):
        raise GanealogyError(f"{name!r} {NOT_A_VERSION_NAME}")
    return name


def run_name(version: str, seed: int, vary: str = "") -> str:
    """Return the name of a run in `RUNS` and in logs, such as `v3-0`; `v3-order-1` where one kind of draws varies.

    Raises: GanealogyError when `version` is not a version name.
    """
    return f"{check_version_name(version)}-{seed_name(seed, vary)}"


def seed_name(seed: int, vary: str = "") -> str:
    return f"{vary}-{seed}" if vary else str(seed)


@dataclass(frozen=True)
class RunDir:
    """The folders of one run, one per stage: `run / "train/run.json"` is a file of it.

    DVC's outputs are per stage and version, so a run has no folder of its own: build/runs/v3/train/0.
    """

    version: str
    seed: int
    folders: Mapping[str, Path]
    """Stage → folder."""
    costs: Mapping[str, Path]
    """Stage → file with its seconds, apart from the outputs, because clocks differ when a run is repeated."""
    vary: str = ""
    """The kind of draws that the seed drives, of a run that `ganealogy noise` trains; empty for a run of the tree."""

    @classmethod
    def below(cls, folder: Path, version: str, seed: int) -> RunDir:
        """Return the run whose stages are folders of `folder`."""
        costs = {stage: folder / "cost" / f"{stage}.json" for stage in RUN_STAGES}
        return cls(version, seed, {stage: folder / stage for stage in RUN_STAGES}, costs)

    def __truediv__(self, path: str) -> Path:
        stage, _, rest = path.partition("/")
        return self.folders[stage] / rest

    @property
    def name(self) -> str:
        """Such as v3-0."""
        return run_name(self.version, self.seed, self.vary)

    def __str__(self) -> str:
        return str(self.folders["train"])

    def with_folder(self, stage: str, folder: Path) -> RunDir:
        return replace(self, folders={**self.folders, stage: folder})


def run_dir(version: str, seed: int, root: Path = Path(), vary: str = "") -> RunDir:
    """Return the folders of a run in `RUNS`. A run with `vary` is never there: its results stay in the store.

    Raises: GanealogyError when `version` is not a version name.
    """
    base, name = root / RUNS / check_version_name(version), seed_name(seed, vary)
    folders = {stage: base / stage / name for stage in RUN_STAGES}
    costs = {stage: base / "cost" / stage / f"{name}.json" for stage in RUN_STAGES}
    return RunDir(version, seed, folders, costs, vary)


def run_key(fingerprint: str, data: str, seed: int, vary: str = "") -> str:
    """Return the digest that identifies a training: of the plan's fingerprint, the data set's digest and the seed.

    A training in which the seed drives only one kind of draws has another key.
    """
    return atomic.digest([fingerprint, data, seed, *([vary] if vary else [])])


def work_dir(key: str, root: Path | None = None) -> Path:
    """Return the folder of an unfinished run below `root`, the main workspace by default."""
    return (root or main_root()) / WORK / key[:KEY_LENGTH]


UNFINISHED = "unfinished"


def unfinished(work: Path) -> RunDir:
    """Return a training in its folder of `WORK`. Only its stage `train` has files."""
    return RunDir.below(work, UNFINISHED, 0)
