"""pytorch-fid's Inception: its network, weights, resize and normalisation. The only extractor whose distance is `fid`.

The weights are a port of the TensorFlow graph of 2015 by which FID was defined (arXiv 1706.08500); they are no part of
any package, so they are fetched once (`ganealogy fetch inception`).
"""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_fid import inception as pytorch_fid
from torch import nn

from ganealogy import atomic
from ganealogy.errors import GanealogyError

URL = pytorch_fid.FID_WEIGHTS_URL
FILE = "pt_inception-2015-12-05-6726825d.pth"
SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
BYTES = 95_628_359
FETCH = "run `ganealogy fetch inception`"
BATCHES = {"cpu": 16, "cuda": 128}


class Inception:
    name = "inception"
    network = True
    dimension = 2048

    def __init__(self, model: nn.Module, device: str, weights_sha256: str) -> None:
        self.model, self.device = model, torch.device(device)
        self.protocol: dict[str, Any] = {
            "weights_sha256": weights_sha256,
            "resize": "bilinear to 299 without antialiasing, as pytorch-fid",
            "precision": "fp32",
        }

    def features(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 (N, H, W, 1 or 3) → (N, 2048), the final average pooling; one channel is repeated to three."""
        batch = BATCHES[self.device.type]
        parts = [self._features(images[start : start + batch]) for start in range(0, len(images), batch)]
        return np.concatenate(parts) if parts else np.empty((0, self.dimension), np.float32)

    @torch.inference_mode()
    def _features(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        pixels = torch.from_numpy(np.array(images)).to(self.device).permute(0, 3, 1, 2)  # (n, C, H, W)
        x = pixels.expand(-1, 3, -1, -1).float().div(255).contiguous(memory_format=torch.channels_last)
        # cuDNN would take TF32 for fp32, and another precision is another protocol.
        with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            pooled = self.model(x)[0]  # resizes and normalises by itself
        features: NDArray[np.float32] = pooled[:, :, 0, 0].cpu().numpy()
        return features


def weights_path() -> Path:
    """Where the weights are kept: beside the main workspace's other work, so that experiments share them."""
    return Path(os.environ.get("DVC_ROOT") or ".") / "build" / "weights" / FILE


def load(device: str = "cpu") -> Inception:
    """Raises: GanealogyError when the weights have not been fetched, or are not the published file."""
    path = weights_path()
    if not path.is_file():
        raise GanealogyError(f"{path}: no such file; {FETCH}")
    found = atomic.sha256(path)
    if found != SHA256:
        raise GanealogyError(f"{path}: sha256 is {found[:12]}..., not {SHA256[:12]}...; remove it and {FETCH}")
    model = _network(path).eval().to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Inception(model, device, found)


def _network(path: Path) -> nn.Module:
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        reason = str(error).splitlines()[0]
        raise GanealogyError(f"{path}: not a weights file ({reason}); remove it and {FETCH}") from None
    # pytorch-fid's constructor downloads its weights and unpickles whatever arrives; it gets the checked file instead.
    with patch.object(pytorch_fid, "load_state_dict_from_url", lambda *args, **kwargs: weights):
        model: nn.Module = pytorch_fid.InceptionV3([pytorch_fid.InceptionV3.BLOCK_INDEX_BY_DIM[Inception.dimension]])
    return model
