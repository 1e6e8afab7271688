"""`ganealogy measure --real PATH --fake PATH`: all metrics for any two sets of pictures, without the pipeline.

A set is a directory of pictures (searched recursively), a zip of pictures, an .npy of uint8 (N, H, W, 1 or 3), or an
.npz with one such array, also beside labels as guided-diffusion writes them (`arr_0`, `arr_1`). It can also be an .npz
of the statistics mu and sigma, which give the Fréchet distance only; beside other arrays, they are what is used.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import Any
from zipfile import is_zipfile

import numpy as np
from numpy.typing import NDArray

from ganealogy import components
from ganealogy.data.archives import Caps, ZipPictures, is_picture
from ganealogy.data.pictures import SUFFIXES, Rejected, decode
from ganealogy.errors import GanealogyError, one_line, one_of
from ganealogy.evaluation import statistics_file
from ganealogy.evaluation.extractors._base import Extractor
from ganealogy.evaluation.features import KIND, FeatureSet, extract, load_extractor
from ganealogy.evaluation.measure import Comparison, build_protocol, full_name, measure
from ganealogy.evaluation.metrics.frechet import frechet_distance
from ganealogy.evaluation.statistics_file import Recorded, Statistics
from ganealogy.files import arrays, atomic
from ganealogy.files.images import Pictures
from ganealogy.files.integrity import NUMPY_DAMAGE
from ganealogy.record_types import MetricProtocol
from ganealogy.runtime import machine
from ganealogy.runtime.progress import Progress
from ganealogy.runtime.tables import Column, Fitted

TAR = (".tar", ".tgz", ".tbz2", ".txz")
DEFAULT = ("layout_edges_32_64", "effnet_lite0", "pixel8")
MIN_PICTURES = 2
"""Per side: one picture has no covariance."""
SPLIT = "as given"
"""`split` in the protocol; the pipeline's own numbers have `train`."""


@dataclass
class Measurement:
    real: str
    fake: str
    metrics: dict[str, float] = field(default_factory=dict)
    protocol: dict[str, MetricProtocol] = field(default_factory=dict)
    """See `measure.build_protocol`."""
    not_measured: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def run(
    real: Path,
    fake: Path | None,
    extractors: Sequence[str] = (),
    *,
    json: Path | None = None,
    save_statistics: Path | None = None,
    device: str = "cpu",
) -> Measurement | None:
    """Measure `fake` against `real` with each extractor.

    `json`: write the result there. `save_statistics`: write the reals' mu and sigma there; if `fake` is None, nothing
    else is done and None is returned.

    Raises: GanealogyError when a set, the statistics or an extractor cannot be used.
    """
    json, save_statistics = (path and path.expanduser() for path in (json, save_statistics))
    with ExitStack() as stack:
        reals = open_set(real, stack)
        fakes = None if fake is None else open_set(fake, stack)
        names = choose(extractors, reals, fakes)
        if isinstance(reals, Statistics) and isinstance(fakes, Statistics):
            loaded = [statistics_file.recorded(name, (reals, fakes)) for name in names]
        else:
            loaded = [load_extractor(name, device) for name in names]
        if save_statistics is not None:
            _check_statistics_can_be_saved(loaded, reals, save_statistics)
        for extractor in loaded:
            for side in (reals, fakes):
                if isinstance(side, Statistics) and not isinstance(extractor, Recorded):
                    statistics_file.check_fits(side, extractor)
        result = None if fake is None else Measurement(str(real), str(fake))
        reals, fakes = _match_channels(reals, fakes, result)
        for extractor in loaded:
            real_side = _features(extractor, reals, "reals", device)
            if save_statistics is not None and isinstance(real_side, FeatureSet):
                statistics_file.write(save_statistics, real_side, extractor)
            if result is not None and fakes is not None:
                _compare(result, extractor, _features(extractor, fakes, "fakes", device), real_side)
    if json is not None and result is not None:
        atomic.write_json(json, {**vars(result)})
    return result


def choose(names: Sequence[str], *sides: Pictures | Statistics | None) -> Sequence[str]:
    """Return the given extractors, else the one of the statistics, else the defaults, which work offline.

    Raises: GanealogyError for an unknown or repeated name.
    """
    for name in names:
        if name not in components.known(KIND):
            raise one_of("extractor", name, components.known(KIND), "--extractor")
    if len(set(names)) < len(names):
        raise GanealogyError(f"--extractor: a name is given twice: {', '.join(names)}; give each once")
    if names:
        return names
    for side in sides:
        if isinstance(side, Statistics):
            name = side.metadata.get("extractor", "inception")
            if name not in components.known(KIND):
                raise one_of("extractor", name, components.known(KIND), str(side.path))
            return [name]
    return DEFAULT


