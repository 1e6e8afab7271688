"""One training, or one evaluation, on several processes (ranks) that share each batch, by torch.distributed.

Each rank holds the whole networks, optimizers and EMA, sees its shard of each batch, and ends each step with the same
weights:

- Each rank draws its own random numbers, seeded by (seed, step, rank) as in StyleGAN and R3GAN.
- D's logits are gathered (`all_gather`), so that each loss sees the whole batch. The backward pass sums the gradients
  of all ranks and can be differentiated again.
- Gradients are averaged after each backward pass (`average_gradients`): penalties differentiate twice, which the hooks
  of DistributedDataParallel do not support.

With one process each function returns its argument.
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

from ganealogy.errors import GanealogyError

T = TypeVar("T")


def world_size() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    return dist.get_rank() if world_size() > 1 else 0


def is_first() -> bool:
    """Return whether this rank writes the files."""
    return rank() == 0


@contextmanager
def process_group(device: str) -> Iterator[str]:
    """Join the process group if torchrun started one; yield this rank's device."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield device
        return
    if device == "cuda":
        local = int(os.environ.get("LOCAL_RANK", "0"))
        if local >= torch.cuda.device_count():
            raise GanealogyError(f"{world} ranks, but only {torch.cuda.device_count()} GPUs here: use fewer --ranks")
        torch.cuda.set_device(local)
        # gloo beside nccl: messages between the hosts need no GPU sync.
        dist.init_process_group("cpu:gloo,cuda:nccl", device_id=torch.device("cuda", local))
        device = f"cuda:{local}"
    else:
        dist.init_process_group("gloo")
    try:
        yield device
    finally:
        dist.destroy_process_group()


def shard(rows: torch.Tensor) -> torch.Tensor:
    """Return this rank's rows (N / ranks, …) of a global batch (N, …).

    Raises: GanealogyError when the ranks do not divide N.
    """
    ranks = world_size()
    if ranks == 1:
        return rows
    length = len(rows)
    if length % ranks:
        raise GanealogyError(f"train.batch_size = {length} does not divide by {ranks} ranks: change one of them")
    size = length // ranks
    return rows[rank() * size : (rank() + 1) * size]


def shard_list(items: Sequence[T], of: int | None = None) -> Sequence[T]:
    """Return the consecutive items of this rank, or of rank `of`; shards may differ in length by one."""
    index, number = rank() if of is None else of, len(items)
    return items[index * number // world_size() : (index + 1) * number // world_size()]


def all_gather(rows: torch.Tensor) -> torch.Tensor:
    """Return the rows of all ranks, (n, …) → (ranks × n, …), on each rank; differentiable any number of times."""
    if world_size() == 1:
        return rows
    return _AllGather.apply(rows)


class _AllGather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: torch.Tensor) -> torch.Tensor:
        parts = [torch.empty(rows.shape, dtype=rows.dtype, device=rows.device) for _ in range(world_size())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        return shard(_AllReduceSum.apply(gradients[0]))


class _AllReduceSum(torch.autograd.Function):
    """Sum over the ranks; the gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, tensor: torch.Tensor) -> torch.Tensor:
        total = tensor.contiguous().clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        return _AllReduceSum.apply(gradients[0])


@torch.no_grad()
def average(value: torch.Tensor) -> torch.Tensor:
    """Return the mean over the ranks, detached."""
    if world_size() == 1:
        return value.detach()
    mean = value.detach().clone()
    dist.all_reduce(mean)
    return mean / world_size()


@torch.no_grad()
def average_gradients(parameters: Sequence[torch.Tensor]) -> None:
    """Average the gradients over the ranks, in place and in one message."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if world_size() == 1 or not gradients:
        return
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    dist.all_reduce(flat)
    flat /= world_size()
    parts = torch.split(flat, [gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view(gradient.shape))


def sharded_map(
    total: int, batch: int, width: int, compute: Callable[[slice], NDArray[np.float32]]
) -> NDArray[np.float32]:
    """Return (total, width) float32 on each rank, in order; each rank computes consecutive whole batches of it.

    `compute(rows)` returns (n, width) for a slice of rows. Where `batch` is its own batch size, the result does not
    depend on the number of ranks.
    """
    starts = shard_list(range(0, total, batch))
    if world_size() == 1:
        return compute(slice(0, total))
    rows = compute(slice(starts[0], min(starts[-1] + batch, total))) if starts else np.empty((0, width), np.float32)
    counts = [len(shard_list(range(0, total, batch), other)) * batch for other in range(world_size())]
    padded = torch.zeros(max(counts), width)
    padded[: len(rows)] = torch.from_numpy(rows)
    parts = [torch.empty_like(padded) for _ in range(world_size())]
    dist.all_gather(parts, padded)
    whole = torch.cat([part[:length] for part, length in zip(parts, counts, strict=True)])[:total]
    return whole.numpy()


def any_across_ranks(flag: bool) -> bool:
    """Return whether the flag is set on any rank; the hosts exchange it without a GPU sync."""
    if world_size() == 1:
        return flag
    flags = torch.tensor([float(flag)])
    dist.all_reduce(flags)
    return bool(flags > 0)


def barrier() -> None:
    """Wait for all ranks."""
    any_across_ranks(False)


def sync_batch_norm(network: nn.Module) -> nn.Module:
    """Return the network with BatchNorm statistics of the global batch in training; its state_dict is unchanged.

    GPUs use torch's SyncBatchNorm, which takes no CPU tensors (torch 2.15) and cannot be differentiated twice. On a CPU
    the activations are gathered, which is exact and slow: ranks on a CPU are for tests.
    """
    if world_size() == 1:
        return network
    if next(network.parameters()).is_cuda:
        return nn.SyncBatchNorm.convert_sync_batchnorm(network)
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.register_forward_pre_hook(lambda layer, args: (all_gather(args[0]),) if layer.training else None)
            module.register_forward_hook(lambda layer, args, output: shard(output) if layer.training else None)
    return network
