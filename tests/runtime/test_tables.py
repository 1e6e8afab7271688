"""Tables in terminals of several widths: no word is broken, no line is too wide, no text is markup."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any, cast

import pytest
from helpers import five_seeds
from rich.cells import cell_len
from rich.console import Console

from ganealogy.evaluation import standalone
from ganealogy.lineage import recipe, tables
from ganealogy.lineage.versions import known, read_family
from ganealogy.params import schema
from ganealogy.report import noise, seeds
from ganealogy.runtime.tables import Column, Fitted
from ganealogy.stages import plan
from ganealogy.tree_types import TreeJson

WIDTHS = (60, 80, 100, 200)
HOSTILE = [
    "a [/x]",
    "[red]x",
    "\x1b]52;c;Y2F0\x07",
    "gnp\u202eexe.",
    "a\nb\tc",
    "a\b\b\r",
    "[link=file:///]x[/link]",
    "\udcff",
]


def printed(part: Any, width: int) -> str:
    console = Console(width=width, file=(file := io.StringIO()), color_system=None)
    console.print(*part, crop=False) if isinstance(part, list) else console.print(part)
    return file.getvalue()


@pytest.fixture(scope="module")
def whole_tree(tmp_path_factory: pytest.TempPathFactory) -> TreeJson:
    """The plan of all versions for pictures of 32 pixels."""
    content = schema.read_yaml(Path("tests/tiny.yaml"))
    content["tree"]["versions"] = [name for name in known() if re.fullmatch(r"v\d+", name)]
    content["dataset"]["image_size"] = 32
    params = tmp_path_factory.mktemp("plan") / "params.yaml"
    params.write_text(json.dumps(content))
    return cast(TreeJson, plan.make(params, Path("versions"))["tree.json"])


def of_the_plan(tree: TreeJson, tmp_path: Path) -> tuple[Any, list[str]]:
    times = {member["name"]: "3 min 20 s" for member in tree["versions"]}
    return tables.table(tree, times), [word for member in tree["versions"] for word in member["title"].split()]


def of_a_recipe(tree: TreeJson, tmp_path: Path) -> tuple[Any, list[str]]:
    version = read_family(["v15"])["v15"]
    return tables.recipe(version, recipe.complete(version.recipe, "")), [
        "relativistic_pairing",
        "optimizers.generator.lr",
    ]


def of_a_difference(tree: TreeJson, tmp_path: Path) -> tuple[Any, list[str]]:
    family = read_family(["v12", "v16"])
    recipes = {name: recipe.complete(family[name].recipe, "") for name in ("v12", "v16")}
    return tables.difference("v12", "v16", recipes), ["relativistic_pairing", "optimizers.discriminator.schedule"]


def of_the_family(tree: TreeJson, tmp_path: Path) -> tuple[Any, list[str]]:
    return tables.FamilyTree(read_family(known())), ["DiffAugment", "Relativistic", "tutorial's"]


def of_seeds(tree: TreeJson, tmp_path: Path) -> tuple[Any, list[str]]:
    root = five_seeds.make_tree(tmp_path)
    return seeds.render(seeds.plan_seeds(root, "v5")), ["difference", "uncertainty"]


def of_noise(tree: TreeJson, tmp_path: Path) -> tuple[Any, list[str]]:
    values = {kind: {"0": 100.0, "1": 104.0, "2": 99.0} for kind in noise.LABELS}
    record: Any = {"version": "v1", "lead": "fd_layout_edges_32_64", "values": values, "runs": 3}
    return noise.terminal(record), ["standard", "deviation", "varied", "fd_layout_edges_32_64"]


def of_a_measurement(tree: TreeJson, tmp_path: Path) -> tuple[Any, list[str]]:
    result = standalone.Measurement("real", "fake", {"fd_layout_edges_32_64": 1.25, "precision_effnet_lite0": 0.3})
    protocol: Any = {"reals": 500, "fakes": 400, "fingerprint": "0123456789ab", "extractor": "layout_edges_32_64"}
    result.protocol = dict.fromkeys(result.metrics, protocol)
    result.not_measured = {"fd_inf_effnet_lite0": "needs 5120 samples, has 500"}
    return standalone.table(result), ["fd_layout_edges_32_64", "fd_inf_effnet_lite0", "0123456789ab", "1.25"]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(
    "make", [of_the_plan, of_a_recipe, of_a_difference, of_the_family, of_seeds, of_noise, of_a_measurement]
)
def test_words_stay_whole_and_lines_fit(make: Any, width: int, whole_tree: TreeJson, tmp_path: Path) -> None:
    part, words = make(whole_tree, tmp_path)
    text = printed(part, width)
    assert max(map(cell_len, text.splitlines())) <= width
    found = set(re.split(r"[\s│┃]+", text))
    assert [word for word in words if not found & {word, f"adversary.{word}", f"{word}:"}] == []


@pytest.mark.parametrize("width", WIDTHS)
def test_a_list_of_mappings_takes_few_lines(width: int, whole_tree: TreeJson, tmp_path: Path) -> None:
    """The gamma of R1 by picture size, 250 letters, took 24 lines of a narrow column."""
    text = printed(of_a_recipe(whole_tree, tmp_path)[0], width)
    gamma = text.rpartition("r1.gamma: ")[2].partition("penalties.r2.gamma: ")[0].removesuffix("adversary.")
    assert len(gamma.splitlines()) <= 300 // width + 2 and gamma.split()[-1] == "0.5}}]"


def test_a_narrow_plan_has_the_ideas_and_a_wide_one_the_changes(whole_tree: TreeJson, tmp_path: Path) -> None:
    narrow, wide = (printed(of_the_plan(whole_tree, tmp_path)[0], width) for width in (60, 200))
    assert "Hinge loss" in narrow and "bce → hinge" not in narrow
    assert "Hinge loss" in wide and "loss bce → hinge" in wide


def test_a_command_to_copy_stays_on_its_line(tmp_path: Path) -> None:
    root = five_seeds.make_tree(tmp_path)
    five_seeds.plan_seeds(root, list(range(20)))
    for version, factors in five_seeds.FACTORS.items():
        for seed in range(20):
            five_seeds.add_run(root, version, seed, factors[seed % 5])
    text = printed(seeds.render(seeds.plan_seeds(root, "v5", 0.01)), 60)
    assert f"-S '++tree.more_seeds.v5=[{','.join(map(str, range(20, 40)))}]'" in text


def test_a_deep_family_has_smaller_steps(tmp_path: Path) -> None:
    version = read_family(["v1"])["v1"]
    family = {"v0": version.__class__("v0", version.file, version.path, {}, {}, ("v0",))}
    child = version.file.model_copy
    for at in range(1, 40):
        file = child(update={"parent": f"v{at - 1}", "title": "One more"})
        family[f"v{at}"] = version.__class__(f"v{at}", file, version.path, {}, {}, (f"v{at}",))
    text = printed(tables.FamilyTree(family), 60)
    assert len(text.splitlines()) == 40 and max(map(cell_len, text.splitlines())) <= 60 and "v39 One more" in text


@pytest.mark.parametrize("content", HOSTILE)
@pytest.mark.parametrize("width", (60, 200))
def test_texts_are_shown_as_they_are(content: str, width: int) -> None:
    made = Fitted([Column("a"), Column("b", wraps=True)], [[content, content]], title=content, caption=content)
    text = printed(made, width)
    assert "\x1b" not in text and "\u202e" not in text and "\b" not in text and "\r" not in text
    visible = {"a [/x]": "a [/x]", "[red]x": "[red]x", "\x1b]52;c;Y2F0\x07": r"\x1b]52;c;Y2F0\x07", "\udcff": r"\udcff"}
    assert visible.get(content, "a" if "a" in content else "x") in text


@pytest.mark.parametrize("content", HOSTILE)
def test_a_version_s_words_do_not_steer_the_terminal(content: str, whole_tree: TreeJson) -> None:
    members: Any = [{**member, "title": content or "x"} for member in whole_tree["versions"]]
    version = read_family(["v3"])["v3"]
    named = version.__class__("v3", version.file.model_copy(update={"title": content}), version.path, {}, {}, ("v3",))
    folder = standalone.Measurement(content, content)
    for part in (
        tables.table(cast(TreeJson, {**whole_tree, "versions": members})),
        tables.FamilyTree(
            {"v3": named.__class__("v3", named.file.model_copy(update={"parent": None}), named.path, {}, {}, ("v3",))}
        ),
        tables.recipe(named, cast(Any, {"labels": content})),
        tables.difference("v1", "v3", cast(Any, {"v1": {"a": content}, "v3": {"a": 1}})),
        standalone.table(folder),
    ):
        text = printed(part, 80)
        assert all(letter.isprintable() or letter == "\n" for letter in text)


def test_any_width_and_any_words_make_a_table() -> None:
    for width in range(1, 40):
        made = Fitted(
            [Column("name"), Column("x" * 50, wraps=True), Column("n", right=True, spare=1)], [["猫" * 9, "", "7"]]
        )
        assert max(map(cell_len, printed(made, width).splitlines())) <= max(width, 3)
