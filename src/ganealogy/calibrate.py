"""Compare a root with its published number: an end-to-end test of data, training, sampling and metric.

A version file says in `calibration` which number others publish, under which protocol, and which interval of our own
numbers agrees with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ganealogy import repro
from ganealogy.errors import GanealogyError, Remedy, one_of
from ganealogy.files.records import read_record
from ganealogy.lineage import versions
from ganealogy.lineage.flatten import as_text, flatten
from ganealogy.lineage.versions import Calibration
from ganealogy.params import schema
from ganealogy.params.schema import Settings
from ganealogy.record_types import MetricsJson
from ganealogy.runtime import dvc_rwlock
from ganealogy.runtime.tables import Column, Fitted
from ganealogy.workspace import PARAMS, run_dir

OUTSIDE = 3
"""The exit code of a number outside its interval."""


@dataclass(frozen=True)
class Outcome:
    """A version's numbers beside the published one."""

    version: str
    calibration: Calibration
    values: dict[int, float]
    """Seed → the metric."""
    diverged: dict[int, str]
    """Seed → why it has no number."""

    @property
    def mean(self) -> float | None:
        return sum(self.values.values()) / len(self.values) if self.values else None

    @property
    def inside(self) -> bool:
        """Whether the mean over seeds is in the interval and no seed diverged."""
        low, high = self.calibration.accept
        return self.mean is not None and low <= self.mean <= high and not self.diverged

    def __str__(self) -> str:
        wanted, (low, high) = self.calibration, self.calibration.accept
        found = [f"seed {seed} diverged ({reason})" for seed, reason in self.diverged.items()]
        if self.mean is not None:
            seeds = ", ".join(f"{value:.2f} with seed {seed}" for seed, value in self.values.items())
            found.insert(0, f"{wanted.metric} {self.mean:.2f}{f' ({seeds})' if len(self.values) > 1 else ''}")
        side = "inside" if self.inside else "outside"
        return (
            f"{self.version}: {side} {low:g} to {high:g}: {', '.join(found)}; published: {wanted.value:g}\n"
            f"{wanted.interval.strip()}"
        )


def known(folder: Path | None = None) -> dict[str, Calibration]:
    """Return version → calibration of the version files that have one."""
    family = versions.read_family(versions.known(folder), folder)
    return {name: version.file.calibration for name, version in family.items() if version.file.calibration}


def table(folder: Path | None = None) -> Fitted:
    """Return the versions with a calibration, and the settings that each needs."""
    rows = []
    for name, wanted in known(folder).items():
        low, high = wanted.accept
        needed = ", ".join(f"{key}: {as_text(value)}" for key, value in needs(wanted).items())
        rows.append([name, f"{wanted.metric} {wanted.value:g}", f"{low:g} to {high:g}", needed])
    columns = [Column("version"), Column("published"), Column("inside"), Column("needs in params.yaml", wraps=True)]
    return Fitted(columns, rows)


def run(name: str) -> Outcome:
    """Train, sample and evaluate the version with `dvc repro` where that is not done; return its outcome.

    Raises: GanealogyError if it has no calibration, params.yaml is of another protocol, weights of the metric are
    absent, or a stage fails.
    """
    found = known()
    if name not in found:
        raise one_of("version with a calibration", name, found)
    settings = schema.load()
    check(name, found[name], settings)
    if found[name].metric == "fid":
        from ganealogy.evaluation.extractors import inception  # imports torch

        if not inception.weights_path().is_file():  # else hours of training would come before that message
            raise GanealogyError(f"{inception.weights_path()}: no such file; {inception.FETCH}")
    dvc_rwlock.remove_broken(Path())
    repro.dvc("repro", f"evaluate@{name}")
    return outcome(name, found[name], settings.tree.seeds_of(name))


def needs(wanted: Calibration) -> dict[str, Any]:
    """Return dotted key of params.yaml → value under which the number is published."""
    return flatten({section: dict(keys) for section, keys in wanted.protocol.items()}) | {
        "evaluate.lead": wanted.metric
    }


def check(name: str, wanted: Calibration, settings: Settings) -> None:
    """Raises: GanealogyError if the settings are of another protocol than the number, with what to set."""
    given, number = flatten(settings.model_dump()), f"{name}'s {wanted.metric} of {wanted.value:g}"
    if settings.dataset.name != wanted.protocol["dataset"]["name"]:
        raise GanealogyError(
            f"{PARAMS}: dataset.name = {settings.dataset.name!r}, but {number} is of "
            f"{wanted.protocol['dataset']['name']}; run `ganealogy use {wanted.preset}`"
        )
    other = [
        f"{key}: {as_text(value)} (now {as_text(given.get(key))})"
        for key, value in needs(wanted).items()
        if given.get(key) != value
    ]
    if name not in settings.tree.versions:
        other.append(f"tree.versions with {name}")
    if other:
        raise GanealogyError(f"{PARAMS}: another protocol than that of {number}; set {', '.join(other)}")


def outcome(name: str, wanted: Calibration, seeds: list[int], root: Path = Path()) -> Outcome:
    """Read the metric of each seed. Raises: GanealogyError if one is absent and its training did not diverge."""
    values, diverged = {}, {}
    for seed in seeds:
        path = run_dir(name, seed, root) / "evaluate/metrics.json"
        record: MetricsJson = read_record(
            path, Remedy(f"evaluate@{name}"), ("status", "reason", "metrics", "not_measured"), MetricsJson
        )
        if record["status"] == "diverged":
            diverged[seed] = record["reason"] or "no reason given"
        elif wanted.metric in record["metrics"]:
            values[seed] = record["metrics"][wanted.metric]
        else:
            reason = record["not_measured"].get(wanted.metric, "it is not among its metrics")
            raise GanealogyError(f"{path}: no {wanted.metric}: {reason}")
    return Outcome(name, wanted, values, diverged)
