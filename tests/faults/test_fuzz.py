"""Any bytes in any input file end in success, or in one line with exit code 2.

The examples are the same in each run; `make soak` tries many new ones. A hang hits pytest's time limit, an unexpected
error becomes an example of hypothesis, and each example is followed by a check for writes outside the folder.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.tiny_cifar import batches
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from ganealogy.data import archives, packed, pictures
from ganealogy.data.sources import cifar10, mnist
from ganealogy.evaluation import reference
from ganealogy.evaluation.extractors import pixel8
from ganealogy.files import atomic
from ganealogy.lineage import recipe, versions
from ganealogy.params import schema
from ganealogy.record_types import VersionPlan
from ganealogy.runtime import process
from ganealogy.stages import _stage
from ganealogy.tracking import run_record
from ganealogy.training import checkpoint
from ganealogy.workspace import unfinished

ROOT = Path(__file__).parents[2]


def ends_well(read: Callable[[], object]) -> str:
    """Assert success, or one line with exit code 2. Return the line."""
    said = io.StringIO()

    def work() -> None:
        read()

    with redirect_stderr(said):
        code = process.report_errors(work, debug=False)
    text = said.getvalue()
    assert (code, text) == (0, "") or (code == 2 and text.startswith("ganealogy: ") and text.count("\n") == 1), text
    assert len(text) < 1100
    return text


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The folder whose files are read; nothing may appear beside it."""
    (tmp_path / "beside").write_bytes(b"as it was")
    (tmp_path / "project").mkdir()
    return tmp_path / "project"


def untouched(place: Path, *files: str) -> bool:
    names = sorted(str(path.relative_to(place.parent)) for path in place.parent.rglob("*"))
    return names == sorted(["beside", "project", *(f"project/{name}" for name in files)])


def damaged(whole: bytes) -> st.SearchStrategy[bytes]:
    """Any bytes, the start of a good file, or a good file with bytes overwritten, inserted or removed."""
    places = st.integers(0, len(whole))
    return st.one_of(
        st.binary(max_size=300),
        places.map(lambda at: whole[:at]),
        st.builds(lambda at, new: whole[:at] + new + whole[at + len(new) :], places, st.binary(min_size=1, max_size=8)),
        st.builds(lambda at, new: whole[:at] + new + whole[at:], places, st.binary(min_size=1, max_size=8)),
        st.builds(lambda at, count: whole[:at] + whole[at + count :], places, st.integers(1, 64)),
    )


PARAMS = (ROOT / "tests" / "tiny.yaml").read_bytes()
LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(content=damaged(PARAMS))
@example(content=f"{LAUGHS}train: *a11\n".encode())
@example(content=b"train: 0x" + b"f" * 9000)
@example(content=b"train: " + b"9" * 9000)
@example(content=b"train: " + b"[" * 9000)
@example(content=b"&a train: {<<: *a}")
@example(content=b"&a {train: *a}")
@example(content=b"{? [a, b] : c}")
@example(content=b"{? {a: b} : c}")
@example(content=b"train: !!python/object/apply:os.system [touch pwned]")
@example(content=b"train: !!binary '*'")
@example(content=b"train: !!set {a, b}")
@example(content=b"train: !!omap [a, b]")
@example(content=b"train: !!timestamp 2001-99-99")
@example(content=b"train: 2001-99-99")
@example(content=b"%YAML 9.9\n---\ntrain: 1")
@example(content=b"--- 1\n--- 2\n")
@example(content=b"\xff\xfe")
@example(content=b"train: \x00")
@example(content=b"1: 2\nnull: 3\n2001-01-01: 4\n")
def test_any_params_yaml_ends_well(place: Path, content: bytes) -> None:
    (place / "params.yaml").write_bytes(content)
    ends_well(lambda: schema.load(place / "params.yaml"))
    assert untouched(place, "params.yaml") and not Path("pwned").exists()


