"""A recipe: everything that makes a version, as typed objects.

A root has a complete recipe; the `changes` of other versions are merged over their parent's recipe. Components are
named by their files, and the keyword-only parameters of a component's builder are its keys (`components.parameters`).
Lists of components are replaced, not merged: to add to the parent's list, repeat it. A parameter annotated as scheduled
takes a number or `{from, to, shape, until}` (`adversary/schedule.py`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, cast

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from ganealogy import components
from ganealogy.adversary.schedule import Scheduled, ScheduledFraction
from ganealogy.errors import GanealogyError
from ganealogy.lineage.flatten import flatten as flatten_mapping
from ganealogy.params.schema import Section, parse
from ganealogy.record_types import Precision, Recipe


class Component(BaseModel):
    """{name: file, …its parameters}; a plain string is a name."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]


def _named(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


Named = Annotated[Component, BeforeValidator(_named)]


class Latent(Section):
    size: Any
    """Number of values; `image`: as many as a picture has."""
    distribution: Literal["normal", "uniform"] = "normal"

    @field_validator("size")
    @classmethod
    def _is_a_size(cls, size: Any) -> Any:
        if size == "image" or (isinstance(size, int) and not isinstance(size, bool) and 1 <= size <= 4096):
            return size
        raise ValueError("use a whole number from 1 to 4096, or image")


class Adversary(Section):
    loss: Named | None = None
    game: Named = Component(name="alternating")
    constraint: Named | None = None
    """Applied to D's weights after each D step: `adversary/constraints/`."""
    penalties: list[Named] = Field(default=[])
    """Terms of D's loss: `adversary/penalties/`."""
    generator_penalties: list[Named] = Field(default=[])
    """Terms of G's loss: `adversary/generator_penalties/`."""
    augment: list[Named] = Field(default=[])
    """Applied to reals and fakes before D, in this order, in both steps: `adversary/augment/`."""
    penalty_precision: Precision | None = None
    """Precision of a D step in which a penalty differentiates D; null: the protocol's, but tf32 if that is bf16."""

    @field_validator("penalties", "generator_penalties", "augment")
    @classmethod
    def _each_once(cls, parts: list[Component]) -> list[Component]:
        names = [part.name for part in parts]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"listed twice: {', '.join(twice)}")
        return parts


class Optimizers(Section):
    generator: Named
    discriminator: Named | None = None


class EMA(Section):
    """Exponential moving average of G's weights; grids and metrics use it."""

    half_life_kimg: Scheduled | None = None
    """In kimg, whatever the budget."""
    half_life_share: ScheduledFraction | None = None
    """As a fraction of the budget, so that it means the same at any budget."""
    ramp: Annotated[float, Field(gt=0, le=1)] | None = 0.05
    """Upper limit of the half-life, as a fraction of the training so far; null: no limit."""

    @model_validator(mode="after")
    def _has_one_half_life(self) -> EMA:
        if (self.half_life_kimg is None) == (self.half_life_share is None):
            raise ValueError("set one of half_life_kimg and half_life_share, and the other to null")
        return self


class RecipeModel(Section):
    latent: Latent
    generator: Named
    discriminator: Named | None = None
    adversary: Adversary
    optimizers: Optimizers
    """Each: {name, lr, schedule, clip_norm, …options}; see `adversary/optimizer_step.py`."""
    ema: EMA | None = None
    labels: bool = False
    """Class conditioning; the data set must have labels."""

    @model_validator(mode="after")
    def _has_all_of_d_or_nothing(self) -> RecipeModel:
        parts = {
            "discriminator": self.discriminator,
            "adversary.loss": self.adversary.loss,
            "optimizers.discriminator": self.optimizers.discriminator,
        }
        missing = [key for key, part in parts.items() if part is None]
        if missing and self.adversary.game.name != WITHOUT_D:
            raise ValueError(f"missing: {', '.join(missing)}; only adversary.game: {WITHOUT_D} has no discriminator")
        parts |= {
            f"adversary.{key}": getattr(self.adversary, key)
            for key in ("constraint", "penalties", "generator_penalties", "augment")
        }
        used = ", ".join(key for key, part in parts.items() if part)
        if self.adversary.game.name == WITHOUT_D and used:
            raise ValueError(f"adversary.game: {WITHOUT_D} has no discriminator; remove {used}")
        return self


WITHOUT_D = "flow_matching"
"""The game that has no discriminator."""

# Components of a recipe: dotted key → (kind, builder), in the order of error messages. An item of a list has its index
# as key: `adversary.penalties.0`.
LISTS = {
    "adversary.penalties": ("adversary.penalties", "penalty"),
    "adversary.generator_penalties": ("adversary.generator_penalties", "generator_penalty"),
    "adversary.augment": ("adversary.augment", "augment"),
}
SLOTS = {
    "generator": ("networks", "generator"),
    "discriminator": ("networks", "discriminator"),
    "adversary.loss": ("adversary.losses", "loss"),
    "adversary.game": ("adversary.games", "game"),
    "adversary.constraint": ("adversary.constraints", "constraint"),
    "optimizers.generator": ("adversary.optimizers", "optimizer"),
    "optimizers.discriminator": ("adversary.optimizers", "optimizer"),
}
RATE = re.compile(r"(\d+(?:\.\d+)?)x")


