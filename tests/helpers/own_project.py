"""A project with components of its own, in this process."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ganealogy import components

PARAMS = """
dataset: {name: avatars, image_size: 16, channels: 3}
tree: {versions: [v1], seeds: [0]}
train: {kimg: 1, batch_size: 8, lr: 0.0002, width: 4, device: cpu, threads: 1}
evaluate: {extractors: [pixel8], lead: fd_pixel8}
"""


@contextmanager
def own_project(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Make the folder a project and the working directory; afterwards forget its components."""
    with components_of(folder):
        monkeypatch.chdir(folder)
        Path("params.yaml").write_text(PARAMS)
        Path("versions").mkdir()
        yield folder


@contextmanager
def components_of(folder: Path) -> Iterator[None]:
    """Afterwards restore the packages' paths and forget the modules that were loaded from the folder."""
    packages = [importlib.import_module(f"ganealogy.{kind}") for kind in (*components.KINDS, "networks.layers")]
    before, loaded = [list(package.__path__) for package in packages], set(sys.modules)
    try:
        yield
    finally:
        for package, path in zip(packages, before, strict=True):
            package.__path__[:] = path
        for name in set(sys.modules) - loaded:
            if str(getattr(sys.modules[name], "__file__", "")).startswith(str(folder)):
                parent, _, last = name.rpartition(".")
                vars(sys.modules[parent]).pop(last, None)
                del sys.modules[name]
