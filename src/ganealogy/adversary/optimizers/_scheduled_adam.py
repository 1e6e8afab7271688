"""Adam whose learning rate, betas and weight decay may be scalars on the device, which a CUDA graph reads per replay.

torch's implementations read betas on the host: the fused one as a kernel argument, the others by `.item()` (torch 2.11
to 2.15), a sync that graph capture forbids. State and results are torch's (Kingma and Ba, arXiv 1412.6980; decoupled
weight decay: Loshchilov and Hutter, 1711.05101).
"""

from __future__ import annotations

from typing import Any

import torch

from ganealogy.runtime import precision


class ScheduledAdam(torch.optim.Adam):
    """`weight_decay` is decoupled from the gradient, as in AdamW."""

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update the parameters; closures are not supported."""
        for group in self.param_groups:
            parameters, gradients, means, squares, steps = [], [], [], [], []  # type: ignore[var-annotated]
            self._init_group(group, parameters, gradients, means, squares, [], steps)  # type: ignore[no-untyped-call]
            if parameters:
                _step(group, parameters, gradients, means, squares, steps)


def _step(
    group: dict[str, Any],
    parameters: list[torch.Tensor],
    gradients: list[torch.Tensor],
    means: list[torch.Tensor],
    squares: list[torch.Tensor],
    steps: list[torch.Tensor],
) -> None:
    rate, decay, (beta1, beta2), dtype = group["lr"], group["weight_decay"], group["betas"], parameters[0].dtype

    def scalar(value: Any) -> Any:  # torch's fast paths need the parameters' dtype
        return value.to(dtype) if isinstance(value, torch.Tensor) else value

    torch._foreach_add_(steps, 1)
    count = steps[0].to(precision.widest(steps[0].device))
    if isinstance(decay, torch.Tensor) or decay:
        torch._foreach_mul_(parameters, scalar(1 - rate * decay))
    torch._foreach_mul_(means, scalar(beta1))
    torch._foreach_add_(means, torch._foreach_mul(gradients, scalar(1 - beta1)))
    torch._foreach_mul_(squares, scalar(beta2))
    torch._foreach_addcmul_(squares, torch._foreach_mul(gradients, scalar(1 - beta2)), gradients)
    # The corrections are float64 scalars: 1 - beta ** t loses digits, and t is the same for all parameters.
    lengths = torch._foreach_sqrt(squares)
    torch._foreach_div_(lengths, scalar((1 - beta2**count).sqrt()))
    torch._foreach_add_(lengths, group["eps"])
    torch._foreach_div_(lengths, scalar(rate / (beta1**count - 1)))
    torch._foreach_addcdiv_(parameters, means, lengths)
