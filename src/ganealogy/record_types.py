"""The types of the JSON records that the stages exchange.

A record is a file that one stage writes and later stages read. A TypedDict below lists its keys, and `files/records.py`
reads it and checks it against its type. Types cannot change results, so no fingerprint includes this module.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypeAlias

from typing_extensions import TypedDict  # pydantic, which checks records, needs it before Python 3.12

Precision: TypeAlias = Literal["fp32", "tf32", "bf16"]

Component: TypeAlias = dict[str, Any]
"""{name: file, …its parameters}, complete: the builder of the file defines which."""


class Latent(TypedDict):
    size: int
    distribution: Literal["normal", "uniform"]


class AdversaryRecipe(TypedDict):
    loss: Component | None
    game: Component
    constraint: Component | None
    penalties: list[Component]
    generator_penalties: list[Component]
    augment: list[Component]
    penalty_precision: Precision | None


class OptimizersRecipe(TypedDict):
    generator: Component
    discriminator: Component | None


class Recipe(TypedDict):
    """A complete recipe, checked by `lineage/recipe.py`."""

    latent: Latent
    generator: Component
    discriminator: Component | None
    """None without a game: see `adversary/games/flow_matching.py`. The same for its optimizer and the loss."""
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
    flip: bool
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
    temperature: float
    batch_statistics: Literal["running", "standing"]
    sets: int
    walk_frames: int


class EvaluateSettings(TypedDict, total=False):
    """params.yaml's `evaluate` section, and `count`, the number of samples."""

    extractors: list[str]
    lead: str
    metrics: list[str] | None
    """Those to compute and show; None: all."""
    reals: int | None
    """None: all of train."""
    neighbours: int
    """k of precision, recall, density and coverage."""
    equivalence_margin: float
    against: list[str]
    count: int


class TrainingProtocol(TypedDict, total=False):
    """What all versions share: params.yaml's `train` section without device and threads, and the images' shape."""

    kimg: float
    epochs: float
    """Only where params.yaml gives the budget in epochs. A plan then has no kimg: `budget.py` resolves it."""
    lr: float
    """In tree.json only: recipes hold resolved rates."""
    batch_size: int
    width: int
    precision: Precision
    ticks: int
    tracker: str
    tracker_images: int
    deterministic: bool
    stop: Literal["never", "unhealthy"]
    image_size: int
    channels: int
    flip: bool
    classes: int
    """Only where the recipe conditions on labels."""


PlannedStart = TypedDict("PlannedStart", {"from": NotRequired["PlannedSource"]})
"""`from` is a keyword of Python, so this is written apart."""


class VersionPlan(PlannedStart):
    """build/plan/versions/<version>.json: all that a training depends on."""

    version: str
    parent: str | None
    recipe: Recipe
    protocol: TrainingProtocol
    code: dict[str, str]
    """Module → sha256 of its syntax tree."""
    fingerprint: str
    """Digest of recipe, protocol, code and `from`: no seeds, so that a new one re-trains no other."""
    seeds: list[int]


class PlannedSource(TypedDict):
    """The training from whose networks a version starts."""

    seed: int | Literal["same"]
    plan: VersionPlan


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


class Sign(TypedDict):
    """A sign of trouble in a training: see `training/health.py`."""

    kimg: float
    """Of the tick at which it was first seen."""
    until: float | None
    """kimg of the last tick that has it; None while the newest tick has it."""
    sign: str
    sentence: str


class Source(TypedDict):
    """The training from whose networks a run started."""

    version: str
    seed: int
    kimg: float
    key: str
    """Its run key."""


Start = TypedDict("Start", {"from": NotRequired[Source]})


class RunIdentity(Start):
    """Keys of run.json that do not change during a training."""

    version: str
    parent: str | None
    seed: int
    plan: str
    """Fingerprint of the version's plan."""
    data: str
    """Digest of the packed data set."""
    key: str
    """`run_key` of the three, and of `vary`."""
    vary: NotRequired[str]
    """The kind of draws that the seed drives, only of a run that `ganealogy noise` trains."""
    recipe: Recipe
    protocol: TrainingProtocol


