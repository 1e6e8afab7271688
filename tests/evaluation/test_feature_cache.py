"""The feature cache: addressed by content, verified by sha256, bounded in size, never a cause of failure."""

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
    """An extractor that counts its images."""

    name, network, dimension = "counting", True, 3

    def __init__(self, **protocol: Any) -> None:
        self.protocol, self.seen = {"precision": "fp32"} | protocol, 0

    def features(self, images: np.ndarray) -> np.ndarray:
        self.seen += len(images)
        return images.mean((1, 2), dtype=np.float64).astype(np.float32)


def pictures(seed: int = 0, count: int = 20) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 3), np.uint8)


def test_the_same_pictures_pass_through_the_network_once(tmp_path):
    extractor = Counting()
    first = extract(extractor, pictures(), "a", tmp_path).values
    np.testing.assert_array_equal(extract(Counting(), pictures(), "b", tmp_path).values, first)
    again = Counting()
    extract(again, pictures(), "c", tmp_path)
    assert (extractor.seen, again.seen) == (20, 0)


def test_other_pictures_protocols_and_devices_are_computed_again(tmp_path):
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
def test_a_damaged_file_is_computed_again_and_replaced(tmp_path, damage):
    first = extract(Counting(), pictures(), "a", tmp_path).values
    (path,) = tmp_path.glob("*.npy")
    whole = path.read_bytes()
    flipped = whole[:150] + bytes([whole[150] ^ 1]) + whole[151:]
    path.write_bytes({"flipped": flipped, "cut": whole[:-7], "empty": b"", "text": b"x" * 99}[damage])
    extractor = Counting()
    np.testing.assert_array_equal(extract(extractor, pictures(), "b", tmp_path).values, first)
    assert extractor.seen == 20 and path.read_bytes() == whole


def test_the_least_recently_used_files_are_deleted_first(tmp_path, monkeypatch):
    extract(Counting(), pictures(0), "a", tmp_path)
    (oldest,) = tmp_path.glob("*.npy")
    for seed in (1, 2):
        extract(Counting(), pictures(seed), "a", tmp_path)
    size = oldest.stat().st_size
    for path in tmp_path.glob("*.npy"):
        os.utime(path, (1000, 1000) if path == oldest else (2000, 2000))
    extract(Counting(), pictures(0), "a", tmp_path)  # read: no longer the oldest
    monkeypatch.setattr(feature_cache, "MAX_BYTES", 2 * size)
    extract(Counting(), pictures(3), "a", tmp_path)
    left = set(tmp_path.glob("*.npy"))
    assert len(left) == 2 and oldest in left


def test_features_are_computed_if_the_cache_cannot_be_written(tmp_path, capsys):
    blocked = tmp_path / "a file"
    blocked.write_text("in the way")
    assert len(extract(Counting(), pictures(), "a", blocked)) == 20
    assert "features are not cached" in capsys.readouterr().err


def test_several_threads_can_share_the_cache(tmp_path):
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda _: extract(Counting(), pictures(), "a", tmp_path).values, range(12)))
    assert all(np.array_equal(values, results[0]) for values in results)
    assert len(list(tmp_path.iterdir())) == 1


def test_pixel_features_are_not_cached(tmp_path: Path):
    extractor = Counting()
    extractor.network = False
    extract(extractor, pictures(), "a", tmp_path)
    assert not list(tmp_path.iterdir())
