"""Working ahead of a device, as on a GPU, here on a CPU: trainings end as they would step by step.

The graph is a stand-in that plays again what it was shown. What a real one cannot hold only a GPU tells; that no step
of any version reads a number, which would forbid it, is asked in tests/benchmarks/test_kernels.py.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from tiny_loop import Silent, plan, record, train

from ganealogy.data.batches import Batches
from ganealogy.training import captured, checkpoint, learner


class StandIn:
    """In place of a CUDA graph: what is recorded is not played, and a replay leaves its results in the same place."""

    made: ClassVar[list[StandIn]] = []
    plays: ClassVar[int] = 0

    def __init__(self) -> None:
        self.made.append(self)
        self.replays, self.results = 0, {}  # type: ignore[var-annotated]

    def play(self, step: Callable[[], Any]) -> Any:
        StandIn.plays += 1
        return step()

    def record(self, step: Callable[[], Any]) -> Any:
        self.step = step
        return self.results

    def replay(self) -> None:
        self.replays += 1
        self.results.update(self.step())


@pytest.fixture
def ahead(monkeypatch: pytest.MonkeyPatch) -> type[StandIn]:
    """Trainings on the CPU work ahead of it."""
    monkeypatch.setattr(learner, "AHEAD", {"cpu"})
    monkeypatch.setattr(captured, "CUDAGraph", StandIn)
    monkeypatch.setattr(StandIn, "made", [])
    monkeypatch.setattr(StandIn, "plays", 0)
    return StandIn


def both(where: Path, pictures: np.ndarray, monkeypatch: pytest.MonkeyPatch, **run: Any) -> None:
    """The training step by step, and the same ahead; both records must be the same bytes."""
    train(where / "ahead", pictures, **run)
    monkeypatch.setattr(learner, "AHEAD", set())
    train(where / "plain", pictures, **run)
    assert record(where / "ahead") == record(where / "plain")


@pytest.mark.parametrize("version", ["v1", "v6", "v8", "v11", "mnist-dcgan"])
def test_a_replayed_training_is_the_same_bytes(
    tmp_path: Path, pictures: np.ndarray, ahead: type[StandIn], monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    planned = plan(version)
    if version == "mnist-dcgan":
        planned = plan(version, image_size=28, channels=1)
        pictures = np.pad(pictures[:, :, :, :1], ((0, 0), (6, 6), (6, 6), (0, 0)))
    both(tmp_path, pictures, monkeypatch, planned=planned)
    (graph,) = ahead.made
    assert (ahead.plays, graph.replays) == (4, 21)  # 24 steps: three to warm up, one to compare with, one tried


def test_what_components_remember_and_labels_are_replayed_too(
    tmp_path: Path, pictures: np.ndarray, ahead: type[StandIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = {"penalties": ["lecam", "bcr"], "augment": [{"name": "ada", "kimg": 0.05}]}
    planned = plan("v12", {"adversary": changed}, classes=4)
    planned["recipe"]["labels"] = True
    both(tmp_path, pictures, monkeypatch, planned=planned, labels=np.arange(len(pictures)) % 4)
    assert ahead.made[0].replays == 21


def test_while_a_schedule_moves_nothing_is_replayed(
    tmp_path: Path, pictures: np.ndarray, ahead: type[StandIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = plan("v16")  # its schedules move over the first half of the budget
    both(tmp_path, pictures, monkeypatch, planned=planned)
    assert len(ahead.made) == 1 and ahead.plays == 12 + 4
    ahead.made.clear()
    monkeypatch.setattr(learner, "AHEAD", {"cpu"})
    steps = plan("v1", {"optimizers": {"generator": {"schedule": {"from": 1.0, "to": 0.5, "shape": "linear"}}}})
    train(tmp_path / "always", pictures, planned=steps)
    assert [graph.replays for graph in ahead.made] == [0]


def test_numbers_that_change_after_all_are_recorded_anew(ahead: type[StandIn]) -> None:
    ramp = {"from": 1.0, "to": 0.0, "shape": "linear"}

    class Game:
        d_steps = 1

        def step(self, reals: Any, _labels: Any, progress: float) -> dict[str, torch.Tensor]:
            with torch.no_grad():
                weights.add_(reals(0).mean() * (1 - progress))
            return {"d_loss": weights.clone()}

    weights = torch.zeros(())
    recipe = {"adversary": {"augment": [{"deviation": ramp}]}, "optimizers": {}}
    game = captured.Captured(Game(), recipe, lambda: {"generator/weights": weights}, pytest.fail)
    for progress in (0.0, 0.0, 0.0, 0.0, 0.0, 0.5, 0.5, 0.5, 0.5, 0.5):
        game.step(lambda _index: torch.ones(1, 1), None, progress)
    assert weights == 5 * 1.0 + 5 * 0.5
    assert [graph.replays for graph in ahead.made] == [2, 2]


@pytest.mark.parametrize("fault", ["other draws", "a refusal"])
def test_a_graph_that_does_something_else_is_not_used(
    tmp_path: Path, pictures: np.ndarray, ahead: type[StandIn], monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    def record_wrongly(self: StandIn, step: Callable[[], Any]) -> Any:
        if fault == "a refusal":
            raise RuntimeError("operation not permitted when stream is capturing\nmore")

        def other() -> Any:
            if fault == "other draws":
                torch.manual_seed(1)
            return step()

        self.step = other
        return self.results

    monkeypatch.setattr(StandIn, "record", record_wrongly)
    watcher = Silent()
    train(tmp_path / "ahead", pictures, watcher=watcher)
    assert len(watcher.warnings) == 1 and "no CUDA graph is used" in watcher.warnings[0]
    assert ahead.made[0].replays <= 1
    monkeypatch.setattr(learner, "AHEAD", set())
    train(tmp_path / "plain", pictures)
    assert record(tmp_path / "ahead") == record(tmp_path / "plain")


def test_trouble_between_two_looks_ends_at_its_step_with_the_weights_before_it(
    tmp_path: Path, pictures: np.ndarray, ahead: type[StandIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = Batches.batch
    monkeypatch.setattr(Batches, "batch", lambda self, step: batch(self, step) * (math.nan if step == 9 else 1.0))
    both(tmp_path, pictures, monkeypatch)
    run = json.loads((tmp_path / "ahead/train/run.json").read_text())
    assert run["status"] == "diverged" and run["steps"] == 9
    assert run["reason"] == "at step 10: discriminator loss is nan"
    assert ahead.made[0].replays == 9, "it went on to the tick at step 12 before anybody looked"


def test_trouble_before_the_first_checkpoint_begins_again(
    tmp_path: Path, pictures: np.ndarray, ahead: type[StandIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    planned = plan("v5")
    planned["recipe"]["optimizers"]["discriminator"]["lr"] = 1e30
    both(tmp_path, pictures, monkeypatch, planned=planned)
    assert json.loads((tmp_path / "ahead/train/run.json").read_text())["status"] == "diverged"


def test_an_interrupted_training_looks_before_it_saves(
    tmp_path: Path, pictures: np.ndarray, ahead: type[StandIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = Batches.batch
    monkeypatch.setattr(Batches, "batch", lambda self, step: batch(self, step) * (math.nan if step == 8 else 1.0))
    # Asked after the ninth step, it goes back to the sixth, and is asked again after the seventh.
    assert train(tmp_path / "ahead", pictures, stop_after=9).run["reason"] == "stopped at step 7 of 24"
    both(tmp_path, pictures, monkeypatch)
    assert "at step 9: " in json.loads((tmp_path / "ahead/train/run.json").read_text())["reason"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("version", ["v1", "v6", "v8", "v10", "v11", "v14", "v16"])
def test_on_a_gpu_a_replayed_training_is_the_played_one(tmp_path: Path, pictures: np.ndarray, version: str) -> None:
    planned, watcher = plan(version), Silent()
    if version == "v14":
        planned, pictures = plan(version, image_size=32), pictures.repeat(2, axis=1).repeat(2, axis=2)
    train(tmp_path / "ahead", pictures, planned=planned, device="cuda", watcher=watcher)
    assert not watcher.warnings, "a graph was used"
    train(tmp_path / "played", pictures, planned=planned, device="cuda", watchful=True)
    for name in ("generator-last", "discriminator-last"):
        ours, theirs = (
            checkpoint.load_tensors((tmp_path / where / f"train/weights/{name}.safetensors").read_bytes())
            for where in ("ahead", "played")
        )
        for key, tensor in ours.items():
            torch.testing.assert_close(tensor, theirs[key], rtol=0.05, atol=1e-3)
