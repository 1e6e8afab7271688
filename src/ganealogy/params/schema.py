"""params.yaml as typed, checked, frozen objects: the protocol that all versions share.

DVC's `-S key=value` writes whatever it is given, so every value is checked here, before any work. The checks that need
the version files or the networks are the plan's (`stages/plan.py`).
"""

from __future__ import annotations

import reprlib
from io import StringIO
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import YAMLError

from ganealogy import components
from ganealogy.errors import GanealogyError
from ganealogy.workspace import PARAMS, VERSION_NAME


class Short(reprlib.Repr):
    """A value as an error shows it: a few parts of each level, as aliases can make a small file a huge value."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother = 3, 60, 60

    def repr_int(self, value: int, level: int) -> str:
        """Python writes no decimal of more than a few thousand digits."""
        return super().repr_int(value, level) if value.bit_length() < 1000 else f"a number of {value.bit_length()} bits"


SHORT = Short()

Count = Annotated[int, Field(ge=1, le=100_000_000)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False)]
Precision = Literal["fp32", "tf32", "bf16"]
"""What each means on which device: `ganealogy/runtime/precision.py`."""


class Section(BaseModel):
    """A frozen mapping: an unknown key, a number in quotes or a NaN is an error, never a guess."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Dataset(Section):
    name: str
    """A file of data/sources/."""
    image_size: Annotated[int, Field(ge=8, le=1024)]
    """Side of the square training images, in pixels."""
    channels: Literal[1, 3] = 3
    fit: Literal["crop", "pad"] = "crop"
    """crop: resize the short side, then centre-crop. pad: zero-pad smaller pictures, never enlarge (MNIST 28 to 32)."""
    count: Count | None = None
    """At most so many pictures (for avatars: how many to draw); null takes all there are."""
    holdout: Annotated[float, Field(gt=0, le=0.5)] = 0.1
    """Share kept from training, chosen by the hash of the pixels: the reals of the floor."""
    max_rejected: Share = 0.1
    """Preprocessing fails when more than this share of the pictures cannot be used."""
    style: Annotated[str, Field(pattern=r"^[a-z][a-z-]*$")] = "adventurer"
    """Avatars only: the DiceBear style."""
    path: str | None = None
    """Folder only: a directory or a zip of pictures."""
    mirror: str | None = None
    """Where to look for a public set's files before the network; the environment's GANEALOGY_MIRROR comes first."""

    @field_validator("name")
    @classmethod
    def _source_is_known(cls, name: str) -> str:
        if name not in components.known("data.sources"):
            raise ValueError(f"unknown data source; known: {', '.join(components.known('data.sources'))}")
        return name

    @model_validator(mode="after")
    def _folder_has_a_path(self) -> Dataset:
        if self.name == "folder" and not self.path:
            raise ValueError("dataset.name is 'folder', so dataset.path must name a directory or a zip of pictures")
        return self


class Tree(Section):
    versions: Annotated[list[str], Field(min_length=1)]
    seeds: Annotated[list[Annotated[int, Field(ge=0, le=2**31 - 1)]], Field(min_length=1)]

    @field_validator("versions")
    @classmethod
    def _names_are_plain(cls, names: list[str]) -> list[str]:
        for name in names:  # they reach a shell, file names, HTML and MLflow
            if not VERSION_NAME.fullmatch(name):
                raise ValueError(f"{name!r} is not a version name: a small letter, then small letters, digits and '-'")
        return names

    @field_validator("versions", "seeds")
    @classmethod
    def _each_once(cls, items: list[Any]) -> list[Any]:
        twice = {item for item in items if items.count(item) > 1}
        if twice:
            raise ValueError(f"listed twice: {', '.join(map(str, sorted(twice)))}")
        return items


