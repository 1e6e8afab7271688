"""A trained generator as an ONNX file, which runs without torch and without Ganealogy.

    latents  float32 (N, d)          drawn from N(0, 1), or U(-1, 1) where the recipe says uniform
    labels   int64   (N,)            of a class-conditional generator alone
    images   float32 (N, C, H, W)    black at -1, white at 1, nothing beyond

N is free. The file's metadata say what it is: version, seed, checkpoint, latents, data set.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import conv2d, conv_transpose2d
from torch.overrides import TorchFunctionMode

from ganealogy.errors import GanealogyError
from ganealogy.files import atomic
from ganealogy.networks._build import load_generator
from ganealogy.sampling import latents
from ganealogy.sampling.generate import cycled_labels, forward
from ganealogy.tracking.run_record import RunRecord

TOLERANCE = 1e-4
"""Of images in [-1, 1]: an eightieth of a grey level."""
OPSET = 17
TRACED, CHECKED = 2, 5
"""Latents a batch: another number in the check than in the trace shows that the batch size is free."""

Session = Callable[..., NDArray[np.float32]]


def export(run: RunRecord, target: Path, facts: dict[str, str] | None = None) -> Path:
    """Write the generator that the run's samples come from; `facts` join the file's metadata.

    Raises: GanealogyError when there are no weights, onnxruntime is not installed, or the file's pictures are not
    torch's.
    """
    if run.weights is None:
        raise GanealogyError(
            f"{run.directory}: no generator to export, the training is {run.status}; "
            f"run `dvc repro train@{run.run['version']}-{run.run['seed']}`"
        )
    recipe, protocol = run.run["recipe"], run.run["protocol"]
    network = load_generator(run.weights, recipe, protocol)
    about = {
        "version": str(run.run["version"]),
        "seed": str(run.run["seed"]),
        "checkpoint": run.weights.stem.removeprefix("generator-"),
        "latents": f"{recipe['latent']['distribution']}, {recipe['latent']['size']}",
        "weights_sha256": atomic.sha256(run.weights),
    }
    content = described(to_onnx(network, recipe["latent"]), about | (facts or {}))
    difference = largest_difference(content, network, recipe["latent"])
    if not difference <= TOLERANCE:
        raise GanealogyError(
            f"{target}: not written: the exported generator's pictures differ from torch's by {difference:.2g} "
            f"(at most {TOLERANCE:g}); this is a fault in Ganealogy or the exporter"
        )
    atomic.write_bytes(target, content)
    return target


class _Clipped(nn.Module):
    """Images as a screen would show them; R3GAN's leave the network unbounded."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        images: torch.Tensor = self.network(*inputs)
        return images.clamp(-1, 1)


class _FixedKernels(TorchFunctionMode):
    """While a network is traced, a convolution's kernel that it computed (R3GAN's doubling) becomes a constant.

    The exporter cannot follow a kernel whose shape hangs on its input's, although no channel count ever changes.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in (conv2d, conv_transpose2d) and not isinstance(args[1], nn.Parameter):
            args = (args[0], torch.from_numpy(args[1].detach().numpy().copy()), *args[2:])
            if "groups" in kwargs:
                kwargs["groups"] = int(kwargs["groups"])
        return func(*args, **kwargs)


def to_onnx(network: nn.Module, latent: dict[str, Any]) -> bytes:
    """The network, on the CPU and in evaluation mode, as an ONNX model with inputs and output as in the module's head.

    Raises: GanealogyError when torch's exporter knows no ONNX for one of its operations.
    """
    conditional = bool(getattr(network, "classes", 0))
    z = latents.sample_latents(latent, TRACED, 0)
    inputs = (z, cycled_labels(network, TRACED)) if conditional else (z,)
    names = ["latents", "labels"][: len(inputs)]
    wrapped = _Clipped(network).eval().requires_grad_(False)
    # The newer exporter needs onnxscript, and compiles for seconds.
    with TemporaryDirectory() as folder, warnings.catch_warnings(), _FixedKernels(), torch.no_grad():
        warnings.simplefilter("ignore")
        written = Path(folder) / "generator.onnx"
        try:
            torch.onnx.export(
                wrapped,
                inputs,
                written,
                dynamo=False,
                opset_version=OPSET,
                input_names=names,
                output_names=["images"],
                dynamic_axes={name: {0: "N"} for name in [*names, "images"]},
            )
        except torch.onnx.errors.OnnxExporterError as error:
            first = str(error).strip().splitlines()[0]
            raise GanealogyError(f"the generator cannot be written as ONNX: {first}") from error
        return written.read_bytes()


def described(content: bytes, facts: dict[str, str]) -> bytes:
    """The model with `facts` as its metadata; equal models and facts give equal bytes."""
    with _extra():
        import onnx

    model = onnx.load_from_string(content)
    model.producer_name, model.producer_version = "ganealogy", ""
    onnx.helper.set_model_props(model, dict(sorted(facts.items())))
    onnx.checker.check_model(model)
    written: bytes = model.SerializeToString(deterministic=True)
    return written


def session(content: bytes | Path) -> Session:
    """The model in onnxruntime: call it with latents and, of a conditional one, labels; get images."""
    with _extra():
        import onnxruntime as runtime  # type: ignore[import-untyped]

    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    source = content if isinstance(content, bytes) else str(content)
    loaded = runtime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    names = [given.name for given in loaded.get_inputs()]

    def run(*inputs: NDArray[Any]) -> NDArray[np.float32]:
        images: NDArray[np.float32] = loaded.run(["images"], dict(zip(names, inputs, strict=True)))[0]
        return images

    return run


def largest_difference(content: bytes, network: nn.Module, latent: dict[str, Any]) -> float:
    """Between the images of onnxruntime and of torch, on latents and a batch size that the trace has not seen."""
    z = latents.sample_latents(latent, CHECKED, 1)
    labels = cycled_labels(network, CHECKED)
    inputs = (z, labels) if getattr(network, "classes", 0) else (z,)
    with torch.inference_mode():
        expected = forward(network, z, labels).clamp(-1, 1).numpy()
    got = session(content)(*(tensor.numpy() for tensor in inputs))
    return float(np.abs(got - expected).max()) if got.shape == expected.shape else float("inf")


@contextmanager
def _extra() -> Iterator[None]:
    """Around an import of the extra `live`; a plan, a training, a report do without it."""
    try:
        yield
    except ImportError as error:
        raise GanealogyError(f"{error.name} is not installed: pip install 'ganealogy[live]'") from None
