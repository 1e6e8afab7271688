"""A small classifier of MNIST's digits: 128 features before the last layer, and class probabilities.

The reference stage trains it once on the data set's labels, because Inception's features suit photographs, not digits.
One 3 × 3 convolution per resolution suffices for 99 % accuracy.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from safetensors.torch import save as to_bytes
from torch import nn
from torch.nn import functional as F

from ganealogy.data import packed
from ganealogy.errors import GanealogyError, Remedy
from ganealogy.files import atomic
from ganealogy.record_types import MetricProtocol
from ganealogy.runtime.progress import Progress

DATASETS = ("mnist",)
IMAGE_SIZES = (28, 32)
"""The plan rejects other data sets and sizes."""
FILE = "mnist_cnn.safetensors"
CLASSES = 10
DIMENSION = 128
EPOCHS = 3
TRAIN_BATCH = 128
RATE = 3e-3
SEED = 0
MIN_ACCURACY = 0.98
"""On held-out digits; below it the metrics would be meaningless. Trained on all of MNIST it reaches 99 %."""
BATCH = 512
REMEDY = Remedy("reference")


class MnistCNN:
    name = "mnist_cnn"
    network = True
    dimension = DIMENSION

    def __init__(self, model: nn.Sequential, device: str, **protocol: Any) -> None:
        self.model, self.device = model.eval().to(device=device), torch.device(device)
        self.protocol: MetricProtocol = {"resize": "none", "precision": "fp32", **protocol}

    @torch.inference_mode()
    def features(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """uint8 (N, H, W, 1 or 3) → (N, 128), after the last ReLU. Three channels are averaged."""
        parts = [np.empty((0, DIMENSION), np.float32)]
        with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            for start in range(0, len(images), BATCH):
                x = as_input(images[start : start + BATCH]).to(self.device)
                parts.append(self.model.get_submodule("body")(x).cpu().numpy())
        return np.concatenate(parts)

    @torch.inference_mode()
    def probabilities(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Features (N, 128) → (N, 10), for the digits 0 to 9."""
        logits: torch.Tensor = self.model.get_submodule("head")(torch.from_numpy(features).to(self.device))
        return logits.softmax(dim=1).cpu().numpy()


def network(side: int) -> nn.Sequential:
    """Build the network. `body`: (n, 1, side, side) in 0..1 → (n, 128). `head`: (n, 128) → (n, 10) logits."""
    layers: list[nn.Module] = []
    channels = 1
    for width in (16, 32, 32):
        layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2)]
        channels, side = width, side // 2
    body = nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * side**2, DIMENSION), nn.ReLU())
    return nn.Sequential(OrderedDict(body=body, head=nn.Linear(DIMENSION, CLASSES)))


def as_input(images: NDArray[np.uint8]) -> torch.Tensor:
    """uint8 (n, H, W, C) → (n, 1, H, W) in 0..1."""
    x = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float()
    return x.mean(dim=1, keepdim=True) / 255


def prepare(packed_directory: Path, out: Path, device: str) -> None:
    """Train the classifier on the train split; write it and its accuracy on held-out digits into `out`.

    Equal pictures, device and number of threads give equal bytes.

    Raises: GanealogyError for data without labels, or an accuracy below MIN_ACCURACY.
    """
    images, digits = _labelled(packed_directory, "train")
    model = train(images, digits, device)
    held_out, expected = _labelled(packed_directory, "holdout")
    extractor = MnistCNN(model, device)
    accuracy = float((extractor.probabilities(extractor.features(held_out)).argmax(axis=1) == expected).mean())
    if accuracy < MIN_ACCURACY:
        raise GanealogyError(
            f"{packed_directory}: mnist_cnn classifies {accuracy:.1%} of {len(expected)} held-out digits correctly, "
            f"less than {MIN_ACCURACY:.0%}: use more data (dataset.count: null), or remove it from evaluate.extractors"
        )
    description = {"accuracy": round(accuracy, 4), "held_out": len(expected), "side": images.shape[1]}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    # One metadata key only: safetensors writes several in random order.
    atomic.write_bytes(out / FILE, to_bytes(tensors, {"facts": json.dumps(description)}))


def train(images: NDArray[np.uint8], digits: NDArray[np.int64], device: str) -> nn.Sequential:
    """Train with AdamW and a one-cycle learning rate. The caller's random state is not changed."""
    batch = min(TRAIN_BATCH, max(16, len(images) // 40), len(images))  # smaller for few digits: at least 40 steps
    steps = len(images) // batch
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model = network(images.shape[1]).to(device=device).train()
    order = np.random.default_rng(SEED)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=EPOCHS * steps)
    with (
        Progress("training mnist_cnn", EPOCHS * steps * batch, "digits") as progress,
        torch.backends.cudnn.flags(enabled=True, deterministic=True, benchmark=False, allow_tf32=False),
    ):
        for _epoch in range(EPOCHS):
            for rows in order.permutation(len(images))[: steps * batch].reshape(steps, batch):
                loss = F.cross_entropy(
                    model(as_input(images[rows]).to(device)), torch.from_numpy(digits[rows]).to(device)
                )
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                progress.update(batch)
    return model.eval()


def load(device: str, reference: Path) -> MnistCNN:
    """Load the classifier that `prepare` wrote into `reference`.

    Raises: GanealogyError when the file is absent or damaged.
    """
    path = reference / FILE
    if not path.is_file():
        hint = f"name it in evaluate.extractors and {REMEDY.absent}"
        raise GanealogyError(f"{path}: no such file: the pipeline trains mnist_cnn on MNIST; {hint}")
    try:
        with safe_open(path, "pt") as file:
            description = json.loads(file.metadata()["facts"])
        if description["side"] not in IMAGE_SIZES:
            raise ValueError(f"for pictures of {description['side']} pixels a side")
        model = network(description["side"])
        model.load_state_dict(load_file(path))
        accuracy = float(description["accuracy"])
    except (SafetensorError, OSError, RuntimeError, ValueError, KeyError, TypeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:120]
        raise GanealogyError(f"{path}: not mnist_cnn's weights ({reason}); {REMEDY.damaged}") from None
    return MnistCNN(model, device, weights_sha256=atomic.sha256(path), accuracy=accuracy)


def _labelled(directory: Path, split: packed.Split) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    images, labels = packed.open_split(directory, split), packed.open_labels(directory, split, CLASSES)
    if labels is None:
        raise GanealogyError(f"{directory}: no labels for {split}: mnist_cnn needs dataset.name: mnist; {packed.HINT}")
    return images, labels
