"""Create a version file to fill in, and add its name to params.yaml."""

from __future__ import annotations

from pathlib import Path
from string import Template

from ganealogy.errors import GanealogyError
from ganealogy.files import atomic
from ganealogy.lineage.versions import path_of, read_family
from ganealogy.params import edit
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


def new(name: str, parent: str, folder: Path | None = None, params: Path = PARAMS) -> Path:
    """Write `<name>.yaml` and add it to tree.versions. Return the file.

    Raises: GanealogyError for a name that is taken or not plain, or an unknown parent.
    """
    path = (folder or VERSIONS) / f"{check_version_name(name)}.yaml"
    if path.exists() or path.is_symlink():
        raise GanealogyError(f"{path} exists already; choose another name, or edit it")
    if path_of(name, folder) != path:
        raise GanealogyError(f"a version {name} comes with Ganealogy: choose another name")
    read_family([parent], folder)  # raises for an unknown or faulty parent
    atomic.write_text(path, FILE.substitute(parent=parent))
    try:
        edit.add_version(name, params)
    except GanealogyError:
        path.unlink()
        raise
    return path
