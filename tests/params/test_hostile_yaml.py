"""YAML files that would take gigabytes or minutes are refused at once, in every file that a person writes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.pipeline import ROOT

from ganealogy.errors import GanealogyError
from ganealogy.lineage import new_version, versions
from ganealogy.params import edit, schema
from ganealogy.workspace import check_version_name

TINY = (ROOT / "tests/tiny.yaml").read_text()
VERSION = "title: t\nidea: i\nsource: s\nparent: v1\n"
LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
MERGED = "m0: &m0 {k: 1}\n" + "".join(f"m{n}: &m{n} {{<<: [{', '.join([f'*m{n - 1}'] * 9)}]}}\n" for n in range(1, 12))
MANY, DEEP, LARGE = "more than 10,000 values", "nested deeper than 50", "larger than 65,536 bytes"
HOSTILE = {
    "aliases of aliases": (LAUGHS, MANY),
    "merges of merges": (MERGED, MANY),
    "aliases in a row": (f"a: &a [{'1, ' * 200}]\nb: [{'*a, ' * 200}]\n", MANY),
    "aliases as keys": (f"a: &a [{'1, ' * 200}]\nb: [{'{? *a : 1}, ' * 200}]\n", MANY),
    "a list in itself": ("a: &a [*a]\n", "&a contains itself"),
    "a mapping in itself": ("a: &a {b: {c: *a}}\n", "&a contains itself"),
    "brackets": ("a: " + "[" * 60_000, DEEP),
    "braces": ("a: " + "{a: " * 10_000, DEEP),
    "dashes": ("a:\n " + "- " * 30_000, DEEP),
    "questions": ("? " * 30_000, DEEP),
    "a block": ("".join("  " * level + "a:\n" for level in range(150)), DEEP),
    "numbers": ("a: [" + "1," * 30_000 + "]\n", MANY),
    "keys": ("".join(f"{n}:\n" for n in range(10_001)), MANY),
    "documents": ("---\n" * 15_000, MANY),
    "a text": ("a: " + "x" * 5_000_000, LARGE),
    "a key": ("? " + "x" * 5_000_000, LARGE),
    "comments": ("# x\n" * 2_000_000, LARGE),
    "20,000 seeds": (TINY.replace("seeds: [0]", f"seeds: {[*range(20_000)]}"), "tree.seeds has at most 1,000"),
}


def in_params(text: str, folder: Path) -> None:
    (folder / "params.yaml").write_text(text if "dataset:" in text else text + TINY)
    schema.load(folder / "params.yaml")


def in_a_version(text: str, folder: Path) -> None:
    (folder / "v1.yaml").write_bytes((ROOT / "versions/v1.yaml").read_bytes())
    (folder / "v2.yaml").write_text(f"{text}\n{VERSION}changes: {{adversary: *a11}}\n")
    versions.read_family(["v2"], folder)


def in_a_preset(text: str, folder: Path) -> None:
    (folder / "folder.yaml").write_text(text)
    (folder / "pictures").mkdir()
    edit.use("folder", str(folder / "pictures"), folder / "params.yaml")


def in_edited_params(text: str, folder: Path) -> None:
    (folder / "params.yaml").write_text(text)
    edit.add_version("v2", folder / "params.yaml")


@pytest.mark.parametrize("read", [in_params, in_a_version, in_a_preset, in_edited_params])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_at_once(
    name: str, read: Callable[[str, Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edit, "PRESETS", tmp_path)
    text, message = HOSTILE[name]
    began = time.process_time()
    with pytest.raises(GanealogyError, match=message) as refused:
        read(text, tmp_path)
    assert time.process_time() - began < 1.5
    assert ".yaml: " in str(refused.value) and len(str(refused.value)) < 300


def test_an_alias_of_a_small_value_works(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(
        TINY.replace("versions: [v1, v3]", "versions: &all [v1, v3]") + "  against: *all\n"
    )
    assert schema.load(tmp_path / "params.yaml").evaluate.against == ["v1", "v3"]


@pytest.mark.parametrize(
    "value", ["no", "on", "010", "0o10", "0x1f", "1e3", "1_000", "2001-01-01", "~", "null", "12:30:45"]
)
@pytest.mark.parametrize("directive", ["", "%YAML 1.1\n---\n"])
def test_a_value_that_yaml_takes_for_no_text_is_named_where_a_name_is_expected(
    value: str, directive: str, tmp_path: Path
) -> None:
    (tmp_path / "params.yaml").write_text(directive + TINY.replace("[v1, v3]", f"[v1, {value}]"))
    try:
        names = schema.load(tmp_path / "params.yaml").tree.versions
    except GanealogyError as error:
        assert "tree.versions" in str(error) and "params.yaml: " in str(error)
    else:
        assert names == ["v1", value]


@pytest.mark.parametrize("seeds", ["seeds: [{}]", "seeds: [0]\n  more_seeds: {{v1: [{}]}}"])
def test_a_thousand_seeds_are_the_most(seeds: str, tmp_path: Path) -> None:
    for count, message in ((1000, ""), (1001, "at most 1000 items"), (9000, "at most 1000 items")):
        listed = ", ".join(map(str, range(count)))
        (tmp_path / "params.yaml").write_text(TINY.replace("seeds: [0]", seeds.format(listed)))
        if message:
            with pytest.raises(GanealogyError, match=message):
                schema.load(tmp_path / "params.yaml")
        else:
            assert len(schema.load(tmp_path / "params.yaml").tree.seeds_of("v1")) == count


@pytest.mark.parametrize("name", ["v" * 65, "v" * 249, "v" * 5000, "con.txt", "nul ", "V1", "é"])
def test_a_version_name_that_no_file_can_have_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(GanealogyError, match=r"is not a version name: .* 64 at most"):
        check_version_name(name)
    with pytest.raises(GanealogyError, match=r"is not a version name: .* 64 at most"):
        new_version.new(name, "v1", ROOT / "versions", tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text(TINY.replace("[v1, v3]", f"[v1, '{name}']"))
    with pytest.raises(GanealogyError, match=r"tree\.versions = .* is not a version name"):
        schema.load(tmp_path / "params.yaml")


@pytest.mark.parametrize("name", ["v" * 64, "con", "nul", "aux-1"])
def test_the_longest_name_and_those_that_windows_reserves_can_be_made(name: str, tmp_path: Path) -> None:
    (tmp_path / "v1.yaml").write_bytes((ROOT / "versions/v1.yaml").read_bytes())
    (tmp_path / "params.yaml").write_text(TINY.replace("[v1, v3]", "[v1]"))
    new_version.new(name, "v1", tmp_path, tmp_path / "params.yaml")
    assert [*versions.read_family([name], tmp_path)] == ["v1", name]
    assert schema.load(tmp_path / "params.yaml").tree.versions == ["v1", name]


def test_a_chain_of_too_many_parents_is_named(tmp_path: Path) -> None:
    (tmp_path / "v0.yaml").write_bytes((ROOT / "versions/v1.yaml").read_bytes())
    for number in range(1, 1100):
        (tmp_path / f"v{number}.yaml").write_text(
            f"title: t\nidea: i\nsource: s\nparent: v{number - 1}\nchanges: {{labels: true}}\n"
        )
    with pytest.raises(GanealogyError, match="more than 900 ancestors of 'v1099'"):
        versions.read_family(["v1099"], tmp_path)
    assert len(versions.read_family(["v800"], tmp_path)) == 801
    (tmp_path / "w.yaml").write_text("title: t\nidea: i\nsource: s\nparent: v800\nwithout: [v3]\n")
    assert len(versions.read_family(["w"], tmp_path)["w"].ideas) == 801
