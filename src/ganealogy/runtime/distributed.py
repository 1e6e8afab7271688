"""One training, or one evaluation, on several processes: ranks that share a batch as torch.distributed has them.

Every rank holds the whole networks, optimizers and running mean, sees its rows of each batch, and ends each step with
the same weights. Three rules make the step that of a single process at the same global batch:

- Random numbers are drawn for the global batch, by the same seed on every rank, and each takes its rows (`drawing`):
  what a step draws does not depend on how many there are.
- What couples the images of a batch sees all of it: `together` gathers rows, and its backward sums what all ranks ask
  of them, as often as it is differentiated. D's logits are gathered, so that every loss sees the global batch.
- Gradients are averaged by hand after each backward pass (`average_gradients`), as penalties differentiate twice and
  DistributedDataParallel's hooks do not live with that.

With one process everything here returns what it was given.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import distributed as dist
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

from ganealogy.errors import GanealogyError

T = TypeVar("T")


def world_size() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    return dist.get_rank() if world_size() > 1 else 0


def is_first() -> bool:
    """Whether this rank writes what all have computed."""
    return rank() == 0


@contextmanager
def process_group(device: str) -> Iterator[str]:
    """Meet the other ranks, where torchrun started some; yields this rank's device."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield device
        return
    if device == "cuda":
        local = int(os.environ.get("LOCAL_RANK", "0"))
        if local >= torch.cuda.device_count():
            raise GanealogyError(f"{world} ranks, but only {torch.cuda.device_count()} GPUs here: ask for fewer")
        torch.cuda.set_device(local)
        # gloo beside nccl: what the hosts tell each other need not wait for their cards.
        dist.init_process_group("cpu:gloo,cuda:nccl", device_id=torch.device("cuda", local))
        device = f"cuda:{local}"
    else:
        dist.init_process_group("gloo")
    try:
        yield device
    finally:
        dist.destroy_process_group()


def shard(rows: torch.Tensor) -> torch.Tensor:
    """This rank's rows (N / ranks, …) of a global batch (N, …). Raises: GanealogyError when N does not divide."""
    ranks = world_size()
    if ranks == 1:
        return rows
    length = len(rows)
    if length % ranks:
        raise GanealogyError(f"train.batch_size = {length} does not divide by {ranks} ranks: change one of them")
    size = length // ranks
    return rows[rank() * size : (rank() + 1) * size]


