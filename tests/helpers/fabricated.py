"""A project whose stages have run, made up: four versions, two seeds, drawn faces, and most of what can go wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from helpers.fake_runs import cost_json, metrics_json, recipe, run_json, sample_json, write_run
from PIL import Image, ImageDraw

from ganealogy.files import images
from ganealogy.lineage.recipe import merge
from ganealogy.workspace import RunDir, run_dir

SIZE = 32
HOSTILE = "<script>alert(1)</script> | **Smooth**"
Draw = Callable[[int, float, int], np.ndarray]  # (count, quality in 0..1, seed) → uint8 (count, SIZE, SIZE, 3)


def draw_faces(count: int, quality: float, seed: int) -> np.ndarray:
    """Round faces that emerge from noise as `quality` rises; the same seed gives the same faces."""
    rng = np.random.default_rng(seed)
    faces = np.empty((count, SIZE, SIZE, 3), np.uint8)
    for index in range(count):
        skin, hair, back = rng.integers(90, 230, (3, 3))
        picture = Image.new("RGB", (SIZE, SIZE), tuple(map(int, back)))
        pen = ImageDraw.Draw(picture)
        pen.ellipse((5, 3, 27, 29), fill=tuple(map(int, hair)))
        pen.ellipse((8, 8, 24, 28), fill=tuple(map(int, skin)))
        pen.ellipse((11, 14, 14, 17), fill=(20, 20, 30))
        pen.ellipse((18, 14, 21, 17), fill=(20, 20, 30))
        pen.arc((12, 17, 20, 25), 20, 160, fill=(120, 30, 40))
        noise = rng.normal(128, 50, (SIZE, SIZE, 3))
        faces[index] = np.clip(quality * np.asarray(picture) + (1 - quality) * noise, 0, 255).astype(np.uint8)
    return faces


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def edit(path: Path, **new: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | new))


def save(path: Path, picture: Image.Image, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, **options)


def layer(name: str, kind: str, shape: list[int], trained: int, fixed: int) -> dict[str, Any]:
    return {"name": name, "kind": kind, "shape": shape, "trained": trained, "fixed": fixed}


def entry(name: str, title: str, parent: str | None, changes: Any, recipe: Any, **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "title": title,
        "idea": f"The idea of {name}, in a sentence that explains it.",
        "source": "Radford et al., arXiv 1511.06434",
        "note": None,
        "parent": parent,
        "listed": True,
        "changes": changes,
        "recipe": recipe,
        "origins": {},
        "parameters": {"generator": 1183616, "discriminator": 663424},
        "flops": 110_000_000,
        "layers": {
            "generator": [
                layer("layers.0", "ConvTranspose2d 4x4", [256, 4, 4], 524_288, 0),
                layer("layers.1", "BatchNorm2d", [256, 4, 4], 512, 512),
            ],
            "discriminator": [layer("gain", HOSTILE, [], 5, 0)],
        },
        **more,
    }


def fabricate_plan(root: Path, entries: list[dict[str, Any]], seeds: list[int]) -> None:
    """Write the plan. `seeds` are those of each entry that names none of its own."""
    entries = [{"seeds": seeds, **each} for each in entries]
    dataset = {"name": "avatars", "image_size": SIZE, "channels": 3, "style": "adventurer"}
    train = {
        "kimg": 60.0, "batch_size": 64, "lr": 0.0002, "width": 32, "precision": "fp32", "ticks": 5,
        "tracker": "pixel8", "tracker_images": 1000, "device": "auto", "threads": 2,
    }  # fmt: skip
    tree = {
        "versions": entries,
        "dataset": dataset,
        "protocol": train,
        "sample": {
            "count": 500,
            "checkpoint": "best",
            "temperature": 1.0,
            "batch_statistics": "running",
            "walk_frames": 48,
        },
        "evaluate": {"extractors": ["pixel8", "effnet_lite0"], "lead": "fd_pixel8", "reals": 2000},
    }
    write(root / "build/plan/tree.json", tree)
    for each in entries:
        plan = {"fingerprint": f"plan-{each['name']}", "seeds": each["seeds"]}
        write(root / f"build/plan/versions/{each['name']}.json", plan)


def fabricate_data(root: Path, draw: Draw = draw_faces) -> None:
    manifest = {
        "source": "avatars", "title": "Adventurer", "artist": "Lisa Wischofsky", "licence": "CC BY 4.0",
        "licence_url": "https://creativecommons.org/licenses/by/4.0/", "url": "https://www.dicebear.com/styles/adventurer",
        "image_size": SIZE, "channels": 3, "dataset": "2" * 64,
        "sha256": {"train.npy": "0" * 64, "holdout.npy": "1" * 64},
        "counts": {"found": 5000, "rejected": 1, "duplicates": 3, "train": 4497, "holdout": 499},
        "rejected": [{"name": "bad.png", "reason": "truncated"}],
    }  # fmt: skip
    write(root / "data/packed/manifest.json", manifest)
    anchors = {
        "fd_pixel8": {"floor": 18.0, "mean_image": 473.1, "blur": 60.2, "noise": 605.0, "rep25": 391.0},
        "fd_effnet_lite0": {"floor": 22.7, "mean_image": 204.0, "blur": 148.0, "noise": 410.0, "rep25": 88.0},
        "kid_effnet_lite0": {"floor": 0.0004, "mean_image": 0.31, "blur": 0.18, "noise": 0.52, "rep25": 0.06},
    }
    described = {
        "floor": "499 held-out reals", "mean_image": "the mean image, 499 times",
        "blur": "499 held-out reals, Gaussian blur, sigma 3.1% of the side",
        "noise": "499 held-out reals, Gaussian noise, std 10% of the range",
        "rep25": "25 training pictures, repeated",
    }  # fmt: skip
    content = {"metrics": anchors, "protocol": {}, "count": 499, "reals": 2000, "described": described}
    write(root / "data/reference/anchors.json", content)
    save(root / "data/reference/real.png", images.grid(draw(64, 1.0, 99), 8))


def fabricate_run(
    root: Path, version: str, seed: int, good: float, draw: Draw = draw_faces, ticks: int = 5, diverged: bool = False
) -> RunDir:
    """A run; `good` in 0..1 says how well the version ends. A diverged one stops halfway, without samples."""
    run = run_dir(version, seed, root)
    rng = np.random.default_rng([seed, *map(ord, version)])
    last = ticks // 2 if diverged else ticks
    lines = []
    for tick in range(last + 1):
        share = tick / ticks
        quality = good * (1 - np.exp(-3 * share)) / (1 - np.exp(-3))
        step, kimg = round(share * 940), share * 60
        fd = 90 + 400 * (1 - quality) * float(rng.uniform(0.94, 1.06))
        line: dict[str, Any] = {"tick": tick, "step": step, "kimg": kimg, "fd_pixel8": fd}
        if tick:
            line |= {
                "epoch": kimg / 4.5, "d_images": kimg * 2000,
                "d_loss": 1.3 - 0.5 * quality + float(rng.normal(0, 0.05)),
                "g_loss": 0.8 + 1.4 * share + float(rng.normal(0, 0.1)),
                "real_score": 0.5 + 0.3 * share + float(rng.normal(0, 0.02)),
                "fake_score": 0.5 - 0.3 * share + float(rng.normal(0, 0.02)),
            }  # fmt: skip
            line |= {"d_loss_real": 0.4 * line["d_loss"], "d_loss_fake": 0.6 * line["d_loss"]}
        lines.append(line)
        save(run / f"train/grids/{step:06d}.png", images.grid(draw(64, quality, 7 + seed), 8))
    end = {"step": lines[-1]["step"], "kimg": lines[-1]["kimg"]}
    status = {"status": "diverged", "reason": "d_loss is NaN"} if diverged else {"status": "finished", "reason": None}
    best = {**end, "score": lines[-1]["fd_pixel8"]}
    record = run_json(
        version, seed, plan=f"plan-{version}", data="2" * 64, steps=end["step"], kimg=end["kimg"], best=best, **status
    )
    cost = cost_json(float(rng.uniform(38, 52)), ticks)
    cost["tick_seconds"] = cost["tick_seconds"][: last + 1]
    write_run(run, record, cost=cost, ticks=lines)
    if diverged:
        reason = "no best generator was saved before the training diverged"
        sample = sample_json(version, seed, count=0, sha256=None, step=None, kimg=None, reason=reason)
        return write_run(run, sample=sample, metrics=metrics_json(version, seed, metrics={}, **status))
    faces = draw(80, good, 7 + seed)
    (run / "sample").mkdir(parents=True)
    np.save(run / "sample/images.npy", faces)
    save(run / "sample/grid.png", images.grid(faces[:64], 8))
    large = faces.repeat(2, axis=1).repeat(2, axis=2)
    save(run / "sample/strip.png", images.grid(large[:36], 9))
    walk = [images.grid(large[frame : frame + 9], 3) for frame in range(24)]
    save(run / "sample/walk.webp", walk[0], save_all=True, append_images=walk[1:], duration=60, loop=0)
    fd = 95 + 380 * (1 - good) * float(rng.uniform(0.95, 1.05))
    metrics = {
        "fd_pixel8": fd, "fd_effnet_lite0": 160 + 200 * (1 - good) * float(rng.uniform(0.9, 1.1)),
        "kid_effnet_lite0": 0.1 + 0.3 * (1 - good), "kid_effnet_lite0_se": 0.004,
        "precision_effnet_lite0": 0.6 * good, "recall_effnet_lite0": 0.3 * good,
    }  # fmt: skip
    collapsed = {"flag": good < 0.25, "why": "2% of the reals' variance: below 5%", "value": 0.02}
    record = metrics_json(
        version,
        seed,
        **end,
        metrics=metrics,
        flags={"collapsed_effnet_lite0": collapsed, "memorised_effnet_lite0": {**collapsed, "flag": False}},
        not_measured={"fd_inf_effnet_lite0": "needs 5120 samples, has 500"},
        neighbours={"effnet_lite0": [[0, [3, 5], [0.1, 0.2]]]},
    )
    save(run / "evaluate/neighbours.png", images.grid(faces[:24], 6))
    sample = sample_json(version, seed, **end, count=len(faces))
    return write_run(run, sample=sample, metrics=record)  # type: ignore[arg-type]


def fabricate(root: Path) -> Path:
    """v1 fine, v3 hostile in its words, v5 diverged with seed 1, v7 missing with seed 0."""
    smooth = {"adversary": {"loss": {"real_target": 0.9}}}
    slow = {"optimizers": {"discriminator": {"name": "sgd", "lr": 0.02}}}
    spectral = {"discriminator": {"norm": "spectral"}}
    words = {"idea": f"{HOSTILE} & <b>bold</b>", "note": HOSTILE}
    entries = [
        entry("v1", "The notebook's DCGAN", None, None, recipe()),
        entry("v3", HOSTILE, "v1", smooth, recipe(**smooth), **words),
        entry("v5", "SGD for D", "v3", slow, recipe(**merge(smooth, slow)), flops=330_000_000),
        entry("v7", "Spectral norm in D", "v1", spectral, recipe(**spectral)),
    ]
    fabricate_plan(root, entries, [0, 1])
    fabricate_data(root)
    for version, seed, good in [("v1", 0, 0.7), ("v1", 1, 0.75), ("v3", 0, 0.8), ("v3", 1, 0.78), ("v7", 1, 0.95)]:
        fabricate_run(root, version, seed, good)
    fabricate_run(root, "v5", 0, 0.2)
    fabricate_run(root, "v5", 1, 0.3, diverged=True)
    return root
