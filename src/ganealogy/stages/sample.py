"""The sample stage: pictures, a grid and a walk between latents from a trained generator, into sample/ of its run."""

from __future__ import annotations

from ganealogy.params import schema
from ganealogy.stages import _stage
from ganealogy.workspace import run_dir


def run(version: str, seed: int) -> None:
    directory = run_dir(version, seed)
    with _stage.run_stage("sample", version, seed, directory / "cost" / "sample.json") as stage:
        from ganealogy.sampling import sample  # imported here: a wrong plan is reported before torch is loaded

        sample.sample(directory, stage.settings, device=_stage.setup_device(schema.load().train))
