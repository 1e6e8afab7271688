"""Each version's game against a short plain transcription of its specification, in float64.

In float32, Adam's first steps amplify rounding to 1e-3 in 20 steps, and a wrong game (fakes shared between D's and G's
step) is only six times as far off. In float64 the right game agrees to 1e-9 and nothing else does.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy

from ganealogy.adversary import build as adversary
from ganealogy.adversary.penalties import bcr
from ganealogy.lineage import recipe as recipes
from ganealogy.lineage.versions import read_family
from ganealogy.networks import _build as networks

PROTOCOL = {"channels": 3, "image_size": 16, "width": 8}
NATIVE = {
    "celeba-dcgan": {"channels": 3, "image_size": 32, "width": 64},
    "mnist-mlp": {"channels": 1, "image_size": 28, "width": 64},
    "mnist-dcgan": {"channels": 1, "image_size": 28, "width": 64},
}
STEPS, BATCH = 20, 8
EPOCH = 4
"""Batches per epoch."""
BASE_RATE = 2e-4


@pytest.fixture(autouse=True)
def in_float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def recipe_of(name: str) -> dict[str, Any]:
    version = read_family([name])[name]
    return recipes.resolve_rates(recipes.complete(version.recipe, name), BASE_RATE)


def weights(network: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def images(name: str = "v1", d_steps: int = 1) -> torch.Tensor:
    """(STEPS * d_steps, BATCH, C, H, W); `d_steps`: batches per step."""
    size, channels = (NATIVE.get(name, PROTOCOL)[key] for key in ("image_size", "channels"))
    shape = (STEPS * d_steps, BATCH, channels, size, size)
    return torch.randn(shape, generator=torch.Generator().manual_seed(5)).tanh()


def ours(name: str, **rules: Any) -> tuple[nn.Module, nn.Module, nn.Module, nn.Module]:
    """Twenty of our steps; returns the untouched copies of both networks and the trained ones.

    `rules`: replaced in the recipe's adversary.
    """
    protocol = NATIVE.get(name, PROTOCOL)
    recipe = recipes.resolve_latent(recipe_of(name), protocol["channels"], protocol["image_size"])
    recipe["adversary"] |= rules
    torch.manual_seed(1)
    generator, discriminator = networks.generator(recipe, protocol), networks.discriminator(recipe, protocol)
    before = copy.deepcopy(generator), copy.deepcopy(discriminator)
    game = adversary.game(recipe, generator, discriminator)
    game.batches_per_epoch = EPOCH
    reals = images(name, -(-game.batches(STEPS) // STEPS)).flatten(0, 1).split(BATCH)
    torch.manual_seed(2)
    for step in range(STEPS):
        mine = reals[game.batches(step) :]
        game.step(mine.__getitem__, progress=step / STEPS, number=step)
    return *before, generator, discriminator


def z(size: int = 128) -> torch.Tensor:
    return torch.randn(BATCH, size)


def cross_entropy(logits: torch.Tensor, target: float | torch.Tensor) -> torch.Tensor:
    """The notebook's: a sigmoid, then BCE on probabilities."""
    return binary_cross_entropy(torch.sigmoid(logits), torch.ones_like(logits) * target)


def play_bce(
    G: nn.Module,
    D: nn.Module,
    real_target=lambda: 1.0,
    g_target=lambda: 1.0,
    d_optimizer=None,
    betas=(0.5, 0.999),
    z=z,
    reals_of="v1",
    lr=2e-4,
) -> None:
    """v1 to v5, v7, v20 to v24 and two roots: D on real, D on fresh fakes, one D step; then G on fresh latents."""
    opt_d = d_optimizer or torch.optim.Adam(D.parameters(), lr=lr, betas=betas)
    opt_g = torch.optim.Adam(G.parameters(), lr=lr, betas=betas)
    reals = images(reals_of)
    for step in range(STEPS):
        opt_d.zero_grad()
        fakes = G(z())
        real_preds, fake_preds = D(reals[step]), D(fakes)
        real_loss = cross_entropy(real_preds, real_target())
        fake_loss = cross_entropy(fake_preds, 0.0)
        (real_loss + fake_loss).backward()
        opt_d.step()

        opt_g.zero_grad()
        preds = D(G(z()))
        cross_entropy(preds, g_target()).backward()
        opt_g.step()


