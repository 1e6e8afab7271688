"""The reference and evaluate stages on tiny pictures: their files, the order of anchors, and errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.fake_runs import run_json, sample_json, write_run
from PIL import Image

from ganealogy.errors import GanealogyError
from ganealogy.evaluation import evaluate as evaluation
from ganealogy.evaluation import features, measure, standalone
from ganealogy.evaluation import reference as reference_stage
from ganealogy.evaluation.evaluate import evaluate
from ganealogy.evaluation.extractors import effnet_lite0, inception
from ganealogy.evaluation.extractors.pixel8 import Pixel8
from ganealogy.evaluation.measure import full_name
from ganealogy.evaluation.metrics import kid, neighbours, prdc
from ganealogy.evaluation.reference import SETUP, SPACINGS, SUMS, measure_reference, read_reference
from ganealogy.files import atomic
from ganealogy.workspace import RunDir, run_dir

SETTINGS = {"extractors": ["pixel8"], "lead": "fd_pixel8", "metrics": None, "neighbours": 5, "reals": 200}


def faces(count: int, seed: int, size: int = 16) -> np.ndarray:
    """Discs with two dots, at random places and in random colours."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size
    images = np.empty((count, size, size, 3), np.uint8)
    for image in images:
        top, left = rng.uniform(0.35, 0.65, 2)
        image[:] = rng.integers(128, 256, 3)
        image[(y - top) ** 2 + (x - left) ** 2 < rng.uniform(0.2, 0.4) ** 2] = rng.integers(0, 256, 3)
        for side in (-0.12, 0.12):
            image[(y - top) ** 2 + (x - left - side) ** 2 < 0.005] = 0
    return images


def save(path: Path, images: np.ndarray) -> None:
    with atomic.writing(path) as file:
        np.save(file, images, allow_pickle=False)


