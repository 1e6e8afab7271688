"""Trainings end in the same bytes with or without interruptions; divergence and damage are handled."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from helpers.tiny_loop import STEPS, Silent, plan, record, train

from ganealogy.training import checkpoint, loop
from ganealogy.training.best_checkpoint import Tracker
from ganealogy.training.run_files import RunFiles


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, pictures: np.ndarray) -> Path:
    """An uninterrupted training of v1."""
    where = tmp_path_factory.mktemp("whole")
    assert train(where, pictures).status == "finished"
    return where


def test_a_finished_training_has_all_its_files(whole: Path) -> None:
    run = json.loads((whole / "train" / "run.json").read_text())
    lines = [json.loads(line) for line in (whole / "train" / "metrics.jsonl").read_text().splitlines()]
    assert (run["status"], run["steps"], run["kimg"]) == ("finished", STEPS, 0.192)
    assert [line["step"] for line in lines] == [0, 6, 12, 18, 24]
    health = {"diversity", "spacing", "checkerboard", "d_auc", "d_overfit"}
    assert set(lines[0]) == {"tick", "step", "kimg", "epoch", "d_images", "fd_pixel8", *health}
    assert set(lines[1]) - set(lines[0]) == {
        "d_loss",
        "d_loss_real",
        "d_loss_fake",
        "g_loss",
        "real_score",
        "fake_score",
    }
    assert lines[1]["d_loss"] == pytest.approx(lines[1]["d_loss_real"] + lines[1]["d_loss_fake"], rel=1e-6)
    assert 0 < lines[1]["real_score"] < 1
    assert run["best"]["score"] == min(line["fd_pixel8"] for line in lines[1:])
    assert len(list((whole / "train" / "grids").glob("*.png"))) == 5
    assert {path.stem for path in (whole / "train" / "weights").iterdir()} == {
        "generator-best",
        "generator-last",
        "discriminator-best",
        "discriminator-last",
    }


@pytest.mark.parametrize("version", ["v1", "v11"])  # without and with an EMA
def test_both_networks_of_the_best_step_are_kept(tmp_path: Path, pictures: np.ndarray, version: str) -> None:
    """They are those of the checkpoint of that step."""
    planned = plan(version)
    train(tmp_path / "whole", pictures, planned=planned)
    best = json.loads((tmp_path / "whole/train/run.json").read_text())["best"]["step"]
    train(tmp_path / "until", pictures, planned=planned, stop_after=best)
    (stopped,) = (tmp_path / "until/checkpoints").glob(f"{best:09d}.safetensors")
    at_best = checkpoint.load_tensors(stopped.read_bytes())
    for network, name in (("generator", "ema" if version == "v11" else "generator"), ("discriminator",) * 2):
        path = tmp_path / f"whole/train/weights/{network}-best.safetensors"
        found, expected = checkpoint.load_tensors(path.read_bytes()), checkpoint.below(name, at_best)
        assert found.keys() == expected.keys() and all(torch.equal(found[key], expected[key]) for key in found)


def test_the_same_again_is_the_same_bytes(whole: Path, tmp_path: Path, pictures: np.ndarray) -> None:
    torch.manual_seed(12345)  # whatever the process drew before
    train(tmp_path, pictures)
    assert record(tmp_path) == record(whole)


def test_seed_everything_seeds_as_torch_does() -> None:
    torch.manual_seed(2**62 + 1)
    expected = torch.randn(5), torch.rand(3)
    loop.seed_everything(2**62 + 1)
    assert torch.equal(torch.randn(5), expected[0]) and torch.equal(torch.rand(3), expected[1])


@pytest.mark.parametrize("stop_after", [1, 6, 15])
def test_an_interrupted_training_ends_in_the_same_bytes(
    whole: Path, tmp_path: Path, pictures: np.ndarray, stop_after: int
) -> None:
    first = train(tmp_path, pictures, stop_after=stop_after)
    assert first.status == "interrupted"
    assert json.loads((tmp_path / "train" / "run.json").read_text())["status"] == "interrupted"
    second = train(tmp_path, pictures)
    assert (second.status, second.resumed) == ("finished", 1)
    assert record(tmp_path) == record(whole)


def test_tick_times_continue_after_an_interruption(tmp_path: Path, pictures: np.ndarray) -> None:
    train(tmp_path, pictures, stop_after=15)
    outcome = train(tmp_path, pictures)
    ticks = outcome.tick_seconds
    assert len(ticks) == len((tmp_path / "train" / "metrics.jsonl").read_text().splitlines()) == 5
    assert ticks[0] == 0 and ticks == sorted(ticks) and ticks[-1] > ticks[1] > 0
    assert ticks[-1] <= outcome.seconds
    assert b"seconds" not in (tmp_path / "train" / "metrics.jsonl").read_bytes(), "clocks stay out of the record"


def test_a_tick_is_timed_when_its_steps_are_finished(
    tmp_path: Path, pictures: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU runs behind the host: on this clock its steps take time only where they are waited for."""
    now = 0.0

    def synchronize(device: str) -> None:
        nonlocal now
        now += 1.0

    monkeypatch.setattr(loop, "synchronize", synchronize)
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: now, process_time=lambda: 0.0))
    assert train(tmp_path, pictures).tick_seconds == [0, 1, 2, 3, 4]


