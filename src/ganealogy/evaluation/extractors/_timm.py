"""Vision transformers of timm with weights supplied by the user, for the extractors dinov2 and clip.

timm is the optional extra `ganealogy[vision]`; the weights are a safetensors file in timm's format. They are not
downloaded, because no hash is published to verify them; the protocol has the file's sha256 instead.
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
        """`config`: timm's data configuration of the model; only its mean and std are used."""
        resize = f"bicubic to {SIZE}, antialiased, to whole levels, no crop"
        super().__init__(model, device, resize=resize, **protocol)
        self.name, self.dimension = name, int(model.num_features if model.num_classes == 0 else model.num_classes)
        self.mean, self.std = (
            torch.tensor(config[key], device=self.device).view(1, 3, 1, 1) * 255 for key in ("mean", "std")
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = resized(x, SIZE, "bicubic", antialias=True)
        return self.model((x.round().clamp(0, 255) - self.mean) / self.std)


def load(name: str, model_name: str, device: str, **options: Any) -> TimmNetwork:
    """Load timm's `model_name` with the weights build/weights/<name>.safetensors.

    Raises: GanealogyError when timm is not installed, or the weights are absent, damaged or another model's.
    """
    try:
        import timm
        from timm.data import resolve_model_data_config  # type: ignore[attr-defined]
    except ImportError:
        raise GanealogyError(f"{name} needs timm: run `pip install 'ganealogy[vision]'`") from None
    path = weights_path(f"{name}.safetensors")
    published: Any = timm.models.get_pretrained_cfg(model_name)
    hint = f"save model.safetensors of https://huggingface.co/{published.hf_hub_id} as {path}"
    if not path.is_file():
        raise GanealogyError(f"{path}: no such file; {name} is timm's {model_name}: {hint}")
    model = _model(path, model_name, options, hint)
    config = resolve_model_data_config(model)  # type: ignore[no-untyped-call]
    return TimmNetwork(name, model, device, config, weights_sha256=atomic.sha256(path), network=model_name)


def _model(path: Path, model_name: str, options: dict[str, Any], hint: str) -> nn.Module:
    import timm
    from safetensors import SafetensorError

    try:
        # timm's loader resizes the position embedding to the image size. With a file it downloads nothing.
        source = {"file": str(path)}
        model: nn.Module = timm.create_model(model_name, pretrained=True, pretrained_cfg_overlay=source, **options)
    except (SafetensorError, RuntimeError, OSError, KeyError, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        raise GanealogyError(f"{path}: not the weights of timm's {model_name} ({reason}); {hint}") from None
    return model
