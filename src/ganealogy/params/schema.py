"""params.yaml as typed, checked, frozen objects: the protocol that all versions share.

DVC's `-S key=value` writes any value, so each is checked here before any work. Checks that need version files or
networks are in `stages/plan.py`.
"""

from __future__ import annotations

import re
import reprlib
import unicodedata
import warnings
from collections import Counter
from io import StringIO
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, ScalarEvent

from ganealogy import components
from ganealogy.budget import MAX_TICKS
from ganealogy.errors import GanealogyError, one_line
from ganealogy.record_types import Precision
from ganealogy.workspace import NOT_A_VERSION_NAME, PARAMS, VERSION_NAME


class Short(reprlib.Repr):
    """Abbreviate a value for an error message: YAML aliases can make a small file a huge value."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother = 3, 60, 60

    def repr_int(self, value: int, level: int) -> str:
        """Python refuses to print integers of more than a few thousand digits."""
        return super().repr_int(value, level) if value.bit_length() < 1000 else f"a number of {value.bit_length()} bits"


SHORT = Short()

MAX_BYTES, MAX_VALUES, MAX_DEPTH = 2**16, 10_000, 50
"""Of a YAML file: it is parsed in under a second. Files of the project have up to 4 kB and 200 values."""
MAX_SEEDS = 1000
"""Of a version; a verdict uses 40."""
NO_NEED = f"which no settings need: tree.seeds has at most {MAX_SEEDS:,}, texts at most 4,000 letters"

Count = Annotated[int, Field(ge=1, le=100_000_000)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]
Fraction = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]


class Section(BaseModel):
    """A frozen mapping. An unknown key, a number in quotes or NaN is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Dataset(Section):
    name: str
    """A file of data/sources/."""
    image_size: Annotated[int, Field(ge=8, le=1024)]
    """Side of the square training images, in pixels."""
    channels: Literal[1, 3] = 3
    fit: Literal["crop", "squash", "pad"] = "crop"
    """crop: resize the short side, then crop the centre. squash: resize both sides, which changes the shape. pad: pad
    smaller pictures with zeros (MNIST 28 to 32)."""
    flip: bool = False
    """Flip half of the pictures of each epoch left to right, for the training alone: metrics use reals as they are."""
    count: Count | None = None
    """Maximum number of pictures (for avatars: the number to draw); null: all."""
    holdout: Annotated[float, Field(gt=0, le=0.5)] = 0.1
    """Fraction held out from training, by the hash of the pixels; the floor anchor uses it. Not of a source with
    official splits (cifar10), which are kept."""
    max_rejected: Fraction = 0.1
    """Preprocessing fails when more than this fraction of the pictures cannot be used."""
    style: Annotated[str, Field(pattern=r"^[a-z][a-z-]*$")] = "adventurer"
    """Avatars only: the DiceBear style."""
    path: str | None = None
    """Folder only: a directory or a zip of pictures."""
    mirror: str | None = None
    """Directory with a public data set's files, used before the network; GANEALOGY_MIRROR overrides it."""

    @field_validator("name")
    @classmethod
    def _source_is_known(cls, name: str) -> str:
        if name not in components.known("data.sources"):
            raise ValueError(f"unknown data source; known: {', '.join(components.known('data.sources'))}")
        return name

    @model_validator(mode="after")
    def _official_splits_are_kept(self) -> Dataset:
        if "holdout" not in self.model_fields_set:
            return self
        if components.module_constants("data.sources", self.name).get("OFFICIAL_SPLITS"):
            raise ValueError(f"dataset.holdout is not for {self.name}, whose official splits are kept: remove it")
        return self

    @model_validator(mode="after")
    def _folder_has_a_path(self) -> Dataset:
        if self.name == "folder" and not self.path:
            raise ValueError("dataset.name is 'folder', so dataset.path must name a directory or a zip of pictures")
        return self


