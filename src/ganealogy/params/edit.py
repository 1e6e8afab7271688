"""Edit YAML files and keep their comments: add an extractor or a version; and replace params.yaml by a preset."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.representer import RoundTripRepresenter

from ganealogy.errors import GanealogyError, one_of
from ganealogy.files import atomic
from ganealogy.params import schema
from ganealogy.workspace import PARAMS, PRESETS, with_shipped

LIST_BELOW_KEY = re.compile(r"^( *)[^\s#-][^#\n]*: *(?:#.*)?\n(?: *(?:#.*)?\n)*( *)- ", re.M)
"""The indents of a key and of the list below it: ruamel has one setting per file."""


class _WrittenNull(RoundTripRepresenter):
    """Writes null, where ruamel leaves the value out."""


_WrittenNull.add_representer(
    type(None), lambda representer, _: representer.represent_scalar("tag:yaml.org,2002:null", "null")
)


def known() -> list[str]:
    """Return the names of the project's presets and of those that come with Ganealogy."""
    return sorted({path.stem for place in with_shipped(PRESETS) for path in place.glob("*.yaml")})


def use(name: str, path: str | None = None, params: Path = PARAMS) -> str:
    """Replace params.yaml by preset `name`, with the preset's comments. Return the difference.

    `path`: the pictures of preset `folder`; None keeps the path in params.yaml, which other presets keep, too.

    Raises: GanealogyError for an unknown preset, a fault in one, or a `path` that is absent or that stages use.
    """
    if name not in known():
        raise one_of("preset", name, known(), str(PRESETS))
    file = next(each for place in with_shipped(PRESETS) if (each := place / f"{name}.yaml").is_file())
    if path is not None:
        if name != "folder":
            raise GanealogyError(f"--path is for the preset folder, not {name}: `ganealogy use {name}`")
        from ganealogy.data.sources import folder  # imported here: only this preset needs it

        folder.existing(path)

    schema.parse(schema.Settings, schema.read_yaml(file), str(file))
    before = schema.read_text(params) if params.exists() else ""
    dataset = (schema.read_yaml(params) if before.strip() else {}).get("dataset")
    kept = dataset.get("path") if path is None and isinstance(dataset, dict) else path
    after = schema.read_text(file)
    if kept is not None:
        round_trip = _round_trip(after)
        preset = round_trip.load(after)
        preset["dataset"].pop("path", None)
        preset["dataset"].insert(1, "path", kept)
        after = _dumped(round_trip, preset)
    return _write(params, before, after, schema.Settings)


def add_extractor(name: str, params: Path = PARAMS) -> str:
    """Add an extractor to evaluate.extractors. Return the difference, empty if it was listed."""

    def add(content: Any) -> None:
        extractors = content.setdefault("evaluate", {}).setdefault("extractors", list(schema.Evaluate().extractors))
        if name not in extractors:
            extractors.append(name)

    return rewrite(params, add)


def add_version(name: str, params: Path = PARAMS) -> str:
    """Add a version to tree.versions. Return the difference, empty if it was listed."""

    def add(content: Any) -> None:
        versions = content["tree"]["versions"]
        if name not in versions:
            versions.append(name)

    return rewrite(params, add)


def set_more_seeds(more_seeds: Mapping[str, Sequence[int]], params: Path = PARAMS) -> str:
    """Set tree.more_seeds, a line per version. Return the difference."""

    def change(content: Any) -> None:
        tree = content["tree"]
        lines = CommentedMap()
        for version, seeds in more_seeds.items():
            lines[version] = CommentedSeq(seeds)
            lines[version].fa.set_flow_style()
        if "more_seeds" in tree:
            tree["more_seeds"] = lines
        else:  # before the last key, behind which the section's empty line is
            tree.insert(len(tree) - 1, "more_seeds", lines)

    return rewrite(params, change)


def rewrite(
    path: Path, change: Callable[[Any], None], model: type[BaseModel] = schema.Settings, to: Path | None = None
) -> str:
    """Apply `change` to the content of a YAML file, whose comments, order and quotes stay. Return the difference.

    `to`: write the result there, and leave `path` as it is.

    Raises: GanealogyError when the file, before or after, is no `model`; it is then unchanged.
    """
    before = schema.read_text(path) if path.exists() else ""
    if before.strip():
        schema.read_yaml(path)  # raises with the place of the fault
    round_trip = _round_trip(before)
    content = round_trip.load(before) or {}
    try:
        change(content)
    except (AttributeError, KeyError, TypeError):  # a key that `change` needs is absent, or of another type
        schema.parse(model, schema.read_yaml(path), str(path))
        raise
    return _write(to or path, before, _dumped(round_trip, content), model)


def _round_trip(text: str) -> YAML:
    """Return a reader and writer of YAML that keeps the comments, order, quotes and indents of this text."""
    round_trip = YAML()
    round_trip.width, round_trip.preserve_quotes, round_trip.Representer = 120, True, _WrittenNull
    if list_below_key := LIST_BELOW_KEY.search(text):
        key, dash = map(len, list_below_key.groups())
        round_trip.indent(mapping=2, sequence=dash - key + 2, offset=dash - key)
    return round_trip


def _dumped(round_trip: YAML, content: Any) -> str:
    stream = StringIO()
    round_trip.dump(content, stream)
    return stream.getvalue()


def _write(path: Path, before: str, after: str, model: type[BaseModel]) -> str:
    """Write a YAML file if it is a `model`. Return the difference."""
    schema.parse(model, YAML(typ="safe", pure=True).load(after), str(path))
    atomic.write_text(path, after)
    return "".join(
        difflib.unified_diff(before.splitlines(True), after.splitlines(True), f"{path} before", str(path), n=0)
    )
