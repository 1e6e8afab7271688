"""A new version: a file to fill in, and its name in params.yaml."""

from __future__ import annotations

from pathlib import Path
from string import Template

from ganealogy.errors import GanealogyError
from ganealogy.files import atomic
from ganealogy.lineage.versions import read_family
from ganealogy.params import edit
from ganealogy.workspace import PARAMS, VERSION_NAME, VERSIONS

FILE = Template("""\
title: A few words
parent: $parent
idea: >
  Why this should help, in a sentence or two: the report prints it beside the result.
source: the paper, or "ours"
# What differs from $parent, and nothing else; `ganealogy show $parent` prints all that could. Examples:
#   adversary: {loss: hinge}                         another component: its old parameters go with it
#   adversary: {loss: {real_target: 0.9}}            one value of the parent's component
#   optimizers: {discriminator: {lr: 2x}}            twice train.lr; a plain number pins the rate
changes:
  optimizers:
    discriminator: {lr: 2x}
""")


def new(name: str, parent: str, folder: Path = VERSIONS, params: Path = PARAMS) -> Path:
    """Write `<name>.yaml` and add it to tree.versions; returns the file.

    Raises: GanealogyError for a name that is taken or not plain, or an unknown parent.
    """
    if not VERSION_NAME.fullmatch(name):
        raise GanealogyError(f"{name!r} is not a version name: a small letter, then small letters, digits and '-'")
    path = folder / f"{name}.yaml"
    if path.exists():
        raise GanealogyError(f"{path} is there already; choose another name or edit it")
    read_family([parent], folder)  # an unknown or faulty parent is named here
    atomic.write_text(path, FILE.substitute(parent=parent))
    try:
        edit.add_version(name, params)
    except GanealogyError:
        path.unlink()  # nothing half-made
        raise
    return path
