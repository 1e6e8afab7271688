"""A picture that would take minutes or gigabytes is rejected, and the others are packed."""

from __future__ import annotations

import io
import os
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import greedy_items
from PIL import Image

from ganealogy.data import preprocess as stage
from ganealogy.data import workers
from ganealogy.data.download import download
from ganealogy.data.preprocess import preprocess
from ganealogy.errors import GanealogyError


def scans(count: int) -> bytes:
    """A progressive JPEG of a few kilobytes whose last scan comes `count` times."""
    file = io.BytesIO()
    ramp = np.linspace(0, 255, 1500 * 1500).reshape(1500, 1500).astype(np.uint8)
    Image.fromarray(ramp).save(file, "JPEG", progressive=True, quality=30)
    content = file.getvalue()
    last = content.rindex(b"\xff\xda")
    return content[:last] + content[last:-2] * count + b"\xff\xd9"


def strips(count: int) -> bytes:
    """A TIFF with one strip per row; all strips are the same eight bytes."""
    tags = [(256, 1, 8), (257, 1, count), (258, 1, 8), (259, 1, 1), (262, 1, 1), (273, count, 0), (277, 1, 1)]
    tags += [(278, 1, 1), (279, count, 0)]
    start = 8 + 2 + 12 * len(tags) + 4
    places = {273: start, 279: start + 4 * count}
    entries = [struct.pack("<HHII", tag, 4, number, places.get(tag, value)) for tag, number, value in tags]
    directory = struct.pack("<H", len(tags)) + b"".join(entries) + bytes(4)
    offsets = struct.pack("<I", start + 8 * count) * count + struct.pack("<I", 8) * count
    return b"II*\0" + struct.pack("<I", 8) + directory + offsets + bytes(8)


def blank(width: int, height: int, depth: int) -> bytes:
    """An RGBA PNG of zeros: a thousandth of its pixels' size."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    packer = zlib.compressobj(9)
    row = bytes(1 + width * depth // 2)
    pixels = b"".join([packer.compress(row) for _ in range(height)]) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, depth, 6, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


HOSTILE: dict[str, tuple[bytes, int]] = {
    "scans.jpg": (scans(20_000), 2**30),
    "scans among large ones.jpg": (scans(40_000), 2**30),
    "strips.tif": (strips(1_000_000), 2**27),
    "rgba.png": (blank(6000, 5999, 8), 2**28),
    "deep.png": (blank(6000, 5999, 16), 2**28),
}


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux alone")
@pytest.mark.parametrize("threads", ["1", "2"])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_picture_is_rejected_and_the_others_are_packed(
    name: str, threads: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, size = HOSTILE[name]
    monkeypatch.setenv("GANEALOGY_THREADS", threads)
    monkeypatch.setattr(stage, "SECONDS", 2.0)
    monkeypatch.setattr(stage, "MEMORY", size)
    (tmp_path / "mine").mkdir()
    for index in range(20):
        pixels = np.random.default_rng(index).integers(0, 255, (16, 16, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"mine/{index}.png")
    (tmp_path / "mine" / name).write_bytes(content)
    settings: Any = {"name": "folder", "path": str(tmp_path / "mine"), "image_size": 16, "channels": 3, "fit": "crop"}
    settings |= {"count": None, "holdout": 0.3, "max_rejected": 0.1, "mirror": None}
    download(settings, tmp_path / "raw")
    manifest = preprocess(settings, tmp_path / "raw", tmp_path / "packed")
    [rejected] = manifest["rejected"]
    assert rejected["name"] == name
    assert rejected["reason"] in ("decoding takes over 2 s", f"decoding takes over {size // 2**20} MiB of memory")
    assert manifest["counts"]["train"] + manifest["counts"]["holdout"] == 20


REASONS = {
    "hangs": "takes over 1 s",
    "hangs in C": "takes over 1 s",
    "takes memory": "takes over 256 MiB of memory",
    "crashes": "ends the process (exit code -11)",
    "exits": "ends the process (exit code 7)",
}


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("word", REASONS)
def test_an_item_that_takes_too_much_is_given_up_alone(word: str, processes: int) -> None:
    if word == "takes memory" and sys.platform != "linux":
        pytest.skip("memory is limited on Linux alone")
    limits = workers.Limits(1.0, 2**28, greedy_items.split, greedy_items.join, greedy_items.given_up)
    chunks = [["a", "b"], ["c", word, "d"], ["e"], ["f"]]
    found = list(workers.parallel_map(greedy_items.slow, chunks, int, (), processes, limits))
    assert found == [
        ["a is done", "b is done"],
        ["c is done", f"{word}: {REASONS[word]}", "d is done"],
        ["e is done"],
        ["f is done"],
    ]


def test_without_limits_of_the_system_time_is_still_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    from ganealogy.runtime import memory

    monkeypatch.setitem(sys.modules, "resource", None)
    memory.limit(1)  # as on Windows: does nothing
    assert len(bytearray(2**20)) == 2**20


def test_a_process_that_cannot_start_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_serve", os._exit)
    with pytest.raises(GanealogyError, match="a worker process could not start"):
        list(workers.parallel_map(greedy_items.slow, [["a"]], int, (), 2))