def open_set(path: Path, stack: ExitStack) -> Pictures | Statistics:
    """Open a set: uint8 (N >= 2, H, W, 1 or 3), or statistics.

    Decoded pictures are in a temporary file, which is deleted when `stack` closes.

    Raises: GanealogyError when `path` does not exist or contains no usable set.
    """
    path = path.expanduser()
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if is_picture(str(file.relative_to(path))) and file.is_file())
        return _decoded(path, [str(file) for file in files], lambda index: _read(files[index]), stack)
    if not path.is_file():
        raise GanealogyError(f"{path}: no such directory or file; give a directory of pictures, a .zip, .npy or .npz")
    match path.suffix.lower():
        case ".npy":
            return check_images(path, _load_npy(path))
        case ".npz":
            return _from_npz(path)
        case ".zip":
            if not is_zipfile(path):
                raise GanealogyError(f"{path}: not a whole zip archive; make it again, or give a directory of pictures")
            pictures = ZipPictures(path)
            stack.callback(pictures.archive.close)
            names = [f"{path}: {pictures.name(index)}" for index in range(len(pictures))]
            return _decoded(path, names, pictures.read, stack)
    raise GanealogyError(f"{path}: not a directory, .zip, .npy or .npz; {_what_to_do(path)}")


def _what_to_do(path: Path) -> str:
    if path.suffix.lower() in SUFFIXES:
        return "it is one picture: give the directory that it is in"
    if any(suffix.lower() in TAR for suffix in path.suffixes):
        folder = path.name.partition(".")[0] or "pictures"
        command = f"mkdir {quote(folder)} && tar -xf {quote(str(path))} -C {quote(folder)}"
        return f"it is a tar archive: unpack it with `{command}`, and give {folder}"
    return "put the pictures into a directory"


def _read(file: Path) -> bytes:
    """Raises: Rejected for a file that is larger than any picture."""
    size, most = file.stat().st_size, Caps().member_bytes
    if size > most:
        raise Rejected(f"{size:,} bytes, more than the {most:,} that are allowed")
    return file.read_bytes()


def check_images(path: Path, images: NDArray[Any]) -> Pictures:
    """Return the array if it contains pictures.

    Raises: GanealogyError with its type and shape, and how to convert it.
    """
    actual = f"{path}: {images.dtype} {images.shape}"
    expected = "expected uint8 (N, H, W, 1 or 3)"
    if images.dtype.kind == "f":
        if not np.isfinite(images).all():
            raise GanealogyError(f"{actual}: contains NaN or infinite pixels; {expected}; fix the code that wrote it")
        hint = (
            "convert it with (x * 255).round().astype(np.uint8) if x is in 0..1, or "
            "((x + 1) * 127.5).round().astype(np.uint8) if in -1..1"
        )
        raise GanealogyError(f"{actual}: {expected}; {hint}")
    if images.dtype != np.uint8:
        raise GanealogyError(f"{actual}: {expected}; if the levels are 0..255, convert it with .astype(np.uint8)")
    if images.ndim == 3:
        raise GanealogyError(f"{actual}: {expected}; for grey pictures, add the channel with x[..., None]")
    if images.ndim == 4 and images.shape[1] in (1, 3) and images.shape[3] not in (1, 3):
        raise GanealogyError(f"{actual}: {expected}, but has the channels first; use x.transpose(0, 2, 3, 1)")
    if images.ndim != 4 or images.shape[3] not in (1, 3) or not all(images.shape[1:3]):
        raise GanealogyError(f"{actual}: {expected}; save the pictures as such an array")
    _check_count(path, len(images))
    return images


def table(result: Measurement) -> Fitted:
    """Return a table of each metric with its value and protocol fingerprint, or the reason why it was not measured."""
    columns = [
        Column("metric"),
        Column("value", right=True),
        Column("protocol", wraps=True, spare=1),
        Column("extractor", wraps=True, spare=2),
        Column("reals", right=True, spare=3),
        Column("fakes", right=True, spare=4),
    ]
    rows = []
    for name, value in result.metrics.items():
        protocol = result.protocol[name]
        counts = [str(protocol[side] or "?") for side in ("reals", "fakes")]
        rows.append([name, f"{value:.6g}", protocol["fingerprint"], protocol["extractor"], *counts])
    rows += [[name, "not measured", reason, "", "", ""] for name, reason in result.not_measured.items()]
    return Fitted(columns, rows, title=f"{result.fake} against {result.real}")


def _compare(
    result: Measurement, extractor: Extractor, fakes: FeatureSet | Statistics, reals: FeatureSet | Statistics
) -> None:
    """Add this extractor's metrics to the result."""
    if isinstance(fakes, FeatureSet) and isinstance(reals, FeatureSet):
        measured = measure(Comparison(extractor, fakes, reals), split=SPLIT)
        result.metrics |= measured.metrics
        result.protocol |= measured.protocol
        result.not_measured |= measured.not_measured
    else:
        name = full_name("fd_{}", extractor.name)
        result.metrics[name] = frechet_distance(fakes.moments, reals.moments)
        counts = [_count(side) for side in (fakes, reals)]
        result.protocol[name] = build_protocol(extractor, *counts, split=SPLIT)
        result.notes.append(f"statistics contain no features: only {name} is measured")


def _count(side: FeatureSet | Statistics) -> int:
    """Return the number of images; 0 if the statistics do not contain it."""
    return len(side) if isinstance(side, FeatureSet) else int(side.metadata.get("count", 0))


