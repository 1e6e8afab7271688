"""FID against pytorch-fid's own command, with weights in the official file's format.

The official weights cannot be shipped. Seeded Kaiming-normal weights replace them: with torch's default initialisation
the features are of the order of 1e-8 and any two sets agree.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from PIL import Image
from pytorch_fid import inception as pytorch_fid
from pytorch_fid.fid_score import calculate_frechet_distance
from torch import nn

from ganealogy.errors import GanealogyError
from ganealogy.evaluation import measure, standalone
from ganealogy.evaluation.extractors import _inception_weights as fetching
from ganealogy.evaluation.extractors import inception, inception_bf16
from ganealogy.evaluation.measure import full_name
from ganealogy.evaluation.metrics.frechet import Moments, frechet_distance
from ganealogy.files import atomic


class _Built(Exception):  # noqa: N818 (not an error)
    """Leaves pytorch-fid's constructor once the network is built, before it loads weights."""


def seeded_weights() -> dict[str, torch.Tensor]:
    """The official file's keys and shapes; Kaiming-normal convolutions and default normalisation layers."""
    networks: list[nn.Module] = []
    network_class = pytorch_fid.torchvision.models.inception.Inception3

    def stop(self: nn.Module, state: object) -> None:
        networks.append(self)
        raise _Built

    with (
        patch.object(pytorch_fid, "load_state_dict_from_url", lambda *args, **kwargs: {}),
        patch.object(network_class, "load_state_dict", stop),
        pytest.raises(_Built),
    ):
        pytorch_fid.fid_inception_v3()
    rng = torch.Generator().manual_seed(0)
    for module in networks[0].modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, generator=rng)
    return networks[0].state_dict()


@pytest.fixture(scope="module")
def torch_home(tmp_path_factory) -> Path:
    """A TORCH_HOME with seeded weights under the official name, so that pytorch-fid downloads nothing."""
    home = tmp_path_factory.mktemp("torch-home")
    path = home / "hub" / "checkpoints" / inception.FILE
    path.parent.mkdir(parents=True)
    torch.save(seeded_weights(), path)
    return home


@pytest.fixture
def workspace(torch_home, tmp_path, monkeypatch) -> Path:
    """A workspace with the same weights, accepted as the published ones."""
    source = torch_home / "hub" / "checkpoints" / inception.FILE
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setattr(inception, "SHA256", atomic.sha256(source))
    target = inception.weights_path()
    target.parent.mkdir(parents=True)
    os.link(source, target)
    return tmp_path


def textures(count: int, seed: int, coarse: int, size: int = 32, channels: int = 3) -> np.ndarray:
    """Random colours on a coarse grid, enlarged smoothly. Another coarseness is another distribution."""
    rng = np.random.default_rng(seed)
    grids = rng.integers(0, 256, (count, coarse, coarse, channels), np.uint8)
    pictures = [np.asarray(Image.fromarray(g.squeeze()).resize((size, size), Image.Resampling.BICUBIC)) for g in grids]
    return np.stack(pictures).reshape(count, size, size, channels)


def by_pytorch_fid(folder: Path, sets: list[np.ndarray], torch_home: Path) -> float:
    """Run pytorch-fid's command on two folders of PNGs; return the FID that it prints."""
    for index, images in enumerate(sets):
        (folder / str(index)).mkdir()
        for number, image in enumerate(images):
            Image.fromarray(image.squeeze()).save(folder / str(index) / f"{number:05}.png")
    command = [sys.executable, "-m", "pytorch_fid", "--device", "cpu", "--batch-size", "16", "--num-workers", "0"]
    environment = os.environ | {"TORCH_HOME": str(torch_home), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, str(folder / "0"), str(folder / "1")], env=environment, check=True, capture_output=True, text=True
    )
    return float(done.stdout.rsplit("FID:", 1)[1])


def by_us(sets: list[np.ndarray]) -> float:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        extractor = inception.load()
        return frechet_distance(*(Moments.of(extractor.features(images)) for images in sets))
    finally:
        torch.set_num_threads(before)


