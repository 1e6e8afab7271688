"""Every architecture's exported generator gives torch's images, for any batch size."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from ganealogy.errors import GanealogyError
from ganealogy.export import onnx_file, select_run
from ganealogy.networks import _build
from ganealogy.sampling import latents
from ganealogy.tracking import run_record
from ganealogy.workspace import run_dir

NETWORKS: list[tuple[str, dict[str, Any]]] = [
    ("dcgan", {}),
    ("dcgan", {"classes": 10}),
    ("sngan", {"attention": 16}),
    ("sngan", {"attention": 16, "spectral": True}),
    ("sngan", {"classes": 3}),
    ("r3gan", {}),
    ("mimicry", {"levels": "symmetric"}),
    ("mimicry", {"levels": "unit"}),
    ("fastgan", {}),
    ("stylegan2", {}),
    ("celeba_dcgan", {}),
    ("keras_dcgan", {}),
    ("mlp", {"distribution": "uniform"}),
    ("flow_unet", {"latent": 3 * 32**2, "steps": 2}),
]


@pytest.mark.parametrize(("network", "options"), NETWORKS)
def test_the_exported_images_equal_torchs(make_run, tmp_path: Path, network: str, options: dict[str, Any]) -> None:  # type: ignore[no-untyped-def]
    run = run_record.read(make_run(network=network, **options))
    path = onnx_file.export(run, tmp_path / "g.onnx", {"dataset": "anime 32×32"})
    assert run.weights is not None
    generator = _build.load_generator(run.weights, run.run["recipe"], run.run["protocol"])
    classes = options.get("classes", 0)
    onnxruntime = onnx_file.load_session(path)
    for count in (1, 7):
        inputs = [latents.sample_latents(run.run["recipe"]["latent"], count, 11)]
        if classes:
            inputs.append(torch.arange(count) * 2 % classes)
        with torch.inference_mode():
            expected = generator(*inputs).clamp(-1, 1).numpy()
        actual = onnxruntime(*(tensor.numpy() for tensor in inputs))
        assert actual.dtype == np.float32 and actual.shape == (count, 3, 32, 32)
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-4)
        assert expected.std() > 0.02, "images that are not constant"
    metadata = {prop.key: prop.value for prop in onnx.load(path).metadata_props}
    assert metadata["latents"] == f"{options.get('distribution', 'normal')}, {options.get('latent', 8)}"
    assert {"version": "v1", "seed": "0", "checkpoint": "last", "dataset": "anime 32×32"}.items() <= metadata.items()


def test_every_architecture_is_tested() -> None:
    from ganealogy import components

    generators = {
        name for name in components.known("networks") if hasattr(components.load("networks", name), "generator")
    }
    assert {name for name, _ in NETWORKS} == generators


def test_the_same_weights_give_the_same_bytes(make_run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    run = run_record.read(make_run())
    first = onnx_file.export(run, tmp_path / "a.onnx").read_bytes()
    assert onnx_file.export(run, tmp_path / "b.onnx").read_bytes() == first


def test_an_export_that_differs_is_not_written(make_run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    run = run_record.read(make_run())
    other = run_record.read(make_run(seed=1))
    assert other.weights is not None
    wrong = onnx_file.to_onnx(
        _build.load_generator(other.weights, run.run["recipe"], run.run["protocol"]), run.run["recipe"]["latent"]
    )
    monkeypatch.setattr(onnx_file, "to_onnx", lambda *_: wrong)
    with pytest.raises(GanealogyError, match=r"differ from torch's"):
        onnx_file.export(run, tmp_path / "g.onnx")
    assert not (tmp_path / "g.onnx").exists()


def test_without_weights_the_error_names_the_command_that_trains(make_run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    directory = make_run()
    (directory / "train/weights/generator-last.safetensors").unlink()
    with pytest.raises(GanealogyError, match=r"dvc repro train@v1`"):
        onnx_file.export(run_record.read(directory), tmp_path / "g.onnx")


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_without_the_extra_the_error_names_it(
    make_run,  # type: ignore[no-untyped-def]
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    package: str,
) -> None:
    run = run_record.read(make_run())
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(GanealogyError, match=rf"^{package} is not installed; run: pip install 'ganealogy\[live\]'$"):
        onnx_file.export(run, tmp_path / "g.onnx")
    assert not (tmp_path / "g.onnx").exists()


def test_the_best_run_is_selected_by_default(make_run, project: Path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(GanealogyError, match="dvc repro"):
        select_run.choose(None, None, project)
    for version, seed, fd, best in (("v1", 0, None, 1.0), ("v1", 1, 90.0, 50.0), ("v2", 0, 80.0, 70.0)):
        make_run(version, seed, fd=fd, best=best)
    run, score = select_run.choose(None, None, project)
    assert (run.title, score.metric, score.value) == ("v2 seed 0", "fd_pixel8", 80.0)  # type: ignore[union-attr]
    assert select_run.choose("v1", 0, project)[0].title == "v1 seed 0"
    for version, seed in (("v1", 1), ("v2", 0)):
        (run_dir(version, seed, project) / "evaluate/metrics.json").unlink()
    assert select_run.choose(None, None, project)[0].title == "v1 seed 0", (
        "without evaluations the tracker's score decides"
    )
    with pytest.raises(GanealogyError, match="which seed"):
        select_run.choose("v1", None, project)
    with pytest.raises(GanealogyError, match=r"v1/train/7/run\.json.*dvc repro train@v1"):
        select_run.choose("v1", 7, project)


def test_the_export_command_prints_the_files_path(make_run, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    from click.testing import CliRunner

    from ganealogy.cli.main import cli

    make_run("v1", 0, fd=9.0)
    make_run("v2", 1, fd=3.0)
    monkeypatch.chdir(project)
    for words, path in (([], "reports/live/v2-1.onnx"), (["v1", "0", "--out", "mine.onnx"], "mine.onnx")):
        done = CliRunner().invoke(cli, ["export", *words], catch_exceptions=False)
        assert (done.exit_code, done.output.strip()) == (0, path)
        assert onnx.load(path).graph.input[0].name == "latents"
