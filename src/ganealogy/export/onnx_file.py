"""Export a trained generator as an ONNX file, which runs without torch and Ganealogy.

    latents  float32 (N, d)          from N(0, 1), or U(-1, 1) if the recipe's latents are uniform
    labels   int64   (N,)            only of a class-conditional generator
    images   float32 (N, C, H, W)    in [-1, 1], black at -1 and white at 1

N is dynamic. The file's metadata are version, seed, checkpoint, latents, number and names of the classes, sha256 of the
weights, and data set.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import conv2d, conv_transpose2d
from torch.overrides import TorchFunctionMode

from ganealogy.errors import GanealogyError, one_line
from ganealogy.files import atomic
from ganealogy.networks._build import load_generator
from ganealogy.record_types import Latent
from ganealogy.sampling import latents
from ganealogy.sampling.generate import cycled_labels, forward
from ganealogy.tracking.run_record import RunRecord

TOLERANCE = 1e-4
"""Largest accepted difference between images in [-1, 1]: an eightieth of a grey level."""
OPSET = 17
TRACED, CHECKED = 2, 5
"""Batch sizes of the trace and of the check; they differ to show that the batch size is dynamic."""

Session = Callable[..., NDArray[np.float32]]


def export(run: RunRecord, target: Path, metadata: dict[str, str] | None = None) -> Path:
    """Write the generator of the run's samples to `target`; `metadata` are added to the file's.

    Raises: GanealogyError if there are no weights, the extra `live` is not installed, or the file's images differ from
    torch's.
    """
    if run.weights is None:
        raise GanealogyError(
            f"{run.directory}: no generator to export, the training is {run.status}; "
            f"run `dvc repro train@{run.run['version']}`"
        )
    recipe, protocol = run.run["recipe"], run.run["protocol"]
    network = load_generator(run.weights, recipe, protocol)
    metadata = {
        "version": str(run.run["version"]),
        "seed": str(run.run["seed"]),
        "checkpoint": run.weights.stem.removeprefix("generator-"),
        "latents": f"{recipe['latent']['distribution']}, {recipe['latent']['size']}",
        "classes": str(getattr(network, "classes", 0)),
        "class_names": json.dumps(run.class_names),
        "weights_sha256": atomic.sha256(run.weights),
        **(metadata or {}),
    }
    content = with_metadata(to_onnx(network, recipe["latent"]), metadata)
    difference = largest_difference(content, network, recipe["latent"])
    if not difference <= TOLERANCE:
        raise GanealogyError(
            f"{target}: not written, because the exported generator's images differ from torch's by {difference:.2g}, "
            f"at most {TOLERANCE:g} is accepted; report this fault of Ganealogy or torch's exporter"
        )
    atomic.write_bytes(target, content)
    return target


class _Clipped(nn.Module):
    """Clip images to [-1, 1]; R3GAN's output is unbounded."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return self.network(*inputs).clamp(-1, 1)


class _FixedKernels(TorchFunctionMode):
    """Replace computed convolution kernels (R3GAN's doubling) by constants while the network is traced.

    The exporter does not support a kernel whose shape depends on the input's, although channels are fixed.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in (conv2d, conv_transpose2d) and not isinstance(args[1], nn.Parameter):
            args = (args[0], torch.from_numpy(args[1].detach().numpy().copy()), *args[2:])
            if "groups" in kwargs:
                kwargs["groups"] = int(kwargs["groups"])
        return func(*args, **kwargs)


def to_onnx(network: nn.Module, latent: Latent) -> bytes:
    """Return the ONNX model of a network on the CPU, with the inputs and output listed above.

    Raises: GanealogyError if onnx is not installed or torch's exporter does not support one of its operations.
    """
    with _explain_missing_extra():
        import_module("onnx")  # torch's exporter needs it, and names no command
    conditional = bool(getattr(network, "classes", 0))
    z = latents.sample_latents(latent, TRACED, 0)
    inputs = (z, cycled_labels(network, TRACED)) if conditional else (z,)
    names = ["latents", "labels"][: len(inputs)]
    wrapped = _Clipped(network).eval().requires_grad_(False)
    # dynamo=False: the newer exporter needs onnxscript and takes seconds.
    with TemporaryDirectory() as folder, warnings.catch_warnings(), _FixedKernels(), torch.no_grad():
        warnings.simplefilter("ignore")
        path = Path(folder) / "generator.onnx"
        try:
            torch.onnx.export(
                wrapped,
                inputs,
                path,
                dynamo=False,
                opset_version=OPSET,
                input_names=names,
                output_names=["images"],
                dynamic_axes={name: {0: "N"} for name in [*names, "images"]},
            )
        except torch.onnx.errors.OnnxExporterError as error:
            raise GanealogyError(f"the generator cannot be exported as ONNX: {one_line(error)}") from error
        return path.read_bytes()


def with_metadata(content: bytes, metadata: dict[str, str]) -> bytes:
    """Return the model with these metadata; equal arguments give equal bytes."""
    with _explain_missing_extra():
        import onnx

    model = onnx.load_from_string(content)
    model.producer_name, model.producer_version = "ganealogy", ""
    onnx.helper.set_model_props(model, dict(sorted(metadata.items())))
    onnx.checker.check_model(model)
    return model.SerializeToString(deterministic=True)


def load_session(content: bytes | Path) -> Session:
    """Load a model in onnxruntime; return a function of latents and, if conditional, labels that returns images."""
    return open_model(content)[0]


def open_model(content: bytes | Path) -> tuple[Session, dict[str, str], int]:
    """Return `load_session`'s function, the model's metadata, and the number of its inputs."""
    with _explain_missing_extra():
        import onnxruntime as runtime  # type: ignore[import-untyped]

    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    source = content if isinstance(content, bytes) else str(content)
    loaded = runtime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    names = [node.name for node in loaded.get_inputs()]

    def run(*inputs: NDArray[Any]) -> NDArray[np.float32]:
        return loaded.run(["images"], dict(zip(names, inputs, strict=True)))[0]

    return run, dict(loaded.get_modelmeta().custom_metadata_map), len(names)


def largest_difference(content: bytes, network: nn.Module, latent: Latent) -> float:
    """Return the largest difference between onnxruntime's and torch's images, for other latents than the trace's."""
    z = latents.sample_latents(latent, CHECKED, 1)
    labels = cycled_labels(network, CHECKED)
    inputs = (z, labels) if getattr(network, "classes", 0) else (z,)
    with torch.inference_mode():
        expected = forward(network, z, labels).clamp(-1, 1).numpy()
    actual = load_session(content)(*(tensor.numpy() for tensor in inputs))
    return float(np.abs(actual - expected).max()) if actual.shape == expected.shape else float("inf")


@contextmanager
def _explain_missing_extra() -> Iterator[None]:
    """Raises: GanealogyError naming the extra `live` if the import inside fails."""
    try:
        yield
    except ImportError as error:
        raise GanealogyError(f"{error.name} is not installed; run: pip install 'ganealogy[live]'") from None
