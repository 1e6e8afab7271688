"""benchmarks/health.py: a run is judged by its end, and the figures count signs by that."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest


@pytest.fixture
def health(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("health_benchmark", "benchmarks/health.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "health_benchmark", module)  # dataclasses look it up
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "REALS", 100)
    monkeypatch.setattr(module, "SAMPLES", 60)
    return module


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """400 pictures and 60 held-out ones: gradients, each with a colour of its own."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 200, 16)[None, :, None, None] * rng.random((460, 1, 1, 3))
    pictures = (ramp + rng.random((460, 16, 16, 3)) * 50).astype(np.uint8)
    packed = tmp_path / "avatars/packed"
    packed.mkdir(parents=True)
    np.save(packed / "train.npy", pictures[:400])
    np.save(packed / "holdout.npy", pictures[400:])
    return tmp_path


def test_a_case_is_trained_once_and_its_end_is_measured(
    health: ModuleType, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(health, "SETTINGS", {**health.SETTINGS, "kimg": 0.32, "width": 4, "tracker_images": 40})
    assert "finished" in health.run(("D at 0.01x", 3, folder))
    assert health.run(("D at 0.01x", 3, folder)) == "D at 0.01x 3: there"
    limits = health.measure_ends(folder, ["D at 0.01x"], [3, 4])
    assert limits["fails"] > limits["gate"] > 0 and limits["seems_to_fail"] > 0
    [run] = health.ended(folder, ["D at 0.01x"], [3, 4], limits)
    assert run.how == "bad" and run.distance > limits["fails"], "ten steps teach nothing"
    health.report(folder, ["D at 0.01x"], [3])
    assert "of 1; later" in capsys.readouterr().out


def test_copies_of_training_pictures_are_found_without_d(health: ModuleType, folder: Path) -> None:
    pictures, others = (np.load(folder / f"avatars/packed/{name}.npy") for name in ("train", "holdout"))
    assert health.copying(np.resize(pictures[:60], (200, 16, 16, 3)), pictures[:60], others) < 1e-3
    assert health.copying(pictures[100:160], pictures[:60], others) > 1e-3


def test_every_case_names_a_version_and_its_own_settings(health: ModuleType) -> None:
    assert len(health.BY_NAME) == len(health.CASES) >= 40
    assert all(Path(f"versions/{case.version}.yaml").is_file() for case in health.CASES)
