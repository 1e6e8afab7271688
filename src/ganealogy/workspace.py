"""Paths, run names, run keys and the records that the stages exchange: each is written here once.

A record is a JSON file that one stage writes and later stages read. A TypedDict below lists its keys, and
`files/records.py` reads it. Paths and types cannot change results, so no fingerprint includes this module.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypedDict

from ganealogy.errors import GanealogyError
from ganealogy.files import atomic

PARAMS = Path("params.yaml")
VERSIONS = Path("versions")
PRESETS = Path("presets")

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
REPORT_METRICS = Path("reports/metrics.json")
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
MLFLOW = Path("build/mlflow")

Precision: TypeAlias = Literal["fp32", "tf32", "bf16"]

VERSION_NAME = re.compile(r"[a-z][a-z0-9-]*")
NOT_A_VERSION_NAME = "is not a version name: a small letter, then small letters, digits and '-'"
RUN_NAME = re.compile(rf"{VERSION_NAME.pattern}-\d+")
KEY_LENGTH = 20
"""Hexadecimal digits of a key in the name of its folder in `WORK` and `STORE`."""
RUN_STAGES = ("train", "sample", "evaluate")
"""Stages of one version and seed, in order."""


def main_root() -> Path:
    """Return the absolute path of the main workspace, also inside the copy that `dvc exp run --temp` works in."""
    return Path(os.environ.get("DVC_ROOT") or ".").resolve()


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


def run_name(version: str, seed: int) -> str:
    """Return the name of a run in dvc.yaml, in `RUNS` and on the command line, such as `v3-0`.

    Raises: GanealogyError when `version` is not a version name.
    """
    return f"{check_version_name(version)}-{seed}"


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
        return run_name(self.version, self.seed)

    def __str__(self) -> str:
        return str(self.folders["train"])

    def with_folder(self, stage: str, folder: Path) -> RunDir:
        return replace(self, folders={**self.folders, stage: folder})


def run_dir(version: str, seed: int, root: Path = Path()) -> RunDir:
    """Return the folders of a run in `RUNS`.

    Raises: GanealogyError when `version` is not a version name.
    """
    base = root / RUNS / check_version_name(version)
    folders = {stage: base / stage / str(seed) for stage in RUN_STAGES}
    return RunDir(version, seed, folders, {stage: base / "cost" / stage / f"{seed}.json" for stage in RUN_STAGES})


def run_key(fingerprint: str, data: str, seed: int) -> str:
    """Return the digest that identifies a training: of the plan's fingerprint, the data set's digest and the seed."""
    return atomic.digest([fingerprint, data, seed])


def work_dir(key: str, root: Path | None = None) -> Path:
    """Return the folder of an unfinished run below `root`, the main workspace by default."""
    return (root or main_root()) / WORK / key[:KEY_LENGTH]


def unfinished(work: Path) -> RunDir:
    """Return a training in its folder of `WORK`. Only its stage `train` has files."""
    return RunDir.below(work, "unfinished", 0)


Component: TypeAlias = "dict[str, Any]"
"""{name: file, …its parameters}, complete: the builder of the file defines which."""


class Latent(TypedDict):
    size: int
    distribution: Literal["normal", "uniform"]


class AdversaryRecipe(TypedDict):
    loss: Component
    game: Component
    constraint: Component | None
    penalties: list[Component]
    augment: list[Component]
    penalty_precision: Precision | None


class OptimizersRecipe(TypedDict):
    generator: Component
    discriminator: Component


class Recipe(TypedDict):
    """A complete recipe, checked by `lineage/recipe.py`."""

    latent: Latent
    generator: Component
    discriminator: Component
    adversary: AdversaryRecipe
    optimizers: OptimizersRecipe
    ema: Component | None
    labels: bool


class DatasetSettings(TypedDict, total=False):
    """params.yaml's `dataset` section; its keys are described in `params/schema.py`."""

    name: str
    image_size: int
    channels: int
    fit: Literal["crop", "pad"]
    count: int | None
    holdout: float
    max_rejected: float
    style: str
    path: str | None
    mirror: str | None


class SampleSettings(TypedDict):
    """params.yaml's `sample` section."""

    count: int
    checkpoint: Literal["best", "last"]
    truncation: float
    walk_frames: int


class EvaluateSettings(TypedDict, total=False):
    """params.yaml's `evaluate` section, and `count`, the number of samples."""

    extractors: list[str]
    reals: int
    equivalence_margin: float
    count: int


class TrainingProtocol(TypedDict, total=False):
    """What all versions share: params.yaml's `train` section without device and threads, and the images' shape."""

    kimg: float
    lr: float
    """In tree.json only: recipes hold resolved rates."""
    batch_size: int
    width: int
    precision: Precision
    ticks: int
    tracker: str
    tracker_images: int
    deterministic: bool
    image_size: int
    channels: int
    classes: int
    """Only where the recipe conditions on labels."""


