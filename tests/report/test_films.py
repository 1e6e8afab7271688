"""reports/progress/ and reports/samples/: pictures as files, small and of one size."""

from __future__ import annotations

import json
from collections import Counter
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from helpers.fabricated import save
from markdown_it import MarkdownIt
from PIL import Image

from ganealogy.report import films, pictures
from ganealogy.report.build import build
from ganealogy.report.collect import collect
from ganealogy.report.dvc_plots import write_samples
from ganealogy.report.films import CAPTION, FRAME_MS, LAST_MS, write_films
from ganealogy.report.pictures import gather


def filmed(root: Path) -> dict[str, Image.Image]:
    """Return name → film."""
    findings = collect(root)
    write_films(findings, gather(findings))
    return {path.stem: read(path) for path in sorted((root / "reports/progress").glob("*.webp"))}


def read(path: Path) -> Image.Image:
    """Open a picture without leaving its file open."""
    return Image.open(BytesIO(path.read_bytes()))


def noise(side: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8))


def test_each_run_has_a_film_with_one_frame_per_grid_and_its_newest_grid(project: Path) -> None:
    found = filmed(project)
    grids: Counter[str] = Counter()
    for path in project.glob("build/runs/*/train/*/grids/*.png"):
        grids[f"{path.parents[3].name}-seed{path.parents[1].name}"] += 1
    assert {name: film.n_frames for name, film in found.items()} == grids
    assert grids.keys() == {path.stem for path in (project / "reports/progress").glob("*.png")}
    assert grids["v1-seed0"] == 6 and grids["v5-seed1"] == 3, "a run that diverged has a shorter one"
    assert len({film.size for film in found.values()}) == 1, "all of one size"
    film = found["v1-seed0"]
    last = read(sorted((project / "build/runs/v1/train/0/grids").glob("*"))[-1]).convert("RGB")
    film.seek(film.n_frames - 1)
    shown = np.asarray(film.convert("RGB"), float)
    small = last.reduce(last.width // film.width)
    assert (film.width, film.height - CAPTION) == small.size
    files = sorted((project / "build/runs/v1/train/0/grids").glob("*"))
    others = [np.asarray(read(path).convert("RGB").reduce(last.width // film.width), float) for path in files]
    away = [np.abs(shown[: small.height] - other).mean() for other in others]
    assert min(away) == away[-1] < 20, "the newest grid, compressed"
    assert (shown[small.height :] < 128).any(), "a caption"
    newest = read(project / "reports/progress/v1-seed0.png")
    assert np.array_equal(np.asarray(newest), np.asarray(last))


def test_the_last_frame_stays_longer(project: Path) -> None:
    film = filmed(project)["v1-seed0"]
    times = []
    for at in range(film.n_frames):
        film.seek(at)
        film.load()
        times.append(film.info["duration"])
    assert times == [*[FRAME_MS] * 5, LAST_MS]


def test_a_long_training_of_photos_keeps_the_limit(project: Path) -> None:
    """Noise is larger than any photo."""
    grids = project / "build/runs/v1/train/0/grids"
    for at in range(40):
        save(grids / f"{1000 + at:06d}.png", noise(530, at))
    found = filmed(project)
    assert 6 < found["v1-seed0"].n_frames <= pictures.FRAMES + 1
    files = list((project / "reports/progress").iterdir())
    for suffix, limit in ((".webp", films.LIMIT), (".png", pictures.PNG_LIMIT)):
        assert max(path.stat().st_size for path in files if path.suffix == suffix) <= limit
    assert len({film.size for film in found.values()}) == 1 and found["v1-seed0"].width < 530
    sizes = {read(path).size for path in files if path.suffix == ".png"}
    assert sizes == {(265, 265)}, "4 × 4 of the 8 × 8 images"


def test_a_damaged_grid_is_left_out(project: Path) -> None:
    grids = sorted((project / "build/runs/v1/train/0/grids").glob("*"))
    grids[-1].write_bytes(b"png")
    grids[0].write_bytes(grids[0].read_bytes()[:200])
    (grids[0].parent / "notes.png").write_bytes(b"mine")
    for path in (project / "build/runs/v3/train/0/grids").iterdir():
        path.unlink()
    found = filmed(project)
    assert found["v1-seed0"].n_frames == 4 and "v3-seed0" not in found
    newest, before = read(project / "reports/progress/v1-seed0.png"), read(grids[-2]).convert("RGB")
    assert np.array_equal(np.asarray(newest), np.asarray(before))


def test_without_pictures_the_folders_are_there(crowd: Path) -> None:
    """DVC fails a stage that lacks one of its outputs."""
    for path in crowd.glob("build/runs/v1/*"):
        path.rename(path.with_name("old-" + path.name))
    (crowd / "data/reference/real.png").unlink()
    findings = collect(crowd)
    gallery = gather(findings)
    write_films(findings, gallery)
    write_samples(findings, gallery)
    assert [list((crowd / "reports" / name).iterdir()) for name in ("progress", "samples")] == [[], []]


def test_samples_are_of_the_first_seed_that_has_some(project: Path) -> None:
    (project / "build/runs/v3/sample/0/images.npy").unlink()
    findings = collect(project)
    gallery = gather(findings)
    write_samples(findings, gallery)
    for name, run in {"v1-samples": "v1-0", "v3-samples": "v3-1", "v7-samples": "v7-1"}.items():
        shown = read(project / f"reports/samples/{name}.png")
        assert np.array_equal(np.asarray(shown), np.asarray(gallery.samples[run])), name


def test_pngs_are_cropped_alike_and_equal_pictures_give_equal_bytes() -> None:
    small, large = Image.new("RGB", (530, 530), "red"), noise(530)
    assert pictures.pngs({"a": small})["a"] == pictures.pngs({"b": small.copy()})["b"]
    assert {Image.open(BytesIO(each)).size for each in pictures.pngs({"a": small}).values()} == {(530, 530)}
    both = {name: Image.open(BytesIO(each)).size for name, each in pictures.pngs({"a": small, "b": large}).items()}
    assert both == {"a": (265, 265), "b": (265, 265)}


@pytest.mark.parametrize("name", ["index.html", "report.md"])
def test_the_reports_link_every_film(name: str, project: Path) -> None:
    build(project)
    text = (project / "reports" / name).read_text()
    html = MarkdownIt("commonmark").enable("table").render(text) if name == "report.md" else text
    for path in (project / "reports/progress").glob("*.webp"):
        assert f'href="progress/{path.name}"' in html, json.dumps(path.name)
    assert html.count('href="progress/') == 7, "a run without grids has no link"
