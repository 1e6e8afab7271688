"""Read `versions/<name>.yaml` files, and merge each version's complete recipe."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field, field_validator, model_validator

from ganealogy.errors import GanealogyError
from ganealogy.lineage import merging
from ganealogy.lineage import recipe as recipes
from ganealogy.params.schema import Dataset, Evaluate, Positive, Sample, Section, Seed, Train, parse, read_yaml
from ganealogy.workspace import NOT_A_VERSION_NAME, PARAMS, VERSION_NAME, VERSIONS, with_shipped

MAX_ANCESTORS = 900
"""Python's own limit of nested calls is near 1,000."""

SECTIONS: dict[str, type[Section]] = {"dataset": Dataset, "train": Train, "sample": Sample, "evaluate": Evaluate}

Text = Annotated[str, Field(min_length=1, max_length=4000)]


class Calibration(Section):
    """A number that others publish for a version. No training depends on it: it is in no plan."""

    metric: str
    """The distance that must lead, such as fid."""
    value: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    accept: Annotated[list[Annotated[float, Field(gt=0, allow_inf_nan=False)]], Field(min_length=2, max_length=2)]
    """Lowest and highest mean over seeds that agrees with it."""
    interval: Text
    """Why this interval."""
    preset: str
    """The preset to begin with."""
    protocol: dict[Literal["dataset", "train", "sample", "evaluate"], dict[str, Any]]
    """Sections of params.yaml with the values under which it is published."""

    @model_validator(mode="after")
    def _fits(self) -> Calibration:
        low, high = self.accept
        if not low <= self.value <= high:
            raise ValueError(f"accept = {self.accept} does not contain the value {self.value:g}")
        if "name" not in self.protocol.get("dataset", {}):
            raise ValueError("protocol.dataset.name is missing")
        for section, keys in self.protocol.items():
            legal = SECTIONS[section].model_fields
            if unknown := [key for key in keys if key not in legal]:
                raise ValueError(f"protocol.{section} has no key {unknown[0]!r}; known: {', '.join(legal)}")
        return self


class Conclusion(Section):
    """What the author concluded from a version's numbers. No training depends on it."""

    text: Text
    numbers: Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")] | None = None
    """Digest of the numbers that it is about (`report/conclusions.py`); None if it was written by hand."""


class Ablates(Section):
    """What a version takes apart, and how."""

    version: str
    without: list[str] | None = None
    """Ideas, named by the versions that added them, that are left out."""
    only: str | None = None
    """The idea that the root alone has."""
    part: str | None = None
    """The part of the version's own changes that is alone or left out."""
    kind: Literal["only", "without"] | None = None


class Source(Section):
    """The training from whose networks a version starts."""

    version: str
    seed: Literal["same"] | Seed = "same"
    """`same`: each seed starts from the same seed of that version."""
    kimg: Positive
    """Its budget, whatever that of the tree is."""


class Start(Section):
    """What is special about a version's training."""

    source: Source = Field(alias="from")