def _features(extractor: Extractor, side: Pictures | Statistics, label: str, device: str) -> FeatureSet | Statistics:
    return side if isinstance(side, Statistics) else extract(extractor, side, label, device=device)


def _match_channels(
    reals: Pictures | Statistics, fakes: Pictures | Statistics | None, result: Measurement | None
) -> tuple[Pictures | Statistics, Pictures | Statistics | None]:
    """Repeat the channel of grey pictures if the other side has three; add a note if the sizes differ."""
    if isinstance(reals, Statistics) or isinstance(fakes, Statistics) or fakes is None or result is None:
        return reals, fakes
    if reals.shape[1:3] != fakes.shape[1:3]:
        sizes = " and ".join(f"{side.shape[2]}x{side.shape[1]}" for side in (reals, fakes))
        result.notes.append(f"reals and fakes are {sizes}: the metrics also reflect the difference in resolution")
    if reals.shape[3] != fakes.shape[3]:
        channels = (*reals.shape[:3], 3), (*fakes.shape[:3], 3)
        return np.broadcast_to(reals, channels[0]), np.broadcast_to(fakes, channels[1])
    return reals, fakes


def _check_statistics_can_be_saved(extractors: list[Extractor], reals: Pictures | Statistics, target: Path) -> None:
    """Raises: GanealogyError for several extractors, reals without features, or another suffix than .npz."""
    if len(extractors) != 1:
        names = ", ".join(extractor.name for extractor in extractors)
        raise GanealogyError(
            f"--save-statistics {target}: a file has the statistics of one extractor, not of {names}: add --extractor"
        )
    statistics_file.check_has_statistics(extractors[0], extractors[0].name)
    if isinstance(reals, Statistics):
        raise GanealogyError(f"--save-statistics {target}: {reals.path} contains statistics already; give pictures")
    if target.suffix != ".npz":
        raise GanealogyError(f"--save-statistics {target}: the file is an .npz archive; give it that suffix")


def _decoded(path: Path, names: list[str], read: Callable[[int], bytes], stack: ExitStack) -> Pictures:
    """Decode RGB pictures of one size into a memory-mapped temporary file, so that any number of them fits."""
    if not names:
        raise GanealogyError(f"{path}: contains no pictures; known suffixes: {', '.join(SUFFIXES)}")
    _check_count(path, len(names))
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ganealogy-")))
    shape: tuple[int, ...] = ()
    # Written as a plain file: a write through a memory map to a full disk kills the process.
    with (
        _explained_lack_of_space(folder.parent),
        Progress(f"reading {path.name}", len(names), "pictures") as progress,
        open(folder / "images", "wb") as file,
    ):
        for index, name in enumerate(names):
            try:
                picture = np.asarray(decode(read(index)).convert("RGB"))
            except (Rejected, *NUMPY_DAMAGE) as error:
                raise GanealogyError(f"{name}: {one_line(error)}; replace or remove it") from None
            shape = shape or picture.shape
            if picture.shape != shape:
                size, first = (f"{width}x{height}" for height, width, _ in (picture.shape, shape))
                raise GanealogyError(
                    f"{name}: {size}, but the first picture is {first}; resize all pictures of {path} to one size"
                )
            file.write(picture.tobytes())
            progress.update()
    return np.memmap(folder / "images", np.uint8, "r", shape=(len(names), *shape))


@contextmanager
def _explained_lack_of_space(folder: Path) -> Iterator[None]:
    """Raises: GanealogyError when the decoded pictures cannot be written."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or error
        raise GanealogyError(
            f"{folder}: {reason}: decoded pictures do not fit there; free space, or set TMPDIR to a larger directory"
        ) from None


def _load_npy(path: Path) -> NDArray[Any]:
    with _explained(path, ".npy array", "np.save"):
        return arrays.open_npy(path)


def _from_npz(path: Path) -> Pictures | Statistics:
    with _explained(path, ".npz archive", "np.savez"), arrays.open_npz(path) as content:
        names = set(content.headers)
        if statistics_file.KEYS & names:
            return statistics_file.read(path, content)
        if len(names) != 1 and names != {"arr_0", "arr_1"}:
            listed = ", ".join(sorted(names)) or "nothing"
            raise GanealogyError(
                f"{path}: contains {listed}; expected one array of pictures, or the statistics mu and sigma"
            )
        return check_images(path, content.read(min(names), most=machine.free_memory() // 2))


@contextmanager
def _explained(path: Path, kind: str, save: str) -> Iterator[None]:
    """Raises: GanealogyError where an array cannot be used."""
    try:
        yield
    except arrays.ArrayError as error:
        if error.pickle:
            raise GanealogyError(f"{path}: {error}: save plain arrays with {save}") from None
        raise GanealogyError(f"{path}: damaged or not an {kind} ({error}); make it again with {save}") from None


def _check_count(path: Path, count: int) -> None:
    if count < MIN_PICTURES:
        raise GanealogyError(
            f"{path}: {count} picture{'s' * (count != 1)}, but a distance needs at least {MIN_PICTURES}: add some"
        )
