"""Turn the archives of data/raw into one packed array per split, and a manifest that accounts for every picture.

Memory use per picture is about 1 KB (name and hash): pixels go through a temporary file.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ganealogy import components
from ganealogy.data import workers
from ganealogy.data.download import KIND
from ganealogy.data.pictures import Fit, Pixels, Rejected, TooLarge, pack
from ganealogy.data.sources._base import PictureReader
from ganealogy.errors import GanealogyError
from ganealogy.files.atomic import digest, sha256, write_json, writing
from ganealogy.files.records import read_record
from ganealogy.record_types import DatasetSettings, ManifestJson
from ganealogy.runtime.progress import Progress

CHUNK = 64
CHUNK_BYTES = 8 * 2**20
"""Most pictures, and about the most bytes, sent to a worker at once."""
SECONDS, MEMORY = 30.0, 2**30
"""What the decoding of a picture may take, a multiple of the largest photographs' on a busy machine."""
BLOCK_BYTES = 2**20
"""Bytes written and hashed at once; they stay in the processor's cache in between."""
Shape = tuple[int, int, int]
Chunk = list[tuple[int, bytes | Pixels]]
LEFT_OUT = "left-out.csv"
MANIFEST_KEYS = ("source", "title", "artist", "licence", "licence_url", "url")


@dataclass(frozen=True)
class PackedChunk:
    """A worker's result for a chunk of pictures."""

    indices: list[int]
    hashes: bytes
    pixels: bytes
    rejected: dict[int, str]


def preprocess(settings: DatasetSettings, raw: Path, packed: Path) -> ManifestJson:
    """Decode, fit, deduplicate, split and pack the pictures; return the manifest, which is written last.

    `settings` is the `dataset` section of params.yaml. The result depends on the pictures and settings alone, not on
    the number of processes.

    Raises: GanealogyError if data/raw holds another source, too many pictures are rejected or too few remain.
    """
    source, paths = _read_source(settings, raw)
    size, channels = settings["image_size"], settings["channels"]
    module = components.load(KIND, settings["name"])
    reader: PictureReader = module.pictures(paths)
    subset = choose(reader, settings.get("count"))
    shape = (size, size, channels)
    with _scratch_file(packed) as scratch:
        indices, hashes, rejected = _decode(settings, reader, subset, shape, scratch)
        _check_rejected(rejected, len(subset), settings["max_rejected"], raw)
        order, copies = distinct(hashes)
        held_out: NDArray[np.bool_] | None = getattr(reader, "held_out", None)
        is_held_out = (
            hashes[order, 0] < int(settings["holdout"] * 2**64) if held_out is None else held_out[indices[order]]
        )
        splits = {"holdout": order[is_held_out], "train": order[~is_held_out]}
        _check_enough(splits, len(subset), len(rejected), held_out is not None)
        scratch.flush()
        content: dict[str, str] = {}
        classes: list[str] = getattr(reader, "classes", [])
        with Progress("writing", len(order), "pictures") as progress:
            for name, rows in splits.items():
                content[f"{name}.npy"] = _write_pixels(packed / f"{name}.npy", scratch, rows, shape, progress)
                if reader.labels is not None:
                    labels = packed / f"{name}-labels.npy"
                    with writing(labels) as file:
                        np.save(file, reader.labels[indices[rows]].astype(np.int64), allow_pickle=False)
                    if hasattr(module, "files"):  # a picture can move to another folder; public labels never change
                        content[labels.name] = sha256(labels)
    passed_over: list[tuple[str, str]] = getattr(reader, "passed_over", [])
    duplicates = (
        (reader.name(row), f"the same pixels as {reader.name(first)}") for row, first in indices[copies].tolist()
    )
    _write_left_out(packed / LEFT_OUT, chain(rejected, duplicates, passed_over))

    manifest: ManifestJson = {
        **{key: source.get(key, "") for key in MANIFEST_KEYS},  # type: ignore[typeddict-item]
        "image_size": size,
        "channels": channels,
        "counts": {
            "found": len(subset),
            "rejected": len(rejected),
            "duplicates": len(copies),
            "passed_over": len(passed_over),
            "train": len(splits["train"]),
            "holdout": len(splits["holdout"]),
        },
        "rejected": [{"name": name, "reason": reason} for name, reason in rejected],
        "sha256": content,
        "dataset": digest(content),
    }
    if classes:
        manifest["classes"] = classes
    if people := module.identities(paths) if hasattr(module, "identities") else {}:
        names = {split: [Path(reader.name(int(row))).name for row in indices[rows]] for split, rows in splits.items()}
        manifest["identities"] = count_identities(people, names)
    write_json(packed / "manifest.json", manifest)
    return manifest