@given(section=st.sampled_from(["dataset", "tree", "train", "sample", "evaluate"]), value=VALUES, key=st.text())
def test_any_value_in_params_ends_well(place: Path, section: str, key: str, value: Any) -> None:
    content = schema.read_yaml(ROOT / "tests" / "tiny.yaml")
    for changed in ({**content, section: value}, {**content, section: {**content[section], key: value}}):
        ends_well(lambda changed=changed: schema.parse(schema.Settings, changed, "params.yaml"))
    for name in content[section]:
        one = {**content, section: {**content[section], name: value}}
        ends_well(lambda one=one: schema.parse(schema.Settings, one, "params.yaml"))


ROOT_FILE = (ROOT / "versions" / "v1.yaml").read_bytes()
CHILD_FILE = (ROOT / "versions" / "v12.yaml").read_bytes().replace(b"parent: v9", b"parent: v1")


@given(root=damaged(ROOT_FILE) | st.just(ROOT_FILE), child=damaged(CHILD_FILE))
@example(
    root=ROOT_FILE, child=LAUGHS.encode() + b"title: t\nidea: i\nsource: s\nparent: v1\nchanges: {adversary: *a11}"
)
@example(root=ROOT_FILE, child=b"title: t\nidea: i\nsource: s\nparent: v2\nchanges: {a: 1}")
@example(root=ROOT_FILE, child=b"title: t\nidea: i\nsource: s\nparent: ../v1\nchanges: {a: 1}")
@example(root=ROOT_FILE, child=b"title: t\nidea: i\nsource: s\nparent: v1\nchanges: {adversary: {loss: ../../os}}")
def test_any_version_file_ends_well(place: Path, root: bytes, child: bytes) -> None:
    (place / "v1.yaml").write_bytes(root)
    (place / "v2.yaml").write_bytes(child)

    def read() -> None:
        for name, version in versions.read_family(["v2"], place).items():
            recipe.complete(version.recipe, name)

    ends_well(read)
    assert untouched(place, "v1.yaml", "v2.yaml")


@given(value=VALUES, key=st.sampled_from(["adversary", "optimizers", "generator", "discriminator", "latent", "ema"]))
def test_any_change_of_a_recipe_ends_well(value: Any, key: str) -> None:
    parent = versions.read_family(["v1"])["v1"].recipe
    ends_well(lambda: recipe.complete(recipe.check(recipe.merge(parent, {key: value}), "v2.yaml: changes"), "v2.yaml"))
    for inner in parent[key] if isinstance(parent.get(key), dict) else []:
        change = {key: {inner: value}}
        ends_well(lambda change=change: recipe.complete(recipe.check(recipe.merge(parent, change), "v2.yaml"), "v2"))


def a_zip() -> bytes:
    file = io.BytesIO()
    archives.write_stored(file, [("a.png", an_image("PNG")), ("folder/b.png", an_image("PNG"))])
    return file.getvalue()


def an_image(kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.arange(192, dtype=np.uint8).reshape(8, 8, 3)).save(file, kind)
    return file.getvalue()


@given(content=damaged(a_zip()))
def test_any_zip_ends_well(place: Path, content: bytes) -> None:
    (place / "pictures.zip").write_bytes(content)

    def read() -> None:
        found = archives.ZipPictures(place / "pictures.zip")
        with found.archive:
            for index in range(len(found)):
                try:
                    pictures.pack(found.read(index), 8, 3, "crop")
                except pictures.Rejected as reason:
                    assert str(reason)

    ends_well(read)
    assert untouched(place, "pictures.zip")


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP", "PPM"])
def test_any_picture_is_decoded_or_rejected(kind: str) -> None:
    @given(content=damaged(an_image(kind)))
    def any_bytes(content: bytes) -> None:
        try:
            assert pictures.pack(content, 8, 3, "crop").shape == (8, 8, 3)
        except pictures.Rejected as reason:
            assert str(reason) and "\n" not in str(reason)

    any_bytes()


