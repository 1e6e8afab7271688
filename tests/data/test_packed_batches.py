"""The batches' order depends on (seed, step) alone, and an epoch has no picture twice."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ganealogy.data.batches import Batches
from ganealogy.data.packed import open_labels, open_split, read_manifest, reference_slice, tracker_slice
from ganealogy.errors import GanealogyError


def numbered(count: int, size: int = 8, channels: int = 3) -> NDArray[np.uint8]:
    """Return pictures whose first two pixels encode their number."""
    images = np.random.default_rng(0).integers(0, 256, (count, size, size, channels), dtype=np.uint8)
    images[:, 0, 0, 0], images[:, 0, 1, 0] = np.arange(count) % 256, np.arange(count) // 256
    return images


def numbers(batch: torch.Tensor) -> list[int]:
    pixels = ((batch + 1) * 127.5).round().to(torch.int64)
    return (pixels[:, 0, 0, 0] + 256 * pixels[:, 0, 0, 1]).tolist()


def test_a_batchs_values_shape_and_layout() -> None:
    images = numbered(10)
    batches = Batches(images, 10, seed=0)
    batch = batches.batch(0)
    assert batch.shape == (10, 3, 8, 8) and batch.dtype == torch.float32
    assert batch.is_contiguous(memory_format=torch.channels_last)
    expected = images[numbers(batch)].astype(np.float32).transpose(0, 3, 1, 2) / np.float32(127.5) - 1
    assert np.array_equal(batch.numpy(), expected)
    extremes = np.stack([np.zeros((8, 8, 1), np.uint8), np.full((8, 8, 1), 255, np.uint8)])
    values = Batches(extremes, 2, seed=0).batch(0)
    assert values.min() == -1 and values.max() == 1 and values.shape == (2, 1, 8, 8)


def test_every_epoch_is_a_permutation_without_the_partial_batch() -> None:
    batches = Batches(numbered(1003), 100, seed=7)
    assert batches.steps_per_epoch == 10 and len(batches) == 1003
    epochs = []
    for epoch in range(3):
        seen = [n for step in range(10) for n in numbers(batches.batch(epoch * 10 + step))]
        assert len(seen) == len(set(seen)) == 1000
        assert sorted(batches.order(epoch).tolist()) == list(range(1003))
        epochs.append(seen)
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]
    assert [batches.epoch(step) for step in (0, 9, 10, 29, 30)] == [0, 0, 1, 2, 3]


def test_a_step_gives_the_same_batch_in_any_order_of_access() -> None:
    images = numbered(300)
    in_order = [Batches(images, 32, seed=3).batch(step) for step in range(40)]
    random_access = Batches(images, 32, seed=3)
    for step in [39, 0, 17, 17, 8, 25, 9]:
        assert torch.equal(random_access.batch(step), in_order[step])
    assert not torch.equal(Batches(images, 32, seed=4).batch(0), in_order[0])


def test_seeds_and_epochs_have_different_orders() -> None:
    batches = {seed: Batches(numbered(50), 10, seed=seed) for seed in (0, 1, 2**31 - 1)}
    orders = {tuple(b.order(epoch).tolist()) for b in batches.values() for epoch in range(5)}
    assert len(orders) == 15


def test_the_order_of_a_seed_is_as_recorded() -> None:
    """If numpy's permutation changed, older trainings could be neither resumed nor repeated."""
    assert Batches(numbered(8), 4, seed=0).order(0).tolist() == [5, 0, 6, 1, 7, 2, 4, 3]
    assert Batches(numbered(8), 4, seed=1).order(2).tolist() == [7, 0, 5, 4, 6, 2, 3, 1]


def test_flips_leave_the_order_and_depend_on_seed_and_epoch_alone() -> None:
    images = numbered(300)
    images[:, 0, -2:, 0] = images[:, 0, 1::-1, 0]  # the number is at both ends
    plain, flipped = Batches(images, 32, seed=3), Batches(images, 32, seed=3, flip=True)
    seen: dict[int, list[bool]] = {}
    for step in range(36):
        one, other = plain.batch(step), flipped.batch(step)
        for number, before, after in zip(numbers(one), one, other, strict=True):
            assert torch.equal(after, before) or torch.equal(after, before.flip(2))
            seen.setdefault(number, []).append(torch.equal(after, before.flip(2)))
        assert other.is_contiguous(memory_format=torch.channels_last)
    turned = [flip for flips in seen.values() for flip in flips]
    assert 0.45 < sum(turned) / len(turned) < 0.55
    assert any(len(set(flips)) == 2 for flips in seen.values()), "a picture is flipped in some epochs only"
    random_access = Batches(images, 32, seed=3, flip=True)
    assert all(torch.equal(random_access.batch(step), flipped.batch(step)) for step in (31, 2, 17))
    assert not torch.equal(random_access.flips(0), Batches(images, 32, seed=4, flip=True).flips(0))