def count_identities(people: dict[str, int], names: dict[str, list[str]]) -> dict[str, int]:
    """Return how many people are in train, in holdout, and in both; pictures without a person are left out.

    `people`: name of a picture → person. `names`: split → names of its pictures.
    """
    train, holdout = ({people[name] for name in names[split] if name in people} for split in ("train", "holdout"))
    return {"train": len(train), "holdout": len(holdout), "both": len(train & holdout)}


@contextmanager
def _scratch_file(packed: Path) -> Iterator[IO[bytes]]:
    """Delete an earlier result, then yield a file without a name in `packed`, which vanishes if the process dies."""
    packed.mkdir(parents=True, exist_ok=True)
    for stale in (*packed.glob("*.npy"), packed / "manifest.json", packed / LEFT_OUT):
        stale.unlink(missing_ok=True)
    with tempfile.TemporaryFile(dir=packed) as scratch:
        yield scratch


def choose(reader: PictureReader, count: int | None) -> NDArray[np.int64]:
    """Return the sorted indices of at most `count` pictures, a random subset that depends on the names alone."""
    if count is None or count >= len(reader):
        return np.arange(len(reader))
    names = (reader.name(index).encode("utf-8", "replace") for index in range(len(reader)))
    keys = [hashlib.sha256(name).digest()[:8] for name in names]
    order = np.argsort(np.frombuffer(b"".join(keys), dtype=">u8"), kind="stable")
    return np.sort(order[:count])


