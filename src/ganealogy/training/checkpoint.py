"""Checkpoints: one file holds all that a training needs to go on as if it had never stopped.

`<step>.safetensors` holds every tensor (networks, both optimizers, best generator, sums of the running tick) and
`<step>.json` beside it the rest, with the tensors' sha256. The JSON is written last and is what makes the pair a
checkpoint. No pickle: nothing in these files can run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as dump_tensors

from ganealogy.errors import GanealogyError
from ganealogy.files import atomic

KEEP = 2
"""Checkpoints kept: when the newest is damaged, the one before it is used."""

State = dict[str, Any]
"""Nested mappings of tensors and of plain JSON values."""


def snapshot(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors as they now are, to be saved while they go on changing."""
    # safetensors wants each tensor dense and its own; channels_last weights are neither in their stored order.
    return {name: tensor.detach().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}


def save(directory: Path, step: int, tensors: dict[str, torch.Tensor], facts: dict[str, Any]) -> None:
    """Write step's checkpoint, then drop all but the newest `KEEP`: the old one goes only when the new one stands."""
    content = dump_tensors(tensors)
    digest = hashlib.sha256(content).hexdigest()
    stem = directory / f"{step:09d}"
    atomic.write_bytes(stem.with_suffix(".safetensors"), content)
    atomic.write_json(stem.with_suffix(".json"), {"step": step, "sha256": digest, "facts": facts})
    for old in sorted(directory.glob("*.json"))[:-KEEP]:
        old.unlink()
        old.with_suffix(".safetensors").unlink(missing_ok=True)


def newest(directory: Path, warnings: list[str]) -> tuple[int, dict[str, torch.Tensor], dict[str, Any]] | None:
    """The newest whole checkpoint as (step, tensors, facts); None when there is none.

    One that is truncated, empty, foreign or altered adds a line to `warnings` that names it, and an older one is used.
    """
    for path in sorted(directory.glob("*.json"), reverse=True):
        try:
            record = json.loads(path.read_text())
            content = path.with_suffix(".safetensors").read_bytes()
            if atomic.sha256(path.with_suffix(".safetensors")) != record["sha256"]:
                raise ValueError("its sha256 is not the recorded one")
            return int(record["step"]), load_tensors(content), dict(record["facts"])
        except Exception as error:  # any damage at all: say so, and try the one before
            warnings.append(f"{path}: checkpoint cannot be used ({type(error).__name__}: {error}); trying an older one")
    return None


def last(directory: Path) -> tuple[int, dict[str, torch.Tensor], dict[str, Any]]:
    """`newest` for a running training, whose own checkpoint must be there. Raises: GanealogyError when it is not."""
    warnings: list[str] = []
    if (found := newest(directory, warnings)) is None:
        raise GanealogyError("; ".join(warnings) or f"{directory}: the training's checkpoint has disappeared")
    return found


def flatten(prefix: str, state: State) -> Iterator[tuple[str, torch.Tensor]]:
    """A network's or optimizer's tensors under dotted names; an optimizer's param_groups come from the recipe."""
    for key, value in state.items():
        if isinstance(value, torch.Tensor):
            yield f"{prefix}/{key}", value
        elif isinstance(value, dict):
            yield from flatten(f"{prefix}/{key}", value)


def named(prefix: str, state: State) -> dict[str, torch.Tensor]:
    return dict(flatten(prefix, state))


def below(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The tensors under a prefix, without it."""
    return {name[len(prefix) + 1 :]: tensor for name, tensor in tensors.items() if name.startswith(f"{prefix}/")}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]) -> None:
    """Put back the moments; `tensors` as `flatten(…, optimizer.state_dict()["state"])` named them."""
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
