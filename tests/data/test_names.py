"""Names of pictures are printable and stay different; folders are the classes that torchvision's ImageFolder has."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest
from PIL import Image

from ganealogy.data.names import class_folders, printable_name, quoted

ODD = [
    *("t:01.png", "new\nline.png", "a\\b.png", "..\\up.png", "\udcff\udcfe.png", "trailing .png ", "dot.png."),
    *("esc\x1b[2J.png", "\u202egnp.exe", "a%5Cb.png", "\x7f", "-rf", "*", "it's", "$HOME `id`", "x" * 255),
]


@pytest.mark.parametrize("name", ODD)
def test_any_name_is_shown_in_printable_characters(name: str) -> None:
    assert printable_name(name).isprintable() and "\\" not in printable_name(name)


@pytest.mark.parametrize("name", ["photo 1.png", "犬/été.png", "😀.png", "100%.png", "ab:c.png", "set/c:d.png"])
def test_usual_names_stay_as_they_are(name: str) -> None:
    assert printable_name(name) == name


def test_different_names_stay_different() -> None:
    names = [*ODD, *map(printable_name, ODD), "t%3A01.png", "%", "%4", "%41", "A"]
    assert len({printable_name(name) for name in names}) == len(set(names))


@pytest.mark.parametrize("name", ODD)
def test_a_quoted_name_is_that_file_in_a_shell(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("mine")
    assert quoted(name).isprintable()
    command = f"mv -- {quoted(name)} moved"
    subprocess.run(["bash", "-c", command], cwd=tmp_path, check=True)
    assert [path.name for path in tmp_path.iterdir()] == ["moved"], shlex.split(command)


SETS = {
    "two classes": ["dogs/1.png", "cats/1.png", "cats/2.png"],
    "in one folder": ["set/dogs/1.png", "set/cats/1.png"],
    "in several folders": ["a/b/10/1.png", "a/b/9/1.png", "a/b/Z/x/1.png"],
}


@pytest.mark.parametrize("case", SETS)
def test_folders_are_the_classes_of_imagefolder(case: str, tmp_path: Path) -> None:
    from torchvision.datasets import ImageFolder

    for name in SETS[case]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (2, 2)).save(tmp_path / name)
    root = tmp_path
    while len([*root.iterdir()]) == 1:
        root = next(root.iterdir())
    theirs = ImageFolder(str(root))
    found = class_folders(SETS[case])
    assert found is not None and found[0] == theirs.classes
    label_of = {Path(path).relative_to(tmp_path).as_posix(): label for path, label in theirs.samples}
    assert found[1].tolist() == [label_of[name] for name in SETS[case]]


@pytest.mark.parametrize(
    "names", [[], ["1.png"], ["a/1.png", "a/2.png"], ["a/1.png", "b/1.png", "top.png"], ["./1.png"]]
)
def test_a_single_folder_or_a_picture_beside_the_folders_means_no_classes(names: list[str]) -> None:
    assert class_folders(names) is None
