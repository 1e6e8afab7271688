"""Write reports/live.html, a page that generates images in the browser; it contains the generator and its runtime.

It opens from a file, without network access. Runtime and model are embedded as gzip and base64 in scripts of type
text/plain.
"""

from __future__ import annotations

import base64
import gzip
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from markupsafe import Markup
from torch import nn

from ganealogy.export.onnx_file import export
from ganealogy.export.onnxruntime_web import Runtime, runtime
from ganealogy.export.select_run import model_path
from ganealogy.files import atomic
from ganealogy.networks._build import load_generator
from ganealogy.record_types import Latent
from ganealogy.report.page import environment, static
from ganealogy.sampling import latents
from ganealogy.sampling.generate import cycled_labels, forward
from ganealogy.tracking.best_run import UNMEASURED, Score
from ganealogy.tracking.context import Context
from ganealogy.tracking.run_record import RunRecord
from ganealogy.workspace import LIVE_PAGE

IMAGES = 12
SLIDERS = 6
PROBES, STEP = 12, 0.05
"""Number of latents where the derivatives are measured, and the step of the finite differences."""


def build(run: RunRecord, score: Score | None = None, root: Path = Path()) -> Path:
    """Write the page and the ONNX file of the run's generator; return the page's path. `score` is shown on the page.

    Raises: GanealogyError if npm, onnxruntime or the run's weights are absent.
    """
    web = runtime(root)
    context = Context.load(None, root)
    model = export(run, root / model_path(run), {"dataset": context.experiment(run)})
    atomic.write_text(root / LIVE_PAGE, render(run, score, context, model.read_bytes(), web))
    return root / LIVE_PAGE


def render(run: RunRecord, score: Score | None, context: Context, model: bytes, web: Runtime) -> str:
    """Return the page; equal arguments give equal bytes."""
    recipe, protocol = run.run["recipe"], run.run["protocol"]
    assert run.weights is not None
    network = load_generator(run.weights, recipe, protocol)
    config = {
        "size": recipe["latent"]["size"],
        "distribution": recipe["latent"]["distribution"],
        "classes": getattr(network, "classes", 0),
        "channels": protocol["channels"],
        "side": protocol["image_size"],
        "images": IMAGES,
        "directions": [[round(x, 5) for x in row] for row in directions(network, recipe["latent"], SLIDERS).tolist()],
    }
    entry = context.version(run.run["version"])
    manifest = context.manifest or {}
    return (
        environment(package="ganealogy.export")
        .get_template("live.html")
        .render(
            version=run.run["version"],
            seed=run.run["seed"],
            title=entry.get("title") or "",
            kimg=run.reached[1],
            dataset=context.experiment(run),
            manifest=manifest,
            score=score,
            measured=score is not None and score.protocol != UNMEASURED,
            config=config,
            config_json=_json(config),
            palette=[],
            styles=Markup(static("theme.css")) + _static("live.css"),
            code=_static("live.js"),
            script=_script(web.script),
            glue=_compressed(web.glue.encode()),
            binary=_compressed(web.binary),
            model=_compressed(model),
        )
    )


def directions(network: nn.Module, latent: Latent, count: int) -> torch.Tensor:
    """Return (count, d): the unit steps of a latent that change the image most, largest change first.

    They are the leading eigenvectors of the mean over latents of JᵀJ, with J the derivative of the image with respect
    to the latent (Wang & Ponce, arXiv 2101.06006), by finite differences. Each vector's largest entry is positive.
    """
    size = latent["size"]
    basis = torch.eye(size) * STEP
    metric = torch.zeros(size, size, dtype=torch.float64)
    labels = cycled_labels(network, PROBES)
    with torch.inference_mode():
        for z, label in zip(latents.sample_latents(latent, PROBES, 2), labels, strict=True):
            probes = torch.cat([z + basis, z - basis])  # (2d, d)
            images = forward(network, probes, label.expand(len(probes))).flatten(1).double()
            jacobian = (images[:size] - images[size:]) / (2 * STEP)  # (d, pixels)
            metric += jacobian @ jacobian.T
    _, vectors = torch.linalg.eigh(metric)
    leading: torch.Tensor = vectors.T.flip(0)[:count]  # eigh sorts in ascending order
    signs = leading.gather(1, leading.abs().argmax(1, keepdim=True)).sign()
    return leading * signs


def _compressed(content: bytes) -> Markup:
    return Markup(base64.b64encode(gzip.compress(content, 9, mtime=0)).decode())


def _script(code: str) -> Markup:
    return Markup(code.replace("</script", "<\\/script"))


def _json(content: Any) -> Markup:
    """Return JSON that cannot end the enclosing script."""
    return Markup(json.dumps(content, separators=(",", ":")).replace("<", "\\u003c"))


def _static(name: str) -> Markup:
    return Markup(files("ganealogy.export").joinpath("static", name).read_text(encoding="utf-8"))
