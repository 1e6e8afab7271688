"""Version files: merging, origins, and each fault as one line with file, key and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from ganealogy.errors import GanealogyError
from ganealogy.lineage import recipe as recipes
from ganealogy.lineage.versions import left_out, read_family

ROOT_FILE = """
title: Root
idea: start
source: here
recipe:
  latent: {size: 8}
  generator: dcgan
  discriminator: {name: dcgan, norm: batch}
  adversary:
    loss: {name: bce, real_target: 0.9}
  optimizers:
    generator: {name: adam, betas: [0.5, 0.999]}
    discriminator: {name: adam, lr: 2x, betas: [0.5, 0.999]}
"""


def child(parent: str, changes: str) -> str:
    return f"title: Child\nidea: one\nsource: here\nparent: {parent}\nchanges:\n  {changes}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.yaml").write_text(ROOT_FILE)
    return tmp_path


def test_a_child_is_its_parent_plus_its_changes(folder: Path) -> None:
    (folder / "b.yaml").write_text(child("a", "adversary: {loss: {generator_target: 0.8}}"))
    family = read_family(["b"], folder)
    assert list(family) == ["a", "b"], "parents come first"
    assert family["b"].recipe["adversary"]["loss"] == {"name": "bce", "real_target": 0.9, "generator_target": 0.8}
    assert family["b"].origins["adversary.loss.generator_target"] == "b"
    assert family["b"].origins["adversary.loss.real_target"] == "a"


def test_another_component_drops_the_parameters_of_the_old_one(folder: Path) -> None:
    (folder / "b.yaml").write_text(
        child("a", "optimizers: {discriminator: {name: sgd, lr: 0.02}}\n  adversary: {loss: hinge}")
    )
    recipe = read_family(["b"], folder)["b"].recipe
    assert recipe["optimizers"]["discriminator"] == {"name": "sgd", "lr": 0.02}
    assert recipe["adversary"]["loss"] == {"name": "hinge"}


def test_rates_follow_the_base_rate_unless_pinned(folder: Path) -> None:
    (folder / "b.yaml").write_text(child("a", "optimizers: {generator: {lr: 5e-5}}"))
    family = read_family(["b"], folder)
    root, pinned = (recipes.complete(family[name].recipe, name) for name in ("a", "b"))
    assert recipes.resolve_rates(root, 1e-3)["optimizers"]["generator"]["lr"] == pytest.approx(1e-3)
    assert recipes.resolve_rates(root, 1e-3)["optimizers"]["discriminator"]["lr"] == pytest.approx(2e-3)
    assert recipes.resolve_rates(pinned, 1e-3)["optimizers"]["generator"]["lr"] == 5e-5


def test_a_complete_recipe_states_every_default(folder: Path) -> None:
    whole = recipes.complete(read_family(["a"], folder)["a"].recipe, "a")
    assert whole["generator"]["activation"] == "relu"
    assert whole["adversary"]["game"] == {
        "name": "alternating",
        "d_steps": 1,
        "g_steps": 1,
        "by": "batches",
        "reuse_fakes": False,
    }
    assert whole["adversary"]["loss"]["fake_target"] == 0.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ("adversary: {los: hinge}", r"b\.yaml: changes: unknown key 'adversary\.los'.*known here:.*loss"),
        ("adversary: {loss: hing}", r"adversary\.loss: unknown name 'hing'; known: .*bce, .*hinge"),
        ("adversary: {loss: '../bce'}", r"adversary\.loss\.name = '\.\./bce'"),
        ("generator: {name: dcgam}", "unknown name 'dcgam'; known: .*dcgan"),
        ("generator: build", "unknown name 'build'; known: .*dcgan"),
        ("generator: _build", r"generator\.name = '_build'"),
        ("latent: {size: eight}", r"latent\.size = 'eight'"),
        ("adversary: {loss: {real_target: 1.5}}", r"loss\.real_target = 1\.5: .*less than or equal to 1"),
        ("adversary: {loss: {target: 1}}", "bce has no parameter 'target'; known: real_target, fake_target"),
        ("discriminator: {norm: layer}", r"discriminator\.norm = 'layer': .*'batch', 'spectral' or 'none'"),
        ("optimizers: {generator: {lr: fast}}", r"optimizers\.generator\.lr = 'fast': use a multiple of train\.lr"),
        ("optimizers: {generator: {lr: .nan}}", r"optimizers\.generator\.lr = nan"),
        ("optimizers: {generator: {betas: [0.5]}}", r"optimizers\.generator\.betas = \[0\.5\]"),
    ],
)
def test_a_wrong_change_is_named(folder: Path, changes: str, message: str) -> None:
    (folder / "b.yaml").write_text(child("a", changes))
    with pytest.raises(GanealogyError, match=message) as caught:
        recipes.complete(read_family(["b"], folder)["b"].recipe, "b.yaml")
    assert "\n" not in str(caught.value)


def test_a_missing_version_lists_the_known(folder: Path) -> None:
    with pytest.raises(GanealogyError, match=r"params\.yaml: tree\.versions: no version 'v9' .*known: a"):
        read_family(["v9"], folder)


@pytest.mark.parametrize("name", ["../a", "v1; rm -rf x", "<script>", "A", ""])
def test_a_hostile_parent_is_refused(folder: Path, name: str) -> None:
    (folder / "b.yaml").write_text(child(repr(name), "latent: {size: 9}"))
    with pytest.raises(GanealogyError, match=r"parent: no version"):
        read_family(["b"], folder)


def test_a_cycle_of_parents_is_spelled_out(folder: Path) -> None:
    (folder / "b.yaml").write_text(child("c", "latent: {size: 9}"))
    (folder / "c.yaml").write_text(child("b", "latent: {size: 9}"))
    with pytest.raises(GanealogyError, match="cycle of parents: b → c → b"):
        read_family(["b"], folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("title: x\nidea: y\nsource: z\n", "give a complete 'recipe'"),
        ("title: x\nidea: y\nsource: z\nparent: a\n", "give its 'changes'"),
        ("title: x\ntitle: y\n", r"line 2: found duplicate key"),
        ("title: [x\n", "not valid YAML"),
        ("- a\n- b\n", "expected a mapping"),
        ("", "expected a mapping"),
        ("title: x\nidea: y\nsource: z\nparent: a\nchanges: {latent: {size: 9}}\nauthor: me\n", "unknown key 'author'"),
    ],
)
def test_a_faulty_file_is_named(folder: Path, content: str, message: str) -> None:
    (folder / "b.yaml").write_text(content)
    with pytest.raises(GanealogyError, match=message) as caught:
        read_family(["b"], folder)
    assert str(caught.value).startswith(str(folder / "b.yaml"))


def test_every_shipped_version_can_be_completed() -> None:
    names = [path.stem for path in Path("versions").glob("*.yaml")]
    for name, version in read_family(sorted(names)).items():
        assert recipes.complete(version.recipe, name)


def test_versions_left_out_belong_to_a_listed_tree(folder: Path) -> None:
    parents = {"b": "a", "c": "b", "d": "c", "x": "y", "y": "x", "p": "[a]", "q": "nothing"}
    for name, parent in parents.items():
        (folder / f"{name}.yaml").write_text(f"parent: {parent}\n")
    (folder / "broken.yaml").write_text("[")
    assert left_out(["c"], folder) == ["a", "b", "d"], "also its own ancestors"
    assert left_out(["a", "b", "c", "d"], folder) == [] and left_out(["q"], folder) == []
