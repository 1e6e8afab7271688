"""The preprocess stage: archives in data/raw → one packed array a split, and a manifest of what became of each picture.

Memory hardly grows with the number of pictures (names and hashes, about 1 KB each): pixels go through a scratch file.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ganealogy import components
from ganealogy.data import workers
from ganealogy.data.download import KIND, writable
from ganealogy.data.pictures import Fit, Pictures, Pixels, Rejected, pack
from ganealogy.errors import GanealogyError
from ganealogy.files.atomic import digest, write_json, writing
from ganealogy.runtime.progress import Progress

CHUNK = 64
CHUNK_BYTES = 8 * 2**20
"""A worker gets at most so many pictures, and about so many bytes, at once."""
BLOCK_BYTES = 2**20
"""Written and hashed at once; a processor's cache holds it meanwhile."""
Shape = tuple[int, int, int]
MANIFEST_KEYS = ("source", "title", "artist", "licence", "licence_url", "url")


@dataclass(frozen=True)
class Packed:
    """What a worker makes of a chunk of pictures."""

    indices: list[int]
    hashes: bytes
    pixels: bytes
    rejected: dict[int, str]


def preprocess(settings: dict[str, Any], raw: Path, packed: Path) -> dict[str, Any]:
    """Decode, fit, deduplicate, split and pack the pictures; return the manifest, which is written last.

    `settings` is the `dataset` section of params.yaml. The result depends on the pictures and settings alone, not on
    the number of processes.

    Raises: GanealogyError when data/raw is not what the settings name, too many pictures are rejected or too few stay.
    """
    source, paths = _source(settings, raw)
    size, channels = settings["image_size"], settings["channels"]
    pictures: Pictures = components.load(KIND, settings["name"]).pictures(paths)
    chosen = choose(pictures, settings.get("count"))
    shape = (size, size, channels)
    with writable(packed), _scratch(packed) as scratch:
        kept, hashes, rejected = _decode(settings, pictures, chosen, shape, scratch)
        _check_rejected(rejected, len(chosen), settings["max_rejected"], raw)
        order = distinct(hashes)
        border = int(np.count_nonzero(hashes[order, 0] < int(settings["holdout"] * 2**64)))
        splits = {"holdout": order[:border], "train": order[border:]}
        _check_enough(splits, len(chosen), len(rejected))
        scratch.flush()
        content: dict[str, str] = {}
        with Progress("writing", len(order), "pictures") as progress:
            for name, rows in splits.items():
                content[f"{name}.npy"] = _write_pixels(packed / f"{name}.npy", scratch, rows, shape, progress)
                if pictures.labels is not None:
                    with writing(packed / f"{name}-labels.npy") as file:
                        np.save(file, pictures.labels[kept[rows]].astype(np.int64), allow_pickle=False)

    manifest = {
        **{key: source.get(key, "") for key in MANIFEST_KEYS},
        "image_size": size,
        "channels": channels,
        "counts": {
            "found": len(chosen),
            "rejected": len(rejected),
            "duplicates": len(kept) - len(order),
            "train": len(splits["train"]),
            "holdout": len(splits["holdout"]),
        },
        "rejected": [{"name": name, "reason": reason} for name, reason in rejected],
        "sha256": content,
        "dataset": digest(content),
    }
    with writable(packed):
        write_json(packed / "manifest.json", manifest)
    return manifest


@contextmanager
def _scratch(packed: Path) -> Iterator[IO[bytes]]:
    """A file without a name in `packed`: a kill leaves nothing behind. An earlier result is taken away first."""
    packed.mkdir(parents=True, exist_ok=True)
    for stale in (*packed.glob("*.npy"), packed / "manifest.json"):
        stale.unlink(missing_ok=True)
    with tempfile.TemporaryFile(dir=packed) as scratch:
        yield scratch


def choose(pictures: Pictures, count: int | None) -> NDArray[np.int64]:
    """The indices of at most `count` pictures: a random subset, but drawn by a hash of the names: always the same."""
    if count is None or count >= len(pictures):
        return np.arange(len(pictures))
    names = (pictures.name(index).encode("utf-8", "replace") for index in range(len(pictures)))
    keys = [hashlib.sha256(name).digest()[:8] for name in names]
    order = np.argsort(np.frombuffer(b"".join(keys), dtype=">u8"), kind="stable")
    return np.sort(order[:count])


