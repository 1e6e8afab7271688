"""A process of `gpu.py`: train a version, and start the steps that count together with the other processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack

import torch

from ganealogy.data.batches import Batches
from measuring import claims, pictures
from measuring.device import block
from measuring.ours import Ours

READY = "ready"
WARM_UP = 8
"""Steps: by then a CUDA graph is captured."""


def together(number: int, device: str, precision: str, sizes: Sequence[int]) -> float:
    """Return the images per second of `number` trainings of v1 at the same time.

    `sizes`: steps, batch size, width, pixels per side. Raises: RuntimeError when one of them fails.
    """
    folders = [str(claims.ROOT / name) for name in ("src", "benchmarks")]
    path = os.pathsep.join([*filter(None, [os.environ.get("PYTHONPATH")]), *folders])
    command = [sys.executable, "-m", "measuring.worker", device, precision, *map(str, sizes)]
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(
                    command,
                    env={**os.environ, "PYTHONPATH": path},
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for _ in range(number)
        ]
        for process in processes:
            stack.callback(process.kill)
        answers = [_answer(process) for process in processes]
        if any(answer != READY for answer in answers):
            raise RuntimeError(f"a training of {number} at once did not start: {answers}")
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        slowest = max(float(_answer(process) or "nan") for process in processes)
    steps, batch_size, *_ = sizes
    return number * steps * batch_size / slowest


def _answer(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def main() -> None:
    device, precision, *sizes = sys.argv[1:]
    steps, batch_size, width, side = map(int, sizes)
    torch.set_num_threads(1)
    torch.backends.cudnn.benchmark = True  # the default of params.yaml
    batches = Batches(pictures.packed(4 * batch_size, side), batch_size, 0, device)
    ours = Ours(batches, "v1", device, precision=precision, width=width, image_size=side)
    block(ours.step, WARM_UP, device)()
    print(READY, flush=True)
    sys.stdin.readline()
    print(steps * block(ours.step, steps, device)(), flush=True)


if __name__ == "__main__":
    main()
