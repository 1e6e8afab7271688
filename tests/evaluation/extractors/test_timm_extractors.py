"""dinov2 and clip, with random weights in timm's format: users supply the real ones."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from ganealogy.errors import GanealogyError
from ganealogy.evaluation.extractors import clip, dinov2, dinov2_vitl14
from ganealogy.evaluation.extractors._network import weights_path
from ganealogy.files import atomic

timm = pytest.importorskip("timm")
CASES = [(dinov2, "dinov2", 384), (clip, "clip", 512)]


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Return a function that saves a model's random weights at its extractor's path; dinov2's for 518 pixels."""
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))

    def save(name: str, model_name: str) -> Path:
        torch.manual_seed(0)
        path = weights_path(f"{name}.safetensors")
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(timm.create_model(model_name, pretrained=False).state_dict(), path)
        return path

    return save


def pictures(count: int, size: int) -> np.ndarray:
    coarse = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), np.uint8)
    return np.stack([np.asarray(Image.fromarray(c).resize((size, size), Image.Resampling.BICUBIC)) for c in coarse])


@pytest.mark.parametrize(("module", "name", "dimension"), CASES)
def test_features_equal_timms(weights, module, name, dimension):
    """Against timm's transform of PIL images, at 224 without a crop, and timm's forward pass."""
    path = weights(name, module.MODEL)
    options = {"img_size": 224} if name == "dinov2" else {}
    source = {"file": str(path)}
    model = timm.create_model(module.MODEL, pretrained=True, pretrained_cfg_overlay=source, **options).eval()
    config = timm.data.resolve_model_data_config(model) | {"input_size": (3, 224, 224), "crop_pct": 1.0}
    assert config["interpolation"] == "bicubic"
    transform = timm.data.create_transform(**config, is_training=False)
    images = pictures(2, 64)
    with torch.inference_mode():
        expected = model(torch.stack([transform(Image.fromarray(image)) for image in images])).numpy()
    extractor = module.load()
    got = extractor.features(images)
    assert got.shape == (2, dimension) and extractor.dimension == dimension
    # The tolerance is needed because PIL rounds to whole levels after each direction, the extractor once.
    np.testing.assert_allclose(got, expected, atol=0.02 * expected.std())
    assert extractor.protocol["weights_sha256"] == atomic.sha256(path)
    assert extractor.protocol["network"] == module.MODEL and "bicubic to 224" in extractor.protocol["resize"]


@pytest.mark.parametrize(("module", "name", "dimension"), CASES)
def test_absent_weights_are_an_error_with_their_source_and_path(tmp_path, monkeypatch, module, name, dimension):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    with pytest.raises(
        GanealogyError, match=rf"{name}\.safetensors: no such file.*{module.MODEL}.*huggingface.co/timm/"
    ):
        module.load()


def test_without_timm_the_error_has_the_install_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(GanealogyError, match=r"dinov2 needs timm: .*ganealogy\[vision\]"):
        dinov2.load()


@pytest.mark.parametrize("content", [b"", b"not weights at all", b"\x80\x04K\x01."])
def test_a_damaged_file_is_rejected(tmp_path, monkeypatch, content):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    atomic.write_bytes(weights_path("dinov2.safetensors"), content)
    with pytest.raises(GanealogyError, match=r"dinov2\.safetensors: not the weights of timm's vit_small"):
        dinov2.load()


def test_another_models_weights_are_rejected(tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    weights_path("x").parent.mkdir(parents=True)
    save_file({"weight": torch.zeros(2)}, weights_path("clip.safetensors"))
    with pytest.raises(GanealogyError, match=r"clip\.safetensors: not the weights of timm's vit_base") as caught:
        clip.load()
    assert "\n" not in str(caught.value)


def test_the_large_dinov2_has_1024_features() -> None:
    """Without its weights, which are larger than a test should write."""
    with torch.device("meta"):
        model = timm.create_model(dinov2_vitl14.MODEL, img_size=224)
    assert model.num_features == 1024 and len(model.blocks) == 24
    with pytest.raises(GanealogyError, match=r"dinov2_vitl14\.safetensors: no such file; .*vit_large_patch14_dinov2"):
        dinov2_vitl14.load()