def distinct(hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Row numbers of the distinct hashes (N, 4), in the order of the hashes; of equal ones the first row stands."""
    order = np.lexsort(hashes.T[::-1])  # stable, and its last key counts most
    ordered = hashes[order]
    fresh = np.ones(len(order), dtype=bool)
    fresh[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    return order[fresh]


def _source(settings: dict[str, Any], raw: Path) -> tuple[dict[str, Any], list[Path]]:
    """What source.json says, and the archives it names."""
    path = raw / "source.json"
    try:
        source = json.loads(path.read_text(encoding="utf-8"))
        paths = [raw / name for name in source["files"]]
        name = source["source"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise GanealogyError(f"{path}: cannot be read ({error}); run `dvc repro download`") from None
    if name != settings["name"]:
        wanted = settings["name"]
        raise GanealogyError(f"{raw} holds {name!r}, but dataset.name is {wanted!r}; run `dvc repro download`")
    return source, paths


def _decode(
    settings: dict[str, Any], pictures: Pictures, chosen: NDArray[np.int64], shape: Shape, scratch: IO[bytes]
) -> tuple[NDArray[np.int64], NDArray[np.uint64], list[tuple[str, str]]]:
    """Append every usable picture's pixels to `scratch`; return their indices (M,), hashes (M, 4), and the rejected.

    This process reads, the others decode: an archive's index, about 1 KB a picture, is in memory once and not in each.
    """
    unreadable: dict[int, str] = {}
    packer = Packer(shape[0], shape[2], settings["fit"])
    processes = min(workers.count(), max(1, len(chosen) // 256))  # starting one costs as much as 200 small pictures
    chunks = _read(pictures, chosen, packer, unreadable)
    kept, hashes = [], bytearray()
    rejected: dict[int, str] = {}
    with Progress(f"preprocessing {settings['name']}", len(chosen), "pictures") as progress:
        for result in workers.spread(pack_chunk, chunks, Packer, (packer.size, packer.channels, packer.fit), processes):
            scratch.write(result.pixels)
            hashes += result.hashes
            kept.append(np.array(result.indices, dtype=np.int64))
            rejected |= result.rejected
            bad = len(rejected) + len(unreadable)
            progress.update(len(result.indices) + len(result.rejected), f"{bad} rejected" if bad else "")
    rows = np.frombuffer(hashes, dtype=">u8").reshape(-1, 4).astype(np.uint64)
    reasons = sorted((rejected | unreadable).items())
    named = [(pictures.name(index), reason) for index, reason in reasons]
    return np.concatenate(kept) if kept else np.empty(0, np.int64), rows, named


def _read(
    pictures: Pictures, chosen: NDArray[np.int64], packer: Packer, unreadable: dict[int, str]
) -> Iterator[list[tuple[int, bytes | Pixels]]]:
    """Chunks of (index, encoded picture), each of a few megabytes in and out; what cannot be read is noted instead."""
    chunk: list[tuple[int, bytes | Pixels]] = []
    size = 0
    for index in chosen.tolist():
        try:
            content = pictures.read(index)
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
    """What a worker process needs to know: the shape to give to pictures."""

    size: int
    channels: int
    fit: Fit


def pack_chunk(packer: Packer, chunk: list[tuple[int, bytes | Pixels]]) -> Packed:
    indices, hashes, pixels = [], [], []
    rejected: dict[int, str] = {}
    for index, encoded in chunk:
        try:
            content = pack(encoded, packer.size, packer.channels, packer.fit).tobytes()
        except Rejected as reason:
            rejected[index] = str(reason)
            continue
        indices.append(index)
        hashes.append(hashlib.sha256(content).digest())
        pixels.append(content)
    return Packed(indices, b"".join(hashes), b"".join(pixels), rejected)


def _check_rejected(rejected: list[tuple[str, str]], found: int, most: float, raw: Path) -> None:
    if len(rejected) <= most * found:
        return
    common = Counter(reason for _name, reason in rejected).most_common(3)
    reasons = "; ".join(f"{times}x {reason}" for reason, times in common)
    raise GanealogyError(
        f"{raw}: {len(rejected)} of {found} pictures cannot be used, more than dataset.max_rejected = {most:g} allows "
        f"({reasons}; for example {rejected[0][0]!r}): mend them or raise it"
    )


def _check_enough(splits: dict[str, NDArray[np.int64]], found: int, rejected: int) -> None:
    for name, rows in splits.items():
        if len(rows) < 2:
            raise GanealogyError(
                f"only {len(rows)} pictures for {name}, of {found} found, {rejected} rejected and the rest duplicates: "
                "add pictures" + (" or raise dataset.holdout" if name == "holdout" else "")
            )


def _write_pixels(path: Path, scratch: IO[bytes], rows: NDArray[np.int64], shape: Shape, progress: Progress) -> str:
    """The chosen rows of `scratch`, in that order, as an .npy of uint8 (N, H, W, C); returns the file's sha256."""
    length = math.prod(shape)
    # One block is hashed while the next is gathered and written.
    with writing(path) as file, ThreadPoolExecutor(1) as beside:
        header = io.BytesIO()
        about = {"descr": "|u1", "fortran_order": False, "shape": (len(rows), *shape)}
        np.lib.format.write_array_header_1_0(header, about)
        file.write(header.getvalue())
        written = hashlib.sha256(header.getvalue())
        hashed: Future[None] | None = None
        for block in _blocks(rows, max(1, BLOCK_BYTES // length)):
            content = b"".join([os.pread(scratch.fileno(), length, row * length) for row in block.tolist()])
            if hashed is not None:
                hashed.result()
            hashed = beside.submit(written.update, content)
            file.write(content)
            progress.update(len(block))
    return written.hexdigest()


def _blocks(rows: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    return (rows[start : start + size] for start in range(0, len(rows), size))