class Tree(Section):
    versions: Annotated[list[str], Field(min_length=1)]
    seeds: Annotated[list[Seed], Field(min_length=1, max_length=MAX_SEEDS)]
    more_seeds: dict[str, Annotated[list[Seed], Field(max_length=MAX_SEEDS)]] = {}
    """Version → seeds beside `seeds`, for versions whose verdict is open: {v7: [5, 6, 7]}."""

    def seeds_of(self, version: str) -> list[int]:
        """Return the seeds of a version, each once."""
        return list(dict.fromkeys([*self.seeds, *self.more_seeds.get(version, [])]))

    @field_validator("versions")
    @classmethod
    def _names_are_plain(cls, names: list[str]) -> list[str]:
        for name in names:  # they reach a shell, file names, HTML and MLflow
            if not VERSION_NAME.fullmatch(name):
                raise ValueError(f"{name!r} {NOT_A_VERSION_NAME}")
        return names

    @field_validator("versions", "seeds")
    @classmethod
    def _each_once(cls, items: list[Any]) -> list[Any]:
        if twice := [item for item, times in Counter(items).items() if times > 1]:
            raise ValueError(f"listed twice: {', '.join(map(str, sorted(twice)))}")
        return items


class Train(Section):
    kimg: Positive | None = None
    """Budget: thousands of images by which G is updated (G updates x batch / 1000)."""
    epochs: Annotated[float, Field(gt=0, le=1_000_000, allow_inf_nan=False)] | None = None
    """The budget in passes over the training pictures, in place of `kimg`. Their number decides the kimg."""
    batch_size: Annotated[int, Field(ge=2, le=65_536)]
    lr: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
    """Base learning rate, `1x` in recipes."""
    width: Annotated[int, Field(ge=4, le=1024)] = 64
    """Channels of D's first layer; the others are multiples of it. The notebook has 64."""
    precision: Precision = "fp32"
    """fp32 is IEEE everywhere; tf32 and bf16 are faster on a GPU (`runtime/precision.py`). Another precision is another
    protocol."""
    ticks: Annotated[int, Field(ge=1, le=MAX_TICKS)] = 10
    """Number of ticks in a training. Each logs metrics, writes a grid and a checkpoint, and may update `best`."""
    tracker: str = "layout_edges_32_64"
    """Extractor whose Fréchet distance picks `best`: a network for long trainings."""
    tracker_images: Annotated[int, Field(ge=32, le=100_000)] = 1000
    stop: Literal["never", "unhealthy"] = "never"
    """unhealthy: end a training at the tick that shows collapse, or that D has won (docs/health.md). It is a result: it
    is sampled, measured and compared as it is then."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    threads: Annotated[int, Field(ge=1, le=256)] = 1
    """CPU threads of a training; a different number changes the last bits. GANEALOGY_THREADS overrides it. Trainings
    run side by side, so one thread each is fastest."""
    runs_per_gpu: Annotated[int, Field(ge=1, le=64)] = 1
    """Trainings at a time on each GPU: small networks do not fill a card."""
    deterministic: bool = False
    """On CUDA: only algorithms whose results repeat exactly, which is slower. CPU trainings always repeat."""

    @model_validator(mode="after")
    def _has_one_budget(self) -> Train:
        if self.kimg is None and self.epochs is None:
            raise ValueError(
                "no budget; set train.kimg, thousands of images by which G is updated, or train.epochs, passes over "
                "the training pictures"
            )
        if self.kimg is not None and self.epochs is not None:
            raise ValueError(
                f"train.kimg = {self.kimg:g} and train.epochs = {self.epochs:g} are two budgets; remove one of them "
                "(on the command line: -S '~train.kimg' or -S '~train.epochs')"
            )
        return self


class Sample(Section):
    count: Annotated[int, Field(ge=50, le=1_000_000)] = 500
    checkpoint: Literal["best", "last"] = "last"
    """The one that is measured and compared. The other's pictures get the lead metric only, to see where the two
    disagree."""
    sets: Annotated[int, Field(ge=1, le=10)] = 3
    """Sample sets, each of `count` latents of its own. The first is measured and compared; the others get the lead
    metric only, to see how much of the noise comes from sampling. 1: no others."""
    temperature: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Factor on the latents: below 1, less variety and fewer failures. No truncation: nothing is redrawn or cut off."""
    batch_statistics: Literal["running", "standing"] = "running"
    """BatchNorm's in G: those of the training, or of the sampling generator itself (BigGAN's standing statistics)."""
    walk_frames: Annotated[int, Field(ge=8, le=480)] = 48


