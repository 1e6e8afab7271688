"""Two processes, started by torchrun on gloo, against one process with the same global batch."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers import rank_cases
from helpers.pipeline import ROOT, Workspace
from safetensors.torch import load_file

from ganealogy.errors import GanealogyError
from ganealogy.runtime import distributed, process
from ganealogy.stages import _seeds
from ganealogy.stages._jobs import Job

TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folders of the cases trained by one process and by two. Each resumes in "taken up" what the other began."""
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    rank_cases.main(one)
    shutil.copytree(one / "begun", two / "taken up")
    engine = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = Workspace(ROOT).run(sys.executable, *engine, "tests/helpers/rank_cases.py", "train", str(two))
    assert (two / "whole" / "other").is_dir(), f"a second rank ran\n{done.stdout}"
    shutil.copytree(two / "begun", one / "taken up")
    rank_cases.train(rank_cases.RESUMED, one / "taken up")
    return one, two


def lines(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "train" / "metrics.jsonl").read_text().splitlines()]


def assert_same_curves(found: list[dict[str, float]], expected: list[dict[str, float]], relativistic: bool) -> None:
    assert len(found) == len(expected) > 2
    for line, wanted in zip(found, expected, strict=True):
        line, wanted = ({**values} for values in (line, wanted))
        if relativistic and "real_score" in wanted:
            # Such a loss leaves D's constant open, and Adam takes whole steps along a gradient of rounding errors.
            for values in (line, wanted):
                values["real_score"] -= values.pop("fake_score")
        assert line == pytest.approx(wanted, rel=TOLERANCE, abs=TOLERANCE)


@pytest.mark.parametrize("case", rank_cases.CASES)
def test_two_ranks_have_the_losses_of_one_process(folders: tuple[Path, Path], case: str) -> None:
    one, two = (folder / "whole" / case for folder in folders)
    relativistic = case in (rank_cases.RESUMED, "all that couples a batch")
    assert_same_curves(lines(two), lines(one), relativistic)
    found, expected = (load_file(folder / "train/weights/generator-last.safetensors") for folder in (two, one))
    assert found.keys() == expected.keys(), "checkpoints do not tell how many there were"
    for name, tensor in expected.items():  # BatchNorm's statistics included
        # Adam's first steps are the rate times the sign of a gradient, which may be a rounding error's.
        torch.testing.assert_close(found[name], tensor, rtol=1e-3, atol=2e-4 * 2 * rank_cases.STEPS)
        if "running" in name:
            torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-5)


def test_ranks_with_draws_of_their_own_still_end_with_the_same_weights(folders: tuple[Path, Path]) -> None:
    """Their losses differ from those with equal draws, so the comparison above can fail."""
    case = "dropout, simultaneous"
    first, second = folders[1] / "own draws" / case / "train", folders[1] / "own draws" / "other" / case / "train"
    for name in ("weights/generator-last.safetensors", "weights/discriminator-last.safetensors", "metrics.jsonl"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
    own, equal = (lines(folders[1] / folder / case)[-1]["d_loss"] for folder in ("own draws", "whole"))
    assert abs(own - equal) > 10 * TOLERANCE


@pytest.mark.parametrize("case", rank_cases.CASES)
def test_ranks_end_with_the_same_bytes(folders: tuple[Path, Path], case: str) -> None:
    first, second = folders[1] / "whole" / case / "train", folders[1] / "whole" / "other" / case / "train"
    for name in ("weights/generator-last.safetensors", "weights/discriminator-last.safetensors", "metrics.jsonl"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


@pytest.mark.parametrize("place", [0, 1], ids=["two begin, one goes on", "one begins, two go on"])
def test_a_training_resumes_with_another_number_of_ranks(folders: tuple[Path, Path], place: int) -> None:
    case = rank_cases.RESUMED
    begun = json.loads((folders[1 - place] / "begun" / case / "train" / "run.json").read_text())
    assert begun["status"] == "interrupted" and f"at step {rank_cases.STOP} " in begun["reason"]
    assert_same_curves(lines(folders[place] / "taken up" / case), lines(folders[0] / "whole" / case), True)


def test_a_distance_is_the_same_for_one_two_and_four_shards(tmp_path: Path) -> None:
    Workspace(ROOT).run(sys.executable, "tests/helpers/rank_cases.py", "shards", str(tmp_path))
    found = {path.stem: json.loads(path.read_text()) for path in tmp_path.glob("*.json")}
    assert len(found) == 1 + 2 + 4
    assert all(answer["rows"] == 1100 for answer in found.values())
    assert found["1-0"]["fd"] > 100
    assert all(abs(answer["fd"] / found["1-0"]["fd"] - 1) < 1e-6 for answer in found.values())


def test_a_batch_that_does_not_divide_is_refused_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(ROOT / "tests" / "tiny.yaml", tmp_path / "params.yaml")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(process, "torchrun", lambda *_: pytest.fail("torchrun was started"))
    with pytest.raises(GanealogyError, match=r"train\.batch_size = 8 does not divide by 3 ranks"):
        _seeds.with_torchrun(3, [Job("v1", 0, ("train",))])


def test_with_one_process_each_function_returns_its_argument() -> None:
    rows = torch.ones(3, 2)
    assert distributed.world_size() == 1 and distributed.shard(rows) is rows and distributed.all_gather(rows) is rows
    assert not distributed.any_across_ranks(False) and distributed.any_across_ranks(True)


def test_the_command_has_an_option_for_ranks(tmp_path: Path) -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "ganealogy", "train", "--help"],
        capture_output=True,
        text=True,
        check=True,
        env=Workspace(ROOT).environment(),
        cwd=ROOT,
    ).stdout
    assert "--ranks" in shown and "torchrun" in shown
