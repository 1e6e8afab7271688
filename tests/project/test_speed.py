"""The speed that `ganealogy init` and `ganealogy ablate` estimate with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from ganealogy.cli.main import cli
from ganealogy.errors import GanealogyError
from ganealogy.lineage.versions import read_family
from ganealogy.params import schema
from ganealogy.params.schema import Settings
from ganealogy.project import speed
from ganealogy.stages import _stage

TINY = Path(__file__).parents[1] / "tiny.yaml"
without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a GPU")


def settings(**train: Any) -> Settings:
    found = schema.load(TINY)
    return found.model_copy(update={"train": found.train.model_copy(update=train)})


def test_a_gpu_captures_its_step_before_the_clock_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The device is waited for before and after the steps that count."""
    steps, waits = 0, []

    class State:
        def __init__(self, *_: object) -> None: ...

        def train_step(self, *_: object) -> None:
            nonlocal steps
            steps += 1

    monkeypatch.setattr(speed, "TrainingState", State)
    monkeypatch.setattr(speed, "SECONDS", 0.01)
    monkeypatch.setattr(speed, "synchronize", lambda device: waits.append(steps))
    assert speed.images_per_second(read_family(["v1"])["v1"], settings()) > 0
    assert waits[0] == 2 and waits[1] == steps > 2

    rand, zeros = torch.rand, torch.zeros
    monkeypatch.setattr(_stage, "setup_device", lambda _: "cuda")
    monkeypatch.setattr(torch, "rand", lambda *size, device: rand(*size))
    monkeypatch.setattr(torch, "zeros", lambda size, dtype, device: zeros(size, dtype=dtype))
    steps = 0
    waits.clear()
    assert speed.images_per_second(read_family(["v1"])["v1"], settings()) > 0
    assert waits[0] == 6 and waits[1] == steps > 6


@without_gpu
def test_a_gpu_that_torch_does_not_see_is_named() -> None:
    with pytest.raises(GanealogyError, match=r"train\.device is cuda, .*; set it to auto or cpu"):
        speed.images_per_second(read_family(["v1"])["v1"], settings(device="cuda"))


@without_gpu
def test_a_card_without_a_torch_for_it_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch may be built for processors alone, or the driver be too old: init and ablate time the CPU then."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setattr(speed, "SECONDS", 0.01)
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    Path("mine").mkdir()
    for number in range(40):
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(f"mine/{number}.png")
    done = CliRunner().invoke(cli, ["init", "project", "--pictures", "mine", "--image-size", "16"])
    assert done.exit_code == 0, done.output
    assert "runs take about" in done.output
    monkeypatch.chdir("project")
    done = CliRunner().invoke(cli, ["ablate", "v21"], input="n\n")
    assert "Write 1 versions" in done.output, done.output