class Evaluate(Section):
    extractors: Annotated[list[str], Field(min_length=1)] = ["layout_edges_32_64", "pixel8", "effnet_lite0_64"]
    lead: str = "fd_layout_edges_32_64"
    """The distance by which versions are compared; its extractor must be among `extractors`."""
    metrics: Annotated[list[str], Field(min_length=1)] | None = None
    """Full names of the metrics to compute and show, such as fd_pixel8; null: all that suit the extractors."""
    reals: Annotated[int, Field(ge=64, le=10_000_000)] | None = 2000
    """Maximum number of real training images in each distance, without the tracker's fifth of them; null: all of train,
    as published FIDs have it, for `sample.checkpoint` last."""
    neighbours: Literal[3, 5] = 5
    """k of precision, recall, density and coverage. Published precision and recall have 3."""
    equivalence_margin: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = 0.1
    """Margin of the equivalence test between child and parent, as a fraction of the distance."""
    against: list[str] = []
    """Listed versions with which the report compares every other one, beside each child with its parent."""


WHERE_ONLY = {"dataset": {"mirror"}, "train": {"device", "threads", "runs_per_gpu"}}
"""Settings that say where or how fast, not what to compute."""


class Settings(Section):
    dataset: Dataset
    tree: Tree
    train: Train
    sample: Sample = Sample()
    evaluate: Evaluate = Evaluate()

    @model_validator(mode="after")
    def _measures_on_other_reals_than_the_tracker(self) -> Settings:
        if self.evaluate.reals is None and self.sample.checkpoint == "best":
            raise ValueError(
                "evaluate.reals = null takes in the pictures that pick the checkpoint 'best': set sample.checkpoint to "
                "last, or evaluate.reals to a number"
            )
        return self


ODD = re.compile("[\u00a0\u00ad\u2000-\u201f\u2028-\u202f\u2060\u2212\u3000\ufeff\uff01-\uff5e]")
"""Letters that word processors and web pages put in place of plain ones."""


def odd_letters(text: str) -> str:
    """Return what to do about the first of such letters, as the end of a message; empty without any."""
    found = ODD.search(text)
    name = unicodedata.name(found.group(), "unknown").lower() if found else ""
    return f"; {found.group()!a} in it is {name}: type a plain one" if found else ""


