"""`reports/live.html`: a page that makes new faces in the browser, with the generator and all it needs inside.

It opens from a file, without any network. The runtime and the model are packed (gzip, base64) into scripts of type
text/plain, and unpacked there.
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
from ganealogy.report.page import environment, static
from ganealogy.sampling import latents
from ganealogy.sampling.generate import cycled_labels, forward
from ganealogy.tracking.best_run import UNMEASURED, Score
from ganealogy.tracking.context import Context
from ganealogy.tracking.run_record import RunRecord
from ganealogy.workspace import LIVE_PAGE

FACES = 12
SLIDERS = 6
PROBES, STEP = 12, 0.05
"""Latents at which directions are measured, and how far to each side."""


def build(run: RunRecord, score: Score | None = None, root: Path = Path()) -> Path:
    """Write the page of the run's generator, and its ONNX file beside it; `score`: what the page says of it.

    Raises: GanealogyError when npm, onnxruntime or the run's weights are absent.
    """
    web = runtime(root)
    context = Context.load(None, root)
    model = export(run, root / model_path(run), {"dataset": context.experiment(run)})
    atomic.write_text(root / LIVE_PAGE, render(run, score, context, model.read_bytes(), web))
    return root / LIVE_PAGE


def render(run: RunRecord, score: Score | None, context: Context, model: bytes, web: Runtime) -> str:
    """The page as text; equal inputs give equal bytes."""
    recipe, protocol = run.run["recipe"], run.run["protocol"]
    assert run.weights is not None
    network = load_generator(run.weights, recipe, protocol)
    facts = {
        "size": recipe["latent"]["size"],
        "distribution": recipe["latent"]["distribution"],
        "classes": getattr(network, "classes", 0),
        "channels": protocol["channels"],
        "side": protocol["image_size"],
        "faces": FACES,
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
            kimg=(run.run.get("best") or run.run).get("kimg"),
            dataset=context.experiment(run),
            manifest=manifest,
            score=score,
            measured=score is not None and score.protocol != UNMEASURED,
            facts=facts,
            facts_json=_json(facts),
            palette=[],
            styles=Markup(static("theme.css")) + _static("live.css"),
            code=_static("live.js"),
            script=_script(web.script),
            glue=_packed(web.glue.encode()),
            binary=_packed(web.binary),
            model=_packed(model),
        )
    )


def directions(network: nn.Module, latent: dict[str, Any], count: int) -> torch.Tensor:
    """(count, d): unit steps of a latent that change the picture most, the strongest first.

    The leading eigenvectors of the mean over latents of J^T J, where J is the picture's derivative by the latent
    (Wang & Ponce, arXiv 2101.06006), by finite differences. Each vector's largest entry is positive.
    """
    size = latent["size"]
    basis = torch.eye(size) * STEP
    metric = torch.zeros(size, size, dtype=torch.float64)
    labels = cycled_labels(network, PROBES)
    with torch.inference_mode():
        for z, label in zip(latents.sample_latents(latent, PROBES, 2), labels, strict=True):
            both = torch.cat([z + basis, z - basis])  # (2d, d)
            pictures = forward(network, both, label.expand(len(both))).flatten(1).double()
            jacobian = (pictures[:size] - pictures[size:]) / (2 * STEP)  # (d, pixels)
            metric += jacobian @ jacobian.T
    _, vectors = torch.linalg.eigh(metric)
    leading: torch.Tensor = vectors.T.flip(0)[:count]  # eigh sorts from small to large
    signs = leading.gather(1, leading.abs().argmax(1, keepdim=True)).sign()
    return leading * signs


def _packed(content: bytes) -> Markup:
    return Markup(base64.b64encode(gzip.compress(content, 9, mtime=0)).decode())


def _script(code: str) -> Markup:
    return Markup(code.replace("</script", "<\\/script"))


def _json(content: Any) -> Markup:
    """JSON that cannot end the script it stands in."""
    return Markup(json.dumps(content, separators=(",", ":")).replace("<", "\\u003c"))


def _static(name: str) -> Markup:
    return Markup(files("ganealogy.export").joinpath("static", name).read_text(encoding="utf-8"))
