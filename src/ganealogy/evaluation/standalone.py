"""`ganealogy evaluate --real PATH --fake PATH`: our measures for any two sets of pictures, without the pipeline.

A set is a directory (with its subdirectories) or a zip of pictures, an .npy of uint8 (N, H, W, 1 or 3), or an .npz with
one such array; or an .npz with the statistics mu and sigma, of which only the Fréchet distance can be had.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ganealogy import components
from ganealogy.data.archives import ZipPictures, is_picture
from ganealogy.data.pictures import SUFFIXES, Rejected, decode
from ganealogy.errors import GanealogyError, one_of
from ganealogy.evaluation import statistics_file
from ganealogy.evaluation.features import KIND, Extractor, FeatureSet, extract, load_extractor
from ganealogy.evaluation.measure import Comparison, full_name, measure, protocol
from ganealogy.evaluation.metrics.frechet import frechet_distance
from ganealogy.evaluation.statistics_file import Statistics
from ganealogy.files import atomic
from ganealogy.runtime.progress import Progress

if TYPE_CHECKING:
    from rich.table import Table

DEFAULT = ("effnet_lite0", "pixel8")
FEWEST = 2
"""Pictures a side: one has no covariance."""
SPLIT = "as given"
"""In the protocol, where the pipeline's numbers say which split of its data they are against."""

Images = NDArray[np.uint8]


@dataclass
class Measurement:
    real: str
    fake: str
    metrics: dict[str, float] = field(default_factory=dict)
    protocol: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Of each metric, with its `fingerprint`: two numbers of one name compare only where it is equal."""
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
    """Measure `fake` against `real` by every extractor; write the files that are asked for.

    `save_statistics`: where the reals' mu and sigma go. None is returned when that is all, without a `fake`.

    Raises: GanealogyError naming what is wrong with a set, the statistics or the extractors, and the cure.
    """
    with ExitStack() as stack:
        reals = open_set(real, stack)
        fakes = None if fake is None else open_set(fake, stack)
        chosen = [load_extractor(name, device) for name in choose(extractors, reals, fakes)]
        if save_statistics is not None:
            _check_statistics_can_be_saved(chosen, reals, save_statistics)
        for extractor in chosen:
            for side in (reals, fakes):
                if isinstance(side, Statistics):
                    statistics_file.check_fits(side, extractor)
        result = None if fake is None else Measurement(str(real), str(fake))
        reals, fakes = _of_one_kind(reals, fakes, result)
        for extractor in chosen:
            real_side = _features(extractor, reals, "reals", device)
            if save_statistics is not None and isinstance(real_side, FeatureSet):
                statistics_file.write(save_statistics, real_side, extractor)
            if result is not None and fakes is not None:
                _compare(result, extractor, _features(extractor, fakes, "fakes", device), real_side)
    if json is not None and result is not None:
        atomic.write_json(json, {**vars(result)})
    return result


def choose(names: Sequence[str], *sides: Images | Statistics | None) -> Sequence[str]:
    """The extractors: those asked for, else what made the statistics, else the defaults, which work offline.

    Raises: GanealogyError for a name that is unknown or given twice.
    """
    for name in names:
        if name not in components.known(KIND):
            raise one_of("extractor", name, components.known(KIND), "--extractor")
    if len(set(names)) < len(names):
        raise GanealogyError(f"--extractor: one is named twice: {', '.join(names)}")
    if names:
        return names
    for side in sides:
        if isinstance(side, Statistics):
            return [side.about.get("extractor", "inception")]
    return DEFAULT


def open_set(path: Path, stack: ExitStack) -> Images | Statistics:
    """uint8 (N >= 2, H, W, 1 or 3), or statistics. Decoded pictures are kept in a temporary file until `stack` closes.

    Raises: GanealogyError when there is nothing at `path`, or what is there cannot be measured.
    """
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if is_picture(str(file.relative_to(path))) and file.is_file())
        return _decoded(path, [str(file) for file in files], lambda index: files[index].read_bytes(), stack)
    if not path.is_file():
        raise GanealogyError(
            f"{path}: no such directory or file; name the folder of your pictures, a zip, .npy or .npz"
        )
    if path.suffix == ".npy":
        return checked(path, _load_npy(path))
    if path.suffix == ".npz":
        return _from_npz(path)
    if path.suffix == ".zip":
        pictures = ZipPictures(path)
        stack.callback(pictures.archive.close)
        names = [f"{path}: {pictures.name(index)}" for index in range(len(pictures))]
        return _decoded(path, names, pictures.read, stack)
    raise GanealogyError(f"{path}: not a directory, .zip, .npy or .npz; put the pictures into a folder of their own")


def checked(path: Path, images: NDArray[Any]) -> Images:
    """The array, if it holds pictures. Raises: GanealogyError saying what it holds instead, and how to convert it."""
    found = f"{path}: {images.dtype} {images.shape}"
    wanted = "expected uint8 (N, H, W, 1 or 3)"
    if images.dtype.kind == "f":
        if not np.isfinite(images).all():
            raise GanealogyError(f"{found}: holds NaN or infinite pixels; {wanted}, so mend what made it")
        cure = "convert it with (x * 255).round().astype(np.uint8) where x is 0..1, (x + 1) * 127.5 first where -1..1"
        raise GanealogyError(f"{found}: {wanted}; {cure}")
    if images.dtype != np.uint8:
        raise GanealogyError(f"{found}: {wanted} with levels 0..255; convert it with .astype(np.uint8) if it has them")
    if images.ndim == 3:
        raise GanealogyError(f"{found}: {wanted}; of grey pictures add the channel with x[..., None]")
    if images.ndim == 4 and images.shape[1] in (1, 3) and images.shape[3] not in (1, 3):
        raise GanealogyError(f"{found}: {wanted}, and these have the channels first; use x.transpose(0, 2, 3, 1)")
    if images.ndim != 4 or images.shape[3] not in (1, 3) or not all(images.shape[1:3]):
        raise GanealogyError(f"{found}: {wanted}; save the pictures as such an array")
    _check_count(path, len(images))
    return images


def table(result: Measurement) -> Table:
    """Every metric with its number and its protocol's fingerprint; what could not be measured, with the reason."""
    from rich.table import Table

    shown = Table(title=f"{result.fake} against {result.real}", title_justify="left")
    for header in ("metric", "value", "protocol", "extractor", "reals", "fakes"):
        shown.add_column(header, justify="right" if header in ("value", "reals", "fakes") else "left")
    for name, value in result.metrics.items():
        way = result.protocol[name]
        counts = [str(way[side] or "?") for side in ("reals", "fakes")]
        shown.add_row(name, f"{value:.6g}", way["fingerprint"], way["extractor"], *counts)
    for name, reason in result.not_measured.items():
        shown.add_row(name, "not measured", "", reason)
    return shown


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
        counts = [len(side) if isinstance(side, FeatureSet) else side.about.get("count", 0) for side in (fakes, reals)]
        result.protocol[name] = protocol(extractor, *counts, split=SPLIT)
        result.notes.append(f"statistics hold no features: only {name} is measured")