def test_fewer_pictures_than_a_batch_are_refused() -> None:
    with pytest.raises(GanealogyError, match=r"train\.batch_size = 64, but there are only 10"):
        Batches(numbered(10), 64, seed=0)


def test_a_mapped_array_is_not_read_into_memory(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    count = 20_000
    np.lib.format.open_memmap(tmp_path / "train.npy", "w+", np.uint8, (count, 64, 64, 3)).flush()  # 246 MB, sparse
    images = open_split(tmp_path, "train")
    Batches(numbered(1000), 16, seed=0).batch(0)  # torch's start-up uses memory too
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    batches = Batches(images, 16, seed=0)
    for step in range(20):
        batches.batch(step)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60_000  # KB; the whole would be 240,000


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("resident", [True, False])
def test_batches_on_a_gpu_equal_those_on_the_cpu(resident: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not resident:
        monkeypatch.setattr("ganealogy.data.batches.RESIDENT_FRACTION", 0.0)
    on_cpu, on_gpu = Batches(numbered(100), 16, seed=0), Batches(numbered(100), 16, seed=0, device="cuda")
    assert on_gpu.images.is_cuda is resident
    for step in (0, 7, 3):
        batch = on_gpu.batch(step)
        assert batch.is_cuda and batch.is_contiguous(memory_format=torch.channels_last)
        assert torch.allclose(batch.cpu(), on_cpu.batch(step), rtol=0, atol=1e-6)


def test_open_split_is_mapped_and_read_only(tmp_path: Path) -> None:
    np.save(tmp_path / "train.npy", numbered(10))
    images = open_split(tmp_path, "train")
    assert isinstance(images, np.memmap) and not images.flags.writeable
    assert np.array_equal(images, numbered(10))
    assert open_labels(tmp_path, "train") is None
    np.save(tmp_path / "train-labels.npy", np.arange(10))
    labels = open_labels(tmp_path, "train")
    assert labels is not None and labels.tolist() == list(range(10))


def test_a_bad_packed_file_is_a_one_line_error(tmp_path: Path) -> None:
    with pytest.raises(GanealogyError, match="no such file; run `dvc repro preprocess`"):
        open_split(tmp_path, "train")
    path = tmp_path / "train.npy"
    np.save(path, np.zeros((4, 8, 8, 3), np.float32))
    with pytest.raises(GanealogyError, match=r"expected uint8 .*float32"):
        open_split(tmp_path, "train")
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(GanealogyError, match="not a whole"):
        open_split(tmp_path, "train")
    np.save(path, numbered(10))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(GanealogyError, match="not a whole"):
        open_split(tmp_path, "train")
    path.write_bytes(b"")
    with pytest.raises(GanealogyError, match="not a whole"):
        open_split(tmp_path, "train")


def test_a_bad_manifest_is_a_one_line_error(tmp_path: Path) -> None:
    for content in (None, "{", "[]", "{}"):
        if content is not None:
            (tmp_path / "manifest.json").write_text(content)
        with pytest.raises(GanealogyError, match=r"manifest\.json"):
            read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps({"dataset": "x"}))
    assert read_manifest(tmp_path) == {"dataset": "x"}


@pytest.mark.parametrize("n", [2, 5, 64, 999, 20_000])
def test_the_tracker_and_the_reference_share_no_picture(n: int) -> None:
    everything = np.arange(n)
    tracker, reference = everything[tracker_slice(n)], everything[reference_slice(n, 2000)]
    assert len(tracker) == max(1, n // 5) and 0 < len(reference) <= 2000
    assert set(tracker).isdisjoint(reference)
    assert len(everything[reference_slice(n, 10**9)]) + len(tracker) == n
