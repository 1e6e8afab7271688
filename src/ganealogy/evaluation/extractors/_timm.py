"""A vision transformer of timm with the user's own weights: what the extractors dinov2 and clip share.

timm is the optional extra `ganealogy[vision]`; the weights are a file in its format. Neither is fetched here: no hash
of the weights is published by which a download could be checked, so the file's own goes into the protocol.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from ganealogy.errors import GanealogyError
from ganealogy.evaluation.extractors._network import NetworkExtractor, resized, weights_path
from ganealogy.files import atomic

SIZE = 224


class TimmNetwork(NetworkExtractor):
    batches: ClassVar[dict[str, int]] = {"cpu": 16, "cuda": 128}

    def __init__(self, name: str, model: Any, device: str, config: dict[str, Any], **protocol: Any) -> None:
        """`config`: timm's data configuration of the model, of which mean and std are taken."""
        resize = f"bicubic to {SIZE}, antialiased, to whole levels, no crop"
        super().__init__(model, device, resize=resize, **protocol)
        self.name, self.dimension = name, int(model.num_features if model.num_classes == 0 else model.num_classes)
        self.mean, self.std = (
            torch.tensor(config[key], device=self.device).view(1, 3, 1, 1) * 255 for key in ("mean", "std")
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = resized(x, SIZE, "bicubic", antialias=True)
        features: torch.Tensor = self.model((x.round().clamp(0, 255) - self.mean) / self.std)
        return features


def load(name: str, model_name: str, device: str, **options: Any) -> TimmNetwork:
    """timm's `model_name` with build/weights/<name>.safetensors.

    Raises: GanealogyError without timm, without the weights, or when they are another model's or damaged.
    """
    try:
        import timm
        from timm.data import resolve_model_data_config  # type: ignore[attr-defined]
    except ImportError:
        raise GanealogyError(f"{name} needs timm: `pip install 'ganealogy[vision]'`") from None
    path = weights_path(f"{name}.safetensors")
    published: Any = timm.models.get_pretrained_cfg(model_name)
    place = f"https://huggingface.co/{published.hf_hub_id}"
    cure = f"save model.safetensors of {place} as {path}"
    if not path.is_file():
        raise GanealogyError(f"{path}: no such file; {name} is timm's {model_name}: {cure}")
    model = _model(path, model_name, options, cure)
    found = atomic.sha256(path)
    config = resolve_model_data_config(model)  # type: ignore[no-untyped-call]
    return TimmNetwork(name, model, device, config, weights_sha256=found, network=model_name)


def _model(path: Path, model_name: str, options: dict[str, Any], cure: str) -> nn.Module:
    import timm
    from safetensors import SafetensorError

    try:
        # Its own way of loading a file: to another image size it fits the position embedding. No network is asked.
        source = {"file": str(path)}
        model: nn.Module = timm.create_model(model_name, pretrained=True, pretrained_cfg_overlay=source, **options)
    except (SafetensorError, RuntimeError, OSError, KeyError, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        raise GanealogyError(f"{path}: not the weights of timm's {model_name} ({reason}); {cure}") from None
    return model
