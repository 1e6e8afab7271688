"""Trainings with deferred checks and a stand-in for the CUDA graph, on a CPU: the same bytes as without.

The stand-in runs the captured step again. Only a GPU shows what a real graph cannot capture. That no step of any
version reads a value, which capture forbids, is tested in tests/benchmarks/test_kernels.py.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from helpers.tiny_loop import KINDS, Silent, plan, plan_of_kind, record, train

from ganealogy.adversary.divergence import DivergenceCheck
from ganealogy.data.batches import Batches
from ganealogy.errors import GanealogyError
from ganealogy.training import checkpoint, cuda_graph, loop
from ganealogy.training import state as training_state

GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


class StandIn:
    """Stands in for a CUDA graph: a capture does not run the step, and a replay leaves results in the same tensors."""

    made: ClassVar[list[StandIn]] = []
    plays: ClassVar[int] = 0

    def __init__(self) -> None:
        self.made.append(self)
        self.replays, self.results = 0, {}  # type: ignore[var-annotated]

    def run_eagerly(self, step: Callable[[], Any]) -> Any:
        StandIn.plays += 1
        return step()

    def capture(self, step: Callable[[], Any]) -> Any:
        self.step = step
        return self.results

    def replay(self) -> None:
        self.replays += 1
        self.results.update(self.step())


@pytest.fixture
def ahead(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> type[StandIn]:
    """Defer checks on the CPU and replace the graph; a test on a GPU keeps the real one."""
    if getattr(request.node, "callspec", None) and request.node.callspec.params.get("device") == "cuda":
        return StandIn
    monkeypatch.setattr(training_state, "DEFERRED_CHECK_DEVICES", {"cpu"})
    monkeypatch.setattr(cuda_graph, "CUDAGraph", StandIn)
    monkeypatch.setattr(StandIn, "made", [])
    monkeypatch.setattr(StandIn, "plays", 0)
    return StandIn


def both(where: Path, pictures: np.ndarray, monkeypatch: pytest.MonkeyPatch, **run: Any) -> None:
    """Train with and without deferred checks; both must leave the same bytes."""
    train(where / "ahead", pictures, **run)
    monkeypatch.setattr(training_state, "DEFERRED_CHECK_DEVICES", set())
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
    assert (ahead.plays, graph.replays) == (4, 21)  # 24 steps: three warm-up steps and one comparison run eagerly


def test_buffers_and_labels_are_replayed(
    tmp_path: Path, pictures: np.ndarray, ahead: type[StandIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = {"penalties": ["lecam", "bcr"], "augment": [{"name": "ada", "share": 0.3}]}
    planned = plan("v12", {"adversary": changed}, classes=4)
    planned["recipe"]["labels"] = True
    both(tmp_path, pictures, monkeypatch, planned=planned, labels=np.arange(len(pictures)) % 4)
    assert ahead.made[0].replays == 21


def test_one_graph_serves_moving_schedules(
    tmp_path: Path, pictures: np.ndarray, ahead: type[StandIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    both(tmp_path / "v16", pictures, monkeypatch, planned=plan("v16"))
    monkeypatch.setattr(training_state, "DEFERRED_CHECK_DEVICES", {"cpu"})
    fading = plan("v15", {"adversary": {"augment": ["diffaugment", "instance_noise"]}})
    both(tmp_path / "v15", pictures, monkeypatch, planned=fading)
    assert [graph.replays for graph in ahead.made] == [21, 21], "from the fourth step on"


def test_each_phase_of_a_lazy_penalty_has_its_graph(
    tmp_path: Path, pictures: np.ndarray, ahead: type[StandIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    lazy = plan("v15", {"adversary": {"penalties": [{"name": "r1", "every": 4}]}})
    both(tmp_path, pictures, monkeypatch, planned=lazy)
    assert [graph.replays for graph in ahead.made] == [6 - 3, 18 - 3], "of 24 steps, less the warm-up"


@pytest.mark.parametrize(("most", "replays"), [(cuda_graph.MOST_BATCHES, 6 - 3), (4, 0)])
def test_a_step_with_a_whole_epoch_of_d_is_captured_only_if_it_is_short(
    tmp_path: Path, pictures: np.ndarray, ahead: type[StandIn], monkeypatch: pytest.MonkeyPatch, most: int, replays: int
) -> None:
    """Eight batches are an epoch: 6 of 48 steps begin with one."""
    monkeypatch.setattr(cuda_graph, "MOST_BATCHES", most)
    both(tmp_path, pictures[:64], monkeypatch, planned=plan("epochwise", kimg=0.384))
    assert [graph.replays for graph in ahead.made] == [replays, 42 - 3]


@pytest.mark.parametrize("fault", ["other draws", "a refusal"])
def test_a_graph_with_other_results_is_not_used(
    tmp_path: Path, pictures: np.ndarray, ahead: type[StandIn], monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    def capture_wrongly(self: StandIn, step: Callable[[], Any]) -> Any:
        if fault == "a refusal":
            raise RuntimeError("operation not permitted when stream is capturing\nmore")

        def other() -> Any:
            if fault == "other draws":
                torch.manual_seed(1)
            return step()

        self.step = other
        return self.results

    monkeypatch.setattr(StandIn, "capture", capture_wrongly)
    callbacks = Silent()
    train(tmp_path / "ahead", pictures, callbacks=callbacks)
    assert len(callbacks.warnings) == 1 and "no CUDA graph is used" in callbacks.warnings[0]
    assert ahead.made[0].replays <= 1
    monkeypatch.setattr(training_state, "DEFERRED_CHECK_DEVICES", set())
    train(tmp_path / "plain", pictures)
    assert record(tmp_path / "ahead") == record(tmp_path / "plain")


def run_of(where: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((where / "train/run.json").read_text())
    return content


def spoil(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """The reals of this step, from 0 on, are NaN."""
    batch = Batches.batch
    monkeypatch.setattr(Batches, "batch", lambda self, at: batch(self, at) * (math.nan if at == step else 1.0))


def test_a_divergence_between_ticks_ends_with_the_weights_of_the_last_tick(
    tmp_path: Path, pictures: np.ndarray, ahead: type[StandIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, 9)
    train(tmp_path / "ahead", pictures)
    run = run_of(tmp_path / "ahead")
    assert run["status"] == "diverged" and run["steps"] == 6
    assert run["reason"] == "between steps 6 and 12: discriminator loss or gradient not finite"
    monkeypatch.setattr(training_state, "DEFERRED_CHECK_DEVICES", set())
    train(tmp_path / "stopped", pictures, stop_after=6)
    stopped = checkpoint.last(tmp_path / "stopped" / "checkpoints").tensors
    weights = checkpoint.load_tensors((tmp_path / "ahead/train/weights/generator-last.safetensors").read_bytes())
    for name, tensor in weights.items():
        assert torch.equal(tensor, stopped[f"generator/{name}"])
    lines = (tmp_path / "ahead/train/metrics.jsonl").read_text()
    assert lines == (tmp_path / "stopped/train/metrics.jsonl").read_text(), "the ticks until then, and no other"


def test_a_divergence_after_a_resume_keeps_the_count_of_resumes(
    tmp_path: Path, pictures: np.ndarray, ahead: type[StandIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checkpoint is from before the resume."""
    train(tmp_path, pictures, stop_after=7)
    spoil(monkeypatch, 9)
    outcome = train(tmp_path, pictures)
    assert (outcome.status, outcome.resumed) == ("diverged", 1)
    assert "between steps 7 and 12: " in run_of(tmp_path)["reason"] and run_of(tmp_path)["steps"] == 7


