"""Bytes that operations move, counted by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def traffic(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from measuring import traffic

    return traffic


KIB = 1024
CASES: dict[str, tuple[Callable[[torch.Tensor, torch.Tensor], object], int]] = {
    "two read, one written": (lambda x, y: x + y, 3 * KIB),
    "in place": (lambda x, y: x.add_(y), 3 * KIB),
    "read alone": (lambda x, y: x.sum(), KIB + 4),
    "written alone": (lambda x, y: torch.zeros(256), KIB),
    "views and memory without content": (lambda x, y: (x.t(), x.view(-1), x[2:], torch.empty(256)), 0),
    "an expanded number": (lambda x, y: x * torch.ones(1).expand(16, 16), 2 * KIB + 4 + 4),
    "half precision": (lambda x, y: x.to(torch.bfloat16), KIB + KIB // 2),
    "a matrix product": (lambda x, y: x @ y, 3 * KIB),
}


@pytest.mark.parametrize("name", CASES)
def test_bytes_are_those_read_and_written(traffic: ModuleType, name: str) -> None:
    operation, expected = CASES[name]
    x, y = torch.rand(16, 16), torch.rand(16, 16)
    with traffic.Traffic() as counted:
        operation(x, y)
    assert counted.total == expected


def test_a_fused_optimizer_reads_gradients_and_writes_its_state(traffic: ModuleType) -> None:
    """Parameter and both moments are read and written; the gradient is read, and may be written."""
    parameter = torch.nn.Parameter(torch.rand(1024))
    parameter.grad = torch.rand(1024)
    optimizer = torch.optim.Adam([parameter], fused=True)
    optimizer.step()
    with traffic.Traffic() as counted:
        optimizer.step()
    assert 7 * 4096 <= counted.total <= 8 * 4096 + 64


def test_backward_passes_count(traffic: ModuleType) -> None:
    weight = torch.rand(16, 16, requires_grad=True)
    with traffic.Traffic() as forward:
        loss = (weight * weight).sum()
    with traffic.Traffic() as backward:
        loss.backward()
    assert forward.total == 3 * KIB + KIB + 4
    assert backward.total >= 5 * KIB, "two products, and their sum"


def test_a_copys_rate_is_of_bytes_read_and_written(traffic: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traffic, "block", lambda step, steps, device: lambda: 0.5)
    assert traffic.memory_peak(1000) == 4000