def shard_list(pieces: Sequence[T], of: int | None = None) -> Sequence[T]:
    """This rank's (or `of`'s) run of the pieces, which need not divide evenly; in the ranks' order they are all."""
    place, number = rank() if of is None else of, len(pieces)
    return pieces[place * number // world_size() : (place + 1) * number // world_size()]


def all_gather(rows: torch.Tensor) -> torch.Tensor:
    """(n, …) of each rank → (ranks × n, …), on every rank; differentiable as often as one likes."""
    if world_size() == 1:
        return rows
    gathered: torch.Tensor = _Gather.apply(rows)
    return gathered


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor) -> torch.Tensor:
        parts = [torch.empty(rows.shape, dtype=rows.dtype, device=rows.device) for _ in range(world_size())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        return shard(_total(gradients[0]))


def _total(rows: torch.Tensor) -> torch.Tensor:
    summed: torch.Tensor = _Sum.apply(rows)
    return summed


class _Sum(torch.autograd.Function):
    """The sum over the ranks; its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, tensor: torch.Tensor) -> torch.Tensor:
        summed = tensor.contiguous().clone()
        dist.all_reduce(summed)
        return summed

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        return _total(gradients[0])


@torch.no_grad()
def average(value: torch.Tensor) -> torch.Tensor:
    """The mean over the ranks, detached."""
    if world_size() == 1:
        return value.detach()
    mean = value.detach().clone()
    dist.all_reduce(mean)
    return mean / world_size()


@torch.no_grad()
def average_gradients(parameters: Sequence[torch.Tensor]) -> None:
    """In place; one message for all that have a gradient."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if world_size() == 1 or not gradients:
        return
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    dist.all_reduce(flat)
    flat /= world_size()
    parts = torch.split(flat, [gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view(gradient.shape))


def statistics(values: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A step's detached scalars: their means over the ranks."""
    return {name: average(value) for name, value in values.items()}


def sharded_map(
    total: int, piece: int, width: int, compute: Callable[[slice], NDArray[np.float32]]
) -> NDArray[np.float32]:
    """(total, width) float32, of which each rank computes a run of whole pieces; on every rank, in order.

    `compute(rows)`: (n, width) for a slice of rows; where pieces are its own batches, no bit depends on the ranks.
    """
    starts = shard_list(range(0, total, piece))
    if world_size() == 1:
        return compute(slice(0, total))
    rows = compute(slice(starts[0], min(starts[-1] + piece, total))) if starts else np.empty((0, width), np.float32)
    counts = [len(shard_list(range(0, total, piece), other)) * piece for other in range(world_size())]
    padded = torch.zeros(max(counts), width)
    padded[: len(rows)] = torch.from_numpy(rows)
    parts = [torch.empty_like(padded) for _ in range(world_size())]
    dist.all_gather(parts, padded)
    whole = torch.cat([part[:length] for part, length in zip(parts, counts, strict=True)])[:total]
    return whole.numpy()


def any_across_ranks(asked: bool) -> bool:
    """Whether one of the ranks says yes: all then do the same. The hosts alone speak, and no GPU is waited for."""
    if world_size() == 1:
        return asked
    answer = torch.tensor([float(asked)])
    dist.all_reduce(answer)
    return bool(answer > 0)


def barrier() -> None:
    """Wait until every rank is here."""
    any_across_ranks(False)


@contextmanager
def global_batch_rng(batch_size: int) -> Iterator[None]:
    """Inside, draws of torch's default generator whose first dimension is a rank's share of `batch_size` are made for
    the whole batch, and this rank's rows are returned."""
    if world_size() == 1:
        yield
    else:
        with _GlobalDraws(batch_size):
            yield


class _GlobalDraws(TorchFunctionMode):
    def __init__(self, batch_size: int) -> None:
        super().__init__()
        self.batch_size = batch_size

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function in (torch.rand, torch.randn):
            size = args[0] if len(args) == 1 and not isinstance(args[0], int) else args
            if self._is_share(size):
                return shard(function(self.batch_size, *size[1:], **kwargs))
        elif function is torch.randint and self._is_share(args[-1]):
            whole: torch.Tensor = function(*args[:-1], (self.batch_size, *args[-1][1:]), **kwargs)  # type: ignore[call-overload]
            return shard(whole)
        elif function in (torch.rand_like, torch.randn_like) and self._is_share(args[0].shape):
            return shard(function(self._whole(args[0]), **kwargs))
        elif function is nn.functional.dropout and self._is_share(args[0].shape):
            return self._dropout(*args, **kwargs)
        return function(*args, **kwargs)

    def _is_share(self, size: Sequence[int]) -> bool:
        return len(size) > 0 and size[0] * world_size() == self.batch_size

    def _whole(self, rows: torch.Tensor) -> torch.Tensor:
        """Room for the global batch, laid out as the rows are: draws fill memory in its order."""
        flat = rows.ndim == 4 and not rows.is_contiguous() and rows.is_contiguous(memory_format=torch.channels_last)
        return torch.empty(
            self.batch_size,
            *rows.shape[1:],
            dtype=rows.dtype,
            device=rows.device,
            memory_format=torch.channels_last if flat else torch.contiguous_format,
        )

    def _dropout(self, rows: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Any:
        if not training:
            return rows
        kept = shard(nn.functional.dropout(self._whole(rows.detach()).fill_(1), p))
        return rows.mul_(kept) if inplace else rows * kept


def synchronise(network: nn.Module) -> nn.Module:
    """The network with BatchNorms of the global batch, in training; its state_dict stays as it is.

    On GPUs by torch's SyncBatchNorm, which takes no CPU tensors (torch 2.15) and cannot be differentiated twice. On the
    CPU the activations are gathered: exact, and dear, as ranks on a CPU are for tests of the rest.
    """
    if world_size() == 1:
        return network
    if next(network.parameters()).is_cuda:
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        return converted
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.register_forward_pre_hook(lambda layer, given: (all_gather(given[0]),) if layer.training else None)
            module.register_forward_hook(lambda layer, given, made: shard(made) if layer.training else None)
    return network