def play_epochwise(G: nn.Module, D: nn.Module) -> None:
    """The tutorial's text: D for an epoch, then G for an epoch, and again. G's epochs take batches that it ignores."""
    opt_d, opt_g = (torch.optim.Adam(network.parameters(), lr=2e-4, betas=(0.5, 0.999)) for network in (D, G))
    reals = images(d_steps=2).flatten(0, 1).split(BATCH)
    for epoch in range(0, 2 * STEPS // EPOCH, 2):
        for real in reals[epoch * EPOCH : (epoch + 1) * EPOCH]:
            opt_d.zero_grad()
            (cross_entropy(D(real), 1.0) + cross_entropy(D(G(z()).detach()), 0.0)).backward()
            opt_d.step()
        for _ in range(EPOCH):
            opt_g.zero_grad()
            cross_entropy(D(G(z())), 1.0).backward()
            opt_g.step()


def smoothed(low: float, high: float):
    """1 - u, u ~ U(low, high): one scalar per batch."""
    return lambda: 1 - high + torch.rand(()) * (high - low)


def play_v5(G: nn.Module, D: nn.Module) -> None:
    play_bce(G, D, smoothed(0.1, 0.3), smoothed(0.1, 0.3), torch.optim.SGD(D.parameters(), lr=2e-2))


def play_v6(G: nn.Module, D: nn.Module) -> None:
    opt_d = torch.optim.RMSprop(D.parameters(), lr=5e-5)
    opt_g = torch.optim.RMSprop(G.parameters(), lr=5e-5)
    reals = images(d_steps=2)
    for step in range(STEPS):
        for critic_step in range(2):
            opt_d.zero_grad()
            fakes = G(z()).detach()
            (D(fakes).mean() - D(reals[2 * step + critic_step]).mean()).backward()
            opt_d.step()
            for parameter in D.parameters():
                parameter.data.clamp_(-0.01, 0.01)
        opt_g.zero_grad()
        (-D(G(z())).mean()).backward()
        opt_g.step()


def play(
    G: nn.Module,
    D: nn.Module,
    d_loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    g_loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    r1: float = 0.0,
    needs_reals: bool = False,
) -> None:
    """Losses of real and fake logits; with `r1`, its gamma, D's gradient at the reals is penalised."""
    opt_d = torch.optim.Adam(D.parameters(), lr=2e-4, betas=(0.5, 0.999))
    opt_g = torch.optim.Adam(G.parameters(), lr=2e-4, betas=(0.5, 0.999))
    reals = images(d_steps=1 + needs_reals)
    for step in range(STEPS):
        x = reals[step * (1 + needs_reals)].clone().requires_grad_()
        fakes = G(z()).detach()
        real, fake = D(x), D(fakes)
        loss = d_loss(real, fake)
        if r1:
            loss = loss + r1 / 2 * (torch.autograd.grad(real.sum(), x, create_graph=True)[0] ** 2).sum() / BATCH
        opt_d.zero_grad()
        loss.backward()
        opt_d.step()
        opt_g.zero_grad()
        fake = D(G(z()))
        g_loss(D(reals[2 * step + 1]) if needs_reals else real.detach(), fake).backward()
        opt_g.step()


def relativistic(here: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
    """arXiv 1807.00734, eqs. 10 to 13 with f1(y) = -log sigmoid(y) and f2(y) = f1(-y)."""
    return (
        -torch.log(torch.sigmoid(here - there.mean())).mean() - torch.log(1 - torch.sigmoid(there - here.mean())).mean()
    )


def play_dragan(G: nn.Module, D: nn.Module) -> None:
    """The authors' code: between a real and the real with noise of up to half a standard deviation."""
    opt_d = torch.optim.Adam(D.parameters(), lr=2e-4, betas=(0.5, 0.999))
    opt_g = torch.optim.Adam(G.parameters(), lr=2e-4, betas=(0.5, 0.999))
    for x in images():
        fakes = G(z()).detach()
        loss = cross_entropy(D(x), 1.0) + cross_entropy(D(fakes), 0.0)
        noise = 0.5 * x.std(correction=0) * torch.rand_like(x)
        near = (x + torch.rand(BATCH, 1, 1, 1) * noise).requires_grad_()
        slope = torch.autograd.grad(D(near).sum(), near, create_graph=True)[0].flatten(1)
        loss = loss + 10 * (((slope**2).sum(1) ** 0.5 - 1) ** 2).mean()
        opt_d.zero_grad()
        loss.backward()
        opt_d.step()
        opt_g.zero_grad()
        cross_entropy(D(G(z())), 1.0).backward()
        opt_g.step()


def play_instance_noise(G: nn.Module, D: nn.Module) -> None:
    """v1's game on pictures with noise that fades from 0.1 to 0."""
    opt_d = torch.optim.Adam(D.parameters(), lr=2e-4, betas=(0.5, 0.999))
    opt_g = torch.optim.Adam(G.parameters(), lr=2e-4, betas=(0.5, 0.999))
    for step, x in enumerate(images()):
        deviation = 0.1 * (1 - step / STEPS)
        fakes = G(z()).detach()
        real, fake = (D(shown + deviation * torch.randn_like(shown)) for shown in (x, fakes))
        opt_d.zero_grad()
        (cross_entropy(real, 1.0) + cross_entropy(fake, 0.0)).backward()
        opt_d.step()
        fakes = G(z())
        opt_g.zero_grad()
        cross_entropy(D(fakes + deviation * torch.randn_like(fakes)), 1.0).backward()
        opt_g.step()


def play_v18_with(
    G: nn.Module, D: nn.Module, penalty: Callable[[int, list[torch.Tensor], list[torch.Tensor]], torch.Tensor]
) -> None:
    """v18's game with a term of D's loss, from the step, the pictures and the logits of both kinds."""
    opt_d = torch.optim.Adam(D.parameters(), lr=5e-4, betas=(0.0, 0.99))
    opt_g = torch.optim.Adam(G.parameters(), lr=5e-4, betas=(0.0, 0.99))
    for step, x in enumerate(images()):
        shown = [x, G(z()).detach()]
        real, fake = logits = [D(each) for each in shown]
        loss = torch.clamp(1 - real, min=0).mean() + torch.clamp(1 + fake, min=0).mean()
        opt_d.zero_grad()
        (loss + penalty(step, shown, logits)).backward()
        opt_d.step()
        opt_g.zero_grad()
        (-D(G(z())).mean()).backward()
        opt_g.step()


def play_bcr(G: nn.Module, D: nn.Module) -> None:
    """arXiv 2002.04724, algorithm 1; its flips and shifts have a test of their own."""
    play_v18_with(
        G,
        D,
        lambda _, shown, logits: sum(
            10 * ((logit - D(bcr.transformed(each))) ** 2).mean() for each, logit in zip(shown, logits, strict=True)
        ),
    )


def play_lecam(G: nn.Module, D: nn.Module) -> None:
    """The authors' code: anchors of the last batch until 0.4 % of the training, then running means."""
    anchors = [0.0, 0.0]

    def penalty(step: int, _: list[torch.Tensor], logits: list[torch.Tensor]) -> torch.Tensor:
        begun = step / STEPS >= 0.004
        for kind, logit in enumerate(logits):
            now = logit.mean().item()
            anchors[kind] = 0.99 * anchors[kind] + 0.01 * now if begun else now
        of_reals, of_fakes = anchors
        real, fake = logits
        terms = (torch.relu(real - of_fakes) ** 2).mean() + (torch.relu(of_reals - fake) ** 2).mean()
        return 0.3 * terms * (step / STEPS > 0.004)

    play_v18_with(G, D, penalty)


def play_feature_matching(G: nn.Module, D: nn.Module) -> None:
    """arXiv 1606.03498, section 3.1, with the map of 4x4 before D's last convolution."""
    opt_d = torch.optim.Adam(D.parameters(), lr=2e-4, betas=(0.5, 0.999))
    opt_g = torch.optim.Adam(G.parameters(), lr=2e-4, betas=(0.5, 0.999))
    reals = images(d_steps=2)
    for step in range(STEPS):
        opt_d.zero_grad()
        (cross_entropy(D(reals[2 * step]), 1.0) + cross_entropy(D(G(z()).detach()), 0.0)).backward()
        opt_d.step()
        opt_g.zero_grad()
        of_fakes = D.layers[:-1](G(z())).mean(0)
        of_reals = D.layers[:-1](reals[2 * step + 1]).mean(0)
        ((of_reals - of_fakes) ** 2).sum().backward()
        opt_g.step()


def play_hinge(
    G: nn.Module, D: nn.Module, d_rate=2e-4, g_rate=2e-4, betas=(0.5, 0.999), reuse_fakes: bool = False
) -> None:
    """v8; with 4e-4, 1e-4 and betas (0, 0.9) v9. `reuse_fakes`: G's step has D's fakes, judged by the updated D."""
    opt_d = torch.optim.Adam(D.parameters(), lr=d_rate, betas=betas)
    opt_g = torch.optim.Adam(G.parameters(), lr=g_rate, betas=betas)
    reals = images()
    for step in range(STEPS):
        opt_d.zero_grad()
        fakes = G(z())
        real, fake = D(reals[step]), D(fakes.detach())
        loss = torch.clamp(1 - real, min=0).mean() + torch.clamp(1 + fake, min=0).mean()
        loss.backward()
        opt_d.step()
        opt_g.zero_grad()
        (-D(fakes if reuse_fakes else G(z())).mean()).backward()
        opt_g.step()


def play_v10(G: nn.Module, D: nn.Module) -> None:
    """arXiv 1704.00028, algorithm 1, with n_critic 5."""
    opt_d = torch.optim.Adam(D.parameters(), lr=1e-4, betas=(0.0, 0.9))
    opt_g = torch.optim.Adam(G.parameters(), lr=1e-4, betas=(0.0, 0.9))
    reals = images(d_steps=5)
    for step in range(STEPS):
        for critic_step in range(5):
            x = reals[5 * step + critic_step]
            x_tilde = G(z()).detach()
            loss = D(x_tilde).mean() - D(x).mean()
            eps = torch.rand(BATCH, 1, 1, 1)
            x_hat = (eps * x + (1 - eps) * x_tilde).requires_grad_()
            for index, output in enumerate(D(x_hat)):
                slope = torch.autograd.grad(output, x_hat, create_graph=True, retain_graph=True)[0][index]
                loss = loss + 10 / BATCH * (torch.sqrt((slope**2).sum()) - 1) ** 2
            opt_d.zero_grad()
            loss.backward()
            opt_d.step()
        opt_g.zero_grad()
        (-D(G(z())).mean()).backward()
        opt_g.step()


def play_v15(G: nn.Module, D: nn.Module) -> None:
    """arXiv 2501.05441, eq. 2 with R1 and R2, without augmentation; gamma falls by a cosine until half-time.

    As in the authors' training loop, D's step and G's step each fetch their own batch of reals.
    """
    opt_d = torch.optim.Adam(D.parameters(), lr=4e-4, betas=(0.0, 0.9))
    opt_g = torch.optim.Adam(G.parameters(), lr=1e-4, betas=(0.0, 0.9))
    reals = images(d_steps=2)
    for step in range(STEPS):
        done = min(1.0, step / STEPS / 0.5)
        gamma = 0.005 + (0.05 - 0.005) * (1 + math.cos(math.pi * done)) / 2
        x, fakes = reals[2 * step].clone().requires_grad_(), G(z()).detach().requires_grad_()
        real, fake = D(x), D(fakes)
        loss = -torch.log(torch.sigmoid(real - fake)).mean()
        for output, at in ((real, x), (fake, fakes)):
            slope = torch.autograd.grad(output.sum(), at, create_graph=True)[0]
            loss = loss + gamma / 2 * (slope**2).sum() / BATCH
        opt_d.zero_grad()
        loss.backward()
        opt_d.step()
        opt_g.zero_grad()
        (-torch.log(torch.sigmoid(D(G(z())) - D(reals[2 * step + 1]))).mean()).backward()
        opt_g.step()


def play_lazy_r1(G: nn.Module, D: nn.Module) -> None:
    """StyleGAN2's lazy regularisation: R1 in steps 0, 4, 8, …, four times as heavy, in the same update as the loss."""
    opt_d = torch.optim.Adam(D.parameters(), lr=4e-4, betas=(0.0, 0.9))
    opt_g = torch.optim.Adam(G.parameters(), lr=1e-4, betas=(0.0, 0.9))
    reals = images()
    for step in range(STEPS):
        x, fakes = reals[step].clone().requires_grad_(), G(z()).detach()
        real, fake = D(x), D(fakes)
        loss = torch.clamp(1 - real, min=0).mean() + torch.clamp(1 + fake, min=0).mean()
        if step % 4 == 0:
            slope = torch.autograd.grad(real.sum(), x, create_graph=True)[0]
            loss = loss + 4 * 3.0 / 2 * (slope**2).sum() / BATCH
        opt_d.zero_grad()
        loss.backward()
        opt_d.step()
        opt_g.zero_grad()
        (-D(G(z())).mean()).backward()
        opt_g.step()


def play_mnist_dcgan(G: nn.Module, D: nn.Module) -> None:
    """The tutorial's train_step: one noise batch, D on real, D on fake, both gradients, then both updates."""
    opt_g = torch.optim.Adam(G.parameters(), lr=1e-4, betas=(0.9, 0.999), eps=1e-7)
    opt_d = torch.optim.Adam(D.parameters(), lr=1e-4, betas=(0.9, 0.999), eps=1e-7)
    reals = images("mnist-dcgan")
    for step in range(STEPS):
        fakes = G(z(100))
        real, fake = D(reals[step]), D(fakes)
        g_loss = cross_entropy(fake, 1.0)
        d_loss = cross_entropy(real, 1.0) + cross_entropy(fake, 0.0)
        g_gradients = torch.autograd.grad(g_loss, list(G.parameters()), retain_graph=True)
        d_gradients = torch.autograd.grad(d_loss, list(D.parameters()))
        for network, gradients, opt in ((G, g_gradients, opt_g), (D, d_gradients, opt_d)):
            for parameter, gradient in zip(network.parameters(), gradients, strict=True):
                parameter.grad = gradient
            opt.step()


def play_mimicry(G: nn.Module, D: nn.Module, d_loss, g_loss, betas, decay: float) -> None:
    """Five D steps, each on its own reals and fakes, then one of G. `decay`: what the rate loses over the budget."""
    opt_d = torch.optim.Adam(D.parameters(), lr=2e-4, betas=betas)
    opt_g = torch.optim.Adam(G.parameters(), lr=2e-4, betas=betas)
    reals = images(d_steps=5)
    for step in range(STEPS):
        for opt in (opt_d, opt_g):
            opt.param_groups[0]["lr"] = 2e-4 * (1 - decay * step / STEPS)
        for index in range(5):
            real = D(reals[5 * step + index])
            opt_d.zero_grad()
            d_loss(real, D(G(z()).detach())).backward()
            opt_d.step()
        opt_g.zero_grad()
        g_loss(D(G(z()))).backward()
        opt_g.step()


def play_mimicrys_dcgan(G: nn.Module, D: nn.Module) -> None:
    """Its G's loss has 1e-8 under the logarithm, which changes no gradient by more than that."""

    def d_loss(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
        return cross_entropy(real, 1.0) + cross_entropy(fake, 0.0)

    play_mimicry(G, D, d_loss, lambda fake: -torch.sigmoid(fake).log().mean(), (0.5, 0.999), 0.0)


def play_mimicrys_sngan(G: nn.Module, D: nn.Module) -> None:
    def d_loss(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
        return torch.clamp(1 - real, min=0).mean() + torch.clamp(1 + fake, min=0).mean()

    play_mimicry(G, D, d_loss, lambda fake: -fake.mean(), (0.0, 0.9), 1.0)


PLAYS = {
    "v1": play_bce,
    "v2": play_bce,
    "v3": lambda G, D: play_bce(G, D, real_target=lambda: 0.9),
    "v4": lambda G, D: play_bce(G, D, smoothed(0.0, 0.2), smoothed(0.0, 0.2)),
    "v5": play_v5,
    "v6": play_v6,
    "v7": play_bce,
    "v8": play_hinge,
    "v9": lambda G, D: play_hinge(G, D, 4e-4, 1e-4, (0.0, 0.9)),
    "v10": play_v10,
    "v18": lambda G, D: play_hinge(G, D, 5e-4, 5e-4, (0.0, 0.99)),
    "v20": play_bce,
    "v21": lambda G, D: play_bce(G, D, lr=1e-3),
    "v22": lambda G, D: play_bce(G, D, lr=1e-3, betas=(0.0, 0.99)),
    "v23": lambda G, D: play_bce(G, D, lr=1e-3, betas=(0.0, 0.99)),
    "v24": lambda G, D: play_bce(G, D, lr=1e-3, betas=(0.0, 0.99)),
    "batch-stddev": lambda G, D: play_hinge(G, D, 5e-4, 5e-4, (0.0, 0.99)),
    "bcr": play_bcr,
    "lecam": play_lecam,
    "dragan": play_dragan,
    "instance-noise": play_instance_noise,
    "epochwise": play_epochwise,
    "lsgan": lambda G, D: play(
        G, D, lambda r, f: 0.5 * ((r - 1) ** 2).mean() + 0.5 * (f**2).mean(), lambda _, f: 0.5 * ((f - 1) ** 2).mean()
    ),
    "relativistic": lambda G, D: play(G, D, relativistic, lambda r, f: relativistic(f, r), needs_reals=True),
    "feature-matching": play_feature_matching,
    "softplus-r1": lambda G, D: play(
        G, D, lambda r, f: cross_entropy(r, 1.0) + cross_entropy(f, 0.0), lambda _, f: cross_entropy(f, 1.0), r1=1.0
    ),
    "v15": play_v15,
    "celeba-dcgan": lambda G, D: play_bce(G, D, z=lambda: torch.rand(BATCH, 100) * 2 - 1, reals_of="celeba-dcgan"),
    "mnist-mlp": lambda G, D: play_bce(G, D, betas=(0.9, 0.999), z=lambda: z(64), reals_of="mnist-mlp"),
    "mnist-dcgan": play_mnist_dcgan,
    "mimicry-dcgan": play_mimicrys_dcgan,
    "mimicry-sngan": play_mimicrys_sngan,
}
LAZY_R1 = {"loss": {"name": "hinge"}, "penalties": [{"name": "r1", "gamma": 3.0, "every": 4}], "augment": []}
WITHOUT_AUGMENTATION: dict[str, dict[str, Any]] = {
    name: {"augment": []} for name in ("v15", "v18", "batch-stddev", "bcr", "lecam")
}


@pytest.mark.parametrize("name", PLAYS)
def test_twenty_steps_equal_the_transcription(name: str) -> None:
    generator, discriminator, trained_g, trained_d = ours(name, **WITHOUT_AUGMENTATION.get(name, {}))
    start = weights(generator)
    torch.manual_seed(2)
    PLAYS[name](generator, discriminator)
    assert (weights(generator) - weights(trained_g)).abs().max() < 1e-9
    assert (weights(discriminator) - weights(trained_d)).abs().max() < 1e-9
    assert (weights(generator) - start).abs().max() > 1e-4, "nothing was trained"


def test_a_lazy_penalty_equals_the_transcription() -> None:
    generator, discriminator, trained_g, trained_d = ours("v15", **LAZY_R1)
    torch.manual_seed(2)
    play_lazy_r1(generator, discriminator)
    assert (weights(generator) - weights(trained_g)).abs().max() < 1e-9
    assert (weights(discriminator) - weights(trained_d)).abs().max() < 1e-9


def test_reused_fakes_equal_the_transcription() -> None:
    game = {"name": "alternating", "d_steps": 1, "reuse_fakes": True}
    generator, discriminator, trained_g, trained_d = ours("v8", game=game)
    torch.manual_seed(2)
    play_hinge(generator, discriminator, reuse_fakes=True)
    assert (weights(generator) - weights(trained_g)).abs().max() < 1e-9
    assert (weights(discriminator) - weights(trained_d)).abs().max() < 1e-9


def test_flow_matching_equals_the_transcription() -> None:
    """arXiv 2210.02747, eqs. 22 and 23 with sigma_min = 0: the velocity of a straight path from noise to data."""
    generator, _, trained, without_weights = ours("flow")
    optimizer = torch.optim.Adam(generator.parameters(), lr=1e-3, betas=(0.9, 0.999))
    torch.manual_seed(2)
    for x1 in images():
        x0, t = torch.randn_like(x1), torch.rand(BATCH)
        xt = torch.stack([(1 - t[i]) * x0[i] + t[i] * x1[i] for i in range(BATCH)])
        loss = sum(((generator.velocity(xt, t) - (x1 - x0))[i] ** 2).mean() for i in range(BATCH)) / BATCH
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (weights(generator) - weights(trained)).abs().max() < 1e-9
    assert not list(without_weights.parameters())


def test_a_wrong_game_exceeds_the_tolerance() -> None:
    """The most common mistake, the same fakes in both steps, exceeds the tolerance."""
    generator, discriminator, trained_g, _ = ours("v1")
    opt_d = torch.optim.Adam(discriminator.parameters(), lr=2e-4, betas=(0.5, 0.999))
    opt_g = torch.optim.Adam(generator.parameters(), lr=2e-4, betas=(0.5, 0.999))
    reals = images()
    torch.manual_seed(2)
    for step in range(STEPS):
        latents = z()
        opt_d.zero_grad()
        fakes = generator(latents).detach()
        loss = cross_entropy(discriminator(reals[step]), 1.0) + cross_entropy(discriminator(fakes), 0.0)
        loss.backward()
        opt_d.step()
        opt_g.zero_grad()
        cross_entropy(discriminator(generator(latents)), 1.0).backward()
        opt_g.step()
    assert (weights(generator) - weights(trained_g)).abs().max() > 1e-4


def test_clipping_bounds_every_parameter_of_d() -> None:
    *_, discriminator = ours("v6")
    names = {name for name, _ in discriminator.named_parameters()}
    assert any("1.weight" in name for name in names)
    assert max(parameter.abs().max().item() for parameter in discriminator.parameters()) <= 0.01
