"""Checkpoints: one file holds all that a training needs to resume.

`<step>.safetensors` holds every tensor (networks, both optimizers, EMA, networks of the best step, loss sums of the
running tick). `<step>.json` beside it holds the counters and the tensors' sha256. The JSON is written last and makes
the pair a checkpoint. No pickle: a checkpoint cannot contain code.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as dump_tensors

from ganealogy.errors import GanealogyError
from ganealogy.files import atomic

KEEP = 2
"""Checkpoints kept: if the newest is damaged, the one before it is used."""

State = Mapping[Any, Any]
"""Nested mappings of tensors and of plain JSON values."""


@dataclass(frozen=True)
class Checkpoint:
    step: int
    tensors: dict[str, torch.Tensor]
    progress: dict[str, Any]
    """`training.state.Progress`, field by field, and `best`."""


def snapshot(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return dense copies, for saving while the originals change."""
    # safetensors needs dense tensors with memory of their own; channels_last weights have neither.
    return {name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}


def save(directory: Path, step: int, tensors: dict[str, torch.Tensor], progress: Mapping[str, Any]) -> None:
    """Write a checkpoint, then delete all but the newest `KEEP` and those of later steps, which no resume could use."""
    content = dump_tensors(tensors)
    digest = hashlib.sha256(content).hexdigest()
    stem = directory / f"{step:09d}"
    atomic.write_bytes(stem.with_suffix(".safetensors"), content)
    atomic.write_json(stem.with_suffix(".json"), {"step": step, "sha256": digest, "facts": progress})
    written = sorted(directory.glob("*.json"))
    until = written.index(stem.with_suffix(".json")) + 1
    for stale in [*written[: max(0, until - KEEP)], *written[until:]]:
        stale.unlink()
        stale.with_suffix(".safetensors").unlink(missing_ok=True)


def newest(
    directory: Path, warnings: list[str], expected: Mapping[str, torch.Tensor] | None = None
) -> Checkpoint | None:
    """Return the newest intact checkpoint; None when there is none.

    `expected`: tensors of the training; networks of other names or shapes make a checkpoint unusable.
    A checkpoint that is truncated, altered or of another training adds a line to `warnings`, and an older one is tried.
    """
    for path in sorted(directory.glob("*.json"), reverse=True):
        try:
            record = json.loads(path.read_text())
            content = path.with_suffix(".safetensors").read_bytes()
            if hashlib.sha256(content).hexdigest() != record["sha256"]:
                raise ValueError("its sha256 differs from the recorded one")
            found = Checkpoint(int(record["step"]), load_tensors(content), dict(record["facts"]))
            if not found.progress.keys() >= {"step", "ticks", "summed", "best", "seconds", "resumed"}:
                raise ValueError("its counters are incomplete")
            if expected is not None and _network_shapes(found.tensors) != _network_shapes(expected):
                raise ValueError("its networks are of another training")
            return found
        except Exception as error:  # any damage at all
            warnings.append(f"{path}: checkpoint cannot be used ({type(error).__name__}: {error}); trying an older one")
    return None


def last(directory: Path) -> Checkpoint:
    """Return the newest checkpoint of a running training. Raises: GanealogyError when there is none."""
    warnings: list[str] = []
    if (found := newest(directory, warnings)) is None:
        raise GanealogyError("; ".join(warnings) or f"{directory}: the training's checkpoint has disappeared")
    return found


def _network_shapes(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Size]:
    networks = ("generator/", "discriminator/")
    return {name: tensor.shape for name, tensor in tensors.items() if name.startswith(networks)}


def named(prefix: str, state: State) -> dict[str, torch.Tensor]:
    """Return the tensors of a network's or optimizer's state under names like `prefix/key/key`."""
    return dict(_named(prefix, state))


def _named(prefix: str, state: State) -> Iterator[tuple[str, torch.Tensor]]:
    for key, value in state.items():
        if isinstance(value, torch.Tensor):
            yield f"{prefix}/{key}", value
        elif isinstance(value, dict):
            yield from _named(f"{prefix}/{key}", value)


def below(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the tensors under a prefix, without it."""
    return {name[len(prefix) + 1 :]: tensor for name, tensor in tensors.items() if name.startswith(f"{prefix}/")}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]) -> None:
    """Load the moments; `tensors`: `named(…, optimizer.state_dict()["state"])` without its prefix."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        index, key = name.split("/", 1)
        parameter = parameters[int(index)]
        if tensor.shape == parameter.shape:
            # In the parameter's memory order: fused optimizers pair weight and moment by address.
            tensor = torch.empty_like(parameter, dtype=tensor.dtype).copy_(tensor)
        state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
