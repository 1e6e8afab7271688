"""Take a version apart: versions without one of its ideas, or with one alone. Does not import torch."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from ganealogy.errors import GanealogyError
from ganealogy.lineage import changes, versions
from ganealogy.lineage.versions import Version, VersionFile
from ganealogy.params.schema import parse
from ganealogy.workspace import VERSIONS


@dataclass(frozen=True)
class Ablation:
    """A version that takes another one apart, to write; or why there is none."""

    name: str
    content: Mapping[str, Any]
    """Of its file."""
    version: Version | None
    refused: str = ""
    """Why it is not worth a training, or not possible."""


def leave_out(version: Version, family: Mapping[str, Version], together: int = 1) -> list[Ablation]:
    """Return the version without each of its ancestors' ideas. `together`: 2 leaves out each pair of them.

    Raises: GanealogyError for a version without ancestors' ideas, or fewer than `together`.
    """
    ideas = version.ideas[1:-1]
    if len(ideas) < together:
        legal = [name for name, each in family.items() if len(each.ideas) - 2 >= together and not each.file.ablates]
        raise GanealogyError(
            f"{version.name} has {', '.join(ideas) or 'no idea'} between its root and its own changes, and "
            f"{'a pair' if together == 2 else 'an ablation'} needs {together}: take {_such_as(legal)}"
        )
    found = []
    for chosen in combinations(ideas, together):
        content = {
            "title": f"{version.name} without {' and '.join(chosen)}",
            "parent": version.name,
            "without": list(chosen),
            "ablates": {"version": version.name, "without": list(chosen)},
            "idea": f"What is {version.name} without {_titles(chosen, family)}?",
        }
        found.append(_ablation(f"{version.name}-without-{'-'.join(chosen)}", content, family))
    return found


def alone(version: Version, family: Mapping[str, Version]) -> list[Ablation]:
    """Return the root with each of the ideas alone. Raises: GanealogyError for a root and its children."""
    root, *ideas = version.ideas
    if len(ideas) < 2:
        legal = [name for name, each in family.items() if len(each.ideas) > 2 and not each.file.ablates]
        raise GanealogyError(
            f"{version.name} has {', '.join(ideas) or 'no idea'} after its root, and to try each alone takes 2: "
            f"take {_such_as(legal)}"
        )
    found = []
    for idea in ideas:
        content = {
            "title": f"{root} with {idea} alone",
            "parent": root,
            "changes": dict(family[idea].file.changes or {}),
            "ablates": {"version": version.name, "only": idea},
            "idea": f"What does {_titles([idea], family)} do without the ideas before it?",
        }
        found.append(_ablation(f"{version.name}-only-{idea}", content, family))
    return found


def split(version: Version, family: Mapping[str, Version]) -> list[Ablation]:
    """Return the parent with each of the version's changes alone, and with all but one.

    Raises: GanealogyError for a version without a parent, with two, or with one change.
    """
    parts = _parts(version, family)
    block, parent = dict(version.file.changes or {}), version.parents[0]
    found = []
    for part, keys in parts.items():
        rest = [key for other, own in parts.items() if other != part for key in own]
        for kind, chosen in (("only", keys), ("without", rest)):
            if kind == "without" and len(parts) == 2:
                continue  # the other one alone
            content = {
                "title": f"{version.name} with its {part} alone"
                if kind == "only"
                else f"{version.name} without its {part}",
                "parent": parent,
                "changes": _below(block, chosen),
                "ablates": {"version": version.name, "part": part, "kind": kind},
                "idea": f"Is it {part} that makes {version.name} what it is?",
            }
            found.append(_ablation(f"{version.name}-{kind}-{part}", content, family))
    return found


def _parts(version: Version, family: Mapping[str, Version]) -> dict[str, list[str]]:
    """Return part → dotted keys of the version's changes, as `changes.count_changes` counts them."""
    if len(version.parents) != 1 or not version.file.changes:
        raise GanealogyError(f"{version.name} has no changes of its own to split: take a version with one parent")
    parent = family[version.parents[0]]
    groups = changes.groups(changes.changes(version.file.changes, parent.recipe, version.recipe))
    if len(groups) < 2:
        changed = "".join(f", {keys[0]}" for keys in groups.values())
        raise GanealogyError(f"{version.name} changes one thing{changed}: take a bundle of changes")
    names: dict[str, list[str]] = {}
    for subject, keys in groups.items():
        words = [word for word in re.split(r"[._]+", subject) if word]
        short = next(
            name
            for length in range(1, len(words) + 1)
            if (name := "-".join(words[-length:])) not in names or length == len(words)
        )
        names[short] = keys
    return names


def _below(block: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """Return the part of a `changes` block below these dotted keys."""
    found: dict[str, Any] = {}
    for key in keys:
        *above, last = key.split(".")
        source: Any = block
        target = found
        for name in above:
            source, target = source[name], target.setdefault(name, {})
        target[last] = source[last]
    return found


def _ablation(name: str, content: dict[str, Any], family: Mapping[str, Version]) -> Ablation:
    content["source"] = "ablation"
    path = VERSIONS / f"{name}.yaml"
    try:
        file: VersionFile = parse(VersionFile, content, str(path))
        version = versions.child(name, file, path, [family[parent] for parent in file.all_parents], family)
    except GanealogyError as error:
        return Ablation(name, content, None, str(error))
    same = next((each.name for each in family.values() if each.recipe == version.recipe), "")
    return Ablation(name, content, version, f"the same as {same}" if same else "")


def _such_as(names: Sequence[str]) -> str:
    """Return the end of a message: which versions are legal, the first five of them."""
    more = f" or {len(names) - 5} others" if len(names) > 5 else ""
    return f"{', '.join(names[:5])}{more}" if names else "another one once there is a longer line"


def _titles(names: Sequence[str], family: Mapping[str, Version]) -> str:
    return " and ".join(f"{family[name].file.title} ({name})" for name in names)
