from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers.fabricated import entry, fabricate_data, fabricate_plan, fabricate_run, recipe
from PIL import Image

from ganealogy.files import images
from ganealogy.report.collect import collect
from ganealogy.report.page import render
from ganealogy.report.pictures import FRAMES, GRIDS, SAMPLES, Fit, at_most, crop, fitted, gather
from ganealogy.workspace import RUN_STAGES, run_dir


def draw_noise(count: int, quality: float, seed: int) -> np.ndarray:
    """Return incompressible images, uint8 (count, 64, 64, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (count, 64, 64, 3), dtype=np.uint8)


def test_twelve_versions_and_three_seeds_of_noise_stay_below_15_mb(tmp_path: Path) -> None:
    names = [f"v{number}" for number in range(1, 13)]
    fabricate_plan(tmp_path, [entry(name, name, None, None, recipe()) for name in names], [0, 1, 2])
    fabricate_data(tmp_path, draw_noise)
    one = fabricate_run(tmp_path, "v1", 0, 0.9, draw_noise)
    for name in names:
        for seed in range(3):
            copy = run_dir(name, seed, tmp_path)
            for stage in RUN_STAGES:
                if not copy.folders[stage].exists():
                    shutil.copytree(one.folders[stage], copy.folders[stage])
    findings = collect(tmp_path)
    gallery = gather(findings)
    assert len(gallery.samples) == len(gallery.frames) == len(gallery.walks) == 36
    assert len(render(findings, gallery)) < 15_000_000


def test_a_few_sheets_keep_full_size() -> None:
    sheet = images.grid(draw_noise(64, 1, 0)[:, ::2, ::2], 8)
    uris, fit = fitted({"v1-0": sheet}, SAMPLES)
    assert fit == SAMPLES[1][0] and uris["v1-0"].startswith("data:image/webp;base64,")


def test_many_sheets_are_shrunk_to_the_budget() -> None:
    sheet = images.grid(draw_noise(64, 1, 0), 8)
    uris, (columns, side, _) = fitted({f"v{number}-0": sheet for number in range(20)}, (600_000, SAMPLES[1]))
    assert sum(len(uri) for uri in uris.values()) * 3 / 4 < 650_000
    assert (columns, side) < (8, 512) and len(set(uris.values())) == 1
    assert fitted({}, SAMPLES)[0] == {}


@pytest.mark.parametrize("limits", [SAMPLES, GRIDS], ids=["samples", "grids"])
def test_small_pictures_are_shrunk_without_mixing_their_pixels(limits: tuple[int, tuple[Fit, ...]]) -> None:
    """Up to half size: a pixel of a 16-pixel picture is a square of four or two."""
    drawn = np.random.default_rng(0).integers(0, 256, (64, 16, 16, 3), np.uint8)
    sheet = images.grid(drawn, 8)
    for _, side, _ in limits[1][:4]:
        shrunk = np.asarray(at_most(sheet, max(side, 265)))
        assert np.array_equal(
            np.unique(shrunk.reshape(-1, 3), axis=0), np.unique(np.asarray(sheet).reshape(-1, 3), axis=0)
        )


def test_a_crop_has_whole_images_of_the_sheet() -> None:
    assert crop(Image.new("RGB", (80, 20)), 3).size == (30, 20)
    assert crop(Image.new("RGB", (80, 80)), 8, 3).size == (80, 30)


def test_a_long_training_shows_evenly_spaced_grids_with_both_ends(project: Path) -> None:
    grids = project / "build/runs/v1/train/0/grids"
    for step in range(1, 100):
        shutil.copy(grids / "000000.png", grids / f"{step:06d}.png")
    steps = [step for step, _ in gather(collect(project)).frames["v1-0"]]
    assert len(steps) <= FRAMES + 1 and steps[0] == 0 and steps[-1] == 940


@pytest.mark.parametrize("damage", ["gone", "text"])
def test_unreadable_nearest_pictures_are_gaps(project: Path, damage: str) -> None:
    path = project / "build/runs/v1/evaluate/0/neighbours.png"
    path.unlink() if damage == "gone" else path.write_text("text named .png")
    findings = collect(project)
    gallery = gather(findings)
    assert "v1-0" not in gallery.neighbours and "v1-1" in gallery.neighbours
    assert [gap.hint for gap in findings.gaps if gap.what == "nearest training pictures of v1 seed 0"] == [
        "dvc repro evaluate@v1"
    ]
