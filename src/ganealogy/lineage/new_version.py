"""Create a version file to fill in, and add its name to params.yaml."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from string import Template

import yaml

from ganealogy.errors import GanealogyError
from ganealogy.files import atomic
from ganealogy.lineage.versions import ConflictError, VersionFile, child, path_of, read_family
from ganealogy.params import edit
from ganealogy.params.schema import parse
from ganealogy.workspace import PARAMS, VERSIONS, check_version_name

FILE = Template("""\
title: A few words
parent: $parent
idea: >
  Why this should help, in one or two sentences: the report prints them beside the result.
source: the paper, or "ours"
# Only the differences from $parent; `ganealogy show $parent` prints all keys. Examples:
#   adversary: {loss: hinge}                         another component, with its default parameters
#   adversary: {loss: {real_target: 0.9}}            one parameter of the parent's component
#   optimizers: {discriminator: {lr: 2x}}            twice train.lr; a number does not follow train.lr
changes:
  optimizers:
    discriminator: {lr: 2x}
""")


MERGE = Template("""\
title: A few words
parents: [$parent, $other]
idea: >
  Why the two should help together, in one or two sentences: the report prints them beside the results.
source: the paper, or "ours"
# It has what both changed since their common ancestor. Where they change one value differently, `changes` decides:
# changes:
#   optimizers: {generator: {lr: 1x}}
""")


def new(name: str, parent: str, folder: Path | None = None, params: Path = PARAMS, other: str = "") -> Path:
    """Write `<name>.yaml` and add it to tree.versions. Return the file. `other`: second parent, of a merge.

    Raises: GanealogyError for a name that is taken or not plain, an unknown parent, or two that cannot be merged.
    """
    path = (folder or VERSIONS) / f"{check_version_name(name)}.yaml"
    if path.exists() or path.is_symlink():
        raise GanealogyError(f"{path} exists already; choose another name, or edit it")
    if path_of(name, folder) != path:
        raise GanealogyError(f"a version {name} comes with Ganealogy: choose another name")
    family = read_family([parent, *([other] if other else [])], folder)  # raises for an unknown or faulty parent
    text = (MERGE if other else FILE).substitute(parent=parent, other=other)
    if other:
        with suppress(ConflictError):  # to be decided in the file
            file = parse(VersionFile, yaml.safe_load(text), str(path))
            child(name, file, path, [family[parent], family[other]], family)
    atomic.write_text(path, text)
    try:
        edit.add_version(name, params)
    except GanealogyError:
        path.unlink()
        raise
    return path
