"""The operations of a step agree with counts by hand; a multiply and an add are two."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from ganealogy.adversary import build as adversary
from ganealogy.lineage import flops
from ganealogy.networks import _build as networks
from ganealogy.stages import plan


def planned(tmp_path: Path, version: str, train: str = "") -> dict[str, Any]:
    params = tmp_path / "params.yaml"
    params.write_text(
        "dataset: {name: avatars, image_size: 32}\n"
        f"tree: {{versions: [{version}], seeds: [0]}}\n"
        f"train: {{kimg: 1, batch_size: 8, lr: 0.0002, width: 16{train}}}\n"
    )
    made: dict[str, Any] = plan.make(params)[f"versions/{version}.json"]
    return made


def convolution(inside: int, outside: int, kernel: int, side: int) -> int:
    """Return the operations of one image's forward pass. `side`: of the smaller map, one product per kernel entry."""
    return 2 * inside * outside * kernel**2 * side**2


WIDTH = 16
D = [
    convolution(3, WIDTH, 4, 16),
    convolution(WIDTH, 2 * WIDTH, 4, 8),
    convolution(2 * WIDTH, 4 * WIDTH, 4, 4),
    convolution(4 * WIDTH, 1, 4, 1),
]
G = [
    convolution(128, 4 * WIDTH, 4, 4 // 4),  # the input is one pixel
    convolution(4 * WIDTH, 2 * WIDTH, 4, 4),
    convolution(2 * WIDTH, WIDTH, 4, 8),
    convolution(WIDTH, 3, 4, 16),
]


def test_v1_costs_what_a_count_by_hand_gives(tmp_path: Path) -> None:
    """D step: G forward, D forward and backward on reals and fakes; without a gradient at the images the first layer
    has one product less. G step: both forward, D backward to its images only, G backward to its weights.
    """
    made = planned(tmp_path, "v1")
    d_step = sum(G) + 2 * (3 * sum(D) - D[0])
    g_step = sum(G) + sum(D) + sum(D) + 2 * sum(G) - G[0]
    assert flops.per_image(made["recipe"], made["protocol"]) == d_step + g_step


def test_more_d_steps_and_a_penalty_cost_more(tmp_path: Path) -> None:
    cost = {
        name: flops.per_image(made["recipe"], made["protocol"])
        for name in ("v1", "v6", "v10")
        for made in [planned(tmp_path, name)]
    }
    d_step = sum(G) + 2 * (3 * sum(D) - D[0])
    assert cost["v6"] == cost["v1"] + d_step
    assert cost["v10"] > cost["v1"] + 4 * d_step, "five D steps, and second derivatives on top"


def test_turns_cost_what_their_updates_cost_per_g_update(tmp_path: Path) -> None:
    d_step = sum(G) + 2 * (3 * sum(D) - D[0])
    made, costs = planned(tmp_path, "v1"), []
    for game in ({}, {"by": "epochs"}, {"d_steps": 3, "g_steps": 2}, {"d_steps": 3, "g_steps": 2, "by": "epochs"}):
        made["recipe"]["adversary"]["game"] = {"name": "alternating", **game}
        costs.append(flops.per_image(made["recipe"], made["protocol"]))
    assert costs[0] == costs[1] and costs[2] == costs[3] == costs[0] + d_step // 2


def test_a_lazy_penalty_costs_its_share(tmp_path: Path) -> None:
    made = planned(tmp_path, "v10")
    costs = []
    for penalties in ([], [{"every": 1}], [{"every": 8}]):
        made["recipe"]["adversary"]["penalties"] = [
            {"name": "gradient_penalty", "weight": 10.0, **every} for every in penalties
        ]
        costs.append(flops.per_image(made["recipe"], made["protocol"]))
    none, each, lazy = costs
    assert lazy - none == (each - none) // 8


@pytest.mark.parametrize(("kind", "every"), [("penalties", 16), ("generator_penalties", 4)])
def test_stylegan2s_penalties_cost_their_share(tmp_path: Path, kind: str, every: int) -> None:
    made = planned(tmp_path, "stylegan2")
    rules, costs = made["recipe"]["adversary"], []
    (penalty,) = rules[kind]
    assert penalty["every"] == every
    for penalties in ([], [penalty | {"every": 1}], [penalty]):
        rules[kind] = penalties
        costs.append(flops.per_image(made["recipe"], made["protocol"]))
    none, each, lazy = costs
    assert lazy - none == pytest.approx((each - none) / every, abs=1) and lazy > none


def test_counting_changes_neither_threads_nor_random_numbers(tmp_path: Path) -> None:
    made = planned(tmp_path, "v1")
    before = torch.get_num_threads(), torch.get_rng_state()
    flops.per_image(made["recipe"], made["protocol"])
    assert torch.get_num_threads() == before[0]
    assert torch.equal(torch.get_rng_state(), before[1])


def test_the_plan_contains_the_count(tmp_path: Path) -> None:
    params = tmp_path / "params.yaml"
    params.write_text(Path("tests/tiny.yaml").read_text())
    files = plan.make(params)
    planned = {member["name"]: member["flops"] for member in files["tree.json"]["versions"] if member["listed"]}
    assert planned == {
        name: flops.per_image(files[f"versions/{name}.json"]["recipe"], files[f"versions/{name}.json"]["protocol"])
        for name in ("v1", "v3")
    }


class NoModules(nullcontext[None]):
    """In place of the counter's tracker of modules, whose hooks do not allow gradients at images."""

    parents = ("Global",)


@pytest.mark.parametrize("version", [*(f"v{number}" for number in range(1, 19)), "fastgan"])
def test_the_count_is_that_of_a_real_step(version: str, tmp_path: Path) -> None:
    """By torch's own counter, with the real optimizers and eight images."""
    made = planned(tmp_path, version)
    recipe, protocol = made["recipe"], made["protocol"]
    game = adversary.game(recipe, networks.generator(recipe, protocol), networks.discriminator(recipe, protocol))
    reals = torch.rand(8, 3, 32, 32)
    counter = FlopCounterMode(display=False)
    counter.mod_tracker = NoModules()  # type: ignore[assignment]
    with counter:
        game.step(lambda _: reals, None, progress=0.5)
    exact = version != "v16"  # the matrices of ADA's pipeline are partly per batch
    expected = counter.get_total_flops() / 8
    assert flops.per_image(recipe, protocol) == (expected if exact else pytest.approx(expected, rel=1e-3))


def test_a_sample_costs_g_or_each_pass_of_its_sampler(tmp_path: Path) -> None:
    made = planned(tmp_path, "v1")
    assert flops.per_sample(made["recipe"], made["protocol"]) == sum(G)
    made = planned(tmp_path, "flow")
    sixteen = flops.per_sample(made["recipe"], made["protocol"])
    made["recipe"]["generator"] |= {"steps": 1, "solver": "euler"}
    assert sixteen == 16 * flops.per_sample(made["recipe"], made["protocol"]) > 0
