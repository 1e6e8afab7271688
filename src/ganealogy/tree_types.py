"""The types of build/plan/tree.json, what people read of the plan; `record_types.py` has those of all other records."""

from __future__ import annotations

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict  # pydantic, which checks records, needs it before Python 3.12

from ganealogy.record_types import DatasetSettings, EvaluateSettings, Recipe, SampleSettings, TrainingProtocol


class PlannedSource(TypedDict):
    """The training from whose networks a version starts."""

    version: str
    seed: int | Literal["same"]
    kimg: float
    flops: float
    """Floating-point operations of that training, and of the one that it started from itself."""


PlannedStart = TypedDict("PlannedStart", {"from": NotRequired[PlannedSource]})


class PlannedVersion(PlannedStart):
    """One version in tree.json."""

    name: str
    title: str
    idea: str
    source: str
    note: str | None
    conclusion: dict[str, str | None] | None
    """Its `text`, and `numbers`, the digest of the numbers that it is about."""
    parent: str | None
    parents: NotRequired[list[str]]
    """The versions that it is compared with: two of a merge, none of a root."""
    ablates: NotRequired[dict[str, Any]]
    """Of a version that takes another one apart: `lineage.versions.Ablates`."""
    in_force: NotRequired[list[str]]
    """Ancestors of whose ideas it has something, without its root."""
    overwritten: NotRequired[list[str]]
    """Ancestors of whose ideas nothing is left in it."""
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
    """Of a training step per image; None if it is not listed."""
    sample_flops: int | None
    """Of a sample: one pass through G, or all steps of its sampler."""
    layers: NotRequired[dict[str, list[dict[str, Any]]]]
    """Network → layers, see `lineage.layers.Layer`; none if it is not listed."""


class SeedsOfVersion(TypedDict):
    name: str
    seeds: list[int]


class RunsOfTree(TypedDict):
    """What lists the runs in tree.json, for readers that need no more of it."""

    versions: list[SeedsOfVersion]


class TreeJson(TypedDict):
    """build/plan/tree.json: what people read of the plan. Only the report depends on it."""

    versions: list[PlannedVersion]
    left_out: list[str]
    """Known versions of the same trees that tree.versions does not list."""
    dataset: DatasetSettings
    protocol: TrainingProtocol
    sample: SampleSettings
    evaluate: EvaluateSettings
