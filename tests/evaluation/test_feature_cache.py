"""Features kept between evaluations: found by content, checked by sha256, bounded, never in the way."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ganealogy.evaluation import feature_cache
from ganealogy.evaluation.features import extract


class Counting:
    """An extractor that tells how many images it was given."""

    name, network, dimension = "counting", True, 3

    def __init__(self, **protocol: Any) -> None:
        self.protocol, self.seen = {"precision": "fp32"} | protocol, 0

    def features(self, images: np.ndarray) -> np.ndarray:
        self.seen += len(images)
        return images.mean((1, 2), dtype=np.float64).astype(np.float32)


def pictures(seed: int = 0, count: int = 20) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 3), np.uint8)


def test_the_same_pictures_pass_once(tmp_path):
    extractor = Counting()
    first = extract(extractor, pictures(), "a", tmp_path).values
    np.testing.assert_array_equal(extract(Counting(), pictures(), "b", tmp_path).values, first)
    again = Counting()
    extract(again, pictures(), "c", tmp_path)
    assert (extractor.seen, again.seen) == (20, 0)


def test_other_pictures_another_protocol_or_device_are_measured_anew(tmp_path):
    extract(Counting(), pictures(), "a", tmp_path)
    other_device = Counting()
    other_device.device = "cuda"  # type: ignore[attr-defined]
    changed = pictures()
    changed[-1, -1, -1, -1] ^= 1
    for extractor, images in (
        (Counting(precision="bf16"), pictures()),
        (Counting(), changed),
        (other_device, pictures()),
    ):
        extract(extractor, images, "b", tmp_path)
        assert extractor.seen == 20


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "text"])
def test_a_damaged_file_is_measured_anew_and_replaced(tmp_path, damage):
    first = extract(Counting(), pictures(), "a", tmp_path).values
    (path,) = tmp_path.glob("*.npy")
    whole = path.read_bytes()
    flipped = whole[:150] + bytes([whole[150] ^ 1]) + whole[151:]
    path.write_bytes({"flipped": flipped, "cut": whole[:-7], "empty": b"", "text": b"x" * 99}[damage])
    extractor = Counting()
    np.testing.assert_array_equal(extract(extractor, pictures(), "b", tmp_path).values, first)
    assert extractor.seen == 20 and path.read_bytes() == whole


def test_the_files_not_read_for_longest_go_first(tmp_path, monkeypatch):
    extract(Counting(), pictures(0), "a", tmp_path)
    (oldest,) = tmp_path.glob("*.npy")
    for seed in (1, 2):
        extract(Counting(), pictures(seed), "a", tmp_path)
    size = oldest.stat().st_size
    for path in tmp_path.glob("*.npy"):
        os.utime(path, (1000, 1000) if path == oldest else (2000, 2000))
    extract(Counting(), pictures(0), "a", tmp_path)  # read: no longer the oldest
    monkeypatch.setattr(feature_cache, "LIMIT", 2 * size)
    extract(Counting(), pictures(3), "a", tmp_path)
    left = set(tmp_path.glob("*.npy"))
    assert len(left) == 2 and oldest in left


def test_what_cannot_be_kept_is_measured_all_the_same(tmp_path, capsys):
    blocked = tmp_path / "a file"
    blocked.write_text("in the way")
    assert len(extract(Counting(), pictures(), "a", blocked)) == 20
    assert "features are not kept" in capsys.readouterr().err


def test_several_at_once(tmp_path):
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: extract(Counting(), pictures(), "a", tmp_path).values, range(12)))
    assert all(np.array_equal(values, found[0]) for values in found)
    assert len(list(tmp_path.iterdir())) == 1


def test_bare_pixels_are_not_kept(tmp_path: Path):
    extractor = Counting()
    extractor.network = False
    extract(extractor, pictures(), "a", tmp_path)
    assert not list(tmp_path.iterdir())
