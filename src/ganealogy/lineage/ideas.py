"""Which ancestors' ideas are still in force in a version: without them, its recipe would be another or none.

Does not import torch.
"""

from __future__ import annotations

from collections.abc import Mapping

from ganealogy.errors import GanealogyError
from ganealogy.lineage.flatten import flatten
from ganealogy.lineage.versions import Version, rebuild


def overwritten(version: Version, family: Mapping[str, Version]) -> list[str]:
    """Return the ancestors of whose changes nothing is left: later ones replace them. The root is not among them."""
    return [idea for idea in version.ideas[1:-1] if not _matters(idea, version, family)]


def in_force(version: Version, family: Mapping[str, Version]) -> list[str]:
    """Return the ancestors whose changes the version has, in part at least, without its root."""
    return [idea for idea in version.ideas[1:-1] if _matters(idea, version, family)]


def newly_overwritten(version: Version, family: Mapping[str, Version]) -> list[str]:
    """Return the ancestors of whose changes the version's own leave nothing."""
    before = {idea for parent in version.parents for idea in overwritten(family[parent], family)}
    return [idea for idea in overwritten(version, family) if idea not in before]


def _matters(idea: str, version: Version, family: Mapping[str, Version]) -> bool:
    own = family[idea]
    if len(own.parents) == 1:  # a value that it changed, and no later one: without it, it would be that of before
        here, before = flatten(own.recipe), flatten(family[own.parents[0]].recipe)
        if any(origin == idea and before.get(key) != here.get(key) for key, origin in version.origins.items()):
            return True
    try:
        return rebuild(version.name, family, {idea})[0] != version.recipe
    except GanealogyError:  # what is left is no recipe
        return True