def slots(recipe: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Return the components of a recipe: dotted key → (kind, builder)."""
    single = {slot: what for slot, what in SLOTS.items() if lookup(recipe, slot) is not None}
    listed = {f"{key}.{index}": what for key, what in LISTS.items() for index in range(len(lookup(recipe, key) or []))}
    return single | listed


def check(content: Any, where: str) -> dict[str, Any]:
    """Check a recipe's structure and return it with plain names expanded; components' parameters are not checked.

    Raises: GanealogyError naming file, key, value and what is legal.
    """
    parsed: RecipeModel = parse(RecipeModel, content, where)
    recipe = parsed.model_dump()
    for slot, (kind, _) in slots(recipe).items():
        components.require(kind, lookup(recipe, slot)["name"], f"{where}: {slot}")
    return recipe


def merge(parent: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Merge `changes` over `parent`, key by key. A component of another name replaces its block with all parameters."""
    merged = dict(parent)
    for key, change in changes.items():
        old = parent.get(key)
        if isinstance(old, dict) and "name" in old and isinstance(change, str):
            change = {"name": change}
        renamed = (
            isinstance(old, dict)
            and isinstance(change, dict)
            and change.get("name", old.get("name")) != old.get("name")
        )
        merged[key] = (
            merge(old, change) if isinstance(old, dict) and isinstance(change, dict) and not renamed else change
        )
    return merged


def complete(recipe: Mapping[str, Any], where: str) -> Recipe:
    """Check each component's parameters against its builder and fill in the defaults. Imports torch.

    Raises: GanealogyError naming the parameter, its value and what is legal.
    """
    from ganealogy.adversary.optimizer_step import OptimizerStep

    whole = dict(recipe)
    for slot, (kind, builder) in slots(recipe).items():
        component = lookup(recipe, slot)
        module = components.load(kind, component["name"], f"{where}: {slot}")
        if not hasattr(module, builder):
            raise GanealogyError(f"{where}: {slot}: {component['name']!r} has no {builder}")
        legal = components.parameters(getattr(module, builder))
        is_optimizer = slot.startswith("optimizers.")
        if is_optimizer:
            legal |= components.parameters(OptimizerStep.__init__)
        whole = _with(whole, slot, _fill(component, legal, f"{where}: {slot}", rate=is_optimizer))
    return cast(Recipe, whole)


def resolve_rates(recipe: Recipe, base: float) -> Recipe:
    """Replace learning rates such as `4x` by that multiple of the protocol's rate; numbers stay."""
    resolved = recipe
    for network in ("generator", "discriminator"):
        rate = (recipe["optimizers"][network] or {}).get("lr")
        if isinstance(rate, str):
            resolved = _with(resolved, f"optimizers.{network}.lr", float(rate[:-1]) * base)
    return resolved


def resolve_latent(recipe: Recipe, channels: int, image_size: int) -> Recipe:
    """Replace a latent size of `image` by the number of values of a picture."""
    size: Any = recipe["latent"]["size"]
    return cast(Recipe, _with(recipe, "latent.size", channels * image_size**2)) if size == "image" else recipe


def component_modules(recipe: Recipe) -> list[str]:
    """Return the modules of the recipe's components."""
    found = slots(recipe).items()
    return sorted({components.module_name(kind, lookup(recipe, slot)["name"]) for slot, (kind, _) in found})


def flatten(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe, or changes of one, as dotted keys: {"adversary.loss.name": "bce", …}.

    Components of a list are under their names, and a scheduled value is one value.
    """

    def unfold(key: str, value: Any) -> Any:
        return {part["name"]: part for part in map(_named, value)} if key in LISTS and value else value

    return flatten_mapping(content, is_leaf=lambda value: {"from", "to"} <= set(value), unfold=unfold)


def lookup(content: Mapping[str, Any], dotted: str) -> Any:
    """Return the value under a dotted key, or None."""
    value: Any = content
    for key in dotted.split("."):
        if isinstance(value, list):
            value = value[int(key)] if key.isdigit() and int(key) < len(value) else None
        else:
            value = value.get(key) if isinstance(value, dict) else None
    return value


def _with(content: Any, dotted: str, value: Any) -> Any:
    key, _, rest = dotted.partition(".")
    if isinstance(content, list):
        return [value if index == int(key) else part for index, part in enumerate(content)]
    return {**content, key: _with(content[key], rest, value) if rest else value}


def _fill(component: dict[str, Any], legal: dict[str, tuple[Any, Any]], where: str, rate: bool) -> dict[str, Any]:
    filled: dict[str, Any] = {"name": component["name"]}
    if rate:
        filled["lr"] = _rate(component.get("lr", "1x"), where)
    for key, value in component.items():
        if key not in {*legal, *filled}:
            names = ", ".join([*(["lr"] if rate else []), *legal]) or "none"
            raise GanealogyError(f"{where}: {component['name']} has no parameter {key!r}; known: {names}")
        if key not in filled:
            annotation, _ = legal[key]
            try:
                filled[key] = TypeAdapter(annotation).validate_python(value, strict=True)
            except ValidationError as error:
                fault = " or ".join(dict.fromkeys(part["msg"][:1].lower() + part["msg"][1:] for part in error.errors()))
                raise GanealogyError(f"{where}.{key} = {value!r}: {fault}") from None
    for key, (_, default) in legal.items():
        if key not in filled:
            if default is ...:
                raise GanealogyError(f"{where}: {component['name']} needs {key!r}")
            filled[key] = default
    return filled


def _rate(rate: Any, where: str) -> Any:
    if isinstance(rate, str) and RATE.fullmatch(rate) and float(rate[:-1]) > 0:
        return rate
    if isinstance(rate, int | float) and not isinstance(rate, bool) and 0 < rate <= 1:
        return float(rate)
    raise GanealogyError(f"{where}.lr = {rate!r}: use a multiple of train.lr such as 1x or 0.5x, or a number in (0, 1]")
