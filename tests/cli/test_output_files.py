"""A file that a person names for output replaces nothing of another kind, and no set that is measured."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from ganealogy.cli.main import cli


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    path = tmp_path / "reals.npz"
    np.savez(path, np.random.default_rng(0).integers(0, 256, (60, 16, 16, 3), np.uint8))
    return path


def measure(*arguments: object) -> tuple[int, str]:
    done = CliRunner().invoke(cli, ["measure", *map(str, arguments), "--extractor", "pixel8"])
    return done.exit_code, done.output


@pytest.mark.parametrize(
    ("command", "suffix"),
    [
        ("measure --real {reals} --fake {reals} --json {out}", ".json"),
        ("measure --real {reals} --save-statistics {out}", ".npz"),
        ("export v1 0 --out {out}", ".onnx"),
    ],
)
@pytest.mark.parametrize("name", ["holiday.png", "thesis", "weights.safetensors"])
def test_a_file_of_another_kind_is_not_replaced(
    command: str, suffix: str, name: str, pictures: Path, tmp_path: Path
) -> None:
    out = tmp_path / name
    out.write_text("mine")
    done = CliRunner().invoke(cli, [part.format(reals=pictures, out=out) for part in command.split()])
    assert done.exit_code == 2 and f"{out} exists and is no {suffix} file" in " ".join(done.output.split())
    assert out.read_text() == "mine"


def test_the_same_command_can_be_repeated(pictures: Path, tmp_path: Path) -> None:
    numbers, statistics = tmp_path / "numbers.json", tmp_path / "statistics.npz"
    for _ in range(2):
        code, said = measure("--real", pictures, "--fake", pictures, "--json", numbers, "--save-statistics", statistics)
        assert code == 0, said
    assert json.loads(numbers.read_text()) and statistics.stat().st_size


@pytest.mark.parametrize("side", ["--real", "--fake"])
@pytest.mark.parametrize("spelling", ["the same", "a link"])
def test_a_set_is_not_replaced_by_its_own_statistics(side: str, spelling: str, pictures: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.npz"
    other.write_bytes(pictures.read_bytes())
    out = pictures
    if spelling == "a link":
        (tmp_path / "link.npz").symlink_to(pictures)
        out = tmp_path / "link.npz"
    sides = {"--real": other, "--fake": other, side: pictures}
    before = pictures.read_bytes()
    code, said = measure(*(part for pair in sides.items() for part in pair), "--save-statistics", out)
    assert code == 2 and "is one of the sets that are measured" in " ".join(said.split()), said
    assert pictures.read_bytes() == before
    code, said = measure(*(part for pair in sides.items() for part in pair), "--save-statistics", tmp_path / "new.npz")
    assert code == 0, said
