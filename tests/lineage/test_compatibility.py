"""Ideas that exclude each other are refused by the plan, in one line with the reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from torch import nn

from ganealogy.errors import GanealogyError
from ganealogy.lineage import compatibility
from ganealogy.lineage import recipe as recipes
from ganealogy.lineage.versions import read_family
from ganealogy.stages import plan

PARAMS = """
dataset: {name: avatars, image_size: 16, channels: 3}
tree: {versions: [b], seeds: [0]}
train: {kimg: 1, batch_size: 8, lr: 2e-4, width: 4}
"""


def planned(folder: Path, parent: str, changes: dict[str, Any], dataset: str = "avatars") -> dict[str, Any]:
    for path in Path("versions").glob("*.yaml"):
        (folder / path.name).write_text(path.read_text())
    YAML().dump({"title": "b", "idea": "b", "source": "b", "parent": parent, "changes": changes}, folder / "b.yaml")
    params = folder / "params.yml"
    params.write_text(PARAMS.replace("avatars", dataset))
    return plan.make(params, folder)


@pytest.mark.parametrize(
    ("parent", "changes", "message"),
    [
        ("v1", {"adversary": {"penalties": ["r1"]}}, "penalties: r1 with BatchNorm in D: .*depends on the whole batch"),
        ("v6", {"adversary": {"penalties": ["gradient_penalty"]}}, "gradient_penalty with BatchNorm in D"),
        ("celeba-dcgan", {"adversary": {"penalties": ["dragan"]}}, "dragan with BatchNorm in D"),
        ("v7", {"adversary": {"constraint": "clip"}}, "clip with spectral norm in D"),
        (
            "v6",
            {"adversary": {"constraint": None}},
            "wasserstein without a Lipschitz constraint: .*clip.*gradient_penalty",
        ),
        ("v15", {"adversary": {"penalties": ["lecam"]}}, "lecam with relativistic_pairing: .*differences"),
        ("v15", {"adversary": {"augment": ["ada"]}}, "ada with relativistic_pairing"),
        ("v10", {"adversary": {"augment": ["ada"]}}, "ada with wasserstein: .*a critic's zero has no meaning"),
        ("v1", {"adversary": {"loss": "lsgan", "augment": ["ada"]}}, "ada with lsgan: .*regresses to 1 on reals and 0"),
        ("v1", {"adversary": {"game": {"name": "simultaneous", "d_steps": 2}}}, "simultaneous with d_steps 2: .*one D"),
        ("v1", {"adversary": {"game": {"g_steps": 2, "reuse_fakes": True}}}, "reuse_fakes with g_steps or by: epochs"),
        (
            "v13",
            {"adversary": {"loss": "feature_matching"}},
            "needs features of D, and sngan returns logits alone; .*dcgan",
        ),
        ("v8", {"adversary": {"generator_penalties": ["path_length"]}}, "path_length with dcgan: .*a method style"),
        ("v1", {"labels": True}, "labels: true, but the data set has no labels"),
    ],
)
def test_a_conflict_is_refused_with_its_reason(
    tmp_path: Path, parent: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(GanealogyError, match=message) as caught:
        planned(tmp_path, parent, changes)
    assert str(caught.value).startswith(str(tmp_path / "b.yaml")) and "\n" not in str(caught.value)


def test_a_sigmoid_at_ds_output_is_refused() -> None:
    recipe = recipes.complete(read_family(["v8"])["v8"].recipe, "v8")
    discriminator = nn.Sequential(nn.Conv2d(3, 1, 4), nn.Flatten(0), nn.Sigmoid())
    with pytest.raises(GanealogyError, match=r"hinge with a sigmoid at D's output: .*logits"):
        compatibility.check(recipe, nn.Tanh(), discriminator, "b")
    gated = nn.Sequential(nn.Sigmoid(), nn.Linear(3, 1))
    compatibility.check(recipe, nn.Tanh(), gated, "a gate inside is none at the output")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"adversary": {"penalties": ["r1", "r1"]}}, "penalties = .*listed twice: r1"),
        ({"adversary": {"penalties": ["r3"]}}, r"penalties\.0: unknown name 'r3'; known: .*r1, r2"),
        ({"adversary": {"penalties": [{"name": "r1", "gamma": -1}]}}, r"penalties\.0\.gamma = -1: .*greater than"),
        ({"adversary": {"penalties": [{"name": "r1", "weight": 1}]}}, "r1 has no parameter 'weight'; known: gamma"),
        ({"adversary": {"penalties": [{"name": "r1", "every": 0}]}}, r"penalties\.0\.every = 0: .*greater than"),
        ({"adversary": {"augment": [{"name": "diffaugment", "probability": 2}]}}, "probability = 2: .*less than"),
        ({"adversary": {"augment": [{"name": "instance_noise", "deviation": {"from": 1}}]}}, "deviation = .*required"),
        ({"optimizers": {"generator": {"clip_norm": 0}}}, "clip_norm = 0: .*greater than 0"),
        ({"optimizers": {"generator": {"schedule": {"from": 1, "to": 0, "shape": "zigzag"}}}}, "'cosine' or 'linear'"),
        ({"ema": {"half_life_kimg": -1}}, "half_life_kimg"),
        ({"ema": {"halflife": 1}}, r"unknown key 'ema\.halflife'; known here: half_life_kimg, half_life_share, ramp"),
        ({"ema": {}}, "ema = .*: set one of half_life_kimg and half_life_share, and the other to null"),
        ({"ema": {"half_life_kimg": 1, "half_life_share": 0.1}}, "set one of half_life_kimg and half_life_share"),
        ({"ema": {"half_life_share": 1.5}}, "half_life_share"),
    ],
)
def test_a_wrong_value_is_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(GanealogyError, match=message) as caught:
        planned(tmp_path, "v7", changes)
    assert "\n" not in str(caught.value)


def test_the_protocol_has_the_number_of_classes_of_labelled_data(tmp_path: Path) -> None:
    changes = {"labels": True}
    files = planned(tmp_path, "v1", changes, dataset="mnist")
    assert files["versions/b.json"]["protocol"]["classes"] == 10


def test_flipped_reals_concern_the_trainings_alone(tmp_path: Path) -> None:
    params, plans = tmp_path / "params.yaml", []
    for flip in ("false", "true"):
        params.write_text(PARAMS.replace("[b]", "[v1]").replace("channels: 3", f"channels: 3, flip: {flip}"))
        plans.append(plan.make(params))
    assert [files["versions/v1.json"]["protocol"]["flip"] for files in plans] == [False, True]
    changed = {name for name in plans[0] if plans[0][name] != plans[1][name]}
    assert changed == {"versions/v1.json", "tree.json"}


def test_the_fingerprint_covers_listed_components_only(tmp_path: Path) -> None:
    code = planned(tmp_path, "v15", {"adversary": {"penalties": ["r1"]}})["versions/b.json"]["code"]
    used = {
        name for name in code if name.startswith(("ganealogy.adversary.penalties.", "ganealogy.adversary.augment."))
    }
    listed = {"ganealogy.adversary.penalties.r1", "ganealogy.adversary.augment.diffaugment"}
    assert {name for name in used if "._" not in name} == listed


def test_dotted_keys_contain_the_names_of_listed_components() -> None:
    version = read_family(["v15"])["v15"]
    flat = recipes.flatten(version.recipe)
    assert flat["adversary.penalties.r1.gamma"][0]["value"]["from"] == 0.05
    assert version.origins["adversary.penalties.r1.gamma"] == "v15"
    assert version.origins["adversary.augment.diffaugment.name"] == "v12"


@pytest.mark.parametrize(
    ("parent", "changes", "message"),
    [
        (
            "v1",
            {"discriminator": None},
            "missing: discriminator; only adversary.game: flow_matching has no discriminator",
        ),
        (
            "v1",
            {"adversary": {"game": "flow_matching"}},
            "flow_matching has no discriminator; remove discriminator, adv",
        ),
        (
            "flow",
            {"adversary": {"penalties": ["r1"]}},
            "flow_matching has no discriminator; remove adversary.penalties",
        ),
        ("flow", {"adversary": {"game": "alternating"}}, "missing: discriminator, adversary.loss, optimizers.discrim"),
    ],
)
def test_a_game_has_all_of_a_discriminator_or_nothing(
    tmp_path: Path, parent: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(GanealogyError, match=message):
        planned(tmp_path, parent, changes)