def distinct(hashes: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the row numbers (D,) of the distinct hashes of (N, 4), sorted by hash: the first row of equal ones.

    And the others as (N - D, 2): the row, and the first row that is equal.
    """
    order = np.lexsort(hashes.T[::-1])  # stable; its last key counts most
    ordered = hashes[order]
    is_first = np.ones(len(order), dtype=bool)
    is_first[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    firsts = order[is_first]
    others = ~is_first
    return firsts, np.stack([order[others], firsts[np.cumsum(is_first)[others] - 1]], axis=1)


def _write_left_out(path: Path, entries: Iterable[tuple[str, str]]) -> None:
    """Write the pictures and other files that are in no split, one a line: name, reason. No file without any."""
    first = next(entries := iter(entries), None)
    if first is None:
        return
    with writing(path) as file:
        text = io.TextIOWrapper(file, "utf-8", newline="")
        csv.writer(text, lineterminator="\n").writerows(chain([("name", "reason"), first], entries))
        text.flush()
        text.detach()


def _read_source(settings: DatasetSettings, raw: Path) -> tuple[dict[str, Any], list[Path]]:
    """Return the content of source.json and the paths of its archives."""
    path, hint = raw / "source.json", "run `dvc repro download`"
    source = read_record(path, hint, ("source", "files"))
    if source["source"] != settings["name"]:
        raise GanealogyError(f"{raw} holds {source['source']!r}, but dataset.name is {settings['name']!r}; {hint}")
    if not isinstance(source["files"], dict):
        raise GanealogyError(f"{path}: files is not a mapping; {hint}")
    for name, described in source["files"].items():
        file = raw / name
        if not file.is_file() or file.stat().st_size != described["bytes"]:
            raise GanealogyError(f"{file}: absent, or not of its {described['bytes']:,} bytes; {hint}")
    return source, [raw / name for name in source["files"]]


def _decode(
    settings: DatasetSettings, reader: PictureReader, subset: NDArray[np.int64], shape: Shape, scratch: IO[bytes]
) -> tuple[NDArray[np.int64], NDArray[np.uint64], list[tuple[str, str]]]:
    """Append the usable pictures' pixels to `scratch`; return their indices (M,), hashes (M, 4), and the rejected.

    This process reads and the others decode, so that an archive's index (about 1 KB per picture) is in memory once, and
    a picture that would take minutes or gigabytes ends a process and is rejected.
    """
    unreadable: dict[int, str] = {}
    packer = Packer(shape[0], shape[2], settings["fit"])
    processes = min(workers.count(), max(1, len(subset) // 256))  # starting one costs as much as 200 small pictures
    chunks = _read(reader, subset, packer, unreadable)
    limits = workers.Limits(SECONDS, MEMORY, split=_split, join=_join, give_up=_give_up)
    context = (packer.size, packer.channels, packer.fit)
    results = workers.parallel_map(pack_chunk, chunks, Packer, context, processes, limits)
    indices, hashes = [], bytearray()
    rejected: dict[int, str] = {}
    with Progress(f"preprocessing {settings['name']}", len(subset), "pictures") as progress:
        for result in results:
            scratch.write(result.pixels)
            hashes += result.hashes
            indices.append(np.array(result.indices, dtype=np.int64))
            rejected |= result.rejected
            bad = len(rejected) + len(unreadable)
            progress.update(len(result.indices) + len(result.rejected), f"{bad} rejected" if bad else "")
    rows = np.frombuffer(hashes, dtype=">u8").reshape(-1, 4).astype(np.uint64)
    reasons = [(reader.name(index), reason) for index, reason in sorted((rejected | unreadable).items())]
    return np.concatenate(indices) if indices else np.empty(0, np.int64), rows, reasons


def _read(
    reader: PictureReader, subset: NDArray[np.int64], packer: Packer, unreadable: dict[int, str]
) -> Iterator[Chunk]:
    """Yield chunks of (index, encoded picture); add the reasons of pictures that cannot be read to `unreadable`."""
    chunk: Chunk = []
    size = 0
    for index in subset.tolist():
        try:
            content = reader.read(index)
        except Rejected as reason:
            unreadable[index] = str(reason)
            continue
        chunk.append((index, content))
        size += len(content) + packer.size**2 * packer.channels
        if len(chunk) == CHUNK or size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


@dataclass(frozen=True)
class Packer:
    """The shape of packed pictures: a worker's context."""

    size: int
    channels: int
    fit: Fit


def pack_chunk(packer: Packer, chunk: Chunk) -> PackedChunk:
    indices, hashes, pixels = [], [], []
    rejected: dict[int, str] = {}
    for index, encoded in chunk:
        try:
            content = pack(encoded, packer.size, packer.channels, packer.fit).tobytes()
        except TooLarge:
            raise MemoryError from None  # perhaps not in a new process
        except Rejected as reason:
            rejected[index] = str(reason)
            continue
        indices.append(index)
        hashes.append(hashlib.sha256(content).digest())
        pixels.append(content)
    return PackedChunk(indices, b"".join(hashes), b"".join(pixels), rejected)


def _split(chunk: Chunk) -> list[Chunk]:
    return [[picture] for picture in chunk]


def _join(parts: list[PackedChunk]) -> PackedChunk:
    rejected: dict[int, str] = {}
    for part in parts:
        rejected |= part.rejected
    indices = [index for part in parts for index in part.indices]
    return PackedChunk(
        indices, b"".join(part.hashes for part in parts), b"".join(part.pixels for part in parts), rejected
    )


def _give_up(chunk: Chunk, reason: str) -> PackedChunk:
    return PackedChunk([], b"", b"", {index: f"decoding {reason}" for index, _content in chunk})


def _check_rejected(rejected: list[tuple[str, str]], total: int, max_rejected: float, raw: Path) -> None:
    if len(rejected) <= max_rejected * total:
        return
    common = Counter(reason for _name, reason in rejected).most_common(3)
    reasons = "; ".join(f"{times}x {reason}" for reason, times in common)
    raise GanealogyError(
        f"{raw}: {len(rejected)} of {total} pictures cannot be used, more than dataset.max_rejected = "
        f"{max_rejected:g} allows ({reasons}; for example {rejected[0][0]!r}); fix the pictures or raise max_rejected"
    )


def _check_enough(splits: dict[str, NDArray[np.int64]], total: int, rejected: int, official: bool) -> None:
    for name, rows in splits.items():
        if len(rows) < 2:
            raise GanealogyError(
                f"only {len(rows)} pictures for {name}, of {total} found, {rejected} rejected and the rest duplicates: "
                + ("raise dataset.count" if official else "add pictures")
                + (" or raise dataset.holdout" if name == "holdout" and not official else "")
            )


def _write_pixels(path: Path, scratch: IO[bytes], rows: NDArray[np.int64], shape: Shape, progress: Progress) -> str:
    """Write the given rows of `scratch`, in that order, as uint8 (N, H, W, C) .npy; return the file's sha256."""
    length = math.prod(shape)
    # One block is hashed while the next is read and written.
    with writing(path) as file, ThreadPoolExecutor(1) as hasher:
        header = io.BytesIO()
        fields = {"descr": "|u1", "fortran_order": False, "shape": (len(rows), *shape)}
        np.lib.format.write_array_header_1_0(header, fields)
        file.write(header.getvalue())
        running = hashlib.sha256(header.getvalue())
        hashing: Future[None] | None = None
        for block in _blocks(rows, max(1, BLOCK_BYTES // length)):
            content = b"".join([_read_at(scratch, row * length, length) for row in block.tolist()])
            if hashing is not None:
                hashing.result()
            hashing = hasher.submit(running.update, content)
            file.write(content)
            progress.update(len(block))
    return running.hexdigest()


def _read_at(file: IO[bytes], start: int, length: int) -> bytes:
    if hasattr(os, "pread"):  # twice as fast as the two calls that Windows needs
        return os.pread(file.fileno(), length, start)
    file.seek(start)
    return file.read(length)


def _blocks(rows: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    return (rows[start : start + size] for start in range(0, len(rows), size))
