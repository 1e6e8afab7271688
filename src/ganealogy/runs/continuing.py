"""Continue a finished training of the store with a larger budget, in the bytes of one that had it from the start.

The two have recipe, code, data and seed in common, and all of the protocol but the budget. The work directory of the
longer one gets the run files and the last checkpoint of the shorter one; the loop then resumes from there.
"""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ganealogy.budget import MAX_TICKS, step_count, tick_steps
from ganealogy.files import atomic
from ganealogy.files.records import RecordError, read_record
from ganealogy.lineage.budget_keys import budget_keys
from ganealogy.record_types import RunIdentity, RunJson, TrainingProtocol, VersionPlan
from ganealogy.runs import store
from ganealogy.runs.store import Entry

BUDGET = ("kimg", "epochs", "ticks")
"""Keys of the protocol in which the two may differ."""


@dataclass(frozen=True)
class Shorter:
    """A finished training of the store with fewer steps."""

    entry: Entry
    run: RunJson

    @property
    def kimg(self) -> str:
        return f"{self.run['kimg']:g} kimg"


def digest(plan: VersionPlan) -> str:
    """Return the digest of a plan without its budget: that of trainings which may continue each other."""
    protocol = {key: value for key, value in plan["protocol"].items() if key not in BUDGET}
    source = {"from": [plan["from"]["seed"], plan["from"]["plan"]["fingerprint"]]} if "from" in plan else {}
    return atomic.digest({"recipe": plan["recipe"], "protocol": protocol, "code": plan["code"], **source})


def shorter(plan: VersionPlan, identity: RunIdentity, entries: Iterable[tuple[str, Entry]]) -> list[Shorter]:
    """Return the finished trainings that differ only in a smaller budget, longest first; not verified."""
    same = {"without_budget": digest(plan), "data": identity["data"], "seed": str(identity["seed"])}
    same["vary"] = identity.get("vary", "")
    steps, found = step_count(identity["protocol"]), []
    for _stage, entry in entries:
        if same == {key: entry.record["made_from"].get(key, "") for key in same}:
            try:
                run = read_record(entry.out / "run.json", "", kind=RunJson)
            except RecordError:
                continue  # damaged: it is made again when it is asked for
            if run["status"] == "finished" and run["steps"] < steps and any(entry.state.glob("*.json")):
                found.append(Shorter(entry, run))
    return sorted(found, key=lambda each: -each.run["steps"])


def choose(
    plan: VersionPlan, identity: RunIdentity, entries: Iterable[tuple[str, Entry]] | None = None
) -> tuple[list[Shorter], str]:
    """Return the trainings that this one can continue, longest first.

    Where there are shorter ones and none can be continued, also the reason in words. `entries`: the trainings of the
    store, where they have been read.
    """
    protocol = identity["protocol"]
    found = shorter(plan, identity, store.entries(stages=("train",)) if entries is None else entries)
    if not found:
        return [], ""
    if keys := budget_keys(plan["recipe"]):
        verb = "depends" if len(keys) == 1 else f"and {len(keys) - 1} more depend"
        return [], f"starts anew, not from the {found[0].kimg} that are there: {keys[0]} {verb} on the budget"
    fitting = [each for each in found if ticks_agree(each.run["protocol"], protocol)]
    return fitting, "" if fitting else f"starts anew; {remedy(found[0], protocol)}"


def begin(name: str, work: Path, plan: VersionPlan, identity: RunIdentity) -> bool:
    """Copy the longest training that can be continued into `work`, and say so. Return False if there is none.

    A kill leaves no checkpoint in `work`, so that the next attempt begins here again.
    """
    fitting, reason = choose(plan, identity)
    for each in fitting:
        if not store.is_intact(each.entry):
            reason = f"starts anew: the {each.kimg} that were there are damaged"
            continue
        shutil.rmtree(work / "train", ignore_errors=True)
        # Not run.json, which has the identity of the shorter one, nor its weights, which the loop writes at its end.
        shutil.copytree(each.entry.out, work / "train", ignore=shutil.ignore_patterns("run.json", "weights"))
        copy = work / ".checkpoints.tmp"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(each.entry.state, copy)
        copy.replace(work / "checkpoints")
        print(f"ganealogy: {name} continues from the {each.kimg} that are there", file=sys.stderr)
        return True
    if reason:
        print(f"ganealogy: {name}: {reason}", file=sys.stderr)
    return False


def ticks_agree(shorter: TrainingProtocol, longer: TrainingProtocol) -> bool:
    """Return whether the shorter training's ticks are those of the longer one up to there."""
    end = step_count(shorter)
    return tick_steps(shorter) == {step for step in tick_steps(longer) if step <= end}


def remedy(found: Shorter, wanted: TrainingProtocol) -> str:
    """Return which settings would continue a training whose ticks do not agree."""
    had = found.run["protocol"]
    there = f"would continue the {found.kimg} that are there"
    ticks = round(had["ticks"] * step_count(wanted) / step_count(had))
    if ticks <= MAX_TICKS and ticks_agree(had, {**wanted, "ticks": ticks}):
        return f"train.ticks: {ticks} {there}"
    times = math.ceil(step_count(wanted) / step_count(had))
    key = next(key for key in ("epochs", "kimg") if key in wanted)
    budget = had.get(key, 0) * times if key == "epochs" else step_count(had) * times * had["batch_size"] / 1000
    if had["ticks"] * times <= MAX_TICKS and budget and float(budget if key == "epochs" else 1).is_integer():
        return f"train.{key}: {budget:.10g} and train.ticks: {had['ticks'] * times} {there}"
    return f"no train.ticks up to {MAX_TICKS} {there}"