def test_a_divergence_before_the_first_tick_ends_with_the_initial_weights(
    tmp_path: Path, pictures: np.ndarray, ahead: type[StandIn]
) -> None:
    planned = plan("v5")
    planned["recipe"]["optimizers"]["discriminator"]["lr"] = 1e30
    assert train(tmp_path, pictures, planned=planned).status == "diverged"
    run = run_of(tmp_path)
    assert run["steps"] == 0 and run["reason"].startswith("between steps 0 and 6: ")
    for path in (tmp_path / "train/weights").iterdir():
        for tensor in checkpoint.load_tensors(path.read_bytes()).values():
            assert torch.isfinite(tensor).all()


def test_an_interrupted_training_checks_before_it_saves(
    tmp_path: Path, pictures: np.ndarray, ahead: type[StandIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch, 8)
    assert train(tmp_path, pictures, stop_after=9).status == "diverged"
    assert "between steps 6 and 9: " in run_of(tmp_path)["reason"]


def test_graphs_can_be_switched_off(
    tmp_path: Path, pictures: np.ndarray, ahead: type[StandIn], monkeypatch: pytest.MonkeyPatch
) -> None:
    train(tmp_path / "on", pictures)
    monkeypatch.setenv("GANEALOGY_CUDA_GRAPHS", "0")
    train(tmp_path / "off", pictures)
    assert len(ahead.made) == 1 and record(tmp_path / "on") == record(tmp_path / "off")
    monkeypatch.setenv("GANEALOGY_CUDA_GRAPHS", "no")
    with pytest.raises(GanealogyError, match="GANEALOGY_CUDA_GRAPHS=no: set it to 0"):
        train(tmp_path / "wrong", pictures)


class BrokenCapture:
    """torch.cuda before 2.15 (and 2.11): a failed capture leaves its stream current and its generator capturing."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.outside, self.own = SimpleNamespace(device_index=0, device="cpu"), SimpleNamespace(name="own")
        self.current: Any = self.outside
        self.generators = [SimpleNamespace(graphsafe_set_state=self.set_state)]
        self.capturing = False
        for name, stand_in in {
            "Stream": lambda: self.own,
            "CUDAGraph": SimpleNamespace,
            "graph": self.graph,
            "current_stream": lambda: self.current,
            "set_stream": lambda stream: setattr(self, "current", stream),
            "default_generators": self.generators,
        }.items():
            monkeypatch.setattr(torch.cuda, name, stand_in)
        fresh = SimpleNamespace(graphsafe_get_state=lambda: "a state that is not capturing")
        monkeypatch.setattr(torch, "Generator", lambda device: fresh)

    def set_state(self, state: str) -> None:
        assert state == "a state that is not capturing"
        self.capturing = False

    @contextmanager
    def graph(self, graph: Any, stream: Any, capture_error_mode: str) -> Iterator[None]:
        self.current, self.capturing = stream, True
        try:
            yield
        except RuntimeError:
            raise RuntimeError("operation failed due to a previous error during capture")  # noqa: B904 (as torch does)
        self.current, self.capturing = self.outside, False


def test_after_a_failed_capture_stream_and_generator_are_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = BrokenCapture(monkeypatch)
    graph = cuda_graph.CUDAGraph()

    def step() -> Any:
        assert cuda.current is cuda.own and cuda.capturing
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    with pytest.raises(RuntimeError) as refusal:
        graph.capture(step)
    assert cuda.current is cuda.outside and not cuda.capturing
    assert str(refusal.value) == "operation failed due to a previous error during capture"
    said = cuda_graph.cause(refusal.value)
    assert said.startswith("operation not permitted when stream is capturing (") and "more" not in said


def test_the_cause_of_a_failed_capture_names_our_line() -> None:
    check = DivergenceCheck("generator", [torch.zeros(1, requires_grad=True)])
    with pytest.raises(RuntimeError) as refusal:
        check.check(torch.zeros(2, 3) @ torch.zeros(2, 3))
    assert re.search(r"mat1 and mat2 shapes .*\(test_cuda_graph\.py, line \d+\)$", cuda_graph.cause(refusal.value))
    check.parameters[0].grad = torch.zeros(1)
    check.defer()
    with pytest.raises(RuntimeError) as refusal:
        check.check(torch.zeros(3))  # its three numbers do not fit where one is kept
    assert re.search(r"\(divergence\.py, line \d+\)$", cuda_graph.cause(refusal.value))


DEVICES = ["cpu", pytest.param("cuda", marks=[GPU, pytest.mark.filterwarnings("default")])]
"""On the CPU with the stand-in, which tests the tests."""


class Stepping:
    """A version and its batches, one step per call."""

    def __init__(self, kind: str, device: str) -> None:
        self.planned = plan_of_kind(kind)
        protocol = self.planned["protocol"]
        side = protocol["image_size"]
        images = np.random.default_rng(0).integers(0, 256, (160, side, side, protocol["channels"]), dtype=np.uint8)
        loop.seed_everything(1)
        self.warnings: list[str] = []
        self.training = training_state.TrainingState(self.planned["recipe"], protocol, 24, device, self.warnings.append)
        self.batches = Batches(images, protocol["batch_size"], 0, device)

    def step(self, number: int, by: Callable[..., Any] | None = None) -> None:
        """Run step `number` of 24, from 1 on; `by`: instead of the training's step."""
        loop.seed_everything(loop.step_seed(0, number))
        reals, labels = self.batches.window(self.training.game.batches(number - 1))
        (by or self.training.step)(reals, labels, progress=(number - 1) / 24, number=number - 1)

    def state(self) -> dict[str, torch.Tensor]:
        return checkpoint.snapshot(self.training.network_tensors())


def apart(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """Return the L2 distance over both networks' floating-point tensors."""
    assert one.keys() == other.keys()
    networks = [name for name in one if name.startswith(("generator/", "discriminator/"))]
    squares = [(one[name] - other[name]).double().square().sum() for name in networks if one[name].is_floating_point()]
    return float(torch.stack(squares).sum().sqrt())


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_replayed_step_equals_the_eager_one(ahead: type[StandIn], kind: str, device: str) -> None:
    """From the same state, at several points of the schedules; other draws or rates would be far off."""
    stepping = Stepping(kind, device)
    for number in range(1, 6):
        stepping.step(number)
    for number in (6, 12, 20):
        before = stepping.state()
        stepping.step(number)
        replayed = stepping.state()
        stepping.training.restore(before)
        stepping.step(number, by=stepping.training.game.step)
        length, miss = apart(stepping.state(), before), apart(stepping.state(), replayed)
        assert length > 0 and miss <= (0.05 if device == "cuda" else 1e-5) * length
        stepping.training.restore(before)
    assert not stepping.warnings, "the graph was used"


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", ["v1", "v11", "v16", "v7 everything"])
def test_a_step_after_a_restore_equals_the_one_without(ahead: type[StandIn], kind: str, device: str) -> None:
    first, second = Stepping(kind, device), Stepping(kind, device)
    for number in range(1, 9):
        first.step(number)
    saved = first.state()
    second.training.restore(saved)
    assert apart(second.state(), saved) == 0
    for number in range(9, 15):  # the second one warms up, captures and replays anew
        first.step(number)
        second.step(number)
        length, miss = apart(first.state(), saved), apart(first.state(), second.state())
        assert miss <= (0.05 if device == "cuda" else 1e-5) * length
        saved = first.state()
        second.training.restore(saved)
    assert not first.warnings and not second.warnings


@GPU
@pytest.mark.filterwarnings("default")
def test_on_a_gpu_a_step_that_cannot_be_captured_runs_eagerly(
    tmp_path: Path, pictures: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = DivergenceCheck.check

    def reading(self: DivergenceCheck, loss: torch.Tensor) -> None:
        if torch.cuda.is_current_stream_capturing():
            loss.item()
        check(self, loss)

    monkeypatch.setattr(DivergenceCheck, "check", reading)
    callbacks = Silent()
    assert train(tmp_path, pictures, device="cuda", callbacks=callbacks).status == "finished"
    (warning,) = callbacks.warnings
    assert "no CUDA graph is used" in warning and re.search(r"\(optimizer_step\.py, line \d+\)$", warning)
    assert torch.cuda.current_stream() == torch.cuda.default_stream()
    torch.randn(3, device="cuda")


@GPU
@pytest.mark.filterwarnings("default")
def test_on_a_gpu_a_training_resumes(tmp_path: Path, pictures: np.ndarray) -> None:
    assert train(tmp_path, pictures, stop_after=15, device="cuda").status == "interrupted"
    assert train(tmp_path, pictures, device="cuda").status == "finished"
    lines = [json.loads(line) for line in (tmp_path / "train/metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [0, 6, 12, 18, 24]
    assert all(math.isfinite(value) for line in lines for value in line.values())