class RunJson(RunIdentity):
    """train/run.json of a run directory."""

    status: str
    """running, interrupted, finished, stopped or diverged."""
    reason: str | None
    steps: int
    """Planned while it runs, done when it has ended."""
    kimg: float
    best: Best | None
    tracker: str
    shown: str
    """Which generator the grids show."""
    health: NotRequired[list[Sign]]
    """Of a training that has ended, in the order of their kimg."""
    weights: NotRequired[dict[str, str]]
    """File stem → sha256, of a training that has ended."""
    class_counts: NotRequired[list[int]]
    """Training pictures of each class, where the recipe conditions on them."""


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


class SampleSet(TypedDict):
    """Another set of pictures from the measured checkpoint."""

    file: str
    """Array in sample/: uint8 (count, H, W, C)."""
    latent_seed: int
    sha256: str


class OtherSamples(TypedDict):
    """Pictures from the checkpoint that is not the measured one, of the same latents."""

    checkpoint: str
    step: int
    kimg: float
    file: str
    """images.npy if both checkpoints have the same weights."""
    sha256: str


class SampleJson(TypedDict):
    """sample/sample.json of a run directory."""

    version: str
    seed: int
    checkpoint: str
    step: int | None
    kimg: float | None
    count: int
    latent_seed: int
    temperature: float
    batch_statistics: str
    sha256: str | None
    """Of images.npy."""
    reason: str | None
    repeats: list[SampleSet]
    """Set 2 and later; images.npy is set 1."""
    other: OtherSamples | None
    """None if that checkpoint has no usable generator."""
    class_names: NotRequired[list[str]]
    """Of a conditional generator; empty where the data set has numbers alone."""


MetricProtocol: TypeAlias = dict[str, Any]
"""How a number was measured: extractor, weights, resize, counts, and what else its metric depends on."""


class Flag(TypedDict):
    flag: bool
    why: str
    value: float


class OtherMetrics(TypedDict):
    """Metrics of the checkpoint that is not the measured one."""

    checkpoint: str
    step: int
    kimg: float
    metrics: dict[str, float]
    """The lead metric alone."""


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
    lead: str
    """The metric by which versions are compared."""
    metrics: dict[str, float]
    repeats: dict[str, list[float]]
    """Lead metric → its value on each sample set, that of `metrics` first. Sets on which it failed are left out."""
    other: OtherMetrics | None
    protocol: dict[str, MetricProtocol]
    not_measured: dict[str, str]
    flags: dict[str, Flag]
    neighbours: dict[str, list[list[Any]]]
    classes: NotRequired[dict[str, Any]]
    """Extractor → `evaluation.class_coverage.ClassCoverage`, where the data set has classes."""


class ManifestJson(TypedDict, total=False):
    """data/packed/manifest.json."""

    dataset: str
    """Digest of the packed arrays."""
    sha256: dict[str, str]
    counts: dict[str, int]
    image_size: int
    channels: int
    rejected: list[dict[str, str]]
    classes: list[str]
    """Names of the classes, of a data set with labels."""
    identities: dict[str, int]
    """People in train, in holdout and in both, where the source knows them."""
    source: str
    title: str
    artist: str
    licence: str
    licence_url: str
    url: str


class AnchorsJson(TypedDict):
    """data/reference/anchors.json."""

    metrics: dict[str, dict[str, float]]
    """Metric → anchor → value."""
    battery: dict[str, dict[str, float]]
    """Metric that may lead → degraded set → value."""
    not_measured: dict[str, dict[str, str]]
    protocol: dict[str, MetricProtocol]
    dimensions: dict[str, int]
    sha256: dict[str, str]
    absent: dict[str, str]
    """Extractor that was left out → why: its weights were not on the machine."""
    count: int
    reals: int
    train: int
    """Training pictures, of which the first are `reals`."""
    shape: list[int]
    described: dict[str, str]


class NoiseJson(TypedDict):
    """reports/noise.json: the lead metric of runs in which one kind of draws varies, by `ganealogy noise`."""

    version: str
    runs: int
    """Per kind."""
    plan: str
    """Fingerprint of the version's plan."""
    data: str
    """Digest of the packed data set."""
    lead: str
    protocol: MetricProtocol
    """How the lead metric was measured."""
    values: dict[str, dict[str, float | None]]
    """Kind of draws, or `all` → seed → value; None of a run that diverged or has no number."""
