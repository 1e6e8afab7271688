"""Losses against their definitions; schedules at start and end."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from ganealogy import components
from ganealogy.adversary.losses._base import SumOfTerms
from ganealogy.adversary.schedule import scheduled_value

REAL, FAKE = [1.5, -0.5, 0.25], [-1.0, 0.75, 2.0]


def made(name: str) -> Any:
    return components.load("adversary.losses", name).loss()


def softplus(value: float) -> float:
    return math.log(1 + math.exp(value))


def mean(values: Any) -> float:
    found = list(values)
    return sum(found) / len(found)


DEFINITIONS = {
    "bce": (mean(softplus(-r) for r in REAL) + mean(softplus(f) for f in FAKE), mean(softplus(-f) for f in FAKE)),
    "softplus": (mean(softplus(-r) for r in REAL) + mean(softplus(f) for f in FAKE), mean(softplus(-f) for f in FAKE)),
    "hinge": (mean(max(0, 1 - r) for r in REAL) + mean(max(0, 1 + f) for f in FAKE), -mean(FAKE)),
    "wasserstein": (mean(FAKE) - mean(REAL), -mean(FAKE)),
    "lsgan": (
        mean((r - 1) ** 2 for r in REAL) / 2 + mean(f**2 for f in FAKE) / 2,
        mean((f - 1) ** 2 for f in FAKE) / 2,
    ),
    "relativistic_pairing": (
        mean(softplus(-(r - f)) for r, f in zip(REAL, FAKE, strict=True)),
        mean(softplus(-(f - r)) for r, f in zip(REAL, FAKE, strict=True)),
    ),
    "relativistic_average": (
        mean(softplus(-(r - mean(FAKE))) for r in REAL) + mean(softplus(f - mean(REAL)) for f in FAKE),
        mean(softplus(-(f - mean(REAL))) for f in FAKE) + mean(softplus(r - mean(FAKE)) for r in REAL),
    ),
}


def test_every_loss_has_a_definition_here() -> None:
    assert {*DEFINITIONS, "feature_matching"} == set(components.known("adversary.losses"))


def test_feature_matching_is_its_definition() -> None:
    """D's loss is cross-entropy of the first column; G's, the squared distance of the others' means."""
    real, fake = (torch.tensor([[r, r, 2 * r] for r in values], dtype=torch.float64) for values in (REAL, FAKE))
    loss, apart = made("feature_matching"), mean(REAL) - mean(FAKE)
    assert loss.discriminator(real, fake).item() == pytest.approx(DEFINITIONS["softplus"][0])
    assert loss.generator(fake, real).item() == pytest.approx(apart**2 + (2 * apart) ** 2)


@pytest.mark.parametrize("name", DEFINITIONS)
def test_a_loss_is_its_definition(name: str) -> None:
    real, fake = torch.tensor(REAL, dtype=torch.float64), torch.tensor(FAKE, dtype=torch.float64)
    loss = made(name)
    d_loss, g_loss = DEFINITIONS[name]
    assert loss.discriminator(real, fake).item() == pytest.approx(d_loss)
    assert loss.generator(fake, real if loss.needs_reals else None).item() == pytest.approx(g_loss)
    assert torch.isfinite(loss.score(real))


TERMS = {
    **{name: (mean(softplus(-r) for r in REAL), mean(softplus(f) for f in FAKE)) for name in ("bce", "softplus")},
    "hinge": (mean(max(0, 1 - r) for r in REAL), mean(max(0, 1 + f) for f in FAKE)),
    "wasserstein": (-mean(REAL), mean(FAKE)),
    "lsgan": (mean((r - 1) ** 2 for r in REAL) / 2, mean(f**2 for f in FAKE) / 2),
}


def test_the_losses_that_are_a_sum_have_both_terms_here() -> None:
    """A relativistic loss compares each real with fakes: it has no term of the reals alone."""
    sums = {name for name in components.known("adversary.losses") if isinstance(made(name), SumOfTerms)}
    assert sums == {*TERMS, "feature_matching"}


@pytest.mark.parametrize("name", TERMS)
def test_the_terms_of_d_are_their_definitions_and_add_up_to_its_loss(name: str) -> None:
    real, fake = torch.tensor(REAL, dtype=torch.float64), torch.tensor(FAKE, dtype=torch.float64)
    of_reals, of_fakes = made(name).discriminator_terms(real, fake)
    assert (of_reals.item(), of_fakes.item()) == pytest.approx(TERMS[name])
    assert torch.equal(of_reals + of_fakes, made(name).discriminator(real, fake)), "to the last bit"


@pytest.mark.parametrize("name", DEFINITIONS)
def test_d_learns_to_raise_reals_and_g_to_raise_fakes(name: str) -> None:
    real, fake = torch.zeros(4, requires_grad=True), torch.zeros(4, requires_grad=True)
    loss = made(name)
    at_real, at_fake = torch.autograd.grad(loss.discriminator(real, fake), [real, fake], materialize_grads=True)
    assert (at_real < 0).all() and (at_fake >= 0).all()
    (at_fake,) = torch.autograd.grad(loss.generator(fake, real.detach()), [fake])
    assert (at_fake < 0).all()


def test_large_logits_do_not_overflow() -> None:
    far = torch.tensor([500.0, -500.0])
    for name in ("bce", "softplus", "relativistic_average", "relativistic_pairing"):
        assert torch.isfinite(made(name).discriminator(far, far.flip(0)))
    expected = binary_cross_entropy_with_logits(far, torch.ones(2))
    torch.testing.assert_close(made("softplus").generator(far), expected)


def test_schedules_reach_their_ends_and_hold() -> None:
    ramp = {"from": 0.9, "to": 0.1, "shape": "cosine", "until": 0.5}
    assert [scheduled_value(ramp, fraction) for fraction in (0.0, 0.5, 0.7, 1.0)] == [0.9, 0.1, 0.1, 0.1]
    assert scheduled_value(ramp, 0.25) == pytest.approx(0.5) and scheduled_value(ramp, 0.1) > 0.8
    assert scheduled_value({"from": 0.0, "to": 1.0, "shape": "linear"}, 0.3) == pytest.approx(0.3)
    assert scheduled_value({"from": 0, "to": 1}, 0.5) == pytest.approx(0.5), "a cosine over the whole budget by default"
    assert scheduled_value(3, 0.2) == 3.0


@pytest.mark.parametrize("name", DEFINITIONS)
def test_a_loss_of_several_judges_is_their_mean(name: str) -> None:
    torch.manual_seed(0)
    real, fake = torch.randn(5, 3, dtype=torch.float64), torch.randn(5, 3, dtype=torch.float64)
    loss = made(name)
    for several, alone in ((loss.discriminator, loss.discriminator), (loss.generator, loss.generator)):
        columns = [alone(real[:, judge], fake[:, judge]) for judge in range(3)]
        assert several(real, fake).item() == pytest.approx(torch.stack(columns).mean().item())
    assert loss.score(real).item() == pytest.approx(mean(loss.score(real[:, judge]).item() for judge in range(3)))
