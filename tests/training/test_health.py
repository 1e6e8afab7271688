"""The health columns and the signs they give: each sign on made-up pictures, scores or lines, and its opposite."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.tiny_loop import Silent, plan, record
from torch import nn

from ganealogy.training import health, loop
from ganealogy.training.health import HealthCheck, auc, nyquist_peak, signs, spacing, spread
from ganealogy.training.run_files import RunFiles


def smooth(count: int, seed: int, side: int = 16) -> np.ndarray:
    """uint8 (count, side, side, 3): noise of which each frequency has less power than the one below."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(side) * side, np.fft.fftfreq(side) * side))
    noise = np.fft.fft2(rng.standard_normal((count, side, side, 3)), axes=(1, 2)) / (1 + frequency)[None, :, :, None]
    values = np.fft.ifft2(noise, axes=(1, 2)).real
    return np.asarray((128 + 100 * values).clip(0, 255), np.uint8)


def with_checkerboard(pictures: np.ndarray, strength: int = 12) -> np.ndarray:
    rows, columns = np.indices(pictures.shape[1:3])
    pattern = strength * (1 - 2 * ((rows + columns) % 2))
    return np.asarray((pictures + pattern[None, :, :, None]).clip(0, 255), np.uint8)


@pytest.mark.parametrize("side", [16, 64])
def test_fresh_pictures_of_the_same_kind_score_one(side: int) -> None:
    found = HealthCheck(smooth(160, 0, side), None, 8).columns(smooth(160, 1, side), {})
    assert set(found) == {"diversity", "spacing", "checkerboard"}
    assert found["diversity"] == pytest.approx(1, abs=0.05) and found["spacing"] == pytest.approx(1, abs=0.05)
    assert 0.6 < found["checkerboard"] < 1.6


def test_one_pattern_for_all_latents_has_no_diversity() -> None:
    fakes = np.repeat(smooth(1, 1), 160, axis=0)
    found = HealthCheck(smooth(160, 0), None, 8).columns(fakes, {})
    assert found["diversity"] == 0 and found["spacing"] == pytest.approx(0, abs=1e-6)


def test_a_few_modes_have_diversity_but_no_spacing() -> None:
    """Eight pictures in turn differ as much as any: only the nearest ones give them away."""
    found = HealthCheck(smooth(160, 0), None, 8).columns(np.resize(smooth(8, 1), (160, 16, 16, 3)), {})
    assert found["diversity"] > 0.7 and found["spacing"] < 0.01


def test_distances_of_pictures_are_those_of_their_definition() -> None:
    pictures = smooth(20, 2)
    rows = pictures.reshape(20, -1).astype(float)
    distances = np.linalg.norm(rows[:, None] - rows, axis=2)
    assert spread(pictures) == pytest.approx(np.sqrt((distances**2).mean()), rel=1e-5)
    assert spacing(pictures) == pytest.approx((distances + np.diag([np.inf] * 20)).min(1).mean(), rel=1e-6)


def test_a_pattern_of_period_two_is_a_peak_and_noise_is_none() -> None:
    reals = smooth(160, 0)
    assert nyquist_peak(with_checkerboard(reals)) > 20 * nyquist_peak(reals)
    noise = np.random.default_rng(3).integers(0, 256, (160, 16, 16, 3)).astype(np.uint8)
    assert nyquist_peak(noise) == pytest.approx(1, abs=0.3), "white noise has as much power at each frequency"
    columns = np.asarray((reals + 12 * (np.arange(16) % 2)[:, None]).clip(0, 255), np.uint8)
    assert nyquist_peak(columns) > 20 * nyquist_peak(reals), "in one direction alone, too"


def test_pictures_that_are_all_the_same_give_no_ratio() -> None:
    same = np.full((40, 16, 16, 3), 7, np.uint8)
    found = HealthCheck(same, None, 8).columns(smooth(40, 1), {})
    assert np.isnan(found["diversity"]) and np.isnan(found["spacing"]) and np.isfinite(found["checkerboard"])


def test_auc_is_the_fraction_of_pairs_in_order() -> None:
    high, low = np.float32([3, 1, 2]), np.float32([0, 1, 5, 2])
    pairs = [(a > b) + (a == b) / 2 for a in high for b in low]
    assert auc(high, low) == pytest.approx(np.mean(pairs))
    assert auc(high, low - 10) == 1 and auc(high, high) == 0.5


