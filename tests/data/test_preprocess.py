"""The packed arrays depend on pictures and settings alone, and the manifest accounts for every picture."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ganealogy.data import preprocess as stage
from ganealogy.data.download import download
from ganealogy.data.packed import open_labels, open_split, read_manifest
from ganealogy.data.preprocess import choose, distinct, preprocess
from ganealogy.errors import GanealogyError


def settings(name: str, **given: Any) -> dict[str, Any]:
    dataset = {"name": name, "image_size": 16, "channels": 3, "fit": "crop", "count": None, "holdout": 0.2}
    return {**dataset, "max_rejected": 0.1, "style": "adventurer", "path": None, "mirror": None, **given}


def picture(index: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(index).integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


def raw_folder(root: Path, contents: dict[str, bytes], **given: Any) -> tuple[dict[str, Any], Path]:
    """Return settings and a data/raw with these pictures, in this order."""
    root.mkdir()
    with zipfile.ZipFile(root / "mine.zip", "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    dataset = settings("folder", path=str(root / "mine.zip"), **given)
    download(dataset, root / "raw")
    return dataset, root / "raw"


def many(count: int, start: int = 0) -> dict[str, bytes]:
    return {f"{index:03d}.png": picture(index) for index in range(start, start + count)}


def files(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


def hashes(images: np.ndarray) -> list[str]:
    return [hashlib.sha256(image.tobytes()).hexdigest() for image in images]


def test_the_manifest_counts_every_picture_and_rows_are_sorted_by_hash(tmp_path: Path) -> None:
    contents = {**many(60), "bad.png": b"text", "again.png": picture(7), "notes.txt": b"ignored"}
    dataset, raw = raw_folder(tmp_path / "set", contents)
    manifest = preprocess(dataset, raw, tmp_path / "packed")
    assert manifest == read_manifest(tmp_path / "packed")
    assert sorted(files(tmp_path / "packed")) == ["holdout.npy", "left-out.csv", "manifest.json", "train.npy"]
    train, holdout = open_split(tmp_path / "packed", "train"), open_split(tmp_path / "packed", "holdout")
    assert train.shape[1:] == holdout.shape[1:] == (16, 16, 3)
    assert manifest["counts"] == {
        "found": 62,
        "rejected": 1,
        "duplicates": 1,
        "passed_over": 1,
        "train": len(train),
        "holdout": len(holdout),
    }
    assert len(train) + len(holdout) == 60 and 4 <= len(holdout) <= 22
    assert (tmp_path / "packed/left-out.csv").read_text().splitlines() == [
        "name,reason",
        "bad.png,not a picture in a known format",
        "again.png,the same pixels as 007.png",
        "notes.txt,not a picture (.txt)",
    ]
    assert manifest["rejected"] == [{"name": "bad.png", "reason": "not a picture in a known format"}]
    ordered = [*hashes(holdout), *hashes(train)]
    assert ordered == sorted(set(ordered))
    assert manifest["sha256"]["train.npy"] == hashlib.sha256((tmp_path / "packed/train.npy").read_bytes()).hexdigest()
    assert manifest["source"] == "folder" and manifest["image_size"] == 16 and manifest["title"]


def test_the_bytes_do_not_depend_on_order_or_number_of_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "CHUNK", 40)
    contents = {**many(520), **{f"{index:03d} bad.png": b"text" for index in range(9)}}  # enough for two processes
    dataset, raw = raw_folder(tmp_path / "forward", contents)
    first = preprocess(dataset, raw, tmp_path / "one")
    monkeypatch.setenv("GANEALOGY_THREADS", "2")
    preprocess(dataset, raw, tmp_path / "two")
    assert files(tmp_path / "one") == files(tmp_path / "two")
    preprocess(dataset, raw, tmp_path / "two")  # over an earlier result
    assert files(tmp_path / "one") == files(tmp_path / "two")
    dataset, raw = raw_folder(tmp_path / "backward", dict(reversed(contents.items())))
    assert preprocess(dataset, raw, tmp_path / "three")["dataset"] == first["dataset"]


def test_a_picture_keeps_its_split_when_others_are_added(tmp_path: Path) -> None:
    few, more = (raw_folder(tmp_path / str(count), many(count)) for count in (40, 60))
    preprocess(*few, tmp_path / "few")
    preprocess(*more, tmp_path / "more")
    for split in ("train", "holdout"):
        before, after = (set(hashes(open_split(tmp_path / name, split))) for name in ("few", "more"))
        assert before <= after


def test_labels_follow_their_pictures(tmp_path: Path, mnist_mirror: Any) -> None:
    mirror, images, labels = mnist_mirror
    dataset = settings("mnist", mirror=str(mirror), image_size=32, channels=1, fit="pad")
    download(dataset, tmp_path / "raw")
    manifest = preprocess(dataset, tmp_path / "raw", tmp_path / "packed")
    assert manifest["counts"]["found"] == 40 and manifest["channels"] == 1
    label_of = {image.tobytes(): label for image, label in zip(images, labels, strict=True)}
    for split in ("train", "holdout"):
        packed, packed_labels = open_split(tmp_path / "packed", split), open_labels(tmp_path / "packed", split)
        assert packed_labels is not None and packed.shape[1:] == (32, 32, 1)
        assert packed_labels.tolist() == [label_of[image[2:30, 2:30].tobytes()] for image in packed]
    dataset, raw = raw_folder(tmp_path / "other", many(30))
    preprocess(dataset, raw, tmp_path / "packed")
    assert open_labels(tmp_path / "packed", "train") is None  # the earlier labels are deleted


def test_count_takes_a_random_but_fixed_subset(tmp_path: Path) -> None:
    class Names:
        labels = None

        def __init__(self, count: int) -> None:
            self.count = count

        def __len__(self) -> int:
            return self.count

        def name(self, index: int) -> str:
            return f"{index}.png"

        def read(self, index: int) -> bytes:
            return b""

    assert choose(Names(5), None).tolist() == choose(Names(5), 9).tolist() == [0, 1, 2, 3, 4]
    subset = choose(Names(1000), 100)
    assert len(set(subset.tolist())) == 100 and 300 < subset.mean() < 700
    assert set(choose(Names(1000), 50)) < set(subset)
    dataset, raw = raw_folder(tmp_path / "set", many(40), count=25)
    assert preprocess(dataset, raw, tmp_path / "packed")["counts"]["found"] == 25


def test_distinct_returns_the_first_of_equal_rows() -> None:
    rows = np.array([[3, 0, 0, 1], [1, 9, 9, 9], [3, 0, 0, 1], [2**64 - 1, 0, 0, 0], [3, 0, 0, 0]], np.uint64)
    firsts, copies = distinct(rows)
    assert firsts.tolist() == [1, 4, 0, 3] and copies.tolist() == [[2, 0]]
    assert [part.tolist() for part in distinct(np.empty((0, 4), np.uint64))] == [[], []]


def test_too_many_rejected_pictures_are_an_error(tmp_path: Path) -> None:
    bad = {f"bad{index}.png": b"text" for index in range(4)}
    dataset, raw = raw_folder(tmp_path / "set", {**many(26), **bad})
    with pytest.raises(GanealogyError, match=r"4 of 30 pictures cannot be used, more than dataset.max_rejected = 0.1"):
        preprocess(dataset, raw, tmp_path / "packed")
    assert files(tmp_path / "packed") == {}
    assert preprocess({**dataset, "max_rejected": 0.2}, raw, tmp_path / "packed")["counts"]["rejected"] == 4


def test_too_few_pictures_are_an_error(tmp_path: Path) -> None:
    dataset, raw = raw_folder(tmp_path / "set", {f"{index}.png": picture(0) for index in range(30)})
    with pytest.raises(GanealogyError, match="of 30 found, 0 rejected and the rest duplicates: add pictures"):
        preprocess(dataset, raw, tmp_path / "packed")
    dataset, raw = raw_folder(tmp_path / "small", many(8), image_size=64)
    with pytest.raises(GanealogyError, match="8x 24x20 is too small"):
        preprocess(dataset, raw, tmp_path / "packed")


def test_raw_data_of_another_source_or_without_source_json_is_refused(tmp_path: Path) -> None:
    dataset, raw = raw_folder(tmp_path / "set", many(20))
    with pytest.raises(GanealogyError, match=r"holds 'folder', but dataset\.name is 'mnist'; run `dvc repro download`"):
        preprocess({**dataset, "name": "mnist"}, raw, tmp_path / "packed")
    for content in ("{", "[]", json.dumps({"source": "folder"}), json.dumps({"source": "folder", "files": 3})):
        (raw / "source.json").write_text(content)
        with pytest.raises(GanealogyError, match=r"source\.json: .*; run `dvc repro download`"):
            preprocess(dataset, raw, tmp_path / "packed")


@pytest.mark.parametrize("stage_name", ["download", "preprocess"])
def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(tmp_path: Path, stage_name: str) -> None:
    dataset, raw = raw_folder(tmp_path / "set", many(30))
    code = (
        "import json, resource, sys; from pathlib import Path\n"
        f"sys.path.insert(0, {str(Path(stage.__file__).parents[2])!r})\n"
        "from ganealogy.data import download, preprocess\n"
        "from ganealogy.errors import GanealogyError\n"
        "from ganealogy.runtime.process import explain_full_disk\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n"
        "dataset, raw, packed = json.loads(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])\n"
        "try:\n"
        "    with explain_full_disk(packed):\n"
        "        preprocess.preprocess(dataset, raw, packed) if packed.name == 'preprocess' else "
        "download.download(dataset, packed)\n"
        "except GanealogyError as error:\n"
        "    print(error)\n"
    )
    target = tmp_path / stage_name
    command = [sys.executable, "-c", code, json.dumps(dataset), str(raw), str(target)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "GANEALOGY_THREADS": "1"})
    assert f"{target}: File too large; free space" in done.stdout, done.stderr
    assert files(target) == {}


def test_colour_pictures_become_grey_with_one_channel(tmp_path: Path) -> None:
    dataset, raw = raw_folder(tmp_path / "set", many(30), channels=1)
    preprocess(dataset, raw, tmp_path / "grey")
    images = open_split(tmp_path / "grey", "train")
    assert images.shape[1:] == (16, 16, 1)
    expected = Image.open(io.BytesIO(picture(3))).crop((2, 0, 22, 20)).resize((16, 16), Image.Resampling.BILINEAR)
    assert np.asarray(expected.convert("L")).tobytes() in {image.tobytes() for image in images} | {
        image.tobytes() for image in open_split(tmp_path / "grey", "holdout")
    }


def test_no_stage_of_the_data_imports_torch() -> None:
    modules = "download, preprocess, packed, fetch, archives, workers"
    code = f"import sys; from ganealogy.data import {modules}; sys.exit('torch' in sys.modules)"
    source = str(Path(stage.__file__).parents[2])
    assert subprocess.run([sys.executable, "-c", f"import sys; sys.path.insert(0, {source!r}); {code}"]).returncode == 0