class Train(Section):
    kimg: Positive
    """Budget: thousands of images by which G is updated (G updates x batch / 1000)."""
    batch_size: Annotated[int, Field(ge=2, le=65_536)]
    lr: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
    """The base rate that recipes refer to as `1x`."""
    width: Annotated[int, Field(ge=4, le=1024)] = 64
    """Channels of D's first layer; the others are multiples of it. 64 is the notebook's."""
    precision: Precision = "fp32"
    """fp32 is IEEE everywhere; tf32 and bf16 are faster on a GPU. Another precision is another protocol."""
    ticks: Annotated[int, Field(ge=1, le=1000)] = 10
    """How often in a training metrics are written, a grid is drawn, a checkpoint saved, `best` reconsidered."""
    tracker: str = "pixel8"
    """The extractor whose Frechet distance picks `best`: pixel8 for short trainings, a network's for long ones."""
    tracker_images: Annotated[int, Field(ge=32, le=100_000)] = 1000
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: Annotated[int, Field(ge=1, le=256)] = 2
    """CPU threads of one training; another number gives other last bits. GANEALOGY_THREADS comes first."""
    deterministic: bool = False
    """On CUDA: only algorithms that give the same bits every time, slower. On a CPU trainings repeat without it."""


class Sample(Section):
    count: Annotated[int, Field(ge=16, le=1_000_000)] = 500
    checkpoint: Literal["best", "last"] = "best"
    truncation: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Latents are scaled by this: below 1, fewer surprises and less variety."""
    walk_frames: Annotated[int, Field(ge=8, le=480)] = 48


class Evaluate(Section):
    extractors: Annotated[list[str], Field(min_length=1)] = ["pixel8", "effnet_lite0"]
    reals: Annotated[int, Field(ge=64, le=10_000_000)] = 2000
    """Real training images (at most) that stand for the data in every distance."""
    equivalence_margin: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = 0.1
    """The report calls a child equivalent to its parent when its distance is shown to be within this share of it."""


class Settings(Section):
    dataset: Dataset
    tree: Tree
    train: Train
    sample: Sample = Sample()
    evaluate: Evaluate = Evaluate()


def read_yaml(path: Path) -> Any:
    """YAML 1.2, as DVC reads it: `2e-4` is a number and a key given twice is an error.

    Raises: GanealogyError when the file is absent, not UTF-8, not YAML, or not a mapping.
    """
    try:
        content = YAML(typ="safe", pure=True).load(StringIO(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise GanealogyError(f"{path}: no such file") from None
    except DuplicateKeyError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise GanealogyError(f"{path}: line {line}: {str(error.problem).splitlines()[0]}; keep one of them") from None
    except (YAMLError, ValueError, RecursionError, OverflowError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}: " if mark else ""
        detail = getattr(error, "problem", None) or str(error).splitlines()[0] if str(error) else type(error).__name__
        raise GanealogyError(f"{path}: {place}not valid YAML: {detail}") from None
    if not isinstance(content, dict):
        raise GanealogyError(f"{path}: expected a mapping of keys to values, found {type(content).__name__}")
    return content


def parse(model: type[BaseModel], content: Any, source: str, prefix: str = "") -> Any:
    """`content` as a `model`; the first fault becomes one line with file, key, value and what is legal."""
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise GanealogyError(f"{source}: {describe(error, model, prefix)}") from None


def describe(error: ValidationError, model: type[BaseModel], prefix: str = "") -> str:
    """All faults of a validation in one line: key, value, what is legal."""
    faults = []
    for fault in error.errors():
        key = ".".join([prefix, *map(str, fault["loc"])] if prefix else map(str, fault["loc"]))
        if fault["type"] == "extra_forbidden":
            legal = ", ".join(_fields(model, fault["loc"][:-1]))
            faults.append(f"unknown key {key!r}" + (f"; known here: {legal}" if legal else ""))
        elif fault["type"] == "missing":
            faults.append(f"{key} is missing")
        else:
            message = fault["msg"].removeprefix("Value error, ")
            shown = SHORT.repr(fault["input"])
            faults.append(f"{key} = {shown}: {message[:1].lower()}{message[1:]}" if key else message)
    return " · ".join(faults[:5])


def _fields(model: Any, path: tuple[int | str, ...]) -> list[str]:
    for name in path:
        field = getattr(model, "model_fields", {}).get(name)
        kinds = [field.annotation, *get_args(field.annotation)] if field else []  # a section, or a section or null
        model = next((kind for kind in kinds if hasattr(kind, "model_fields")), None)
    return sorted(getattr(model, "model_fields", {}))


def load(path: Path = PARAMS) -> Settings:
    """Raises: GanealogyError naming file, key, value and what is legal."""
    settings: Settings = parse(Settings, read_yaml(path), str(path))
    return settings