def test_a_ticks_scores_are_computed_during_the_next_steps(
    whole: Path, tmp_path: Path, pictures: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here the first tick's scores wait for a later step, and the files are the same."""
    scores, done = Tracker.scores, threading.Event()

    def late(self: Tracker, fakes: np.ndarray) -> dict[str, float]:
        assert done.wait(20), "no step was taken meanwhile"
        return scores(self, fakes)

    class Stepped(Silent):
        def on_step(self, step: int, scalars: dict[str, float] | None) -> None:
            done.set()

    monkeypatch.setattr(Tracker, "scores", late)
    assert train(tmp_path, pictures, callbacks=Stepped()).status == "finished"
    assert record(tmp_path) == record(whole)


COUNTERS = {"step": 3, "ticks": 1, "summed": {}, "best": None, "seconds": 1.0, "resumed": 0}
EVERY = [path.stem for path in sorted(Path("versions").glob("*.yaml"))]
NATIVE_28 = {"mnist-mlp", "mnist-dcgan"}


@pytest.mark.parametrize("version", EVERY)
def test_every_version_resumes_exactly(tmp_path: Path, pictures: np.ndarray, version: str) -> None:
    planned = plan(version, kimg=0.08)
    if version == "v14":  # attends at 16x16, so its pictures are larger
        planned, pictures = plan(version, kimg=0.08, image_size=32), pictures.repeat(2, axis=1).repeat(2, axis=2)
    labels = None
    if version == "conditional":
        planned, labels = plan(version, kimg=0.08, classes=4), np.arange(len(pictures)) % 4
    if version in NATIVE_28:
        planned = plan(version, kimg=0.08, image_size=28, channels=1)
        pictures = np.pad(pictures[:, :, :, :1], ((0, 0), (6, 6), (6, 6), (0, 0)))
    resume_exactly(tmp_path, pictures, planned, stops=(4, 3), labels=labels)


def resume_exactly(
    where: Path, pictures: np.ndarray, planned: dict[str, Any], stops: tuple[int, ...], labels: np.ndarray | None = None
) -> None:
    run = {"planned": planned, "labels": labels}
    assert train(where / "whole", pictures, **run).status == "finished"
    for stop in stops:
        assert train(where / "parts", pictures, stop_after=stop, **run).status == "interrupted"
    train(where / "parts", pictures, **run)
    assert record(where / "parts") == record(where / "whole")


def test_buffers_of_penalties_and_augmentations_are_resumed(tmp_path: Path, pictures: np.ndarray) -> None:
    changed = {"penalties": ["lecam", "bcr"], "augment": [{"name": "ada", "share": 0.3}, "instance_noise"]}
    planned = plan("v12", {"adversary": changed})
    resume_exactly(tmp_path, pictures, planned, stops=(9, 5))
    last = json.loads((tmp_path / "whole/train/metrics.jsonl").read_text().splitlines()[-1])
    assert last["augment_probability"] > 0 and last["penalty"] > 0


def test_a_lazy_penalty_resumes_exactly(tmp_path: Path, pictures: np.ndarray) -> None:
    planned = plan("v15", {"adversary": {"penalties": [{"name": "r1", "every": 5}, {"name": "r2", "every": 3}]}})
    resume_exactly(tmp_path, pictures, planned, stops=(9, 5))


def test_a_training_with_flipped_reals_resumes_exactly(whole: Path, tmp_path: Path, pictures: np.ndarray) -> None:
    resume_exactly(tmp_path, pictures, plan("v1", flip=True), stops=(9, 5))
    plain, flipped = record(whole), record(tmp_path / "whole")
    metrics, weights = "train/metrics.jsonl", "train/weights/discriminator-last.safetensors"
    assert plain[metrics].splitlines()[0] == flipped[metrics].splitlines()[0], "the tracker's reals are not flipped"
    assert plain[weights] != flipped[weights]


def test_an_epoch_counts_the_batches_of_g_too(tmp_path: Path, pictures: np.ndarray) -> None:
    train(tmp_path, pictures, planned=plan("v15", kimg=0.08))
    last = json.loads((tmp_path / "train/metrics.jsonl").read_text().splitlines()[-1])
    assert last["d_images"] == 80 and last["epoch"] == 2 * 80 / (len(pictures) // 8 * 8)


def test_epochs_of_d_and_of_g_take_turns(tmp_path: Path, pictures: np.ndarray) -> None:
    """Eight batches are an epoch: D's are at the G updates 1, 9 and 17. Each mean is over the steps that have it."""
    few = pictures[:64]
    train(tmp_path, few, planned=plan("epochwise"))
    lines = [json.loads(line) for line in (tmp_path / "train/metrics.jsonl").read_text().splitlines()]
    assert [line["d_images"] for line in lines] == [0, 64, 128, 192, 192]
    assert [line["epoch"] for line in lines] == [0, (8 + 6) / 8, (16 + 12) / 8, (24 + 18) / 8, (24 + 24) / 8]
    assert ["d_loss" in line for line in lines] == [False, True, True, True, False]
    assert all("g_loss" in line for line in lines[1:])
    assert lines[1]["d_loss"] > 0.3, "a sixth of it, if G's five other steps counted"
    resume_exactly(tmp_path / "again", few, plan("epochwise"), stops=(3, 8))


def test_a_class_conditional_training_resumes_exactly(tmp_path: Path, pictures: np.ndarray) -> None:
    planned = plan("v1", classes=4)
    planned["recipe"]["labels"] = True
    labels = np.arange(len(pictures)) % 4
    resume_exactly(tmp_path, pictures, planned, stops=(9,), labels=labels)
    run = json.loads((tmp_path / "whole/train/run.json").read_text())
    assert run["class_counts"] == np.bincount(labels).tolist()
    resume_exactly(tmp_path / "other", pictures, planned, stops=(9,), labels=labels[::-1].copy())
    weights = "train/weights/discriminator-last.safetensors"
    assert record(tmp_path / "whole")[weights] != record(tmp_path / "other" / "whole")[weights]


def test_grids_and_weights_are_those_of_the_ema(tmp_path: Path, pictures: np.ndarray) -> None:
    """v11 is v9 with an EMA: D ends the same, G is the EMA, and run.json names it."""
    averaged, plain = tmp_path / "v11", tmp_path / "v9"
    train(averaged, pictures, "v11", planned=plan("v11", kimg=0.08))
    train(plain, pictures, "v9", planned=plan("v9", kimg=0.08))
    last = "train/weights/{}-last.safetensors"
    assert record(averaged)[last.format("discriminator")] == record(plain)[last.format("discriminator")]
    assert record(averaged)[last.format("generator")] != record(plain)[last.format("generator")]
    runs = [json.loads((where / "train/run.json").read_text()) for where in (averaged, plain)]
    assert [run["shown"] for run in runs] == ["running mean of the generator (EMA)", "generator"]
    assert not [name for name in record(averaged) if "module" in name]


def test_seeds_differ(whole: Path, tmp_path: Path, pictures: np.ndarray) -> None:
    other = RunFiles(tmp_path / "train", tmp_path / "c", {"version": "v1", "seed": 8})
    loop.train(plan("v1"), 8, loop.TrainingData(pictures), other, "cpu", Silent())
    assert (
        record(tmp_path)["train/weights/generator-last.safetensors"]
        != record(whole)["train/weights/generator-last.safetensors"]
    )


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "foreign", "pickle"])
def test_a_damaged_checkpoint_is_named_and_the_older_one_used(
    whole: Path, tmp_path: Path, pictures: np.ndarray, damage: str
) -> None:
    train(tmp_path, pictures, stop_after=15)
    newest = sorted((tmp_path / "checkpoints").glob("*.safetensors"))[-1]
    content = newest.read_bytes()
    flipped = bytearray(content)
    flipped[-100] ^= 1
    newest.write_bytes(
        {
            "truncated": content[: len(content) // 2],
            "flipped": bytes(flipped),
            "empty": b"",
            "foreign": b"hello",
            "pickle": b"\x80\x04cos\nsystem\n(S'touch pwned'\ntR.",
        }[damage]
    )
    callbacks = Silent()
    train(tmp_path, pictures, callbacks=callbacks)
    assert len(callbacks.warnings) == 1 and newest.stem in callbacks.warnings[0]
    assert record(tmp_path) == record(whole)
    assert not Path("pwned").exists()


def test_without_an_intact_checkpoint_it_starts_afresh_and_warns(
    whole: Path, tmp_path: Path, pictures: np.ndarray
) -> None:
    train(tmp_path, pictures, stop_after=8)
    for path in (tmp_path / "checkpoints").glob("*.safetensors"):
        path.write_bytes(b"")
    callbacks = Silent()
    train(tmp_path, pictures, callbacks=callbacks)
    assert "starting afresh" in callbacks.warnings[-1]
    assert record(tmp_path) == record(whole)


def test_the_two_newest_checkpoints_are_kept(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        checkpoint.save(tmp_path, step, {"x": torch.full((3,), float(step))}, COUNTERS)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "000000002.json",
        "000000002.safetensors",
        "000000003.json",
        "000000003.safetensors",
    ]
    found = checkpoint.newest(tmp_path, [])
    assert found is not None
    assert (found.step, found.tensors["x"].tolist(), found.progress) == (3, [3.0, 3.0, 3.0], COUNTERS)


def test_a_checkpoint_of_a_later_step_is_of_no_further_use(tmp_path: Path) -> None:
    """It is of another training, and must not crowd out this one's."""
    for step in (8, 9, 2, 3):
        checkpoint.save(tmp_path, step, {"x": torch.zeros(1)}, COUNTERS)
    assert sorted(path.name for path in tmp_path.glob("*.json")) == ["000000002.json", "000000003.json"]


def test_a_checkpoint_of_other_networks_is_not_used(tmp_path: Path, pictures: np.ndarray) -> None:
    wide = plan("v1", width=8)
    train(tmp_path / "wide", pictures, planned=wide, stop_after=9)
    train(tmp_path / "plain", pictures, stop_after=9)
    shutil.rmtree(tmp_path / "plain" / "checkpoints")
    shutil.copytree(tmp_path / "wide" / "checkpoints", tmp_path / "plain" / "checkpoints")
    callbacks = Silent()
    assert train(tmp_path / "plain", pictures, callbacks=callbacks).resumed == 0
    assert "its networks are of another training" in callbacks.warnings[0]


@pytest.mark.parametrize("rate", [1e30, 1e4])
def test_a_diverged_version_is_a_result(tmp_path: Path, pictures: np.ndarray, rate: float) -> None:
    """With a learning rate that diverges, weights on disk stay finite, and run.json has the step and the reason."""
    planned = plan("v5")
    planned["recipe"]["optimizers"]["discriminator"]["lr"] = rate
    outcome = train(tmp_path, pictures, planned=planned)
    if rate == 1e30:
        assert outcome.status == "diverged"
        assert "at step" in outcome.run["reason"] and (
            "loss" in outcome.run["reason"] or "gradient" in outcome.run["reason"]
        )
    last = checkpoint.load_tensors((tmp_path / "train/weights/generator-last.safetensors").read_bytes())
    assert all(torch.isfinite(tensor).all() for tensor in last.values())
    trained = outcome.run["best"] is not None  # the untrained generator is no candidate
    assert (tmp_path / "train/weights/generator-best.safetensors").exists() == trained
    for line in (tmp_path / "train" / "metrics.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


@pytest.mark.parametrize("version", ["v1", "v10", "v11", "v16"])
def test_bf16_trains(tmp_path: Path, pictures: np.ndarray, version: str) -> None:
    planned = plan(version, precision="bf16", kimg=0.08)
    assert train(tmp_path, pictures, planned=planned).status == "finished"


@pytest.mark.parametrize(
    ("vary", "draws"), [("", (7, 7, 7)), ("initialise", (7, 0, 0)), ("order", (0, 7, 0)), ("steps", (0, 0, 7))]
)
def test_the_seed_drives_all_draws_or_one_kind(
    tmp_path: Path, pictures: np.ndarray, monkeypatch: pytest.MonkeyPatch, vary: str, draws: tuple[int, int, int]
) -> None:
    seeded, ordered = [], []
    seed_everything, batches = loop.seed_everything, loop.Batches
    monkeypatch.setattr(loop, "seed_everything", lambda seed: seeded.append(seed) or seed_everything(seed))
    monkeypatch.setattr(loop, "Batches", lambda *args: ordered.append(args[2]) or batches(*args))
    planned = plan("v1", kimg=0.016)
    files = RunFiles(tmp_path / "train", tmp_path / "checkpoints", {})
    callbacks = Silent(loop.step_count(planned["protocol"]))
    loop.train(planned, 7, loop.TrainingData(pictures), files, "cpu", callbacks, vary)
    initialise, order, steps = draws
    expected = [loop.step_seed(initialise, "initialise"), *(loop.step_seed(steps, step) for step in (1, 2))]
    assert (seeded, ordered) == (expected, [order])
