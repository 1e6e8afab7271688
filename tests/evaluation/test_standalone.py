"""`ganealogy measure --real PATH --fake PATH` in a directory without the pipeline's files, and bad input."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pytorch_fid.fid_score import calculate_frechet_distance

from ganealogy.cli import main
from ganealogy.errors import GanealogyError
from ganealogy.evaluation import standalone, statistics_file
from ganealogy.evaluation.extractors import pixel8
from ganealogy.evaluation.metrics.frechet import Moments, frechet_distance
from ganealogy.evaluation.statistics_file import Statistics

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ganealogy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command in an empty directory; return exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["ganealogy", *map(str, arguments)])
        with pytest.raises(SystemExit) as done:
            main.main()
        output = capsys.readouterr()
        return int(done.value.code or 0), output.out, output.err

    return run


def pictures(count: int, seed: int, size: int = 16, channels: int = 3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 4, 4, channels)).repeat(size // 4, 1).repeat(size // 4, 2)
    return (0.8 * coarse + rng.integers(0, 50, (count, size, size, channels))).astype(np.uint8)


def folder(path: Path, images: np.ndarray) -> Path:
    path.mkdir(parents=True)
    for index, image in enumerate(images):
        Image.fromarray(image.squeeze()).save(path / f"{index:04}.png")
    return path


def zipped(path: Path, source: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(source.iterdir()):
            archive.write(file, f"inside/{file.name}")
    return path


def read_statistics(path: Path) -> Statistics:
    with ExitStack() as stack:
        found = standalone.open_set(path, stack)
    assert isinstance(found, Statistics)
    return found


def expected_fd(reals: np.ndarray, fakes: np.ndarray) -> float:
    return frechet_distance(*(Moments.of(pixel8.load().features(images)) for images in (fakes, reals)))


def test_every_kind_of_set_gives_the_same_distance(tmp_path, ganealogy):
    reals, fakes = pictures(60, 1), pictures(50, 2)
    np.save(tmp_path / "reals.npy", reals)
    np.savez(tmp_path / "fakes.npz", fakes)
    np.save(tmp_path / "fakes.npy", fakes)
    kinds = [tmp_path / "fakes.npy", tmp_path / "fakes.npz", folder(tmp_path / "fakes", fakes)]
    kinds.append(zipped(tmp_path / "fakes.zip", kinds[-1]))
    for kind in kinds:
        result = standalone.run(tmp_path / "reals.npy", kind, ["pixel8"])
        assert result is not None and result.metrics["fd_pixel8"] == pytest.approx(expected_fd(reals, fakes), rel=1e-6)


def test_the_command_needs_no_pipeline_and_prints_a_table(tmp_path, ganealogy):
    folder(tmp_path / "photos", pictures(60, 1))
    folder(tmp_path / "drawn" / "deeper", pictures(50, 2))
    code, out, _ = ganealogy("measure", "--real", "photos", "--fake", "drawn", "--json", "out/numbers.json")
    assert code == 0
    written = json.loads((tmp_path / "out/numbers.json").read_text())
    assert {"fd_w64_effnet_lite0", "kid_effnet_lite0", "fd_pixel8"} <= set(written["metrics"])
    assert "needs 129 pictures on each side" in written["not_measured"]["fd_effnet_lite0"]
    for name, value in written["metrics"].items():
        assert name in out and f"{value:.6g}" in out and written["protocol"][name]["fingerprint"] in out
    protocol = written["protocol"]["kid_effnet_lite0"]
    assert (protocol["reals"], protocol["fakes"], protocol["split"], len(protocol["fingerprint"])) == (
        60,
        50,
        "as given",
        12,
    )


def test_statistics_are_written_as_pytorch_fid_reads_them_and_read_back(tmp_path, ganealogy):
    reals, fakes = pictures(300, 1), pictures(250, 2)
    np.save("reals.npy", reals)
    np.save("fakes.npy", fakes)
    code, out, _ = ganealogy("measure", "--real", "reals.npy", "--extractor", "pixel8", "--save-statistics", "s.npz")
    assert code == 0 and "wrote s.npz" in out
    with np.load("s.npz", allow_pickle=False) as written:
        mu, sigma = written["mu"], written["sigma"]
    features = pixel8.load().features(reals).astype(np.float64)
    np.testing.assert_allclose(mu, features.mean(0), rtol=1e-10)
    np.testing.assert_allclose(sigma, np.cov(features, rowvar=False), rtol=1e-8, atol=1e-12)
    code, out, _ = ganealogy("measure", "--real", "s.npz", "--fake", "fakes.npy", "--json", "j.json")
    assert code == 0 and "statistics contain no features: only fd_pixel8 is measured" in " ".join(out.split())
    numbers = json.loads(Path("j.json").read_text())
    assert set(numbers["metrics"]) == {"fd_pixel8"}
    assert numbers["metrics"]["fd_pixel8"] == pytest.approx(expected_fd(reals, fakes), rel=1e-5)


@pytest.mark.filterwarnings("ignore:The `disp` argument is deprecated")  # pytorch-fid's call of scipy's sqrtm
def test_statistics_of_pytorch_fid_give_its_distance(tmp_path):
    """Two files with only mu and sigma, as `pytorch_fid --save-stats` writes them."""
    rng = np.random.default_rng(0)
    sides = []
    for index in range(2):
        x = rng.standard_normal((400, 192)) * np.linspace(0.2, 2, 192) + 0.1 * index
        sides += [x.mean(0), np.cov(x, rowvar=False)]
        np.savez_compressed(tmp_path / f"{index}.npz", mu=sides[-2], sigma=sides[-1])
    result = standalone.run(tmp_path / "0.npz", tmp_path / "1.npz", ["pixel8"])
    assert result is not None
    assert result.metrics["fd_pixel8"] == pytest.approx(calculate_frechet_distance(*sides), rel=1e-6)


def test_grey_and_colour_compare_and_different_sizes_get_a_note(tmp_path):
    np.save(tmp_path / "grey.npy", pictures(50, 1, channels=1))
    np.save(tmp_path / "large.npy", pictures(50, 1, size=32))
    result = standalone.run(tmp_path / "grey.npy", tmp_path / "large.npy", ["pixel8"])
    assert result is not None and "reals and fakes are 16x16 and 32x32" in result.notes[0]
    alike = standalone.run(tmp_path / "grey.npy", tmp_path / "grey.npy", ["pixel8"])
    assert alike is not None and alike.metrics["fd_pixel8"] < 1e-6


def test_temporary_files_of_decoded_pictures_are_deleted(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
    (tmp_path / "scratch").mkdir()
    folder(tmp_path / "x", pictures(3, 1))
    with ExitStack() as stack:
        images = standalone.open_set(tmp_path / "x", stack)
        assert isinstance(images, np.ndarray) and images.shape == (3, 16, 16, 3)
    assert not list((tmp_path / "scratch").iterdir())


class Trap:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return open, ("ran", "w")  # type: ignore[return-value]


def with_key(**arrays: np.ndarray) -> Callable[[Path], None]:
    return lambda path: np.savez(path, **arrays)


def array(images: np.ndarray) -> Callable[[Path], None]:
    return lambda path: np.save(path, images)


def nan_pixels() -> np.ndarray:
    images = np.zeros((4, 8, 8, 3), np.float32)
    images[2, 3, 3, 1] = np.nan
    return images


BAD = [
    ("absent", lambda path: None, "no such directory or file"),
    ("empty", lambda path: path.mkdir(), "contains no pictures; known suffixes: .jpg"),
    ("one", lambda path: folder(path, pictures(1, 0)), "1 picture, but a distance needs at least 2"),
    ("one.npy", array(pictures(1, 0)), "1 picture, but a distance needs at least 2"),
    ("none.npy", array(pictures(0, 0)), "0 pictures, but a distance needs at least 2"),
    ("nan.npy", array(nan_pixels()), "NaN or infinite pixels"),
    ("float.npy", array(np.full((4, 8, 8, 3), 0.5)), "float64 .*convert it with .*astype"),
    ("int.npy", array(np.zeros((4, 8, 8, 3), int)), r"int64 .*convert it with \.astype"),
    ("first.npy", array(np.zeros((4, 3, 8, 8), np.uint8)), r"channels first; use x\.transpose"),
    ("grey.npy", array(np.zeros((4, 8, 8), np.uint8)), r"x\[\.\.\., None\]"),
    ("rgba.npy", array(np.zeros((4, 8, 8, 4), np.uint8)), r"expected uint8 \(N, H, W, 1 or 3\)"),
    ("text.npy", lambda path: path.write_text("no array"), r"damaged or not an \.npy array"),
    ("pickle.npy", array(np.array([Trap()], dtype=object)), "contains a pickle"),
    ("pickle.npz", with_key(mu=np.array([Trap()], dtype=object), sigma=np.eye(2)), "contains a pickle"),
    ("text.npz", lambda path: path.write_text("no zip"), r"damaged or not an \.npz archive"),
    ("cut.npz", lambda path: path.write_bytes(b"PK\x03\x04" + b"\0" * 50), r"damaged or not an \.npz archive"),
    ("keys.npz", with_key(mean=np.zeros(192), cov=np.eye(192)), "contains cov, mean; expected"),
    ("half.npz", with_key(mu=np.zeros(192)), "contains mu, expected mu and sigma"),
    ("shape.npz", with_key(mu=np.zeros(192), sigma=np.eye(191)), r"expected mu \(d,\)"),
    ("texts.npz", with_key(mu=np.zeros(192, "U3"), sigma=np.eye(192)), r"expected mu \(d,\)"),
    ("nan.npz", with_key(mu=np.full(192, np.nan), sigma=np.eye(192)), "NaN or infinite values"),
    ("skew.npz", with_key(mu=np.zeros(192), sigma=np.triu(np.ones((192, 192)))), "not symmetric"),
    ("other.npz", with_key(mu=np.zeros(7), sigma=np.eye(7)), "statistics of 7 features, but pixel8 has 192"),
    ("photos.tar", lambda path: path.write_bytes(b"x"), "not a directory, .zip, .npy or .npz"),
    ("text.zip", lambda path: path.write_text("no zip"), "not a whole zip archive"),
]


@pytest.mark.parametrize(("name", "make", "message"), BAD, ids=[case[0] for case in BAD])
@pytest.mark.parametrize("side", ["--real", "--fake"])
def test_bad_input_is_a_one_line_error_with_the_file_and_a_hint(tmp_path, ganealogy, side, name, make, message):
    make(tmp_path / name)
    np.save("good.npy", pictures(4, 1))
    other = "--fake" if side == "--real" else "--real"
    code, _, err = ganealogy("measure", side, name, other, "good.npy", "--extractor", "pixel8")
    line = err.strip().splitlines()[-1]
    assert code == 2 and line.startswith("ganealogy: ") and name in line and "Traceback" not in err
    assert re.search(message, line), line
    assert not Path("ran").exists()


def test_mixed_sizes_and_damaged_pictures_are_named(tmp_path, ganealogy):
    folder(tmp_path / "mixed", pictures(3, 1))
    Image.new("RGB", (20, 16)).save(tmp_path / "mixed" / "9.png")
    code, _, err = ganealogy("measure", "--real", "mixed", "--fake", "mixed")
    assert code == 2 and "9.png: 20x16, but the first picture is 16x16" in err
    folder(tmp_path / "broken", pictures(3, 1))
    (tmp_path / "broken" / "0001.png").write_bytes(b"no picture")
    code, _, err = ganealogy("measure", "--real", "broken", "--fake", "broken")
    assert code == 2 and "0001.png: not a picture in a known format; replace or remove it" in err


def test_a_hostile_zip_is_rejected(tmp_path, ganealogy):
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr("../out.png", b"x")
    code, _, err = ganealogy("measure", "--real", "evil.zip", "--fake", "evil.zip")
    assert code == 2 and "evil.zip: refused" in err


def test_unusable_extractors_are_rejected_with_a_hint(tmp_path, ganealogy):
    np.save("x.npy", pictures(4, 1))
    sets = ("measure", "--real", "x.npy", "--fake", "x.npy")
    for name, message in (
        ("vgg", "--extractor: unknown extractor 'vgg'; known: clip"),
        ("inception", "ganealogy fetch inception"),
        ("mnist_cnn", "dvc repro reference"),
    ):
        code, _, err = ganealogy(*sets, "--extractor", name)
        assert code == 2 and message in err
    code, _, err = ganealogy(*sets, "--extractor", "pixel8", "--extractor", "pixel8")
    assert code == 2 and "given twice" in err
    code, _, err = ganealogy(*sets, "--save-statistics", "s.npz")
    assert code == 2 and "a file has the statistics of one extractor" in err


def test_statistics_of_another_extractor_or_protocol_are_rejected(tmp_path):
    np.save(tmp_path / "x.npy", pictures(4, 1))
    extractor = pixel8.load()
    for metadata, message in (
        ({"extractor": "inception"}, "statistics of inception, not of pixel8: use --extractor inception"),
        ({"extractor": "pixel8", "protocol": {"resize": "none"}}, "other weights or another resize"),
    ):
        path = tmp_path / "s.npz"
        np.savez(path, mu=np.zeros(192), sigma=np.eye(192), ganealogy=np.array(json.dumps(metadata)))
        with pytest.raises(GanealogyError, match=message):
            statistics_file.check_fits(read_statistics(path), extractor)


@pytest.mark.parametrize(
    "arguments",
    [
        ("measure",),
        ("measure", "--fake", "x.npy"),
        ("measure", "--real", "x.npy"),
        ("measure", "v1", "--real", "x.npy", "--fake", "x.npy"),
        ("evaluate",),
        ("evaluate", "--real", "x.npy", "--fake", "x.npy"),
        ("evaluate", "v1", "--real", "x.npy"),
        ("evaluate", "v1", "--seeds", "one"),
        ("evaluate", "v1", "0"),
    ],
)
def test_arguments_of_the_other_verb_are_usage_errors(ganealogy, arguments):
    code, _, err = ganealogy(*arguments)
    assert code == 2 and "Usage" in err
