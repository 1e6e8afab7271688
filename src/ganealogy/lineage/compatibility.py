"""Refuse ideas that cannot be combined, when the plan is made.

Only combinations without a meaning are refused. An unwise one is a legitimate experiment.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.parametrizations import _SpectralNorm

from ganealogy import components
from ganealogy.adversary.losses._base import Loss
from ganealogy.errors import GanealogyError
from ganealogy.networks._build import options
from ganealogy.record_types import Component, Recipe

WITHOUT_ZERO = {
    "wasserstein": "a critic's zero has no meaning",
    "lsgan": "its D regresses to 1 on reals and 0 on fakes, so the sign is 1 whatever D learns",
}
"""Losses whose D does not separate reals from fakes at zero, and why."""


def check(recipe: Recipe, generator: nn.Module, discriminator: nn.Module, where: str) -> None:
    """`recipe`: complete; `generator`, `discriminator`: the networks that it builds.

    Raises: GanealogyError naming both ideas and why they cannot be combined.
    """
    if recipe["adversary"]["loss"] is None:
        return  # no game
    for reason in [*_game(recipe), *_generator(recipe, generator), *_discriminator(recipe, discriminator)]:
        raise GanealogyError(f"{where}: {reason}")


def _game(recipe: Recipe) -> Iterator[str]:
    rules = recipe["adversary"]
    loss, game = _name(rules["loss"]), rules["game"]
    if game["name"] == "simultaneous" and game["d_steps"] != 1:
        yield (
            f"adversary.game: simultaneous with d_steps {game['d_steps']}: both gradients come from one latent batch, "
            "so there is exactly one D step per G step; set d_steps: 1 or use alternating"
        )
    if game.get("reuse_fakes") and (game["g_steps"] > 1 or game["by"] == "epochs"):
        yield (
            "adversary.game: reuse_fakes with g_steps or by: epochs: not every G step follows a D step whose fakes it "
            "could have; remove one of them"
        )
    if _is_relativistic(rules["loss"]):
        # D's logits are defined up to a constant, so single logits have no meaning.
        for kind, parts, name in (("penalties", rules["penalties"], "lecam"), ("augment", rules["augment"], "ada")):
            if name in _names(parts):
                yield (
                    f"adversary.{kind}: {name} with {loss}: {name} uses single logits, and a relativistic D's "
                    "logits have a meaning only as differences between reals and fakes; remove one of them"
                )
    if loss in WITHOUT_ZERO and "ada" in _names(rules["augment"]):
        yield (
            f"adversary.augment: ada with {loss}: ada uses the sign of D's logits on reals, and {WITHOUT_ZERO[loss]}; "
            "remove one of them"
        )


def _generator(recipe: Recipe, generator: nn.Module) -> Iterator[str]:
    name = recipe["generator"]["name"]
    for part in recipe["adversary"]["generator_penalties"]:
        penalty = components.load("adversary.generator_penalties", part["name"]).generator_penalty
        if missing := [method for method in penalty.methods if not hasattr(generator, method)]:
            yield (
                f"adversary.generator_penalties: {part['name']} with {name}: it needs a generator with a method "
                f"{missing[0]}; remove it, or use generator: stylegan2"
            )


def _discriminator(recipe: Recipe, discriminator: nn.Module) -> Iterator[str]:
    rules = recipe["adversary"]
    loss = _name(rules["loss"])
    parts = list(discriminator.modules())
    slopes = [part["name"] for part in rules["penalties"] if _differentiates(part)]
    if slopes and any(isinstance(part, _BatchNorm) for part in parts):
        yield (
            f"adversary.penalties: {slopes[0]} with BatchNorm in D: the penalty needs the gradient of each image, and "
            "with BatchNorm each logit depends on the whole batch; use a discriminator without it (norm: none)"
        )
    spectral = any(isinstance(part, _SpectralNorm) for part in parts)
    if spectral and rules["constraint"] is not None and rules["constraint"]["name"] == "clip":
        yield (
            "adversary.constraint: clip with spectral norm in D: the norm rescales each weight, so clipping changes "
            "only the biases; remove one of them"
        )
    if loss == "wasserstein" and not (slopes or spectral or rules["constraint"]):
        yield (
            "adversary.loss: wasserstein without a Lipschitz constraint: the loss has no minimum; add "
            "constraint: clip, a gradient penalty such as gradient_penalty or r1, or norm: spectral"
        )
    if _needs_features(rules["loss"]) and not hasattr(discriminator, "with_features"):
        yield (
            f"adversary.loss: {loss} needs features of D, and {_name(recipe['discriminator'])} returns logits alone; "
            "use another discriminator, such as dcgan"
        )
    if any(isinstance(part, nn.Sigmoid) for part in _last(discriminator)):
        yield (
            f"adversary.loss: {loss} with a sigmoid at D's output: losses take logits (bce applies its sigmoid "
            "itself; the others need outputs beyond 0 and 1); remove the sigmoid"
        )


def _name(part: Component | None) -> str:
    return "" if part is None else str(part["name"])


def _is_relativistic(loss: Component | None) -> bool:
    return _loss(loss).needs_reals and not _needs_features(loss)


def _needs_features(loss: Component | None) -> bool:
    return getattr(_loss(loss), "needs_features", False)


def _loss(loss: Component | None) -> Loss:
    assert loss is not None
    built: Loss = components.load("adversary.losses", loss["name"]).loss(**options(loss))
    return built


def _differentiates(penalty: Component) -> bool:
    return components.load("adversary.penalties", penalty["name"]).penalty(**options(penalty)).differentiates


def _names(parts: list[Component]) -> list[str]:
    return [part["name"] for part in parts]


def _last(network: nn.Module) -> list[nn.Module]:
    """Return the module registered last, at each depth: the position of an output activation."""
    chain, children = [network], list(network.children())
    while children:
        chain.append(children[-1])
        children = list(children[-1].children())
    return chain
