"""Measurements that need a GPU, in a minute or two. A part that fails does not stop the others.

`PYTHONPATH=src:benchmarks:tests python benchmarks/gpu_day/probe.py [cuda|cpu]`, as in `1-check.sh`.
On a CPU the sizes are tiny, to test the script.
"""

from __future__ import annotations

import subprocess
import sys
import time
import traceback
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from measuring import family
from measuring.device import wait

from ganealogy.evaluation.extractors import effnet_lite0
from ganealogy.evaluation.metrics.frechet import Moments, frechet_distance
from ganealogy.evaluation.metrics.mmd import squared_mmd
from ganealogy.networks import _build
from ganealogy.networks.layers import depthwise
from ganealogy.networks.layers import resampling as layers
from ganealogy.networks.r3gan import Block
from ganealogy.runtime.precision import autocast, float32_as
from ganealogy.sampling.generate import generate

DEVICE = sys.argv[1] if len(sys.argv) > 1 else "cuda"
ON_CARD = DEVICE != "cpu"
BATCH, ROUNDS = (128, 10) if ON_CARD else (2, 1)
LAYOUTS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}


def milliseconds(function: Callable[[], object]) -> float:
    for _ in range(2):
        function()
    wait(DEVICE)
    began = time.perf_counter()
    for _ in range(ROUNDS):
        function()
    wait(DEVICE)
    return (time.perf_counter() - began) / ROUNDS * 1e3


def machine() -> None:
    """Print the versions, the GPU, and torch's default settings."""
    print("torch", torch.__version__, "cudnn", torch.backends.cudnn.version(), "python", sys.version.split()[0])
    if ON_CARD:
        print(torch.cuda.get_device_name(), torch.cuda.get_device_capability(), torch.cuda.mem_get_info())
    print("TF32 before anything: convolutions", torch.backends.cudnn.allow_tf32, end=", ")
    print("matrix products", torch.backends.cuda.matmul.allow_tf32)


REFUSED = """
import tempfile
from pathlib import Path
import numpy as np, torch
from helpers.tiny_loop import Silent, train
from ganealogy.adversary.divergence import DivergenceCheck
check = DivergenceCheck.check
def reading(self, loss):
    if torch.cuda.is_current_stream_capturing():
        loss.item()
    check(self, loss)
DivergenceCheck.check = reading
callbacks, pictures = Silent(), np.random.default_rng(0).integers(0, 256, (160, 16, 16, 3), dtype=np.uint8)
outcome = train(Path(tempfile.mkdtemp()), pictures, device="cuda", callbacks=callbacks)
print(outcome.status, callbacks.warnings, "stream back:", torch.cuda.current_stream() == torch.cuda.default_stream())
"""


def refused_capture() -> None:
    """Train with a step that cannot be captured: the training must continue without a graph. In its own process."""
    if not ON_CARD:
        return
    command = [sys.executable, "-c", REFUSED]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    print(done.stdout.strip() or "CRASHED", "\n".join(done.stderr.strip().splitlines()[-3:]))


def precision() -> None:
    """Print the error of a convolution and a matrix product relative to float64: 1e-7 in IEEE, 1e-4 to 1e-3 in TF32."""
    image, kernel = torch.randn(4, 64, 16, 16, device=DEVICE), torch.randn(64, 64, 3, 3, device=DEVICE)
    matrix = torch.randn(256, 256, device=DEVICE)
    for name in ("fp32", "tf32"):
        with float32_as(name):
            for what, found, exact in (
                ("convolution", F.conv2d(image, kernel), F.conv2d(image.double(), kernel.double())),
                ("matrix product", matrix @ matrix, matrix.double() @ matrix.double()),
            ):
                print(f"{name}, {what}: {((found - exact).norm() / exact.norm()).item():.1e}")


def pictures() -> None:
    """Time v1's generator at 64x64, to bytes on the host."""
    plan = family.plan("v1") if ON_CARD else family.plan("v1", width=8)
    generator = _build.generator(plan["recipe"], plan["protocol"]).to(DEVICE).to(memory_format=torch.channels_last)
    latents = torch.randn(1000 if ON_CARD else 8, 128)
    taken = milliseconds(lambda: generate(generator, latents))
    print(f"generate: {len(latents) / taken * 1e3:.0f} images/s")


