"""Versions that start with the networks of another training: `train: {from: …}` of a version file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ganealogy.budget import MAX_TICKS
from ganealogy.errors import GanealogyError
from ganealogy.params.schema import Train
from ganealogy.record_types import RunIdentity, Source, VersionPlan
from ganealogy.tree_types import PlannedSource
from ganealogy.workspace import run_key

if TYPE_CHECKING:
    from ganealogy.runs.store import Entry
    from ganealogy.training.start import Start


def with_budget(settings: Train, kimg: float) -> Train:
    """Return the settings with a budget of `kimg`, and ticks in proportion if the budget is in kimg, too.

    In proportion, the training that a version starts from is the one that a larger budget of its own version continues.
    """
    share = kimg / settings.kimg if settings.kimg else 1
    ticks = min(MAX_TICKS, max(1, round(settings.ticks * share)))
    return settings.model_copy(update={"kimg": kimg, "epochs": None, "ticks": ticks})


def described(plan: VersionPlan) -> PlannedSource:
    """Return what the report says of a version's start."""
    from ganealogy.lineage import flops

    source = plan["from"]["plan"]
    kimg = source["protocol"]["kimg"]
    operations = 1000 * kimg * flops.per_image(source["recipe"], source["protocol"])
    if "from" in source:
        operations += described(source)["flops"]
    return {"version": source["version"], "seed": plan["from"]["seed"], "kimg": kimg, "flops": operations}


def check_fits(plan: VersionPlan, path: Path) -> None:
    """Compare the networks of a version with those that it starts from.

    Raises: GanealogyError naming the first tensor that differs.
    """
    if "from" not in plan:
        return
    source = plan["from"]["plan"]
    check_fits(source, path)
    here, there = _shapes(plan, path), _shapes(source, path)
    for name in {**there, **here}:
        if here.get(name) != there.get(name):
            network, _, tensor = name.partition(".")
            raise GanealogyError(
                f"{path}: train.from: {tensor} of the {network} is {_size(there.get(name))} in {source['version']} and "
                f"{_size(here.get(name))} here: start from a version with the same networks"
            )


def source_seed(plan: VersionPlan, seed: int, vary: str = "") -> int:
    """Return the seed of the training that a run starts from. Runs in which one kind of draws varies start alike."""
    given = plan["from"]["seed"]
    return given if given != "same" else 0 if vary else seed


def source_record(plan: VersionPlan, seed: int, data: str, vary: str = "") -> Source:
    """Return `from` of run.json."""
    source, of = plan["from"]["plan"], source_seed(plan, seed, vary)
    key = run_key(source["fingerprint"], data, of)
    return {"version": source["version"], "seed": of, "kimg": source["protocol"]["kimg"], "key": key}


def read(plan: VersionPlan, identity: RunIdentity, entry: Entry) -> Start:
    """Return the networks of a finished training of the store.

    Raises: GanealogyError when it diverged, or its checkpoint cannot be read.
    """
    from ganealogy.training import checkpoint
    from ganealogy.training.start import Start

    found = checkpoint.last(entry.state)
    mine, theirs = plan["recipe"]["optimizers"], plan["from"]["plan"]["recipe"]["optimizers"]
    same = {
        network
        for network in ("generator", "discriminator")
        if (mine[network] or {}).get("name") == (theirs[network] or {}).get("name")
    }
    return Start(found.tensors, identity["from"]["kimg"], same)


def _shapes(plan: VersionPlan, path: Path) -> dict[str, tuple[int, ...]]:
    """Return tensor → shape of both networks, built on the meta device."""
    import torch

    from ganealogy.networks import _build
    from ganealogy.runtime.without_dynamo import SkipInitialisation

    try:
        with torch.device("meta"), SkipInitialisation():
            networks = {
                "generator": _build.generator(plan["recipe"], plan["protocol"]),
                "discriminator": _build.discriminator(plan["recipe"], plan["protocol"]),
            }
    except GanealogyError as error:
        raise GanealogyError(f"{path}: train.from: {error}") from None
    return {
        f"{network}.{name}": tuple(tensor.shape)
        for network, module in networks.items()
        for name, tensor in module.state_dict().items()
    }


def _size(shape: tuple[int, ...] | None) -> str:
    return "absent" if shape is None else "×".join(map(str, shape)) or "a number"