def _features(extractor: Extractor, side: Images | Statistics, label: str, device: str) -> FeatureSet | Statistics:
    return side if isinstance(side, Statistics) else extract(extractor, side, label, device=device)


def _of_one_kind(
    reals: Images | Statistics, fakes: Images | Statistics | None, result: Measurement | None
) -> tuple[Images | Statistics, Images | Statistics | None]:
    """Grey beside coloured pictures as coloured ones; a note where the sizes differ."""
    if isinstance(reals, Statistics) or isinstance(fakes, Statistics) or fakes is None or result is None:
        return reals, fakes
    if reals.shape[1:3] != fakes.shape[1:3]:
        sizes = " and ".join(f"{side.shape[2]}x{side.shape[1]}" for side in (reals, fakes))
        result.notes.append(f"reals and fakes are {sizes}: the numbers hold what that does to sharpness, too")
    if reals.shape[3] != fakes.shape[3]:
        channels = (*reals.shape[:3], 3), (*fakes.shape[:3], 3)
        return np.broadcast_to(reals, channels[0]), np.broadcast_to(fakes, channels[1])
    return reals, fakes


def _check_statistics_can_be_saved(chosen: list[Extractor], reals: Images | Statistics, target: Path) -> None:
    if len(chosen) != 1:
        names = ", ".join(extractor.name for extractor in chosen)
        raise GanealogyError(
            f"--save-statistics {target}: one file is of one extractor, not of {names}: add --extractor"
        )
    if isinstance(reals, Statistics):
        raise GanealogyError(f"--save-statistics {target}: {reals.path} holds statistics already; give it pictures")
    if target.suffix != ".npz":
        raise GanealogyError(f"--save-statistics {target}: name it .npz, the format that it is written in")


def _decoded(path: Path, names: list[str], read: Callable[[int], bytes], stack: ExitStack) -> Images:
    """RGB pictures of one size, in a temporary file that is mapped into memory, so that any number fits."""
    if not names:
        raise GanealogyError(f"{path}: no pictures in it; looked for {', '.join(SUFFIXES)}")
    _check_count(path, len(names))
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ganealogy-")))
    images: Images | None = None
    with Progress(f"reading {path.name}", len(names), "pictures") as progress:
        for index, name in enumerate(names):
            try:
                picture = np.asarray(decode(read(index)).convert("RGB"))
            except (Rejected, OSError) as error:
                raise GanealogyError(f"{name}: {error}; mend it or take it out") from None
            if images is None:
                shape = (len(names), *picture.shape)
                images = np.lib.format.open_memmap(folder / "images.npy", "w+", np.uint8, shape)
            if picture.shape != images.shape[1:]:
                sizes = " but ".join(f"{shape[1]}x{shape[0]}" for shape in (picture.shape, images.shape[1:]))
                raise GanealogyError(f"{name}: {sizes} is the first picture's size; bring all of {path} to one size")
            images[index] = picture
            progress.update()
    assert images is not None
    return images


def _load_npy(path: Path) -> NDArray[Any]:
    statistics_file.check_beginning(path, b"\x93NUMPY", ".npy array")
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        if "allow_pickle" in str(error) or "Python object" in str(error):
            raise GanealogyError(
                f"{path}: holds a pickle, which can run code: save a plain array with np.save"
            ) from None
        raise GanealogyError(f"{path}: not a whole .npy array ({error}); make it again") from None
    return array


def _from_npz(path: Path) -> Images | Statistics:
    arrays = statistics_file.load_npz(path)
    if statistics_file.KEYS & set(arrays):
        return statistics_file.read(path)
    if len(arrays) != 1:
        held = ", ".join(sorted(arrays)) or "nothing"
        raise GanealogyError(f"{path}: holds {held}; expected one array of pictures, or the statistics mu and sigma")
    return checked(path, next(iter(arrays.values())))


def _check_count(path: Path, count: int) -> None:
    if count < FEWEST:
        raise GanealogyError(
            f"{path}: {count} picture{'s' * (count != 1)}, and a distance needs {FEWEST} at least: add some"
        )