def read_text(path: Path) -> str:
    """Raises: GanealogyError when the file is absent, no file, too large, or not UTF-8."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise GanealogyError(f"{path}: larger than {MAX_BYTES:,} bytes, {NO_NEED}")
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise GanealogyError(f"{path}: no such file") from None
    except OSError as error:
        raise GanealogyError(f"{path}: cannot be read ({error.strerror}); put a text file there") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise GanealogyError(f"{path}: line {line}: not UTF-8; in an editor, save it with the encoding UTF-8") from None
    if "\0" in text:
        raise GanealogyError(f"{path}: contains NUL, as UTF-16 does; in an editor, save it with the encoding UTF-8")
    return text


def read_yaml(path: Path) -> Any:
    """Read YAML 1.2 as DVC does: `2e-4` is a number, and a repeated key is an error.

    Raises: GanealogyError when the file is absent, too large, not UTF-8, not YAML, or not a mapping.
    """
    text = read_text(path)
    try:
        _check_size(text, path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # several lines about numbers of YAML 1.1
            content = YAML(typ="safe", pure=True).load(StringIO(text))
    except DuplicateKeyError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise GanealogyError(f"{path}: line {line}: {str(error.problem).splitlines()[0]}; keep one of them") from None
    except (YAMLError, ValueError, RecursionError, OverflowError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}: " if mark else ""
        detail = getattr(error, "problem", None) or one_line(error)
        raise GanealogyError(f"{path}: {place}not valid YAML: {detail}{_remedy(text, mark)}") from None
    if not isinstance(content, dict):
        raise GanealogyError(f"{path}: expected a mapping of keys to values, found {type(content).__name__}")
    return content


def _check_size(text: str, path: Path) -> None:
    """Count values as they are parsed: an alias is as many as what it stands for.

    Raises: GanealogyError for too many values, for too deep ones, and for a value that contains itself.
    """
    count, sizes, opened = 0, dict[str, int](), list[tuple[str, int]]()
    for event in YAML(typ="safe", pure=True).parse(text):
        if isinstance(event, AliasEvent):
            if event.anchor in [anchor for anchor, _ in opened]:
                raise GanealogyError(f"{path}: the value &{event.anchor} contains itself; write it out")
            count += sizes.get(event.anchor, 1)
        elif isinstance(event, CollectionStartEvent):
            opened.append((event.anchor, count))
        elif isinstance(event, CollectionEndEvent):
            anchor, before = opened.pop()
            count += 1
            sizes[anchor] = count - before
        elif isinstance(event, ScalarEvent):
            count += 1
            sizes[event.anchor] = 1
        if count > MAX_VALUES or len(opened) > MAX_DEPTH:
            much = f"more than {MAX_VALUES:,} values, with aliases (*name) written out"
            fault = f"nested deeper than {MAX_DEPTH}" if len(opened) > MAX_DEPTH else much
            raise GanealogyError(f"{path}: {fault}, {NO_NEED}")


def _remedy(text: str, mark: Any) -> str:
    """Return what to do about a fault of YAML, as the end of a message; empty if the text does not show it."""
    if conflict := re.search(r"^<{7} ", text, flags=re.M):
        line = text.count("\n", 0, conflict.start()) + 1
        return f"; git's conflict markers begin in line {line}: keep one side"
    lines = text.splitlines()[max(0, mark.line - 1) : mark.line + 1] if mark else []
    tab = "; indent with spaces, not tabs" if any(re.match(r" *\t", line) for line in lines) else ""
    return tab or odd_letters("\n".join(lines))


def parse(model: type[BaseModel], content: Any, source: str, prefix: str = "") -> Any:
    """Return `content` as a `model`.

    Raises: GanealogyError naming file, key, value and what is legal.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise GanealogyError(f"{source}: {describe(error, model, prefix)}") from None


def describe(error: ValidationError, model: type[BaseModel], prefix: str = "") -> str:
    """Return the faults of a validation on one line: key, value, what is legal."""
    faults = []
    for fault in error.errors():
        key = ".".join([prefix, *map(str, fault["loc"])] if prefix else map(str, fault["loc"]))
        if fault["type"] == "extra_forbidden":
            legal = ", ".join(_fields(model, fault["loc"][:-1]))
            faults.append(
                f"unknown key {SHORT.repr(key)}{odd_letters(key)}" + (f"; known here: {legal}" if legal else "")
            )
        elif fault["type"] == "missing":
            faults.append(f"{key} is missing")
        else:
            message = fault["msg"].removeprefix("Value error, ")
            shown = SHORT.repr(fault["input"])
            odd = odd_letters(fault["input"]) if isinstance(fault["input"], str) else ""
            faults.append(f"{key} = {shown}: {message[:1].lower()}{message[1:]}{odd}" if key else message)
    return " · ".join(faults[:5])


def _fields(model: Any, path: tuple[int | str, ...]) -> list[str]:
    for name in path:
        field = _by_key(model).get(str(name))
        kinds = [field.annotation, *get_args(field.annotation)] if field else []  # a section, or a section or null
        model = next((kind for kind in kinds if hasattr(kind, "model_fields")), None)
    return sorted(_by_key(model))


def _by_key(model: Any) -> dict[str, Any]:
    """Return key of YAML → field; `from`, a keyword of Python, is an alias."""
    return {field.alias or name: field for name, field in getattr(model, "model_fields", {}).items()}


def load(path: Path = PARAMS) -> Settings:
    """Raises: GanealogyError naming file, key, value and what is legal."""
    return parse(Settings, read_yaml(path), str(path))
