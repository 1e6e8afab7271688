"""pytorch-fid's Inception: its network, weights, resize and normalisation. Only its Fréchet distance is named `fid`.

The weights are a port of the 2015 TensorFlow graph that defines FID (arXiv 1706.08500). No package contains them;
the inputs stage or `ganealogy fetch inception` downloads them.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from pytorch_fid import inception as pytorch_fid
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ganealogy.errors import GanealogyError, one_line
from ganealogy.evaluation.extractors import _network as network
from ganealogy.evaluation.extractors._network import NetworkExtractor
from ganealogy.files import atomic

URL = "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth"
"""pytorch-fid's own."""
FILE = "pt_inception-2015-12-05-6726825d.pth"
SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
BYTES = 95_628_359
FETCH = "run `ganealogy fetch inception`"
BATCHES = {"cpu": 16, "cuda": 128}
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}

Weights = dict[str, torch.Tensor]


class Inception(NetworkExtractor):
    name = "inception"
    class_weights: Any = None
    dimension = 2048
    batches = BATCHES

    def __init__(self, weights: Weights, weights_sha256: str, device: str, precision: str = "fp32") -> None:
        resize = "bilinear to 299 without antialiasing, as pytorch-fid"
        model = _network(weights).to(PRECISIONS[precision])
        super().__init__(model, device, weights_sha256=weights_sha256, resize=resize, precision=precision)
        self.class_weights = weights["fc.weight"].numpy()
        """(1008, 2048). The Inception score's logits are features @ class_weights.T, without bias."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the final average pooling. Resize and normalisation are pytorch-fid's, in fp32 for every precision."""
        x = network.resized(x / 255, 299)
        return self.model((2 * x - 1).to(PRECISIONS[self.protocol["precision"]]))[0][:, :, 0, 0]


def weights_path() -> Path:
    return network.weights_path(FILE)


def load(device: str = "cpu") -> Inception:
    """Raises: GanealogyError when the weights are absent or not the published file."""
    return Inception(*read_weights(), device)


def read_weights() -> tuple[Weights, str]:
    """Return the published weights and their sha256. Raises: as `load`."""
    path = weights_path()
    if not path.is_file():
        raise GanealogyError(f"{path}: no such file; {FETCH}")
    digest = atomic.sha256(path)
    if digest != SHA256:
        raise GanealogyError(f"{path}: sha256 is {digest[:12]}..., not {SHA256[:12]}...; {FETCH}")
    try:
        weights: Weights = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise GanealogyError(f"{path}: not a weights file ({one_line(error)}); {FETCH}") from None
    return weights, digest


def _network(weights: Weights) -> nn.Module:
    """Build pytorch-fid's network with normalisation folded into the convolutions: equal to 1e-5."""
    # Its constructor would download weights and unpickle them unchecked; pass the verified weights instead.
    with patch.object(pytorch_fid, "load_state_dict_from_url", lambda *args, **kwargs: weights):
        blocks = [pytorch_fid.InceptionV3.BLOCK_INDEX_BY_DIM[Inception.dimension]]
        model: nn.Module = pytorch_fid.InceptionV3(blocks, resize_input=False, normalize_input=False).eval()
    for module in model.modules():
        if isinstance(module, pytorch_fid.torchvision.models.inception.BasicConv2d):
            module.conv, module.bn = fuse_conv_bn_eval(module.conv, module.bn), nn.Identity()
    return model