@pytest.fixture(scope="module")
def packed(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("packed")
    save(folder / "train.npy", faces(300, 1))
    save(folder / "holdout.npy", faces(120, 2))
    return folder


@pytest.fixture(scope="module")
def reference(packed, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("reference")
    measure_reference(SETTINGS, 100, packed, out)
    return out


def make_run(folder: Path, images: np.ndarray | None, status: str = "finished", **sample: Any) -> RunDir:
    """Return a run of v3 seed 1 whose samples are `images`."""
    run = run_dir("v3", 1, folder)
    record: dict[str, Any] = {"count": 0, "sha256": None, "step": 40, "kimg": 2.5, "latent_seed": 7}
    if images is not None:
        save(run / "sample/images.npy", images)
        record |= {"count": len(images), "sha256": atomic.sha256(run / "sample/images.npy")}
    return write_run(run, run_json("v3", 1, status=status), sample_json("v3", 1, **(record | sample)))


def test_anchors_are_ordered_by_visible_quality(tmp_path):
    save(tmp_path / "train.npy", faces(2500, 1))
    save(tmp_path / "holdout.npy", faces(800, 2))
    measure_reference(
        {"extractors": ["pixel8"], "lead": "fd_pixel8", "metrics": None, "neighbours": 5, "reals": 2000},
        800,
        tmp_path,
        tmp_path / "out",
    )
    anchors = json.loads((tmp_path / "out/anchors.json").read_text())
    row = anchors["metrics"]["fd_pixel8"]
    assert set(row) == {"floor", "gaussian", "rep100", "rep50", "rep25", "mean_image"}
    assert 0 < row["floor"] < row["rep100"] < row["rep50"] < row["rep25"] < row["mean_image"]
    degraded = anchors["battery"]["fd_pixel8"]
    assert set(degraded) | set(row) == set(anchors["described"]) and not set(degraded) & set(row)
    assert degraded["blur1"] < degraded["blur2"] < row["mean_image"]
    assert degraded["shuffled"] == pytest.approx(row["floor"]), "which shows that it is blind to it"
    assert anchors["count"] == 800 and anchors["reals"] == 2000
    assert anchors["described"]["floor"] == "800 held-out reals"


def test_reference_leaves_out_the_trackers_reals_and_records_a_smaller_holdout(packed, tmp_path):
    measure_reference(
        {"extractors": ["pixel8"], "lead": "fd_pixel8", "metrics": None, "neighbours": 5, "reals": 10_000},
        500,
        packed,
        tmp_path,
    )
    anchors = json.loads((tmp_path / "anchors.json").read_text())
    assert anchors["reals"] == 240  # 80 % of 300
    assert anchors["count"] == 120
    assert anchors["protocol"]["fd_pixel8"]["fakes"] == 120


def test_without_a_maximum_all_of_train_is_the_reference(packed, tmp_path):
    """As published FIDs have it: the tracker's fifth, too."""
    settings = {"extractors": ["pixel8"], "lead": "fd_pixel8", "metrics": None, "neighbours": 5, "reals": None}
    measure_reference(settings, 100, packed, tmp_path)
    anchors = json.loads((tmp_path / "anchors.json").read_text())
    assert anchors["reals"] == anchors["protocol"]["fd_pixel8"]["reals"] == 300


def test_reference_is_deterministic(packed, reference, tmp_path):
    measure_reference(SETTINGS, 100, packed, tmp_path)
    for name in ("anchors.json", "pixel8.npz", "real.png"):
        assert (tmp_path / name).read_bytes() == (reference / name).read_bytes()


def test_too_small_a_holdout_is_rejected(packed, tmp_path):
    save(tmp_path / "train.npy", faces(50, 1))
    save(tmp_path / "holdout.npy", faces(3, 1))
    with pytest.raises(GanealogyError, match="3 held-out images are too few"):
        measure_reference(SETTINGS, 100, tmp_path, tmp_path / "out")


def test_evaluate_writes_metrics_and_their_protocol(reference, tmp_path):
    run = make_run(tmp_path, faces(100, 3))
    record = evaluate(run, SETTINGS, reference)
    assert record == json.loads((run / "evaluate/metrics.json").read_text())
    # No KID and no PRDC of pixels.
    assert record["metrics"].keys() == {"fd_pixel8", "diversity_pixel8", "memorised_pixel8", "copies_pixel8"}
    assert record["not_measured"] == {"fd_inf_pixel8": "needs 768 images, 4 for each of 192 dimensions; there are 100"}
    protocol = record["protocol"]["fd_pixel8"]
    fingerprint = protocol.pop("fingerprint")
    assert protocol == {
        "extractor": "pixel8",
        "weights_sha256": None,
        "resize": "area mean to 8x8",
        "precision": "fp32",
        "reals": 200,
        "fakes": 100,
        "split": "train",
        "checkpoint": "best",
        "weights": "EMA where the recipe has one, else raw",
        "temperature": 1.0,
        "batch_statistics": "running",
        "latent_seed": 7,
    }
    assert fingerprint == atomic.digest(protocol)[:12]
    assert record["protocol"]["memorised_pixel8"]["searched"] == 300  # all of train, not the reals alone
    assert record["protocol"]["memorised_pixel8"]["holdout"] == 120
    assert (record["version"], record["seed"], record["step"], record["kimg"]) == ("v3", 1, 40, 2.5)


def test_evaluate_agrees_with_the_anchors(packed, reference, tmp_path):
    """Held-out reals as fakes score the floor; the mean image repeated scores its anchor."""
    anchors = json.loads((reference / "anchors.json").read_text())["metrics"]["fd_pixel8"]
    held_out = np.load(packed / "holdout.npy")[:100]
    mean = np.load(packed / "train.npy")[:200].mean(0).round().astype(np.uint8)
    for images, anchor in ((held_out, "floor"), (np.tile(mean, (100, 1, 1, 1)), "mean_image")):
        record = evaluate(make_run(tmp_path / anchor, images), SETTINGS, reference)
        assert record["metrics"]["fd_pixel8"] == pytest.approx(anchors[anchor], rel=1e-9)


def test_a_networks_features_get_every_metric(packed, tmp_path):
    save(tmp_path / "packed/train.npy", np.load(packed / "train.npy")[:170])
    save(tmp_path / "packed/holdout.npy", faces(130, 2))
    settings = {"extractors": ["effnet_lite0_64"], "lead": "fd_pixel8", "metrics": None, "neighbours": 5, "reals": 136}
    measure_reference(settings, 130, tmp_path / "packed", tmp_path / "reference")
    record = evaluate(make_run(tmp_path, faces(130, 3)), settings, tmp_path / "reference")
    names = ["fd", "fd_w64", "kid", "precision", "recall", "density", "coverage", "vendi", "diversity"]
    assert record["metrics"].keys() == {f"{name}_effnet_lite0_64" for name in names} | {"kid_effnet_lite0_64_se"}
    assert record["metrics"].keys() == record["protocol"].keys()
    assert record["protocol"]["kid_effnet_lite0_64"]["subset_size"] == 65
    why = record["not_measured"]["memorised_effnet_lite0_64"]
    assert why == record["not_measured"]["copies_effnet_lite0_64"]
    assert why.startswith("only 136 of 170 training pictures have effnet_lite0_64's features")
    anchors = json.loads((tmp_path / "reference/anchors.json").read_text())["metrics"]
    for metric in ("fd_effnet_lite0_64", "kid_effnet_lite0_64"):
        assert anchors[metric]["floor"] < anchors[metric]["mean_image"]


def add_pictures(run: RunDir, file: str, images: np.ndarray) -> dict[str, Any]:
    """Write another array beside the samples, and return its entry in sample.json."""
    save(run / f"sample/{file}", images)
    return {"file": file, "latent_seed": 8, "sha256": atomic.sha256(run / f"sample/{file}")}


@pytest.mark.parametrize(
    ("extractor", "lead"),
    [("pixel8", "fd_pixel8"), ("pixel8", "diversity_pixel8"), ("effnet_lite0_64", "kid_effnet_lite0_64")],
)
def test_the_lead_alone_is_measured_on_each_set_and_on_the_other_checkpoint(packed, tmp_path, extractor, lead):
    """Each value is what a run with only those pictures gets."""
    settings = {"extractors": [extractor], "lead": lead, "metrics": None, "neighbours": 5, "reals": 60}
    measure_reference(settings | {"lead": "fd_pixel8"}, 50, packed, tmp_path / "reference")
    sets = [faces(50, seed) for seed in (3, 4, 5, 6)]
    run = make_run(tmp_path, sets[0])
    repeats = [add_pictures(run, f"images-{index}.npy", sets[index - 1]) for index in (2, 3)]
    other = {"checkpoint": "last", "step": 50, "kimg": 3.0, **add_pictures(run, "images-last.npy", sets[3])}
    sample = json.loads((run / "sample/sample.json").read_text())
    atomic.write_json(run / "sample/sample.json", sample | {"repeats": repeats, "other": other})
    record = evaluate(run, settings, tmp_path / "reference")
    alone = [
        evaluate(make_run(tmp_path / str(index), images), settings, tmp_path / "reference")["metrics"][lead]
        for index, images in enumerate(sets)
    ]
    assert record["repeats"] == {lead: alone[:3]} and record["metrics"][lead] == alone[0]
    assert record["other"] == {"checkpoint": "last", "step": 50, "kimg": 3.0, "metrics": {lead: alone[3]}}
    assert len({*alone}) == 4


def test_equal_checkpoints_have_the_same_number_and_are_measured_once(reference, tmp_path, monkeypatch):
    run = make_run(tmp_path, faces(50, 3))
    sample = json.loads((run / "sample/sample.json").read_text())
    other = {"checkpoint": "best", "step": 40, "kimg": 2.5, "file": "images.npy", "sha256": sample["sha256"]}
    atomic.write_json(run / "sample/sample.json", sample | {"other": other})
    calls = []
    extract = evaluation.extract
    monkeypatch.setattr(evaluation, "extract", lambda *args: calls.append(1) or extract(*args))
    record = evaluate(run, SETTINGS, reference)
    assert record["other"]["metrics"]["fd_pixel8"] == record["metrics"]["fd_pixel8"] and len(calls) == 1


def test_a_diverged_run_with_samples_is_measured(reference, tmp_path):
    record = evaluate(make_run(tmp_path, faces(50, 3), status="diverged"), SETTINGS, reference)
    assert record["status"] == "diverged" and record["metrics"]["fd_pixel8"] > 0


def test_a_run_without_samples_gets_the_reason(reference, tmp_path):
    record = evaluate(make_run(tmp_path, None, status="diverged", reason="no generator"), SETTINGS, reference)
    assert record["metrics"] == {} and record["reason"] == "no generator" and record["status"] == "diverged"


def few_pictures(count: int) -> np.ndarray:
    """Three faces, repeated with a little noise."""
    rng = np.random.default_rng(0)
    images = np.tile(faces(3, 5), (count // 3 + 1, 1, 1, 1))[:count]
    return (images + rng.normal(0, 2, images.shape)).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("images", [np.zeros((60, 16, 16, 3), np.uint8), few_pictures(96)], ids=["black", "three"])
def test_a_collapsed_generator_has_finite_metrics_and_a_flag(reference, tmp_path, images):
    record = evaluate(make_run(tmp_path, images), SETTINGS, reference)
    assert all(np.isfinite(value) for value in record["metrics"].values())
    flag = record["flags"]["collapsed_pixel8"]
    assert flag["flag"] and flag["value"] == record["metrics"]["diversity_pixel8"]
    assert not record["flags"]["memorised_pixel8"]["flag"]


def test_a_generator_like_the_reals_gets_no_flag(reference, tmp_path):
    record = evaluate(make_run(tmp_path, faces(100, 3)), SETTINGS, reference)
    assert record["flags"].keys() == {"collapsed_pixel8", "memorised_pixel8"}
    assert not any(flag["flag"] for flag in record["flags"].values())
    assert record["metrics"]["diversity_pixel8"] == pytest.approx(1, abs=0.2)


def test_copies_of_training_pictures_are_flagged_and_shown(packed, reference, tmp_path):
    train, rows = np.load(packed / "train.npy"), np.random.default_rng(0).permutation(300)[:100]
    copies = (train[rows] + np.random.default_rng(1).normal(0, 3, train[rows].shape)).clip(0, 255).astype(np.uint8)
    run = make_run(tmp_path, copies)
    record = evaluate(run, SETTINGS, reference, packed)
    flag = record["flags"]["memorised_pixel8"]
    assert flag["flag"] and flag["value"] > 0.95 and "p = " in flag["why"]
    assert [near[1][0] for near in record["neighbours"]["pixel8"]] == rows[:8].tolist()
    sheet = np.asarray(Image.open(run / "evaluate/neighbours.png"))
    assert sheet.shape == (8 * 66 + 2, 68 + 8 + 5 * 66 + 2, 3)  # 8 rows; a sample, a gap, 5 neighbours of 64 + 2 pixels
    neighbour = sheet[2:66:4, 78:142:4]
    np.testing.assert_array_equal(neighbour, train[rows[0]])


def test_ema_is_recorded_outside_the_protocol(reference, tmp_path):
    protocols = []
    for ema in (None, {"kimg": 1}):
        run = make_run(tmp_path / str(bool(ema)), faces(50, 3))
        trained = json.loads((run / "train/run.json").read_text())
        atomic.write_json(run / "train/run.json", trained | {"recipe": trained["recipe"] | {"ema": ema}})
        record = evaluate(run, SETTINGS, reference)
        assert record["ema"] is (ema is not None)
        protocols.append(record["protocol"])
    assert protocols[0] == protocols[1]


def test_a_second_evaluation_reads_cached_features(packed, tmp_path, monkeypatch):
    settings = {"extractors": ["effnet_lite0"], "lead": "fd_pixel8", "metrics": None, "neighbours": 5, "reals": 50}
    measure_reference(settings, 50, packed, tmp_path / "reference", cache_dir=tmp_path / "cache")
    run = make_run(tmp_path, faces(50, 3))
    first = evaluate(run, settings, tmp_path / "reference", cache_dir=tmp_path / "cache")
    monkeypatch.setattr(effnet_lite0.EffnetLite0, "features", lambda *args: pytest.fail("it ran"))
    assert evaluate(run, settings, tmp_path / "reference", cache_dir=tmp_path / "cache") == first


def test_a_flipped_bit_in_the_samples_is_detected(reference, tmp_path):
    run = make_run(tmp_path, faces(50, 3))
    path = run / "sample/images.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(
        GanealogyError, match=r"images\.npy: damaged: its sha256.*dvc repro --force --single-item sample@v3"
    ):
        evaluate(run, SETTINGS, reference)


def test_another_image_size_than_the_references_is_rejected(reference, tmp_path):
    with pytest.raises(GanealogyError, match=r"computed from images \[16, 16, 3\], the fakes are \[8, 8, 3\]"):
        evaluate(make_run(tmp_path, faces(50, 3, size=8)), SETTINGS, reference)


@pytest.mark.parametrize("images", [faces(9, 1), faces(300, 1, size=8)])
def test_training_pictures_other_than_the_references_are_rejected(packed, reference, tmp_path, images):
    save(tmp_path / "train.npy", images)
    run = make_run(tmp_path, faces(50, 3))
    with pytest.raises(GanealogyError, match=r"train\.npy: shape .*, expected at least 300 pictures.*dvc repro"):
        evaluate(run, SETTINGS, reference, tmp_path)
    evaluate(run, SETTINGS, reference, packed)


@pytest.mark.parametrize("damage", ["gone", "cut", "text", "flipped"])
def test_a_damaged_reference_is_named(packed, tmp_path, damage):
    measure_reference(SETTINGS, 100, packed, tmp_path / "reference")
    path = tmp_path / "reference/pixel8.npz"
    content = path.read_bytes()
    flipped = content[:5000] + bytes([content[5000] ^ 255]) + content[5001:]
    damaged = {"gone": None, "cut": content[: len(content) // 2], "text": b"hello", "flipped": flipped}[damage]
    path.unlink() if damaged is None else path.write_bytes(damaged)
    with pytest.raises(GanealogyError, match=r"pixel8\.npz: .*dvc repro (--force --single-item )?reference"):
        evaluate(make_run(tmp_path, faces(50, 3)), SETTINGS, tmp_path / "reference")


def test_a_reference_of_other_weights_is_rejected(packed, tmp_path):
    measure_reference(SETTINGS, 100, packed, tmp_path / "reference")
    path = tmp_path / "reference/anchors.json"
    anchors = json.loads(path.read_text())
    anchors["protocol"]["fd_pixel8"]["weights_sha256"] = "0" * 64
    atomic.write_json(path, anchors)
    with pytest.raises(GanealogyError, match="other weights or another resize"):
        evaluate(make_run(tmp_path, faces(50, 3)), SETTINGS, tmp_path / "reference")


def test_only_inceptions_distance_is_named_fid():
    assert full_name("fd_{}", "inception") == "fid"
    assert full_name("kid_{}_se", "inception") == "kid_inception_se"
    assert full_name("fd_{}", "effnet_lite0") == "fd_effnet_lite0"


@pytest.fixture
def computed(monkeypatch) -> list[tuple[str, int]]:
    """Computations of radii and of KID's sums within subsets, with the number of features."""
    calls: list[tuple[str, int]] = []

    def spied(name: str, function):
        def call(features, *arguments):
            calls.append((name, len(features)))
            return function(features, *arguments)

        return call

    monkeypatch.setattr(neighbours, "squared_spacings", spied("radii", neighbours.squared_spacings))
    monkeypatch.setattr(kid, "sums_within", spied("sums", kid.sums_within))
    return calls


@pytest.mark.parametrize("count", [55, 52], ids=["as many as planned", "fewer"])
def test_radii_and_sums_of_the_reals_are_read_from_the_reference(packed, tmp_path, monkeypatch, computed, count):
    settings = {"extractors": ["effnet_lite0"], "lead": "fd_pixel8", "metrics": None, "neighbours": 5, "reals": 60}
    measure_reference(settings, 55, packed, tmp_path / "reference", cache_dir=tmp_path / "cache")
    run = make_run(tmp_path, faces(count, 3))
    computed.clear()
    real = read_reference(tmp_path / "reference", effnet_lite0.load("cpu"), (16, 16, 3))
    assert real.train is real.reals  # the same object, so that neighbours and PRDC share one pass
    from_reference = evaluate(run, settings, tmp_path / "reference", cache_dir=tmp_path / "cache")
    sums = (
        [("sums", count)] if count == 55 else [("sums", count), ("sums", 60)]
    )  # other subsets: both sides draw from one generator
    assert sorted(computed) == [("radii", count), *sums]
    monkeypatch.setattr(reference_stage, "_with_derived", lambda extractor, reals, derived: reals)
    recomputed = evaluate(run, settings, tmp_path / "reference", cache_dir=tmp_path / "cache")
    assert {("radii", 60), ("sums", 60)} < set(computed)
    assert from_reference == recomputed


def rewrite(directory: Path, **changes: np.ndarray | None) -> None:
    """Rewrite pixel8.npz with other arrays, or without some, and update its hash."""
    path = directory / "pixel8.npz"
    with np.load(path) as archive:
        arrays = {name: array for name, array in {**archive, **changes}.items() if array is not None}
    np.savez(path, **arrays)
    anchors = json.loads((directory / "anchors.json").read_text())
    atomic.write_json(directory / "anchors.json", anchors | {"sha256": {"pixel8": atomic.sha256(path)}})


@pytest.mark.parametrize(
    "changes",
    [
        {SPACINGS: None, SUMS: None, SETUP: None},
        {SPACINGS: None},
        {SUMS: None},
        {SETUP: None},
        {"train": np.zeros((300, 192))},
        {"holdout": np.zeros((120, 191), np.float32)},
        {SPACINGS: np.zeros((199, 5))},
        {SPACINGS: np.zeros((200, 3))},
        {SPACINGS: np.zeros((200, 5), np.float32)},
        {SPACINGS: np.full((200, 5), "a")},
        {SUMS: np.zeros(3)},
        {SUMS: np.zeros((0, 2))},
        {SETUP: np.arange(4)},
        {SETUP: np.array([100, 200, 100, 50, 0])},
        {SETUP: np.array([[100, 200, 100, 50, 0]] * 5)},
        {SETUP: np.array(7)},
    ],
    ids=str,
)
def test_a_reference_with_inconsistent_arrays_is_rejected(packed, tmp_path, changes):
    measure_reference(SETTINGS, 100, packed, tmp_path / "reference")
    run = make_run(tmp_path, faces(50, 3))
    rewrite(tmp_path / "reference")
    evaluate(run, SETTINGS, tmp_path / "reference")
    rewrite(tmp_path / "reference", **changes)
    with pytest.raises(
        GanealogyError, match=r"pixel8\.npz: cannot be read .*dvc repro --force --single-item reference"
    ):
        evaluate(run, SETTINGS, tmp_path / "reference")


def test_too_few_reals_give_a_reason(tmp_path):
    save(tmp_path / "train.npy", faces(6, 1))
    save(tmp_path / "holdout.npy", faces(4, 2))
    measure_reference(SETTINGS, 50, tmp_path, tmp_path / "reference")
    record = evaluate(make_run(tmp_path, faces(50, 3)), SETTINGS, tmp_path / "reference")
    assert not record["metrics"] and not record["flags"]
    assert record["not_measured"]["fd_pixel8"] == "needs 50 pictures on each side; there are 50 samples and 5 reals"


def test_only_the_listed_metrics_are_measured_but_every_flag(packed, tmp_path):
    settings = SETTINGS | {"metrics": ["fd_pixel8", "copies_pixel8"]}
    measure_reference(settings, 100, packed, tmp_path / "reference")
    anchors = json.loads((tmp_path / "reference/anchors.json").read_text())
    assert anchors["metrics"].keys() == {"fd_pixel8"} and not anchors["not_measured"]
    record = evaluate(make_run(tmp_path, np.load(packed / "train.npy")[:100]), settings, tmp_path / "reference")
    assert record["metrics"].keys() == record["protocol"].keys() == {"fd_pixel8", "copies_pixel8"}
    assert not record["not_measured"]
    assert {name: flag["flag"] for name, flag in record["flags"].items()} == {
        "collapsed_pixel8": False,
        "memorised_pixel8": True,
    }


@pytest.fixture
def placements(monkeypatch) -> set[tuple[str, bool]]:
    """Computations, and whether their device was cuda. They run on the CPU, so that no GPU is needed."""
    calls: set[tuple[str, bool]] = set()
    active: list[str] = []

    def on_cpu(value: Any) -> Any:
        return "cpu" if isinstance(value, str) and value == "cuda" else value

    def spied(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def call(*arguments: Any, **options: Any) -> Any:
            devices = [value for value in (*arguments, *options.values()) if isinstance(value, str)]
            if not active:  # nested calls already have the CPU as their device
                calls.add((name, devices == ["cuda"]))
            active.append(name)
            result = original(*map(on_cpu, arguments), **{key: on_cpu(value) for key, value in options.items()})
            active.pop()
            return result

        monkeypatch.setattr(owner, name, call)

    for owner, name in (
        (neighbours, "squared_spacings"),
        (measure, "nearest"),
        (prdc, "Manifolds"),
        (kid, "kid"),
        (kid, "sums_within"),
        (features, "moments_by_torch"),
    ):
        spied(owner, name)
    return calls


def test_metrics_are_computed_on_the_stages_device(packed, tmp_path, monkeypatch, placements):
    monkeypatch.setattr(Pixel8, "network", True)  # for KID and PRDC
    reference = tmp_path / "reference"
    names = ("squared_spacings", "nearest", "Manifolds", "kid", "sums_within", "moments_by_torch")
    all_on_gpu = {(name, True) for name in names}
    save(tmp_path / "fakes.npy", faces(200, 3))
    measure_reference(SETTINGS, 100, packed, reference, device="cuda")
    assert placements == all_on_gpu
    placements.clear()
    evaluate(make_run(tmp_path, faces(60, 3)), SETTINGS, reference, device="cuda")
    assert placements == all_on_gpu
    placements.clear()
    standalone.run(packed / "holdout.npy", tmp_path / "fakes.npy", ["pixel8"], device="cuda")
    assert placements == all_on_gpu


def test_an_extractor_without_weights_is_not_measured(packed, tmp_path, monkeypatch):
    """It is left out by the reference, and measured once the reference has it, as `dvc repro` makes it anew."""

    class Inception(Pixel8):
        name = "inception"

    settings = SETTINGS | {"extractors": ["inception", "pixel8"], "metrics": ["fd_pixel8", "fid"]}
    absent = {"inception": "its weights are absent"}
    measure_reference(settings, 100, packed, tmp_path / "reference", absent=absent)
    assert json.loads((tmp_path / "reference/anchors.json").read_text())["absent"] == absent
    run = make_run(tmp_path, faces(100, 3))
    record = evaluate(run, settings, tmp_path / "reference")
    assert list(record["metrics"]) == ["fd_pixel8"] and record["not_measured"] == {"fid": absent["inception"]}
    monkeypatch.setattr(inception, "load", lambda _device: Inception())
    assert evaluate(run, settings, tmp_path / "reference") == record, "a result depends on the reference alone"
    measure_reference(settings, 100, packed, tmp_path / "reference")
    record = evaluate(run, settings, tmp_path / "reference")
    assert sorted(record["metrics"]) == ["fd_pixel8", "fid"] and not record["not_measured"]