def an_npz() -> bytes:
    file = io.BytesIO()
    features = np.zeros((2, 192), np.float32)
    np.savez(file, allow_pickle=False, reals=features, train=features, holdout=features)
    return file.getvalue()


@given(content=damaged(an_npz()), honest=st.booleans())
def test_any_reference_features_end_well(place: Path, content: bytes, honest: bool) -> None:
    """Also with a correct hash, as an attacker with a whole directory can write it."""
    extractor = pixel8.load()
    (place / "pixel8.npz").write_bytes(content)
    digest = atomic.sha256(place / "pixel8.npz") if honest else "0" * 64
    anchors = {
        "shape": [8, 8, 3],
        "reals": 2,
        "train": 2,
        "sha256": {"pixel8": digest},
        "protocol": {"fd": {"extractor": "pixel8"}},
    }
    (place / "anchors.json").write_text(json.dumps(anchors))
    said = ends_well(lambda: reference.read_reference(place, extractor, (8, 8, 3)))
    assert honest or "sha256" in said
    assert untouched(place, "pixel8.npz", "anchors.json")


@given(anchors=VALUES)
def test_any_anchors_end_well(place: Path, anchors: Any) -> None:
    (place / "pixel8.npz").write_bytes(an_npz())
    (place / "anchors.json").write_text(json.dumps(anchors))
    ends_well(lambda: reference.read_reference(place, pixel8.load(), (8, 8, 3)))


def a_checkpoint() -> tuple[bytes, bytes]:
    import torch

    tensors = checkpoint.dump_tensors({"generator/weight": torch.zeros(2, 2)})
    sha256 = hashlib.sha256(tensors).hexdigest()
    return tensors, json.dumps({"step": 3, "sha256": sha256, "facts": {"step": 3}}).encode()


TENSORS, COUNTERS = a_checkpoint()


@given(tensors=damaged(TENSORS) | st.just(TENSORS), counters=damaged(COUNTERS) | st.just(b"honest"))
def test_any_checkpoint_is_used_or_named(place: Path, tensors: bytes, counters: bytes) -> None:
    if counters == b"honest":
        sha256 = hashlib.sha256(tensors).hexdigest()
        counters = json.dumps({"step": 3, "sha256": sha256, "facts": {}}).encode()
    (place / "000000003.safetensors").write_bytes(tensors)
    (place / "000000003.json").write_bytes(counters)
    warnings: list[str] = []
    said = ends_well(lambda: checkpoint.newest(place, warnings))
    assert not said and len(warnings) <= 1
    assert untouched(place, "000000003.safetensors", "000000003.json")


PLAN = json.dumps(
    {"version": "v1", "parent": None, "code": {"ganealogy.files.atomic": "0" * 64}, "recipe": {}}
).encode()


@given(content=damaged(PLAN) | VALUES.map(lambda value: json.dumps(value).encode()))
@example(content=b'{"code": {"ganealogy.../../x": "0"}}')
@example(content=b'{"code": {"": ""}}')
@example(content=b"[" * 100_000)
def test_any_plan_file_ends_well(place: Path, content: bytes) -> None:
    (place / "v1.json").write_bytes(content)
    ends_well(lambda: _stage.read_plan(place / "v1.json", VersionPlan))
    assert untouched(place, "v1.json")


@given(content=damaged(PLAN) | VALUES.map(lambda value: json.dumps(value).encode()))
def test_any_manifest_ends_well(place: Path, content: bytes) -> None:
    (place / "manifest.json").write_bytes(content)
    ends_well(lambda: packed.read_manifest(place))


def an_npy(array: NDArray[Any] | None = None) -> bytes:
    file = io.BytesIO()
    np.save(file, np.zeros((2, 8, 8, 3), np.uint8) if array is None else array)
    return file.getvalue()


