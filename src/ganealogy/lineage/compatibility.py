"""Ideas that cannot be combined, refused when the plan is made, with the reason.

Only what is wrong in itself stands here: a combination that is merely unwise is the experiment that people came for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.parametrizations import _SpectralNorm

from ganealogy.errors import GanealogyError

GRADIENT_PENALTIES = ("gradient_penalty", "r1", "r2", "dragan")
RELATIVISTIC = ("relativistic_average", "relativistic_pairing")


def check(recipe: dict[str, Any], discriminator: nn.Module, where: str) -> None:
    """`recipe`: complete; `discriminator`: as it will be built.

    Raises: GanealogyError naming both ideas and why they do not go together.
    """
    for reason in [*_game(recipe), *_discriminator(recipe, discriminator)]:
        raise GanealogyError(f"{where}: {reason}")


def _game(recipe: dict[str, Any]) -> Iterator[str]:
    rules = recipe["adversary"]
    loss, game = rules["loss"]["name"], rules["game"]
    if game["name"] == "simultaneous" and game["d_steps"] != 1:
        yield (
            f"adversary.game: simultaneous with d_steps {game['d_steps']}: both gradients come from one latent batch, "
            "so there is exactly one D step a G step; set d_steps: 1 or use alternating"
        )
    if loss in RELATIVISTIC:
        # D's logits are defined up to a constant, so nothing may read them one by one.
        for kind, name in (("penalties", "lecam"), ("augment", "ada")):
            if name in _names(rules[kind]):
                yield (
                    f"adversary.{kind}: {name} with {loss}: {name} reads D's outputs on their own, and a relativistic "
                    "D's mean something only as differences between reals and fakes"
                )
    if loss == "wasserstein" and "ada" in _names(rules["augment"]):
        yield (
            "adversary.augment: ada with wasserstein: ada reads the sign of D's outputs on reals, and a critic's zero "
            "means nothing"
        )


def _discriminator(recipe: dict[str, Any], discriminator: nn.Module) -> Iterator[str]:
    rules = recipe["adversary"]
    loss, penalties = rules["loss"]["name"], _names(rules["penalties"])
    parts = list(discriminator.modules())
    slopes = [name for name in penalties if name in GRADIENT_PENALTIES]
    if slopes and any(isinstance(part, _BatchNorm) for part in parts):
        yield (
            f"adversary.penalties: {slopes[0]} with BatchNorm in D: the penalty wants each picture's own gradient, and "
            "BatchNorm makes every output depend on the whole batch; use a discriminator without it (norm: none)"
        )
    spectral = any(isinstance(part, _SpectralNorm) for part in parts)
    if spectral and rules["constraint"] is not None and rules["constraint"]["name"] == "clip":
        yield (
            "adversary.constraint: clip with spectral norm in D: the norm divides each weight by its size, so clipping "
            "changes nothing but the biases; keep one of them"
        )
    if loss == "wasserstein" and not (slopes or spectral or rules["constraint"]):
        yield (
            "adversary.loss: wasserstein with a free D: without a bound on its slope the loss has no minimum; add "
            f"constraint: clip, one of the penalties {', '.join(GRADIENT_PENALTIES)}, or norm: spectral"
        )
    if any(isinstance(part, nn.Sigmoid) for part in _last(discriminator)):
        yield (
            f"adversary.loss: {loss} with a sigmoid at D's output: losses here take logits (bce applies its sigmoid "
            "itself; the others need outputs beyond 0 and 1); drop the sigmoid"
        )


def _names(parts: list[dict[str, Any]]) -> list[str]:
    return [part["name"] for part in parts]


def _last(network: nn.Module) -> list[nn.Module]:
    """The module that is registered last, at every depth: where an output's activation stands."""
    chain, children = [network], list(network.children())
    while children:
        chain.append(children[-1])
        children = list(children[-1].children())
    return chain
