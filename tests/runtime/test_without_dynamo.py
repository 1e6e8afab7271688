"""Our optimizer steps give the bits of torch's own, without importing torch._dynamo."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from ganealogy.adversary.optimizer_step import OptimizerStep


@pytest.mark.parametrize(
    ("name", "plain", "options"),
    [
        ("adam", torch.optim.Adam, {"betas": (0.5, 0.999), "fused": True}),
        ("adamw", torch.optim.AdamW, {"fused": True}),
        ("rmsprop", torch.optim.RMSprop, {}),
        ("sgd", torch.optim.SGD, {"fused": True}),
    ],
)
def test_a_step_gives_the_bits_of_the_optimizers_own(name, plain, options):
    torch.manual_seed(0)
    mine, theirs = nn.Linear(5, 3), nn.Linear(5, 3)
    theirs.load_state_dict(mine.state_dict())
    ours = {key: list(value) if isinstance(value, tuple) else value for key, value in options.items() if key != "fused"}
    update = OptimizerStep("D", mine, name, 0.01, ours)
    optimizer = plain(theirs.parameters(), lr=0.01, **options)
    for _ in range(5):
        x = torch.randn(7, 5)
        update.backward(mine(x).square().mean())
        update.step()
        optimizer.zero_grad()
        theirs(x).square().mean().backward()
        optimizer.step()
    torch.testing.assert_close(mine.weight, theirs.weight, rtol=0, atol=0)


def test_a_step_does_not_import_dynamo():
    code = """
import sys, torch
from ganealogy.adversary.optimizer_step import OptimizerStep
network = torch.nn.Linear(2, 1)
for name in ("adam", "adamw", "rmsprop", "sgd"):
    update = OptimizerStep("D", network, name, 0.1, {})
    update.backward(network(torch.ones(3, 2)).mean())
    update.step()
    update.optimizer.load_state_dict(update.optimizer.state_dict())
print("torch._dynamo" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