def extractor() -> None:
    """Time EfficientNet in both layouts, and the host's part of a tick."""
    count = 1024 if ON_CARD else 8
    images = np.random.default_rng(0).integers(0, 256, (count, 64, 64, 3), dtype=np.uint8)
    found = {}
    for name, layout in LAYOUTS.items():
        effnet_lite0.LAYOUTS[DEVICE] = layout
        network = effnet_lite0.load(DEVICE)
        found[name] = network.features(images)
        taken = milliseconds(lambda network=network: network.features(images))  # type: ignore[misc]
        print(f"effnet_lite0, {name}: {count / taken * 1e3:.0f} images/s")
    del effnet_lite0.LAYOUTS[DEVICE]
    one, other = found.values()
    print(f"apart {np.abs(one - other).max() / np.abs(one).max():.1e}")
    began = time.perf_counter()
    frechet_distance(Moments.of(one), Moments.of(other[: count // 2]))
    squared_mmd(one, other)
    print(f"a tick's Fréchet distance and MMD on the host: {time.perf_counter() - began:.2f} s")


def ways() -> dict[str, frozenset[str]]:
    return {"convolution": frozenset(), "replaced": frozenset({DEVICE})}


def resampling() -> None:
    """Time R3GAN's depthwise convolutions and their replacements, forward and differentiated twice: for REPLACED."""
    cases = [("double", layers.double, (64, 32)), ("halve", layers.halve, (64, 64))]
    modes = ["auto", "cudnn", "native"] if ON_CARD and hasattr(torch.backends.cudnn, "depthwise_kernel") else [""]
    for name, function, (channels, side) in cases:
        for layout, kind in LAYOUTS.items():
            x = torch.randn(BATCH, channels, side, side, device=DEVICE).to(memory_format=kind).requires_grad_()

            def twice(function: Callable[..., torch.Tensor] = function, x: torch.Tensor = x) -> None:
                (first,) = torch.autograd.grad(function(x).square().sum(), x, create_graph=True)
                torch.autograd.grad(first.square().sum(), x)

            for way, replaced in ways().items():
                depthwise.REPLACED = replaced
                for mode in modes if way == "convolution" else [""]:
                    if mode:  # a setting of torch 2.15
                        torch.backends.cudnn.depthwise_kernel = mode
                    forward = milliseconds(lambda function=function, x=x: function(x))  # type: ignore[misc]
                    print(f"{name}, {layout}, {way} {mode}: {forward:.2f} ms, twice {milliseconds(twice):.2f}")
            if modes[0]:
                torch.backends.cudnn.depthwise_kernel = "auto"
    depthwise.REPLACED = frozenset()


def blocks() -> None:
    """Time R3GAN's block, forward and backward, in both layouts."""
    for side, channels in ((64, 32), (32, 64), (16, 128)):
        for layout, kind in LAYOUTS.items():
            for name in ("fp32", "tf32", "bf16"):
                block = Block(channels, 10).to(DEVICE).to(memory_format=kind)
                x = torch.randn(BATCH, channels, side, side, device=DEVICE).to(memory_format=kind).requires_grad_()

                def step(block: Block = block, x: torch.Tensor = x, name: str = name) -> None:
                    with float32_as(name):
                        with autocast(name, torch.device(DEVICE).type):
                            y = block(x)
                        y.float().square().sum().backward()

                print(f"block {side}x{side}x{channels}, {layout}, {name}: {milliseconds(step):.2f} ms")


def main() -> None:
    for part in (machine, refused_capture, precision, pictures, extractor, resampling, blocks):
        began = time.perf_counter()
        try:
            part()
        except Exception as error:  # the other parts still run
            print(f"!! {part.__name__}: {type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}")
            traceback.print_exc(limit=-3)
        print(f"[{part.__name__} {time.perf_counter() - began:.1f} s]", flush=True)


if __name__ == "__main__":
    main()
