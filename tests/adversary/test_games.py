"""Both games with each component, from a version file to a few steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from ruamel.yaml import YAML

from ganealogy import components
from ganealogy.adversary import build as adversary
from ganealogy.adversary.divergence import Diverged
from ganealogy.lineage import recipe as recipes
from ganealogy.lineage.versions import read_family
from ganealogy.networks import _build as networks

PROTOCOL = {"channels": 3, "image_size": 16, "width": 4, "classes": 3}
ROOT = """
title: Root
idea: start
source: here
recipe:
  latent: {size: 8}
  generator: dcgan
  discriminator: {name: dcgan, norm: none}
  adversary: {loss: bce}
  optimizers: {generator: adam, discriminator: adam}
"""
CHANGES: dict[str, Any] = {
    **{name: {"adversary": {"loss": name}} for name in components.known("adversary.losses")},
    **{name: {"adversary": {"penalties": [name]}} for name in components.known("adversary.penalties")},
    **{
        name: {"generator": "stylegan2", "adversary": {"generator_penalties": [name]}}
        for name in components.known("adversary.generator_penalties")
    },
    **{name: {"adversary": {"augment": [name]}} for name in ("ada", "diffaugment", "instance_noise")},
    "ada_pipeline": {"adversary": {"augment": [{"name": "ada_pipeline", "probability": 0.5}]}},
    **{name: {"optimizers": {"discriminator": name}} for name in components.known("adversary.optimizers")},
    "clipped gradients": {"optimizers": {"generator": {"clip_norm": 0.5}}},
    "linear rate": {"optimizers": {"generator": {"schedule": {"from": 1, "to": 0, "shape": "linear"}}}},
    "labels": {"labels": True},
    "everything": {
        "labels": True,
        "adversary": {
            "loss": "relativistic_pairing",
            "penalties": ["r1", "r2", "gradient_penalty", "bcr", "dragan"],
            "augment": [{"name": "diffaugment", "probability": 0.5}, "instance_noise"],
        },
    },
}


def recipe(folder: Path, changes: dict[str, Any]) -> dict[str, Any]:
    (folder / "a.yaml").write_text(ROOT)
    YAML().dump({"title": "b", "idea": "b", "source": "b", "parent": "a", "changes": changes}, folder / "b.yaml")
    return recipes.resolve_rates(recipes.complete(read_family(["b"], folder)["b"].recipe, "b"), 1e-3)


def gan(recipe: dict[str, Any]) -> Any:
    torch.manual_seed(0)
    generator, discriminator = networks.generator(recipe, PROTOCOL), networks.discriminator(recipe, PROTOCOL)
    return adversary.game(recipe, generator, discriminator)


def batch(index: int) -> torch.Tensor:
    return torch.randn(6, 3, 16, 16, generator=torch.Generator().manual_seed(index)).tanh()


def classes(index: int) -> torch.Tensor:
    return torch.arange(6) % 3


def play(recipe: dict[str, Any], steps: int = 3) -> tuple[Any, dict[str, torch.Tensor]]:
    game = gan(recipe)
    for step in range(steps):
        statistics = game.step(batch, classes if recipe["labels"] else None, progress=step / steps)
    return game, statistics


@pytest.mark.parametrize("game", ["alternating", "simultaneous"])
@pytest.mark.parametrize("name", CHANGES)
def test_a_version_file_can_use_each_component(tmp_path: Path, name: str, game: str) -> None:
    planned = recipe(tmp_path, recipes.merge({"adversary": {"game": game}}, CHANGES[name]))
    before = [parameter.clone() for parameter in gan(planned).gan.generator.parameters()]
    played, statistics = play(planned)
    assert {"d_loss", "g_loss", "real_score", "fake_score"} <= set(statistics)
    for term, key in (("penalty", "penalties"), ("g_penalty", "generator_penalties")):
        assert (term in statistics) == bool(planned["adversary"][key])
    terms = {"d_loss_real", "d_loss_fake"}
    assert statistics.keys() & terms == (set() if planned["adversary"]["loss"]["name"].startswith("rel") else terms)
    if terms <= statistics.keys():
        assert torch.equal(statistics["d_loss_real"] + statistics["d_loss_fake"], statistics["d_loss"])
    assert all(torch.isfinite(value) and not value.requires_grad for value in statistics.values())
    after = list(played.gan.generator.parameters())
    assert any(not torch.equal(old, new) for old, new in zip(before, after, strict=True))
    assert all(parameter.requires_grad for parameter in played.gan.discriminator.parameters())


@pytest.mark.parametrize("component", ["diffaugment", "instance_noise"])
def test_an_augmentation_that_does_nothing_changes_no_bit(tmp_path: Path, component: str) -> None:
    off = {"diffaugment": {"probability": 0.0}, "instance_noise": {"deviation": 0.0}}[component]
    plain, _ = play(recipe(tmp_path, {"labels": False, "latent": {"size": 8}}))
    through, _ = play(recipe(tmp_path, {"adversary": {"augment": [{"name": component, **off}]}}))
    for old, new in zip(plain.gan.generator.parameters(), through.gan.generator.parameters(), strict=True):
        assert torch.equal(old, new)


def test_penalties_are_summed_apart_from_d_loss(tmp_path: Path) -> None:
    each = [{"name": "r1", "gamma": 1.0}, {"name": "r2", "gamma": 3.0}]
    one, other, both, none = (
        play(recipe(tmp_path, {"adversary": {"penalties": chosen}, "latent": {"size": 8}}), steps=1)[1]
        for chosen in (each[:1], each[1:], each, [])
    )
    torch.testing.assert_close(both["penalty"], one["penalty"] + other["penalty"])
    assert both["d_loss"] == none["d_loss"]


def test_a_lazy_penalty_counts_d_steps(tmp_path: Path) -> None:
    """With two D steps per G step and `every: 4`, it is in the first D step of every other G step."""
    changes = {"adversary": {"game": {"d_steps": 2}, "penalties": [{"name": "r1", "every": 4}, "bcr"]}}
    game = gan(recipe(tmp_path, changes))
    r1, bcr = game.gan.penalties
    phases = [game.phase(number) for number in range(3)]
    assert [phase.discriminator for phase in phases] == [((r1, bcr), (bcr,)), ((bcr,), (bcr,)), ((r1, bcr), (bcr,))]
    only = recipe(tmp_path, {"adversary": {"penalties": [{"name": "r1", "every": 4}]}})
    shown = [gan(only).step(batch, number=number)["penalty"] for number in range(5)]
    assert shown[0] == shown[4] > 0 and shown[1] == shown[2] == shown[3] == 0
    each = gan(recipe(tmp_path, {"adversary": {"penalties": ["r1"]}})).step(batch)["penalty"]
    torch.testing.assert_close(shown[0], 4 * each)


@pytest.mark.parametrize("name", ["alternating", "simultaneous"])
def test_a_lazy_generator_penalty_counts_g_steps_and_moves_g_alone(tmp_path: Path, name: str) -> None:
    changes = {"generator": {"name": "stylegan2", "mixing": 0.0}, "adversary": {"game": name}}
    lazy = {"generator_penalties": [{"name": "path_length", "every": 4}]}
    penalised = recipe(tmp_path, recipes.merge(changes, {"adversary": lazy}))
    game = gan(penalised)
    (penalty,) = game.gan.generator_penalties
    assert [game.phase(number).generator for number in range(5)] == [(penalty,), (), (), (), (penalty,)]
    shown = [gan(penalised).step(batch, number=number)["g_penalty"] for number in range(5)]
    assert shown[0] == shown[4] > 0 and shown[1] == shown[2] == shown[3] == 0
    each = {"generator_penalties": [{"name": "path_length", "every": 1}]}
    once = gan(recipe(tmp_path, recipes.merge(changes, {"adversary": each})))
    torch.testing.assert_close(shown[0], 4 * once.step(batch)["g_penalty"])
    assert set(once.gan.state_dict()) == {"generator_penalties.0.mean"} and once.gan.state_dict().popitem()[1] > 0
    plain = gan(recipe(tmp_path, changes))
    scalars = plain.step(batch)
    assert "g_penalty" not in scalars
    for one, other, equal in (
        (once.gan.discriminator, plain.gan.discriminator, True),
        (once.gan.generator, plain.gan.generator, False),
    ):
        same = [torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True)]
        assert all(same) == equal


def test_d_and_g_take_turns_of_several_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    game = gan(recipe(tmp_path, {"adversary": {"game": {"d_steps": 2, "g_steps": 3}}}))
    assert [game.d_updates(number) for number in range(8)] == [0, 2, 2, 2, 4, 4, 4, 6]
    assert [game.batches(number) for number in range(5)] == [0, 3, 4, 5, 8]
    updates: list[str] = []
    for name in ("discriminator_step", "generator_step"):
        update = getattr(game, name)
        noted = lambda *given, name=name, update=update: updates.append(name[0]) or update(*given)  # noqa: E731
        monkeypatch.setattr(game, name, noted)
    for number in range(4):
        taken: list[int] = []
        statistics = game.step(lambda index, taken=taken: taken.append(index) or batch(index), number=number)
        assert ("d_loss" in statistics) == (number % 3 == 0) and "g_loss" in statistics
        assert taken == list(range(game.batches(number + 1) - game.batches(number)))
    assert "".join(updates) == "ddgggddg"


def test_turns_of_epochs_begin_with_an_epoch(tmp_path: Path) -> None:
    game = gan(recipe(tmp_path, {"adversary": {"game": {"d_steps": 2, "g_steps": 1, "by": "epochs"}}}))
    game.batches_per_epoch = 4
    assert [game.d_updates(number) for number in range(6)] == [0, 8, 8, 8, 8, 16]
    assert [len(game.phase(number).discriminator) for number in range(5)] == [8, 0, 0, 0, 8]
    assert game.batches(4) == 3 * 4, "two epochs of D and one of G"


def test_schedules_move_the_optimizer(tmp_path: Path) -> None:
    ramp = {"shape": "linear", "until": 0.5}
    game = gan(
        recipe(
            tmp_path,
            {
                "optimizers": {
                    "generator": {
                        "betas": [0.0, {"from": 0.9, "to": 0.99, **ramp}],
                        "schedule": {"from": 1.0, "to": 0.25, **ramp},
                    }
                }
            },
        )
    )
    (group,) = game.gan.g_optimizer.optimizer.param_groups
    seen = []
    for progress in (0.0, 0.25, 0.5, 1.0):
        game.step(batch, progress=progress)
        seen.append((group["lr"], *group["betas"]))
    expected = [(1e-3, 0.0, 0.9), (6.25e-4, 0.0, 0.945), (2.5e-4, 0.0, 0.99), (2.5e-4, 0.0, 0.99)]
    assert seen == [pytest.approx(row) for row in expected]
    assert game.gan.d_optimizer.optimizer.param_groups[0]["lr"] == 1e-3


def test_clip_norm_shortens_the_gradient(tmp_path: Path) -> None:
    changes = {"optimizers": {"discriminator": {"name": "sgd", "lr": 1.0, "clip_norm": 0.01}}}
    game = gan(recipe(tmp_path, changes))
    before = torch.cat([parameter.detach().flatten().clone() for parameter in game.gan.discriminator.parameters()])
    game.step(batch)
    after = torch.cat([parameter.detach().flatten() for parameter in game.gan.discriminator.parameters()])
    assert (after - before).norm().item() == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("game", ["alternating", "simultaneous"])
def test_a_non_finite_penalty_stops_before_the_update(tmp_path: Path, game: str) -> None:
    planned = recipe(
        tmp_path, {"adversary": {"game": game, "loss": "wasserstein", "penalties": [{"name": "r1", "gamma": 1e38}]}}
    )
    played = gan(planned)
    with torch.no_grad():
        for parameter in played.gan.discriminator.parameters():
            parameter.mul_(1e6)
    before = [parameter.clone() for parameter in played.gan.discriminator.parameters()]
    with pytest.raises(Diverged, match="discriminator"):
        played.step(batch)
    after = list(played.gan.discriminator.parameters())
    assert all(torch.equal(old, new) for old, new in zip(before, after, strict=True))
    assert all(torch.isfinite(parameter).all() for parameter in after)


def test_buffers_of_components_are_restored(tmp_path: Path) -> None:
    planned = recipe(tmp_path, {"adversary": {"penalties": ["lecam"], "augment": [{"name": "ada", "share": 0.2}]}})
    game, _ = play(planned, steps=8)
    state = game.gan.state_dict()
    assert set(state) == {"penalties.0.anchors", "augment.0.probability", "augment.0.signs", "augment.0.adjusted"}
    fresh = gan(planned)
    fresh.gan.load_state_dict(state)
    assert all(torch.equal(fresh.gan.state_dict()[name], value) for name, value in state.items())


def test_only_a_relativistic_loss_uses_reals_in_the_g_step(tmp_path: Path) -> None:
    """From a batch of its own, as D has just been updated on the last one."""
    for loss, looks, fetched in (("hinge", 3, [0, 1]), ("relativistic_pairing", 4, [0, 1, 2])):
        game = gan(recipe(tmp_path, {"adversary": {"loss": loss, "game": {"d_steps": 2}}}))
        seen: list[int] = []
        game.gan.discriminator.register_forward_hook(lambda *_, seen=seen: seen.append(1))
        indices: list[int] = []
        game.step(lambda index, indices=indices: indices.append(index) or batch(index))
        assert len(seen) == looks + 2 and indices == fetched and game.batches(1) == len(fetched)


def test_reused_fakes_save_a_pass_of_g_and_the_reals_of_its_step(tmp_path: Path) -> None:
    for loss in ("hinge", "relativistic_pairing"):
        game = gan(recipe(tmp_path, {"adversary": {"loss": loss, "game": {"d_steps": 2, "reuse_fakes": True}}}))
        passes: list[int] = []
        game.gan.generator.register_forward_hook(lambda *_, passes=passes: passes.append(1))
        indices: list[int] = []
        game.step(lambda index, indices=indices: indices.append(index) or batch(index))
        assert len(passes) == 2 and indices == [0, 1] and game.batches(1) == 2


def test_r3gan_is_stable_for_some_hundred_steps() -> None:
    """v15's loss and v16's networks on tiny pictures: finite, D does not win, G changes."""
    planned = recipes.resolve_rates(recipes.complete(read_family(["v16"])["v16"].recipe, "v16"), 2e-4)
    torch.manual_seed(0)
    protocol = {"channels": 3, "image_size": 16, "width": 4}
    generator, discriminator = networks.generator(planned, protocol), networks.discriminator(planned, protocol)
    game = adversary.game(planned, generator, discriminator)
    losses = []
    for step in range(200):
        torch.manual_seed(step)
        colours = torch.rand(8, 3, 1, 1).expand(8, 3, 16, 16) * 2 - 1
        statistics = game.step(lambda _, colours=colours: colours, progress=step / 200)
        losses.append(statistics["d_loss"].item())
        assert statistics["penalty"] < 10
    assert 0.05 < sum(losses[-50:]) / 50 < 1.5


@pytest.mark.parametrize("name", ["hinge", *components.known("adversary.penalties")])
def test_in_bf16_a_d_that_is_differentiated_at_images_runs_in_fp32(tmp_path: Path, name: str) -> None:
    """In the D step only; G learns from a D in bfloat16."""
    planned = recipe(tmp_path, CHANGES[name])
    generator, discriminator = networks.generator(planned, PROTOCOL), networks.discriminator(planned, PROTOCOL)
    game = adversary.game(planned, generator, discriminator, "bf16")
    seen: list[torch.dtype] = []
    convolution = next(part for part in discriminator.modules() if isinstance(part, torch.nn.Conv2d))
    convolution.register_forward_hook(lambda _module, _given, found: seen.append(found.dtype))
    fakes = batch(1)
    game.discriminator_step(batch(0), fakes, None, 0.0, tuple(game.gan.penalties))
    exact = name in ("r1", "r2", "gradient_penalty", "dragan")
    assert set(seen) == {torch.float32 if exact else torch.bfloat16}
    seen.clear()
    game.discriminator_step(batch(0), fakes, None, 0.0, ())
    assert set(seen) == {torch.bfloat16}, "a step in which no penalty is due"
    seen.clear()
    game.generator_step(batch(0), game.gan.generate_fakes(4, batch(0), None), None, 0.0)
    assert seen == [torch.bfloat16]
