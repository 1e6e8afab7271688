"""`ganealogy measure` on full disks, and on hostile, damaged and unusual files."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import stat
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from conftest import tool
from PIL import Image

from ganealogy import api
from ganealogy.errors import GanealogyError
from ganealogy.evaluation import feature_cache, standalone
from ganealogy.evaluation.statistics_file import Statistics
from ganealogy.files import arrays, atomic
from ganealogy.runtime import machine


def noise(count: int, size: int = 64, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), np.uint8)


def folder(path: Path, images: np.ndarray) -> Path:
    path.mkdir(parents=True)
    for index, image in enumerate(images):
        Image.fromarray(image).save(path / f"{index:03}.png")
    return path


def zipped(path: Path, images: np.ndarray) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for index, image in enumerate(images):
            file = io.BytesIO()
            Image.fromarray(image).save(file, "PNG")
            archive.writestr(f"{index}.png", file.getvalue())
    return path


def header(shape: str, descr: str = "|u1", version: int = 1) -> bytes:
    text = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (63 - (10 + len(text)) % 64) + b"\n"
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(text)) + text


def refusal(path: Path) -> str:
    with ExitStack() as stack, pytest.raises(GanealogyError) as refused:
        standalone.open_set(path, stack)
    said = str(refused.value)
    assert said.startswith(str(path)) and "\n" not in said and "delete" not in said, said
    return said


MOUNT = 'mount -t tmpfs -o size="$1" none "$2" && shift && shift && exec "$@"'


@pytest.mark.parametrize(("make", "size"), [(folder, "100k"), (folder, "684k"), (zipped, "4k")])
def test_a_full_temporary_directory_is_one_line_and_another_one_repairs_it(
    make: Callable[[Path, np.ndarray], Path], size: str, tmp_path: Path
) -> None:
    """A real file system of that size; the pictures need 720 kB."""
    full = tmp_path / "full"
    full.mkdir()
    space = [tool("unshare"), "-Urm", "sh", "-c", MOUNT, "sh", size, str(full)]
    if subprocess.run([*space, "true"], capture_output=True, check=False).returncode:
        if os.environ.get("REQUIRE") == "all":
            pytest.fail("a file system cannot be mounted here, and REQUIRE=all allows no skips")
        pytest.skip("a file system cannot be mounted here")
    np.save(tmp_path / "fakes.npy", noise(60, seed=1))
    reals = make(tmp_path / ("reals.zip" if make is zipped else "reals"), noise(60))
    # Without torch, whose import takes seconds: the sets alone.
    code = (
        "import sys; from contextlib import ExitStack; from pathlib import Path\n"
        "from ganealogy.runtime import process\n"
        "def work():\n"
        "    from ganealogy.evaluation import standalone\n"
        "    with ExitStack() as stack: print(standalone.open_set(Path(sys.argv[1]), stack).sum())\n"
        "code = process.report_errors(work, False); import os; print(os.listdir(sys.argv[2])); sys.exit(code)"
    )
    read = [sys.executable, "-c", code, str(reals), str(full)]
    done = subprocess.run(
        [*space, *read], env={**os.environ, "TMPDIR": str(full)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and done.stdout.strip() == "[]", done
    [line] = [line for line in done.stderr.splitlines() if line.startswith("ganealogy: ")]
    assert f"{full}: No space left on device" in line and "set TMPDIR" in line, line
    again = subprocess.run(
        [*space, *read], env={**os.environ, "TMPDIR": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert again.returncode == 0 and again.stdout.split()[0] == str(noise(60).sum()), again


def bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("arr_0.npy", "w") as file:
        file.write(header("(20000, 64, 64, 3)"))
        for _ in range(240):
            file.write(bytes(1_024_000))


def claims(shape: str, descr: str = "|u1", version: int = 1) -> Callable[[Path], None]:
    content = header(shape, descr, version) + bytes(1000)

    def write(path: Path) -> None:
        if path.suffix == ".npy":
            path.write_bytes(content)
        else:
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("arr_0.npy", content)

    return write


def many(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for index in range(3000):
            archive.writestr(f"{index}.npy", header("(2,)") + b"xx")


def sparse(size: int) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.mkdir()
        for name in ("a.png", "b.jpg"):
            with open(path / name, "wb") as file:
                file.truncate(size)

    return write


def huge_header(path: Path) -> None:
    with open(path, "wb") as file:
        file.write(b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**32 - 1))
        file.truncate(2**32 + 12)


def huge_statistics(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mu.npy", header("(1000000,)", "<f8") + bytes(8_000_000))
        archive.writestr("sigma.npy", header("(1000000, 1000000)", "<f8"))


HOSTILE = {
    "bomb.npz": (bomb, "unpacks to 245,760,000 bytes, more than"),
    "claim.npy": (claims(f"({2**60}, 64, 64, 3)"), "only 1,000 bytes follow"),
    "claim.npz": (claims(f"({2**60}, 64, 64, 3)"), "only 1,000 bytes follow"),
    "overflow.npy": (claims(f"({2**61}, 8)", "<f8"), "only 1,000 bytes follow"),
    "digits.npy": (claims(f"({'9' * 5000},)"), "damaged or not an .npy array"),
    "negative.npy": (claims("(-1, 64, 64, 3)"), "damaged or not an .npy array"),
    "newer.npy": (claims("(2,)", version=3), "format version 3.0"),
    "header.npy": (huge_header, "damaged or not an .npy array"),
    "many.npz": (many, "3,000 members, more than 100"),
    "sparse": (sparse(200 * 10**9), "200,000,000,000 bytes, more than the 268,435,456"),
    "statistics.npz": (huge_statistics, "damaged or not an .npz archive"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_small_file_with_a_large_claim_is_refused_before_it_is_read(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, message = HOSTILE[name]
    make(tmp_path / name)
    monkeypatch.setattr(machine, "free_memory", lambda: 200_000_000)
    tracemalloc.start()
    said = refusal(tmp_path / name)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert message in said and most < 20_000_000, (said, most)


def compressed(method: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        archive.writestr("arr_0.npy", header("(4, 8, 8, 3)") + noise(4, 8).tobytes())
    return file.getvalue()


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_npz_with_any_byte_damaged_is_read_or_refused_in_one_line(method: int, tmp_path: Path) -> None:
    whole, path = compressed(method), tmp_path / "set.npz"
    refused = 0
    for at in range(0, len(whole), 3):
        for value in (whole[at] ^ 0xFF, whole[at] ^ 1):
            path.write_bytes(whole[:at] + bytes([value]) + whole[at + 1 :])
            try:
                with ExitStack() as stack:
                    assert isinstance(standalone.open_set(path, stack), np.ndarray)
            except GanealogyError as error:
                refused += 1
                assert str(error).startswith(str(path)) and "\n" not in str(error)
    assert refused > len(whole) // 6


def with_metadata(path: Path, metadata: str, **more: np.ndarray) -> Path:
    np.savez(path, mu=np.zeros(192), sigma=np.eye(192), ganealogy=np.array(metadata), **more)
    return path


@pytest.mark.parametrize(
    "metadata",
    [
        "no json", "[]", "7", '"text"', "null", "[" * 50_000, '{"extractor": 5}', '{"extractor": ["pixel8"]}',
        '{"protocol": "none"}', '{"protocol": {"resize": NaN}}', '{"protocol": {"resize": 1e999}}', '{"count": "many"}',
        '{"count": -1}', '{"count": 1.5}', '{"count": true}', '{"extractor": "vgg"}',
    ],
)  # fmt: skip
def test_metadata_of_statistics_with_wrong_types_is_one_line(metadata: str, tmp_path: Path) -> None:
    path = with_metadata(tmp_path / "s.npz", metadata)
    np.save(tmp_path / "x.npy", noise(4))
    with pytest.raises(GanealogyError, match=r"s\.npz: (its entry 'ganealogy'|unknown extractor 'vgg')") as refused:
        standalone.run(path, tmp_path / "x.npy")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "sigma", [-np.eye(192), np.diag([1.0] * 191 + [-1.0]), np.eye(192) * 1e300, np.full((192, 192), 1e308)]
)
def test_statistics_that_are_no_covariance_give_no_number(sigma: np.ndarray, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", mu=np.zeros(192), sigma=sigma)
    np.savez(tmp_path / "b.npz", mu=np.zeros(192), sigma=np.eye(192))
    with pytest.raises(GanealogyError, match=r"a\.npz: .*(not a covariance|above 1e\+100)"):
        standalone.run(tmp_path / "a.npz", tmp_path / "b.npz", ["pixel8"])


def test_statistics_of_two_sides_need_no_weights(tmp_path: Path) -> None:
    """pytorch-fid's files have no metadata; Inception's weights are absent here."""
    for index in range(2):
        np.savez(tmp_path / f"{index}.npz", mu=np.full(2048, index / 10), sigma=np.eye(2048) * (1 + 3 * index))
    result = standalone.run(tmp_path / "0.npz", tmp_path / "1.npz", json=tmp_path / "j.json")
    assert result is not None and list(result.metrics) == ["fid"]
    assert result.metrics["fid"] == pytest.approx(2048 * (0.1**2 + (2 - 1) ** 2))
    np.savez(tmp_path / "small.npz", mu=np.zeros(7), sigma=np.eye(7))
    for pair in (("small.npz", "small.npz"), ("0.npz", "small.npz")):
        with pytest.raises(GanealogyError, match=r"small\.npz: statistics of 7 features, but inception has 2048"):
            standalone.run(*(tmp_path / name for name in pair))
    with_metadata(tmp_path / "one.npz", json.dumps({"extractor": "pixel8", "protocol": {"resize": "a"}}))
    with_metadata(tmp_path / "two.npz", json.dumps({"extractor": "pixel8", "protocol": {"resize": "b"}}))
    with pytest.raises(GanealogyError, match="measured with other weights or another resize"):
        standalone.run(tmp_path / "one.npz", tmp_path / "two.npz")
    with pytest.raises(GanealogyError, match="statistics of pixel8, not of inception"):
        standalone.run(tmp_path / "one.npz", tmp_path / "0.npz", ["inception"])
    with pytest.raises(GanealogyError, match="layout_edges_32_64 has no mean and covariance"):
        standalone.run(tmp_path / "0.npz", tmp_path / "1.npz", ["layout_edges_32_64"])


@pytest.mark.parametrize("kind", [np.int64, np.uint8, np.int8, np.float16])
def test_statistics_of_other_number_types_are_accepted(kind: type, tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", mu=np.arange(192).astype(kind), sigma=np.eye(192, dtype=kind))
    np.savez(tmp_path / "b.npz", mu=np.zeros(192), sigma=np.eye(192))
    result = standalone.run(tmp_path / "a.npz", tmp_path / "b.npz", ["pixel8"])
    expected = float((np.arange(192).astype(kind).astype(float) ** 2).sum())
    assert result is not None and result.metrics["fd_pixel8"] == pytest.approx(expected, rel=1e-6)


def test_archives_of_guided_diffusion_are_accepted(tmp_path: Path) -> None:
    """Its samples have labels beside the pictures, its reference batches statistics over more pictures."""
    images = noise(6, 16)
    np.savez(tmp_path / "samples.npz", images, np.arange(6))
    with ExitStack() as stack:
        np.testing.assert_array_equal(standalone.open_set(tmp_path / "samples.npz", stack), images)
        np.savez(tmp_path / "reference.npz", images, mu=np.zeros(2048), sigma=np.eye(2048), mu_s=np.zeros(3))
        assert isinstance(standalone.open_set(tmp_path / "reference.npz", stack), Statistics)
    np.savez(tmp_path / "three.npz", images, images, images)
    assert "contains arr_0, arr_1, arr_2; expected one array" in refusal(tmp_path / "three.npz")


@pytest.mark.parametrize("name", ["photos.tar.gz", "photos.TGZ", "my photos.tar", "photos.tar.xz"])
def test_a_tar_archive_is_named_and_the_command_in_the_message_helps(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    pictures = folder(tmp_path / "source", noise(3))
    mode = {"gz": "-z", "TGZ": "-z", "xz": "-J"}.get(name.rpartition(".")[2], "-v")
    subprocess.run([tool("tar"), "-c", mode, "-f", name, "-C", str(pictures), "."], check=True, capture_output=True)
    before = (tmp_path / name).read_bytes()
    said = refusal(Path(name))
    command, given = said.split("`")[1], said.rpartition("and give ")[2]
    subprocess.run(command, shell=True, check=True)
    with ExitStack() as stack:
        assert isinstance(standalone.open_set(Path(given), stack), np.ndarray)
    assert (tmp_path / name).read_bytes() == before


@pytest.mark.parametrize("name", ["A.NPY", "b.Npz", "C.ZIP", "one.png", "cut.zip", "empty.zip", "link"])
def test_names_in_capitals_work_and_other_files_are_named(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name == "A.NPY":
        with open(path, "wb") as file:
            np.save(file, noise(2))
    elif name == "b.Npz":
        with open(path, "wb") as file:
            np.savez(file, noise(2))
    elif name == "C.ZIP":
        zipped(path, noise(2))
    elif name == "one.png":
        Image.fromarray(noise(1)[0]).save(path)
        assert "it is one picture: give the directory" in refusal(path)
        return
    elif name == "link":
        path.symlink_to(path)
        assert "no such directory or file" in refusal(path)
        return
    else:
        path.write_bytes(zipped(tmp_path / "whole.zip", noise(2)).read_bytes()[:100] if name == "cut.zip" else b"")
        assert "not a whole zip archive; make it again" in refusal(path)
        return
    with ExitStack() as stack:
        np.testing.assert_array_equal(standalone.open_set(path, stack), noise(2))


def test_a_tilde_is_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    np.save(tmp_path / "x.npy", noise(60))
    folder(tmp_path / "drawn", noise(60))
    assert api.measure("~/x.npy", "~/drawn", ["pixel8"]).metrics["fd_pixel8"] < 1e-6
    standalone.run(Path("~/x.npy"), Path("~/drawn"), ["pixel8"], json=Path("~/out/j.json"))
    assert (tmp_path / "out/j.json").is_file() and not Path("~").exists()
    standalone.run(Path("~/x.npy"), None, ["pixel8"], save_statistics=Path("~/s.npz"))
    assert (tmp_path / "s.npz").is_file()


def forged(path: Path, content: bytes) -> Path:
    path.write_bytes(content + hashlib.sha256(content).digest())
    return path


@pytest.mark.parametrize(
    "content",
    [
        b"", b"no array", header("(2, 3)", "<f4"), header("(2, 3)", "<f4") + bytes(20), header("(2, 3") + bytes(6),
        header("()", "<f4") + bytes(4), header("(2,)", "<f4") + bytes(8), header("(2, 3)", "<f8") + bytes(48),
        compressed(zipfile.ZIP_LZMA),
    ],
)  # fmt: skip
def test_a_forged_file_of_cached_features_is_not_used(content: bytes, tmp_path: Path) -> None:
    assert feature_cache.read(forged(tmp_path / "x.npy", content)) is None
    good = header("(2, 3)", "<f4") + np.ones(6, np.float32).tobytes()
    cached = feature_cache.read(forged(tmp_path / "x.npy", good))
    assert cached is not None and cached.shape == (2, 3)
    with open(tmp_path / "x.npy", "r+b") as file:
        file.truncate(200 * 10**9)
    assert feature_cache.read(tmp_path / "x.npy") is None


def test_a_rename_is_synced_and_a_directory_that_cannot_be_opened_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    sync = os.fsync

    def watched(handle: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{handle}").readlink()))
        sync(handle)

    def refuses_directories(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            synced.append("refused")
            raise OSError(errno.EINVAL, "Invalid argument")
        sync(handle)

    monkeypatch.setattr(os, "fsync", watched)
    atomic.write_text(tmp_path / "a", "x")
    assert len(synced) == 2 and synced[-1] == str(tmp_path)
    monkeypatch.setattr(os, "fsync", refuses_directories)
    atomic.write_text(tmp_path / "b", "x")
    assert synced[-1] == "refused" and (tmp_path / "b").read_text() == "x"
    monkeypatch.setattr(os, "open", lambda *arguments: (_ for _ in ()).throw(PermissionError(errno.EACCES, "no")))
    atomic.sync_directory(tmp_path)


def test_an_array_file_with_more_bytes_than_its_header_says_is_read(tmp_path: Path) -> None:
    """As numpy does; several calls of np.save may follow one another in one file."""
    with open(tmp_path / "two.npy", "wb") as file:
        np.save(file, noise(2))
        np.save(file, noise(3))
    assert arrays.open_npy(tmp_path / "two.npy").shape == (2, 64, 64, 3)