class Brightness(nn.Module):
    """A D that scores brightness, and a BatchNorm before it to see that its statistics stay."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.norm(images)
        return self.weight * images.mean((1, 2, 3))


class FakeGAN:
    def __init__(self) -> None:
        self.discriminator, self.device, self.augment = Brightness(), torch.device("cpu"), []


def test_a_d_that_knows_its_training_pictures() -> None:
    """Brighter training pictures are ranked above held-out ones, and both above darker fakes."""
    pictures = smooth(160, 0) // 2
    check = HealthCheck(pictures + 100, pictures + 50, 8)
    gan: Any = FakeGAN()
    before = {name: tensor.clone() for name, tensor in gan.discriminator.state_dict().items()}
    found = check.columns(pictures, check.score(gan, pictures, torch.zeros(160), 0.5, seed=1))
    assert found["d_auc"] > 0.99 and found["d_overfit"] > 0.99
    assert all(torch.equal(before[name], tensor) for name, tensor in gan.discriminator.state_dict().items())
    alike = HealthCheck(pictures, smooth(160, 5) // 2, 8)
    found = alike.columns(pictures, alike.score(gan, smooth(160, 6) // 2, torch.zeros(160), 0.5, seed=1))
    assert 0.4 < found["d_overfit"] < 0.6 and 0.4 < found["d_auc"] < 0.6


def test_too_few_held_out_pictures_are_not_compared() -> None:
    check = HealthCheck(smooth(160, 0), smooth(29, 1), 8)
    gan: Any = FakeGAN()
    assert set(check.score(gan, smooth(160, 2), torch.zeros(160), 0.5, seed=1)) == {"train", "fakes"}


@pytest.mark.parametrize("kind", ["v1", "v7", "v12", "stylegan2"])  # BatchNorm, spectral norm, augmentation, batch std
def test_a_training_has_the_same_weights_without_the_measures(
    tmp_path: Path, pictures: np.ndarray, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    def weights(where: str) -> dict[str, bytes]:
        train(tmp_path / where, pictures, plan(kind, kimg=0.064, ticks=4))
        return {name: content for name, content in record(tmp_path / where).items() if "weights" in name}

    measured = weights("with")
    monkeypatch.setattr(HealthCheck, "score", lambda *args: {})
    monkeypatch.setattr(HealthCheck, "columns", lambda *args: {})
    assert len(measured) == 4 and weights("without") == measured


def train(
    where: Path, pictures: np.ndarray, planned: dict[str, Any], stop_after: int | None = None
) -> tuple[loop.Outcome, Silent]:
    callbacks = Silent(loop.step_count(planned["protocol"]))
    callbacks.stop_after = stop_after
    files = RunFiles(where / "train", where / "checkpoints", {"version": "v1", "seed": 7})
    data = loop.TrainingData(pictures, held_out=pictures[:40, :, ::-1])
    return loop.train(planned, 7, data, files, "cpu", callbacks), callbacks


def collapsed_from_the_second_tick(rows: list[Any], *_: Any) -> list[dict[str, Any]]:
    first = {"kimg": 0.096, "until": None, "sign": health.COLLAPSE, "sentence": "collapse at 0.096 kimg: alike"}
    return [first] if len(rows) > 2 else []


def test_a_training_without_a_stop_says_the_sign_once_and_goes_on(
    tmp_path: Path, pictures: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "signs", collapsed_from_the_second_tick)
    outcome, callbacks = train(tmp_path / "whole", pictures, plan("v1"))
    assert outcome.status == "finished" and callbacks.signs == ["collapse at 0.096 kimg: alike"]
    assert [sign["sign"] for sign in outcome.run["health"]] == ["collapse"]
    train(tmp_path / "resumed", pictures, plan("v1"), stop_after=14)
    resumed, callbacks = train(tmp_path / "resumed", pictures, plan("v1"))
    assert callbacks.signs == [], "it was printed before the interruption"
    assert resumed.run == outcome.run


def test_an_unhealthy_training_stops_as_a_result_at_its_tick(
    tmp_path: Path, pictures: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "signs", collapsed_from_the_second_tick)
    planned = plan("v1", stop="unhealthy")
    outcome, callbacks = train(tmp_path / "whole", pictures, planned)
    assert (outcome.status, outcome.run["steps"], outcome.run["kimg"]) == ("stopped", 12, 0.096)
    assert outcome.run["reason"] == "at step 12 of 24: collapse at 0.096 kimg: alike"
    assert callbacks.signs == ["collapse at 0.096 kimg: alike"]
    assert len((tmp_path / "whole/train/metrics.jsonl").read_text().splitlines()) == 3
    assert (tmp_path / "whole/train/weights/generator-last.safetensors").is_file()
    for step in (8, 12):  # before the tick, and at it: there the sign was not yet acted on
        where = tmp_path / f"resumed-{step}"
        assert train(where, pictures, planned, stop_after=step)[0].status == "interrupted"
        assert train(where, pictures, planned)[0].status == "stopped"
        assert record(where) == record(tmp_path / "whole")


def lines(ticks: int = 10, **columns: Any) -> list[dict[str, Any]]:
    """Lines of a healthy training of 1,000 steps and 10 kimg; a column may be a list, one value per tick from 0."""
    healthy = {
        "fd": [3.0, 1.5, 1.0, 0.8, 0.7, 0.6, 0.55, 0.5, 0.48, 0.45, 0.44],
        "diversity": 0.9,
        "spacing": 1.0,
        "checkerboard": 1.1,
        "d_auc": 0.99,
        "d_overfit": 0.52,
    }
    rows = []
    for tick in range(ticks + 1):
        row: dict[str, Any] = {"step": 1000 * tick // ticks, "kimg": 10 * tick / ticks}
        for name, value in {**healthy, **columns}.items():
            row[name] = value[tick * 10 // ticks] if isinstance(value, list) else value
        rows.append(row)
    return rows


def found(**columns: Any) -> dict[str, tuple[float, float | None]]:
    """Return sign → (kimg, until) of such a training whose mean picture has the distance 1.2."""
    return {each["sign"]: (each["kimg"], each["until"]) for each in signs(lines(**columns), 1000, "fd", 1.2)}


def test_a_healthy_training_has_no_sign() -> None:
    assert found() == {} and found(d_auc=1.0) == {}, "D may be sure while G improves"
    untrained = {"diversity": [0.05] + [0.9] * 10, "spacing": [0.1, 0.1] + [1] * 9}
    assert found(**untrained) == {}, "nothing has been learnt before 15 % of the budget"
    assert found(d_auc=None, d_overfit=None) == {}, "without a D there are no such columns"
    assert signs([], 1000, "fd", 1.2) == [] and signs(lines(), 1000, "fd", 0.0) == []


@pytest.mark.parametrize(
    ("sign", "columns"),
    [
        ("collapse", {"diversity": [0.9] * 4 + [0.2] * 7}),
        ("collapse", {"spacing": [1.0] * 4 + [0.1] * 7}),
        ("D has won", {"fd": [3.0] * 2 + [2.9] * 9, "d_auc": [0.5] * 3 + [0.999] * 8}),
        ("D has lost", {"d_auc": [0.8] * 4 + [0.1] * 7}),
        ("overfitting", {"d_overfit": [0.5] * 4 + [0.9] * 7}),
        ("checkerboards", {"checkerboard": [1.0] * 4 + [30.0] * 7}),
        ("slow", {"fd": [3.0, 2.6, 2.4, 2.3, 2.2, 2.1, 2.0, 1.9, 1.8, 1.7, 1.6]}),
    ],
)
def test_each_sign_is_seen_at_its_second_tick(sign: str, columns: dict[str, Any]) -> None:
    """It begins at the fourth; a D that has won at the third, as such a training is slow at the fifth, too."""
    first = 4 if sign == "D has won" else 5
    seen = found(**columns)
    assert seen.pop(sign) == (first, None) and set(seen) <= {"slow"}
    whole = signs(lines(**columns), 1000, "fd", 1.2)
    assert whole[0]["sentence"].startswith(f"{sign} at {first} kimg: ")
    assert signs(lines(**columns)[: first + 1], 1000, "fd", 1.2) == whole[:1], "later ticks change nothing"
    assert signs(lines(**columns)[:first], 1000, "fd", 1.2) == []


def test_one_tick_alone_is_no_sign_and_a_sign_that_ended_has_its_end() -> None:
    assert found(diversity=[0.9] * 4 + [0.2] + [0.9] * 6) == {}
    assert found(diversity=[0.9] * 4 + [0.2] * 3 + [0.9] * 4) == {"collapse": (5.0, 6.0)}


def test_a_d_that_is_sure_has_not_won_while_the_distance_falls() -> None:
    falling = [4 * 0.75**tick for tick in range(11)]
    assert found(fd=falling, d_auc=1.0) == {}, "25 % less per tenth of the budget"
    assert set(found(fd=[3.0] * 11, d_auc=1.0)) == {"D has won", "slow"}


def test_the_fall_is_that_over_a_tenth_of_the_budget_for_any_number_of_ticks() -> None:
    rows = [
        {"step": 10 * tick, "kimg": tick / 10, "fd": 9 * 0.95**tick, "d_auc": 1.0} for tick in range(101)
    ]  # 40 % per tenth, 5 % per tick
    assert signs(rows, 1000, "fd", 1.2) == []
    stalled = [{**row, "fd": 9.0} for row in rows]
    assert [each["sign"] for each in signs(stalled, 1000, "fd", 1.2)] == ["D has won", "slow"]
