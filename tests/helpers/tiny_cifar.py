"""Archives in the format of CIFAR-10's authors."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from ganealogy.data.sources import cifar10


def batches(members: dict[str, bytes]) -> bytes:
    """Return a gzipped tar archive, as the authors publish it."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


def pin(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Make the archive in the folder the official one."""
    md5 = hashlib.md5((folder / cifar10.ARCHIVE.name).read_bytes()).hexdigest()
    monkeypatch.setattr(cifar10, "ARCHIVE", dataclasses.replace(cifar10.ARCHIVE, md5=md5))