class VersionPlan(TypedDict):
    """build/plan/versions/<version>.json: all that a training depends on."""

    version: str
    parent: str | None
    recipe: Recipe
    protocol: TrainingProtocol
    code: dict[str, str]
    """Module → sha256 of its syntax tree."""
    fingerprint: str
    """Digest of recipe, protocol and code: no seeds, so that a new one re-trains no other."""
    seeds: list[int]


class StagePlan(TypedDict):
    """build/plan/stages/<stage>.json."""

    settings: Any
    """DatasetSettings, SampleSettings or EvaluateSettings."""
    code: dict[str, str]
    fingerprint: str


class Best(TypedDict):
    """The checkpoint with the lowest tracker score."""

    step: int
    kimg: float
    score: float


class RunIdentity(TypedDict):
    """Keys of run.json that do not change during a training."""

    version: str
    parent: str | None
    seed: int
    plan: str
    """Fingerprint of the version's plan."""
    data: str
    """Digest of the packed data set."""
    key: str
    """`run_key` of the three."""
    recipe: Recipe
    protocol: TrainingProtocol


class RunJson(RunIdentity):
    """train/run.json of a run directory."""

    status: str
    """running, interrupted, finished or diverged."""
    reason: str | None
    steps: int
    """Planned while it runs, done when it has ended."""
    kimg: float
    best: Best | None
    tracker: str
    shown: str
    """Which generator the grids show."""
    weights: dict[str, str]
    """File stem → sha256, of a finished training."""


class CostJson(TypedDict, total=False):
    """The cost file of a stage of a run; all but the first two are the train stage's."""

    seconds: float
    cpu_seconds: float
    """Processor time; of a resumed training, since it was resumed."""
    tick_seconds: list[float]
    """Training time at each tick."""
    images_per_second: float
    peak_memory_bytes: int
    device: str
    device_name: str
    arithmetic: str
    """What the networks ran in, see `runtime/precision.py`."""
    threads: int
    torch: str
    python: str
    host_cpus: int | None
    resumed: int


class SampleJson(TypedDict):
    """sample/sample.json of a run directory."""

    version: str
    seed: int
    checkpoint: str
    step: int | None
    kimg: float | None
    count: int
    latent_seed: int
    truncation: float
    sha256: str | None
    reason: str | None


MetricProtocol: TypeAlias = "dict[str, Any]"
"""How a number was measured: extractor, weights, resize, counts, and what else its metric depends on."""


class Flag(TypedDict):
    flag: bool
    why: str
    value: float


class MetricsJson(TypedDict):
    """evaluate/metrics.json of a run directory."""

    version: str
    seed: int
    status: str
    reason: str | None
    checkpoint: str
    step: int | None
    kimg: float | None
    ema: bool
    metrics: dict[str, float]
    protocol: dict[str, MetricProtocol]
    not_measured: dict[str, str]
    flags: dict[str, Flag]
    neighbours: dict[str, list[list[Any]]]


class ManifestJson(TypedDict, total=False):
    """data/packed/manifest.json."""

    dataset: str
    """Digest of the packed arrays."""
    sha256: dict[str, str]
    counts: dict[str, int]
    image_size: int
    channels: int
    rejected: list[dict[str, str]]
    source: str
    title: str
    artist: str
    licence: str
    licence_url: str
    url: str


class AnchorsJson(TypedDict):
    """data/reference/anchors.json."""

    metrics: dict[str, dict[str, float]]
    not_measured: dict[str, dict[str, str]]
    protocol: dict[str, MetricProtocol]
    dimensions: dict[str, int]
    sha256: dict[str, str]
    count: int
    reals: int
    shape: list[int]
    described: dict[str, str]


class PlannedVersion(TypedDict):
    """One version in tree.json."""

    name: str
    title: str
    idea: str
    source: str
    note: str | None
    parent: str | None
    listed: bool
    """Whether it is in tree.versions; an ancestor need not be."""
    changes: Any
    """The block of the version file; None for a root."""
    recipe: Recipe
    origins: dict[str, str]
    """Dotted key → the version that sets it."""
    seeds: list[int]
    """Empty if it is not listed."""
    parameters: dict[str, int] | None
    flops: int | None
    pinned_lr: bool


class TreeJson(TypedDict):
    """build/plan/tree.json: what people read of the plan. Only the report depends on it."""

    versions: list[PlannedVersion]
    dataset: DatasetSettings
    protocol: TrainingProtocol
    sample: SampleSettings
    evaluate: EvaluateSettings