def test_fid_equals_pytorch_fids(workspace, torch_home, monkeypatch):
    monkeypatch.setattr(measure, "_check_count", lambda *arguments: None)  # fewer pictures than are measured
    sets = [textures(24, 1, 4), textures(20, 2, 6)]
    expected = by_pytorch_fid(workspace, sets, torch_home)
    assert expected > 1
    # The same folders by `ganealogy measure`: pictures decoded, features, distance.
    ours = standalone.run(workspace / "0", workspace / "1", ["inception"])
    assert ours is not None and ours.metrics["fid"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
def test_fid_equals_pytorch_fids_on_larger_pictures(workspace, torch_home):
    sets = [textures(18, 1, 3, size=64), textures(15, 2, 16, size=64)]
    expected = by_pytorch_fid(workspace, sets, torch_home)
    assert expected > 1
    assert by_us(sets) == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The `disp` argument is deprecated")  # pytorch-fid's call of scipy's sqrtm
def test_distance_equals_pytorch_fids_for_more_images_than_dimensions():
    """Only the distance is compared, at all 2,048 dimensions: the network would take minutes for 2,300 images."""
    rng = np.random.default_rng(0)
    spectrum = np.exp(-np.arange(2048) / 200)
    sets = [(rng.standard_normal((count, 2048)) * spectrum + shift) for count, shift in ((2300, 0.0), (2600, 0.02))]
    theirs = calculate_frechet_distance(*(x for s in sets for x in (s.mean(0), np.cov(s, rowvar=False))))
    assert theirs > 1
    assert frechet_distance(*map(Moments.of, sets)) == pytest.approx(theirs, rel=1e-4)


def test_features_depend_on_one_image_alone(workspace, monkeypatch):
    extractor, images = inception.load(), textures(5, 1, 4)
    whole = extractor.features(images)
    assert whole.shape == (5, 2048)
    scale = whole.std()
    np.testing.assert_allclose(extractor.features(images[::-1])[::-1] / scale, whole / scale, atol=1e-4)
    monkeypatch.setitem(inception.BATCHES, "cpu", 2)
    np.testing.assert_allclose(extractor.features(images) / scale, whole / scale, atol=1e-4)


def test_one_channel_is_repeated_to_three(workspace):
    extractor, grey = inception.load(), textures(2, 1, 4, channels=1)
    as_rgb = np.stack([np.asarray(Image.fromarray(image[:, :, 0]).convert("RGB")) for image in grey])
    np.testing.assert_array_equal(extractor.features(grey), extractor.features(as_rgb))


def test_features_equal_pytorch_fids(workspace):
    """channels_last and batches change rounding only."""
    images, path = textures(4, 1, 4), inception.weights_path()
    with patch.object(
        pytorch_fid, "load_state_dict_from_url", lambda *args, **kwargs: torch.load(path, weights_only=True)
    ):
        theirs = pytorch_fid.InceptionV3().eval()
    with torch.no_grad():
        expected = theirs(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255)[0][:, :, 0, 0].numpy()
    np.testing.assert_allclose(inception.load().features(images), expected, atol=1e-4 * expected.std())


def test_bf16_features_are_close_and_their_distance_is_not_named_fid(workspace):
    images = textures(4, 1, 4)
    exact, fast = inception.load(), inception_bf16.load()
    expected, got = exact.features(images), fast.features(images)
    assert got.dtype == np.float32 and 0 < np.abs(got - expected).max() < 0.2 * expected.std()
    assert fast.protocol == exact.protocol | {"precision": "bf16"}
    assert full_name("fd_{}", fast.name) == "fd_inception_bf16"


def test_the_extractor_has_class_weights_for_the_inception_score(workspace):
    assert inception.load().class_weights.shape == (1008, 2048)


def test_missing_weights_are_an_error_with_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    with pytest.raises(GanealogyError, match="no such file; run `ganealogy fetch inception`"):
        inception.load()


def test_other_weights_are_rejected_before_they_are_read(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    atomic.write_bytes(inception.weights_path(), pickle.dumps({"a": 1}))
    with pytest.raises(GanealogyError, match="sha256 is"):
        inception.load()


def test_a_pickle_with_code_is_refused_even_under_the_right_hash(tmp_path, monkeypatch):
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "ran"),)

    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    path = inception.weights_path()
    path.parent.mkdir(parents=True)
    torch.save(Trap(), path)
    monkeypatch.setattr(inception, "SHA256", atomic.sha256(path))
    with pytest.raises(GanealogyError, match="not a weights file"):
        inception.load()
    assert not (tmp_path / "ran").exists()


def test_weights_are_copied_from_the_mirror(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))
    mirror = tmp_path / "mirror"
    atomic.write_bytes(mirror / inception.FILE, b"weights")
    remote = fetching.Remote(inception.FILE, ("https://127.0.0.1:1/",), sha256=atomic.sha256(mirror / inception.FILE))
    monkeypatch.setattr(fetching, "INCEPTION", remote)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    assert fetching.fetch_weights(mirror).read_bytes() == b"weights"
    (mirror / inception.FILE).unlink()
    assert fetching.fetch_weights(mirror).read_bytes() == b"weights"  # already copied


def test_the_address_is_pytorch_fids_own_and_both_precisions_use_one_file():
    assert fetching.INCEPTION.urls == (pytorch_fid.FID_WEIGHTS_URL,)
    assert (fetching.FILE, fetching.INCEPTION.sha256) == (inception.FILE, inception.SHA256)
    assert inception_bf16.FILE == inception.FILE == pytorch_fid.FID_WEIGHTS_URL.rsplit("/", 1)[1]


def test_a_wrong_file_in_the_mirror_is_rejected(tmp_path, monkeypatch):
    atomic.write_bytes(tmp_path / "mirror" / inception.FILE, b"others")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    with pytest.raises(GanealogyError, match="mirror"):
        fetching.fetch_weights(tmp_path / "mirror")
    assert not inception.weights_path().exists()
