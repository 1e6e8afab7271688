"""The pictures of all versions: what they show, their limits, and that each is in the store once."""

from __future__ import annotations

import itertools
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ganealogy import tracking
from ganealogy.files import atomic, images
from ganealogy.tracking import all_versions, overview, run_record, store
from ganealogy.tracking.all_versions import AllVersions


def table(*runs: Any, versions: tuple[str, ...] = ("v1", "v3"), seeds: tuple[int, ...] = (0, 1)) -> AllVersions:
    return AllVersions(versions, seeds, {(run.version, run.seed): run_record.read(run) for run in runs})


def colours(picture: Image.Image) -> set[int]:
    """Return the grey levels that fill at least a tile."""
    levels, counts = np.unique(np.asarray(picture)[..., 0], return_counts=True)
    return set(levels[counts >= 64 * 64].tolist())


def test_a_picture_has_the_samples_of_its_step(project: Path, lab: SimpleNamespace) -> None:
    runs = [lab.make_run(project, version, seed) for version in ("v1", "v3") for seed in (0, 1)]
    pictures = dict(table(*runs).pictures())
    assert list(pictures) == [0, 10, 20]
    assert [colours(picture) & {0, 20, 40} for picture in pictures.values()] == [{0}, {20}, {40}]


def test_rows_are_versions_columns_are_seeds_and_a_missing_run_is_an_empty_cell(
    project: Path, lab: SimpleNamespace
) -> None:
    full = table(*(lab.make_run(project, version, seed) for version in ("v1", "v3") for seed in (0, 1)))
    alone = table(lab.make_run(project, "v3", 1))
    whole, one = (np.asarray(dict(each.pictures())[20])[..., 0] == 40 for each in (full, alone))
    assert whole.shape == one.shape
    rows, columns = np.nonzero(one)
    assert 0 < one.sum() == whole.sum() / 4
    assert rows.min() > whole.shape[0] / 2 and columns.min() > whole.shape[1] / 2, "v3 seed 1 is at the bottom right"
    assert (whole & one).sum() == one.sum(), "at its place in the full table"


def test_a_diverged_run_has_no_samples_after_its_end(project: Path, lab: SimpleNamespace) -> None:
    runs = [lab.make_run(project, "v1", 0), lab.make_run(project, "v3", 0, "diverged", ticks=2)]
    pictures = dict(table(*runs, seeds=(0,)).pictures())
    both, one = ((np.asarray(pictures[step])[..., 0] == level).sum() for step, level in ((10, 20), (20, 40)))
    assert both == 2 * one > 0


@pytest.mark.parametrize(("versions", "seeds"), [(1, 1), (15, 3), (40, 3), (3, 60), (300, 2)])
def test_a_picture_is_limited(project: Path, lab: SimpleNamespace, versions: int, seeds: int) -> None:
    """Noise is what compresses least."""
    run = lab.make_run(project, "v1", 0, ticks=1)
    noise = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), np.uint8)
    images.save_png(images.grid(noise, 2), run / "train/grids/000000.png")
    record = run_record.read(run)
    record = replace(record, run={**record.run, "protocol": {**record.run["protocol"], "image_size": 64}})
    names = [f"v{index}" for index in range(versions)]
    runs = dict.fromkeys(itertools.product(names, range(seeds)), record)
    [(_, picture)] = AllVersions(names, range(seeds), runs).pictures()
    content = BytesIO()
    picture.save(content, "PNG")
    assert max(picture.size) <= all_versions.MAX_SIDE
    assert content.tell() <= all_versions.MAX_BYTES
    assert len(np.unique(np.asarray(picture))) > 30, "no samples"


def test_long_trainings_have_25_pictures(project: Path, lab: SimpleNamespace) -> None:
    run = lab.make_run(project, "v1", 0)
    for step in range(0, 600, 10):
        (run / f"train/grids/{step:06d}.png").touch()
    steps = table(run).steps
    assert len(steps) == 25 and (steps[0], steps[-1]) == (0, 590)


