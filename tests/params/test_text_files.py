"""params.yaml and version files as editors, word processors and Windows leave them: one line each, with the remedy."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ganealogy.errors import GanealogyError
from ganealogy.lineage import new_version
from ganealogy.lineage.versions import known, left_out, misnamed, read_family
from ganealogy.params import edit, schema

TEXT = Path("tests/tiny.yaml").read_text()


def swapped(old: str, new: str) -> bytes:
    assert old in TEXT
    return TEXT.replace(old, new).encode()


PLAIN = {
    "BOM": TEXT.encode("utf-8-sig"),
    "CRLF": TEXT.replace("\n", "\r\n").encode(),
    "old Mac": TEXT.replace("\n", "\r").encode(),
    "odd letters in a comment": swapped("# a comment", "# “größer” – 大"),
}
FAULTS: dict[str, tuple[bytes, str, Callable[[bytes], bytes]]] = {
    # content, words of the message, what it says to do
    "UTF-16": (TEXT.encode("utf-16"), "line 1: not UTF-8", lambda b: b.decode("utf-16").encode()),
    "UTF-16 without a BOM": (TEXT.encode("utf-16-le"), "UTF-16", lambda b: b.decode("utf-16-le").encode()),
    "Latin-1": (
        swapped("# a comment", "# größer").decode().encode("latin-1"),
        "line 6: not UTF-8",
        lambda b: b.decode("latin-1").encode(),
    ),
    "tab": (swapped("  kimg", "\tkimg"), "line 14.*spaces, not tabs", lambda b: b.replace(b"\t", b"  ")),
    "no-break space before a key": (
        swapped("  kimg", "\u00a0 kimg"),
        "no-break space",
        lambda b: b.replace("\u00a0".encode(), b" "),
    ),
    "no-break space after a number": (
        swapped("0.064", "0.064\u00a0"),
        r"train.kimg = .*no-break space",
        lambda b: b.replace("\u00a0".encode(), b""),
    ),
    "curly quotes": (
        swapped("avatars", "“avatars”"),
        "dataset.name = .*left double quotation mark",
        lambda b: b.replace("“".encode(), b'"').replace("”".encode(), b'"'),
    ),
    "dash for a minus": (swapped("0.0002", "2e–4"), "train.lr = .*en dash", lambda b: b.replace("–".encode(), b"-")),
    "zero width space": (
        swapped("kimg", "k\u200bimg"),
        "zero width space",
        lambda b: b.replace("\u200b".encode(), b""),
    ),
    "full-width colon": (swapped("kimg:", "kimg："), "fullwidth colon", lambda b: b.replace("：".encode(), b":")),
    "git's conflict": (
        b"<<<<<<< HEAD\n" + TEXT.encode() + b"=======\n>>>>>>> other\n",
        "conflict markers begin in line 1",
        lambda b: b.split(b"\n", 1)[1].split(b"=======")[0],
    ),
}


@pytest.mark.parametrize("content", PLAIN.values(), ids=PLAIN)
def test_habits_of_editors_do_no_harm(content: bytes, tmp_path: Path) -> None:
    params = tmp_path / "params.yaml"
    params.write_bytes(content)
    assert schema.load(params).train.kimg == 0.064
    edit.add_version("v5", params)
    assert schema.load(params).tree.versions == ["v1", "v3", "v5"]


@pytest.mark.parametrize(("content", "message", "remedy"), FAULTS.values(), ids=FAULTS)
def test_a_fault_of_the_text_is_named_with_its_remedy(
    content: bytes, message: str, remedy: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    params = tmp_path / "params.yaml"
    for work in (schema.load, lambda path: edit.add_version("v5", path), lambda path: edit.use("folder", None, path)):
        params.write_bytes(content)
        if work is schema.load or "line" in message:
            with pytest.raises(GanealogyError, match=message):
                work(params)
            assert params.read_bytes() == content
    params.write_bytes(remedy(content))
    assert schema.load(params).train.kimg == 0.064


@pytest.mark.parametrize("content", ["", "# empty\n", "tree: {}\n", "tree: 3\n", "[]\n", "tree: {versions: v1}\n"])
def test_an_edit_of_an_incomplete_file_is_one_error(content: str, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(content)
    with pytest.raises(GanealogyError, match=r"params\.yaml"):
        edit.add_version("v5", tmp_path / "params.yaml")
    assert (tmp_path / "params.yaml").read_text() == content


@pytest.fixture
def versions(tmp_path: Path) -> Path:
    folder = tmp_path / "versions"
    folder.mkdir()
    for name in ("v1", "v3"):
        shutil.copy(f"versions/{name}.yaml", folder)
    return folder


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("v2.yml", "v2.yaml"),
        ("V2.yaml", "v2.yaml"),
        ("v2.YAML", "v2.yaml"),
        ("v2.yaml.txt", "v2.yaml"),
        ("v2 (1).yaml", "v2-1.yaml"),
        ("v_2.yaml", "v-2.yaml"),
        ("2.yaml", "v2.yaml"),
    ],
)
def test_a_misnamed_version_file_is_named_with_its_remedy(name: str, remedy: str, versions: Path) -> None:
    shutil.copy("versions/v2.yaml", versions / name)
    assert known(versions) == ["v1", "v3"]
    version = remedy.removesuffix(".yaml")
    with pytest.raises(GanealogyError, match=f"rename it,? (such as )?to {remedy}$"):
        read_family([version], versions)
    assert misnamed(versions)[name].endswith(f"to {remedy}")
    (versions / name).rename(versions / remedy)
    assert version in known(versions) and read_family([version], versions) and misnamed(versions) == {}


@pytest.mark.parametrize(
    "name", ["v2~", ".v2.yaml.swp", ".v2.yaml", "v2.yaml.bak", "v2.yaml~", "#v2.yaml#", "README.md"]
)
def test_copies_of_an_editor_are_no_versions(name: str, versions: Path) -> None:
    (versions / name).write_text("title: half")
    assert known(versions) == ["v1", "v3"] and misnamed(versions) == {}


def test_what_is_no_file_is_no_version(versions: Path) -> None:
    """A directory or a broken link, though unused, ended the plan."""
    (versions / "v4.yaml").mkdir()
    (versions / "v6.yaml").symlink_to("nowhere")
    assert known(versions) == ["v1", "v3"] and left_out(["v1"], versions) == ["v3"]
    assert misnamed(versions).keys() == {"v4.yaml", "v6.yaml"}
    for name in ("v4", "v6"):
        with pytest.raises(GanealogyError, match="move it out of the folder"):
            read_family([name], versions)
        with pytest.raises(GanealogyError, match="exists already"):
            new_version.new(name, "v1", versions, versions / "params.yaml")
    assert (versions / "v6.yaml").is_symlink()


def test_the_plan_says_which_files_it_does_not_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from click.testing import CliRunner

    from ganealogy.cli.main import cli
    from ganealogy.stages import _side_by_side, plan

    monkeypatch.chdir(tmp_path)
    Path("versions").mkdir()
    Path("versions/V2.yml").touch()
    Path("params.yaml").write_text(TEXT)
    member = {"name": "v1", "listed": True, "seeds": [0], "parent": None, "title": "", "changes": None, "recipe": {}}
    made = {"versions": [{**member, "parameters": None, "flops": None}], "dataset": {"name": "a", "image_size": 1}}
    made["protocol"] = {"kimg": 1, "batch_size": 1, "lr": 1}
    monkeypatch.setattr(plan, "run", lambda: made)
    monkeypatch.setattr(_side_by_side, "times_of_plan", lambda settings: ({}, ""))
    done = CliRunner().invoke(cli, ["plan"])
    assert done.exit_code == 0 and "versions/V2.yml is not read" in done.output