class VersionFile(Section):
    """The keys of a version file."""

    title: Annotated[str, Field(min_length=1, max_length=120)]
    idea: Text
    source: Text
    note: Text | None = None
    parent: str | None = None
    parents: Annotated[list[str], Field(min_length=2, max_length=2)] | None = None
    """In place of `parent`: two branches, whose changes since they parted are merged."""
    without: Annotated[list[str], Field(min_length=1)] | None = None
    """Ancestors whose changes are left out: what is the parent without these ideas?"""
    ablates: Ablates | None = None
    """Of a version that `ganealogy ablate` wrote: its verdicts are a family of their own."""
    changes: dict[str, Any] | None = None
    """Merged over the parent's recipe."""
    recipe: dict[str, Any] | None = None
    """Roots only: the complete recipe."""
    train: Start | None = None
    """`from`: the training that it starts from; without it, from random weights. Not inherited by children."""
    calibration: Calibration | None = None
    """What `ganealogy calibrate` compares it with."""
    conclusion: Conclusion | None = None
    """Or the text alone. `ganealogy conclude` writes it."""

    @field_validator("conclusion", mode="before")
    @classmethod
    def _text_alone(cls, value: Any) -> Any:
        return {"text": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _root_or_child(self) -> VersionFile:
        if self.parent is not None and self.parents is not None:
            raise ValueError("'parent' and 'parents': remove one of them")
        if self.parents is not None and len(set(self.parents)) < 2:
            raise ValueError(f"'parents' names {self.parents[0]} twice: name two versions")
        if not self.all_parents and (self.recipe is None or self.changes is not None or self.without is not None):
            raise ValueError(
                "a version without a parent is a root: give a complete 'recipe', no 'changes' and no 'without'"
            )
        if self.all_parents and self.recipe is not None:
            raise ValueError("a version with a parent: give its 'changes' (at least one) and no 'recipe'")
        if self.parent is not None and not self.changes and not self.without and not self.train:
            raise ValueError("a version with a parent: give its 'changes' (at least one) and no 'recipe'")
        return self

    @property
    def start(self) -> Source | None:
        """The training from whose networks it starts."""
        return self.train.source if self.train else None

    @property
    def all_parents(self) -> list[str]:
        """The versions that this one is compared with: none of a root, two of a merge."""
        return list(self.parents or ([] if self.parent is None else [self.parent]))


class ConflictError(GanealogyError):
    """Two branches change a value differently, and the version that merges them does not set it."""


Content: TypeAlias = tuple[dict[str, Any], dict[str, str]]
"""A recipe, and dotted key → the version that set it."""


@dataclass(frozen=True)
class Version:
    name: str
    file: VersionFile
    path: Path
    recipe: dict[str, Any]
    """Merged from the files; learning rates still relative, defaults of components not filled in."""
    origins: dict[str, str]
    """Dotted key → the version that set it."""
    ideas: tuple[str, ...]
    """The versions whose changes are in it: its root first, itself last, parents before children."""

    @property
    def parent(self) -> str | None:
        """The version below which it is drawn; of a merge, the first one of `parents`."""
        return next(iter(self.file.all_parents), None)

    @property
    def parents(self) -> list[str]:
        """The versions that it is compared with: none of a root, two of a merge."""
        return self.file.all_parents


def known(folder: Path | None = None) -> list[str]:
    """Return the names of the version files in a folder, v2 before v10.

    By default, those of the project and those that come with Ganealogy.
    """
    files = (file for place in _folders(folder) for file in place.glob("*.yaml") if file.is_file())
    return sorted(filter(VERSION_NAME.fullmatch, {file.stem for file in files}), key=_natural)


def _folders(folder: Path | None) -> list[Path]:
    return [folder] if folder is not None else with_shipped(VERSIONS)


def path_of(name: str, folder: Path | None = None) -> Path:
    """Return the file of a version; where the project has none, that which comes with Ganealogy. It may be absent."""
    paths = [place / f"{name}.yaml" for place in _folders(folder)]
    return next((path for path in paths if path.is_file()), paths[0])


def in_use() -> list[str]:
    """Return the names of the project's own versions, and of those that params.yaml lists if it can be read."""
    listed: list[str] = []
    with suppress(GanealogyError, KeyError, TypeError):
        listed = [str(name) for name in read_yaml(PARAMS)["tree"]["versions"]]
    return sorted({*known(VERSIONS), *listed}, key=_natural)


def described(version: Version) -> dict[str, Any]:
    """Return a version as a plain mapping, for scripts."""
    file = version.file
    return {"name": version.name, **file.model_dump(exclude_none=True, by_alias=True), "file": str(version.path)}


def misnamed(folder: Path = VERSIONS) -> dict[str, str]:
    """Return file → why it is no version file, and what to do, for files that look like one.

    Hidden files and the copies that editors keep are left out.
    """
    found = {}
    for path in sorted(folder.glob("*")):
        name = path.name
        if not re.search(r"\.ya?ml(\.txt)?$", name, flags=re.I) or name.startswith("."):
            continue
        stem = re.sub(r"(\.ya?ml|\.txt)+$", "", name, flags=re.I)
        plain = re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-")
        plain = plain if VERSION_NAME.fullmatch(plain) else f"v{plain}"
        if not path.is_file():
            found[name] = "not a file: move it out of the folder"
        elif not VERSION_NAME.fullmatch(stem):
            found[name] = f"{stem!r} {NOT_A_VERSION_NAME}: rename it, such as to {plain}.yaml"
        elif name != f"{stem}.yaml":
            found[name] = f"version files end in .yaml: rename it to {stem}.yaml"
    return found


def read_family(names: list[str], folder: Path | None = None) -> dict[str, Version]:
    """Return the named versions and all their ancestors, parents before children. Does not import torch.

    `folder`: of the version files; by default that of the project, then those that come with Ganealogy.

    Raises: GanealogyError for a missing or misnamed file, a fault in it, or a cycle of parents.
    """
    family: dict[str, Version] = {}
    for name in names:
        _read(name, folder, family, [])
    return family


def left_out(listed: Collection[str], folder: Path | None = None) -> list[str]:
    """Return the project's own versions that descend from the same roots as the listed ones and are not listed.

    A file that cannot be read is left out too: `read_family` checks those that are used.
    """
    parents: dict[str, str | None] = {}
    for name in known(folder):
        with suppress(GanealogyError):
            parent = read_yaml(path_of(name, folder)).get("parent")
            parents[name] = parent if isinstance(parent, str) else None

    def root(name: str) -> str:
        trail = [name]
        while (parent := parents.get(trail[-1])) and parent not in trail:
            trail.append(parent)
        return trail[-1]

    roots = {root(name) for name in listed}
    own = known(folder or VERSIONS)
    return [name for name in parents if name in own and name not in listed and root(name) in roots]


def _read(name: str, folder: Path | None, family: dict[str, Version], trail: list[str]) -> Version:
    if name in family:
        return family[name]
    source = f"{path_of(trail[-1], folder)}: parent" if trail else "params.yaml: tree.versions"
    if name in trail:
        circle = " → ".join([*trail[trail.index(name) :], name])
        raise GanealogyError(f"{source} {name!r} makes a cycle of parents: {circle}; one of them must be a root")
    if len(trail) > MAX_ANCESTORS:
        raise GanealogyError(f"{source}: more than {MAX_ANCESTORS} ancestors of {trail[0]!r}; make one of them a root")
    path = path_of(name, folder)
    if not VERSION_NAME.fullmatch(name) or not path.is_file():
        names = ", ".join(known(folder)) or "none"
        own = folder or VERSIONS
        meant = {file: why for file, why in misnamed(own).items() if f"{name}.yaml" in (file, why.split()[-1])}
        others = "".join(f"; {own / file}: {why}" for file, why in meant.items())
        raise GanealogyError(f"{source}: no version {name!r} ({path} does not exist); known: {names}{others}")
    file: VersionFile = parse(VersionFile, read_yaml(path), str(path))
    if file.recipe is not None:
        whole = recipes.check(file.recipe, f"{path}: recipe")
        version = Version(name, file, path, whole, dict.fromkeys(recipes.flatten(whole), name), (name,))
    else:
        parents = []
        for parent in file.all_parents:  # no comprehension: its frame would halve the depth that Python allows
            parents.append(_read(parent, folder, family, [*trail, name]))
        version = child(name, file, path, parents, family)
    family[name] = version
    return version


def child(name: str, file: VersionFile, path: Path, parents: list[Version], family: Mapping[str, Version]) -> Version:
    """Return a version with parents. Raises: GanealogyError for branches or ideas that do not fit together."""
    ideas = tuple(dict.fromkeys(idea for parent in parents for idea in parent.ideas))
    dropped = frozenset(file.without or ())
    if unknown := [idea for idea in file.without or () if idea not in ideas[1:]]:
        legal = ", ".join(ideas[1:]) or "none, as it is a root"
        raise GanealogyError(f"{path}: without: {unknown[0]!r} is no idea of {' and '.join(file.all_parents)}: {legal}")
    start = _combined(path, file, parents, family, dropped)
    recipe, origins = _then(start, name, f"{path}: changes", file.changes or {})
    return Version(name, file, path, recipe, origins, (*(idea for idea in ideas if idea not in dropped), name))


def rebuild(name: str, family: Mapping[str, Version], dropped: Collection[str]) -> Content:
    """Return recipe and origins of a version without the changes of some of its ancestors, or of itself.

    Raises: GanealogyError where what is left gives no recipe.
    """
    version, left_out, line = family[name], set(dropped), list[Version]()
    while len(version.parents) == 1 and left_out & set(version.ideas):
        line.append(version)
        left_out |= set(version.file.without or ())
        version = family[version.parents[0]]
    content = version.recipe, version.origins
    if len(version.parents) == 2 and left_out & set(version.ideas):
        line.append(version)
        left_out |= set(version.file.without or ())
        both = [family[parent] for parent in version.parents]
        content = _combined(version.path, version.file, both, family, left_out)
    for each in reversed(line):
        if each.name not in left_out:
            content = _then(content, each.name, f"{each.path}: changes", each.file.changes or {})
    return content


def _combined(
    path: Path, file: VersionFile, parents: list[Version], family: Mapping[str, Version], dropped: Collection[str]
) -> Content:
    """Return recipe and origins of the parent, or of both merged, without the changes of the dropped versions."""
    contents = [rebuild(parent.name, family, dropped) for parent in parents]
    if len(parents) == 1:
        return contents[0]
    first, second = parents
    shared = [idea for idea in first.ideas if idea in second.ideas]
    for one, other in ((first, second), (second, first)):
        if one.name in other.ideas:
            raise GanealogyError(f"{path}: parents: {one.name} is an ancestor of {other.name}: parent: {other.name}")
    if not shared:
        raise GanealogyError(f"{path}: parents: {first.name} and {second.name} have no common ancestor")
    base, _ = rebuild(shared[-1], family, dropped)
    merged, conflicts = merging.merge(base, contents[0][0], contents[1][0])
    decided = recipes.flatten(file.changes or {})
    for conflict in conflicts:
        if not any(_overlap(key, conflict.key) for key in decided):
            sides = [
                f"{merging.shown(value)} ({parent.name})"
                for value, parent in zip((conflict.first, conflict.second), parents, strict=True)
            ]
            raise ConflictError(
                f"{path}: parents: both change {conflict.key}, to {' and '.join(sides)}: set it in 'changes'"
            )
    whole = recipes.check(merged, f"{path}: parents")
    flat = recipes.flatten(contents[0][0])
    origins = {
        key: contents[0][1][key] if flat.get(key, merging.ABSENT) == value else contents[1][1][key]
        for key, value in recipes.flatten(whole).items()
    }
    return whole, origins


def _overlap(key: str, other: str) -> bool:
    return f"{key}.".startswith(f"{other}.") or f"{other}.".startswith(f"{key}.")


def _then(content: Content, name: str, where: str, changes: dict[str, Any]) -> Content:
    """Apply changes. The origin of a key is `name` if the changes contain it or its value differs from before."""
    recipe, origins = content
    whole = recipes.check(recipes.merge(recipe, changes), where)
    before, mentioned = recipes.flatten(recipe), recipes.flatten(changes)
    return whole, {
        key: name if key in mentioned or key not in before or before[key] != value else origins[key]
        for key, value in recipes.flatten(whole).items()
    }


def _natural(name: str) -> tuple[str, int, str]:
    digits = re.search(r"\d+", name)
    return (name[: digits.start()], int(digits.group()), name) if digits else (name, 0, name)
