"""Test a project's own versions and components in seconds, before hours of training."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ganealogy import components
from ganealogy.errors import GanealogyError, one_of
from ganealogy.lineage import recipe as recipes
from ganealogy.lineage import versions
from ganealogy.lineage.versions import Version
from ganealogy.params import schema
from ganealogy.params.schema import Settings
from ganealogy.project import check_component
from ganealogy.project.faults import explained
from ganealogy.workspace import SHIPPED, VERSIONS


@dataclass(frozen=True)
class Checked:
    """One version or component."""

    name: str
    faults: list[str]
    """What is wrong, where, and what to do."""
    note: str = ""
    """What was done, or what is worth knowing."""


def check(names: list[str]) -> Iterator[Checked]:
    """Check the named versions and components, or all of the project's own; without any, those of params.yaml.

    Raises: GanealogyError for an unknown name, a wrong params.yaml, or a component in a wrong place.
    """
    settings = schema.load()
    own = components.own()
    in_use = _own_versions(settings)
    chosen, parts = _choose(names, in_use, own) if names else (in_use, list(own))
    if not chosen and not parts:
        chosen = settings.tree.versions
    if not names:
        for file, why in versions.misnamed().items():
            yield Checked(str(VERSIONS / file), [why])
        for path in check_component.helpers():
            if faults := check_component.imports(path):
                yield Checked(str(path), faults)
    used = _used_by(versions.known()) if parts else {}
    for kind, name in parts:
        where = f"{kind}.{name}"
        by = used.get((kind, name), [])
        note = f"used by {', '.join(by)}" if by else "no version uses it, so no training has tested it"
        faults = check_component.faults(kind, name, own[kind, name], settings)
        yield Checked(where, faults, note if kind in check_component.OF_A_RECIPE else "")
    for name in chosen:
        yield _version(name, settings)


def _own_versions(settings: Settings) -> list[str]:
    """Return the project's own versions; in a checkout, where all are in one folder, those of params.yaml."""
    is_checkout = VERSIONS.resolve() == (SHIPPED / VERSIONS).resolve()
    return list(settings.tree.versions) if is_checkout else versions.known(VERSIONS)


def _choose(
    names: list[str], in_use: list[str], own: dict[tuple[str, str], Any]
) -> tuple[list[str], list[tuple[str, str]]]:
    """Return the versions and components of these names. Raises: GanealogyError for an unknown one."""
    known = versions.known()
    chosen, parts = [], []
    for name in names:
        found = [part for part in own if name in (part[1], ".".join(part))]
        if name not in known and not found:
            legal = list(dict.fromkeys([*in_use, *(part for _, part in own)]))
            raise one_of("version or component", name, legal)
        chosen += [name] if name in known else []
        parts += found
    return chosen, parts


def _used_by(names: list[str]) -> dict[tuple[str, str], list[str]]:
    """Return (kind, name) of a component → versions whose recipe names it, without those that cannot be read."""
    used: dict[tuple[str, str], list[str]] = {}
    for name in names:
        try:
            whole = versions.read_family([name])[name].recipe
        except GanealogyError:  # reported where the version is checked
            continue
        for slot, (kind, _) in recipes.slots(whole).items():
            used.setdefault((kind, recipes.lookup(whole, slot)["name"]), []).append(name)
    return used


def _version(name: str, settings: Settings) -> Checked:
    faults: list[str] = []
    note = ""
    with explained(faults):
        version: Version = versions.read_family([name])[name]
        with explained(faults, str(version.path)):
            from ganealogy.project import check_training  # imports torch
            from ganealogy.stages import plan

            recipe = plan.complete(version, settings)
            plan.count_parameters(recipe, settings, version.path)
            planned = plan.version_plan(version, recipe, settings)
            plan.count_flops(planned)
            found = check_training.check_training(planned, settings.train.threads)
            faults += [f"{version.path}: {fault}" for fault in found.faults]
            note = found.note
    return Checked(name, faults, note)
