"""Standing statistics are plain means over batches of the generator that samples."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ganealogy.networks import dcgan, r3gan, sngan
from ganealogy.sampling import standing_statistics
from ganealogy.sampling.generate import BATCH, generate

LABELS = torch.zeros(5 * BATCH, dtype=torch.int64)


def generator() -> nn.Module:
    torch.manual_seed(0)
    return dcgan.generator(8, 3, 16, 4).eval()


def transcription(network: nn.Module, z: torch.Tensor) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Means over the batches of each layer's batch mean and batch variance, in double precision."""
    network = copy.deepcopy(network).double().train()
    inputs: dict[str, list[torch.Tensor]] = {}
    for name, module in network.named_modules():
        if isinstance(module, _BatchNorm):
            module.register_forward_hook(
                lambda _module, given, _result, name=name: inputs.setdefault(name, []).append(given[0].detach())
            )
    for batch in z.double().split(BATCH):
        network(batch)
    return {
        name: (
            torch.stack([batch.mean((0, 2, 3)) for batch in batches]).mean(0),
            torch.stack([batch.var((0, 2, 3)) for batch in batches]).mean(0),
        )
        for name, batches in inputs.items()
    }


def test_they_equal_the_transcription() -> None:
    network, z = generator(), torch.randn(5 * BATCH, 8)
    expected = transcription(network, z)
    standing_statistics.use_standing_statistics(network, z, LABELS[: len(z)])
    norms = {name: module for name, module in network.named_modules() if isinstance(module, _BatchNorm)}
    assert norms.keys() == expected.keys() and len(norms) >= 2
    for name, norm in norms.items():
        assert not norm.training
        torch.testing.assert_close(norm.running_mean.double(), expected[name][0], rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(norm.running_var.double(), expected[name][1], rtol=1e-4, atol=1e-6)


def test_they_depend_on_the_weights_alone() -> None:
    """An EMA's buffers are those of another network; its pictures then do not depend on them."""
    network, z = generator(), torch.randn(2 * BATCH, 8)
    other = copy.deepcopy(network)
    for norm in other.modules():
        if isinstance(norm, _BatchNorm):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2.0)
    assert not np.array_equal(generate(network, z[:8]), generate(other, z[:8]))
    for either in (network, other):
        standing_statistics.use_standing_statistics(either, z, LABELS[: len(z)])
    assert np.array_equal(generate(network, z[:8]), generate(other, z[:8]))


def test_nothing_else_changes() -> None:
    """Not the power iterations of spectral norm, nor a generator without BatchNorm."""
    torch.manual_seed(0)
    network, plain = sngan.generator(8, 3, 16, 4, spectral=True).eval(), r3gan.generator(8, 3, 16, 4).eval()
    for generator in (network, plain):
        before = {name: tensor.clone() for name, tensor in generator.state_dict().items()}
        standing_statistics.use_standing_statistics(generator, torch.randn(BATCH, 8), LABELS[:BATCH])
        after = generator.state_dict()
        changed = {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}
        assert all("running" in name or "num_batches" in name for name in changed) and bool(changed) == (
            generator is network
        )
