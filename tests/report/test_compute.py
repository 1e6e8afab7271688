"""Effects at equal compute against closed forms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ganealogy.report import wording
from ganealogy.report.compute import fairness
from ganealogy.report.findings import Findings, Run, Version
from ganealogy.workspace import run_dir

KIMG = (0, 10, 20, 30, 40)


def version(name: str, flops: int | None, curves: dict[int, list[float]], **more: Any) -> Version:
    made = Version(name, name, "", "", "", more.pop("parent", None), True, 0, [], more.pop("recipe", {}), {}, flops)
    for seed, values in curves.items():
        ticks = [{"kimg": kimg, "fd_pixel8": value} for kimg, value in zip(KIMG, values, strict=False)]
        made.runs.append(Run(name, seed, run_dir(name, seed), more.get("status", "finished"), kimg=40.0, ticks=ticks))
    return made


def findings(*versions: Version) -> Findings:
    return Findings(Path(), list(versions), {}, {"tracker": "pixel8"}, {}, {"lead": "fd_pixel8"}, {}, {}, {}, [])


def test_a_child_of_four_times_the_operations_is_read_at_a_quarter_of_its_training() -> None:
    parent = version("v1", 100, {0: [400, 200, 100, 90, 80], 1: [400, 200, 100, 90, 40]})
    child = version("v2", 400, {0: [400, 100, 50, 45, 40], 1: [400, 100, 50, 45, 40]}, parent="v1")
    fair = fairness(findings(parent, child), child)
    assert fair is not None
    assert fair.flops == 1000 * 40 * 100, "where the parent ends"
    assert (fair.updates.low, fair.updates.high, fair.updates.seeds) == (pytest.approx(0.5), pytest.approx(1.0), 2)
    assert fair.updates.ratio == pytest.approx((0.5 * 1.0) ** 0.5)
    assert fair.compute.ratio == pytest.approx((100 / 80 * 100 / 40) ** 0.5)
    assert wording.effect_over_seeds(fair.compute) == "+77 % (+25 % to ×2.5)"


def test_the_dearer_side_is_interpolated_on_the_logarithm_whichever_it_is() -> None:
    curve = [400.0, 200.0, 100.0, 50.0, 25.0]  # halves every 10 kimg
    parent = version("v1", 300, {3: curve})
    child = version("v2", 200, {3: curve, 4: curve}, parent="v1")
    fair = fairness(findings(parent, child), child)
    assert fair is not None and fair.updates.ratio == 1
    assert fair.compute.ratio == pytest.approx(2 ** (-(40 - 40 * 200 / 300) / 10))
    assert fair.compute.seeds == 1 and wording.effect_over_seeds(fair.compute) == "−60 %"


def test_a_root_is_compared_with_the_first_other_version_of_against() -> None:
    curve = [400.0, 200.0, 100.0, 50.0, 25.0]
    gan, flow = version("v1", 100, {0: curve}), version("flow", 800, {0: curve})
    found = findings(gan, flow)
    assert fairness(found, flow) is None
    found.evaluate["against"] = ["flow", "v1"]
    fair = fairness(found, flow)
    assert fair is not None and (fair.other, fair.updates.ratio) == ("v1", 1)
    assert fair.compute.ratio == pytest.approx(2 ** ((40 - 40 / 8) / 10))


def test_equal_operations_give_equal_effects() -> None:
    parent, child = version("v1", 7, {0: [9, 8, 7, 6, 5]}), version("v2", 7, {0: [9, 7, 6, 5, 4]}, parent="v1")
    fair = fairness(findings(parent, child), child)
    assert fair is not None and fair.compute.ratio == fair.updates.ratio == pytest.approx(0.8)


def test_there_is_no_effect_without_a_parent_operations_or_a_finished_seed_of_both() -> None:
    curve = [9.0, 8.0, 7.0, 6.0, 5.0]
    parent = version("v1", 7, {0: curve})
    assert fairness(findings(parent), parent) is None
    for child in (
        version("v2", None, {0: curve}, parent="v1"),
        version("v2", 7, {1: curve}, parent="v1"),
        version("v2", 7, {0: curve}, parent="v1", status="diverged"),
    ):
        assert fairness(findings(parent, child), child) is None


@pytest.mark.parametrize(
    ("flops", "text"),
    [(634e6, "634 MFLOP"), (6.34e6, "6.3 MFLOP"), (1.25e12, "1.2 TFLOP"), (19e18, "19.0 EFLOP"), (None, "–")],
)
def test_operations_have_a_readable_unit(flops: float | None, text: str) -> None:
    assert wording.operations(flops) == text


def test_pinned_rates_name_the_optimizer() -> None:
    optimizers = {"generator": {"name": "adam", "lr": "1x"}, "discriminator": {"name": "sgd", "lr": 0.02}}
    assert version("v5", 7, {}, recipe={"optimizers": optimizers}).pinned_rates == ["D's sgd at 0.02"]
    assert version("v5", 7, {}).pinned_rates == []


def test_a_training_costs_its_images_times_a_step() -> None:
    assert version("v1", 110, {0: [9.0], 1: [9.0]}).training_flops == 110 * 40_000
    assert version("v1", None, {0: [9.0]}).training_flops is None


@pytest.mark.parametrize(
    ("ratio", "text"),
    [
        (0.875, "−12 %"),
        (1.234, "+23 %"),
        (1.004, "0 %"),
        (0.996, "0 %"),
        (1.999, "+100 %"),
        (2.5, "×2.5"),
        (12.34, "×12.3"),
    ],
)
def test_a_ratio_is_a_percentage_up_to_twice(ratio: float, text: str) -> None:
    assert wording.change(ratio) == text