@given(content=damaged(an_npy()))
def test_any_packed_array_ends_well(place: Path, content: bytes) -> None:
    """The manifest's hash is checked before numpy parses the header, which is a Python expression."""
    (place / "train.npy").write_bytes(content)
    manifest = {"dataset": "d", "sha256": {"train.npy": hashlib.sha256(an_npy()).hexdigest()}}

    def read() -> None:
        _stage.verify_packed(manifest, place)
        packed.open_split(place, "train")

    assert bool(ends_well(read)) == (content != an_npy())


LABELS = an_npy(np.array([0, 9]))


@given(images=damaged(an_npy()) | st.just(an_npy()), labels=damaged(LABELS) | st.just(LABELS))
@example(images=an_npz(), labels=LABELS)
@example(images=an_npy(), labels=an_npz())
@example(images=an_npy(np.zeros((3, 8, 8, 3), np.uint8)), labels=LABELS)
@example(images=an_npy(), labels=an_npy(np.array([0, 10])))
@example(images=an_npy(), labels=an_npy(np.array([0, -1])))
def test_any_packed_array_under_a_correct_hash_ends_well(place: Path, images: bytes, labels: bytes) -> None:
    """The arrays have the shape in the manifest, and labels are classes."""
    (place / "train.npy").write_bytes(images)
    (place / "train-labels.npy").write_bytes(labels)
    sums = {name: atomic.sha256(place / name) for name in ("train.npy", "train-labels.npy")}
    counts = {"train": 2, "holdout": 2}
    manifest = {"dataset": "d", "sha256": sums, "counts": counts, "image_size": 8, "channels": 3}
    (place / "manifest.json").write_text(json.dumps(manifest))

    def read() -> None:
        _stage.verify_packed(packed.read_manifest(place), place)
        assert packed.open_split(place, "train").shape == (2, 8, 8, 3)
        found = packed.open_labels(place, "train", 10)
        assert found is not None and found.shape == (2,) and 0 <= found.min() <= found.max() < 10

    ends_well(read)
    assert untouched(place, "train.npy", "train-labels.npy", "manifest.json")


@given(content=damaged(an_npy()))
@example(content=an_npy()[:10] + b"\0" + an_npy()[11:])
def test_any_samples_end_well(place: Path, content: bytes) -> None:
    (place / "images.npy").write_bytes(content)
    ends_well(lambda: packed.open_pictures(place / "images.npy", "run `dvc repro`"))


@given(content=st.binary(max_size=200))
def test_any_idx_file_ends_well(place: Path, content: bytes) -> None:
    for name, encoded in (("plain", content), ("zipped", gzip.compress(content))):
        (place / name).write_bytes(encoded)
        ends_well(lambda name=name: mnist.read_idx(place / name))


BATCHES = batches({name: bytes(cifar10.RECORD) for name in (*cifar10.TRAIN, cifar10.TEST)})
"""The smallest archive in CIFAR-10's format."""


@given(content=damaged(BATCHES) | damaged(gzip.decompress(BATCHES)))
@example(content=gzip.compress(gzip.decompress(BATCHES)[:1000]))
def test_any_batches_end_well(place: Path, content: bytes) -> None:
    (place / "x.tar.gz").write_bytes(content)
    ends_well(lambda: cifar10.pictures([place / "x.tar.gz"]).read(0))


@given(run=VALUES, ticks=damaged(b'{"tick": 0, "step": 0, "kimg": 0.0}\n'))
def test_any_run_directory_ends_well(place: Path, run: Any, ticks: bytes) -> None:
    """Files that a sync reads."""
    (place / "train").mkdir(exist_ok=True)
    (place / "train" / "run.json").write_text(json.dumps(run))
    (place / "train" / "metrics.jsonl").write_bytes(ticks)
    ends_well(lambda: run_record.read(unfinished(place)))


def test_names_cannot_control_the_terminal() -> None:
    assert process.single_printable_line("a\x1b[2Jb\nc\u202ed") == r"a\x1b[2Jb c\u202ed"