def posted(result: tracking.SyncResult) -> list[Path]:
    assert result.title == overview.NAME and result.warning is None
    return sorted(Path("mlartifacts").glob(f"*/{result.run_id}/artifacts/images/*"))


def test_they_are_posted_once_and_again_when_a_run_is_new(project: Path, lab: SimpleNamespace) -> None:
    for seed in (0, 1):
        lab.make_run(project, "v1", seed)
    first = tracking.sync_all()[-1]
    assert first.posted["images"] == 3
    files = posted(first)
    assert len(files) == 6, "each with MLflow's small copy"
    last = files[0].parents[1] / overview.LAST
    assert last.read_bytes() in [path.read_bytes() for path in files if "+step+20+" in path.name]
    again = tracking.sync_all()[-1]
    assert again.run_id == first.run_id
    assert set(again.posted.values()) == {0}
    assert posted(again) == files
    files[0].unlink()
    lab.make_run(project, "v3", 0)
    third = tracking.sync_all()[-1]
    assert third.posted["images"] == 3
    assert len(posted(third)) == 6 and not set(posted(third)) & set(files)
    with store.open_client() as client:
        [experiment] = client.search_experiments()
        runs = client.search_runs([experiment.experiment_id], "tags.stage = 'report'")
    assert [run.info.run_name for run in runs] == [overview.NAME]


def test_an_interrupted_sync_is_completed_by_the_next(
    project: Path, lab: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    for seed in (0, 1):
        lab.make_run(project, "v1", seed)
    tracking.sync_all()
    lab.make_run(project, "v3", 0)
    log_image = MlflowClient.log_image

    def die_at_the_second(self: MlflowClient, run_id: str, image: Any, **options: Any) -> None:
        if (options.get("key"), options.get("step")) == (overview.IMAGES, 10):
            raise KeyboardInterrupt
        log_image(self, run_id, image, **options)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(MlflowClient, "log_image", die_at_the_second)
        tracking.sync_all()
    result = tracking.sync_all()[-1]
    assert len(posted(result)) == 6
    assert set(tracking.sync_all()[-1].posted.values()) == {0}


def test_the_experiment_is_described_with_links_to_what_leads(project: Path, lab: SimpleNamespace) -> None:
    for version in ("v1", "v3"):
        lab.make_run(project, version, 0)
    atomic.write_text(project / "reports/index.html", "<h1>Report</h1>")
    result = tracking.sync_all()[-1]
    assert result.posted["files"] == 1
    with store.open_client() as client:
        [experiment] = client.search_experiments()
        newest = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time DESC"])[0]
        note = experiment.tags["mlflow.note.content"]
        v3 = client.search_runs([experiment.experiment_id], "tags.version = 'v3'")[0]
    assert newest.info.run_id == result.run_id, "the UI, which sorts by time, lists it first"
    assert note.startswith("The only idea is open"), note
    run = f"#/experiments/{experiment.experiment_id}/runs/{result.run_id}"
    assert f"{run}/model-metrics" in note and f"{run}/artifacts/{overview.LAST}" in note
    views = [tag.removeprefix("mlflow.sharedViewState.") for tag in experiment.tags if "sharedViewState" in tag]
    assert len(views) == 3 and all(f"viewStateShareKey={view}" in note for view in views)
    assert v3.data.tags["mlflow.note.content"].startswith("**v3 seed 0: fd_pixel8 123.5**")
    assert v3.data.tags["verdict"] in v3.data.tags["mlflow.note.content"]


def test_a_sync_of_the_run_alone_keeps_its_verdict(project: Path, lab: SimpleNamespace) -> None:
    for version in ("v1", "v3"):
        run = lab.make_run(project, version, 0)
    run_id = tracking.sync_all()[1].run_id
    before = lab.contents(run_id)["tags"]
    assert tracking.sync(run).posted["tags"] == 0
    assert lab.contents(run_id)["tags"] == before
