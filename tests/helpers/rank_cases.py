"""Short trainings for one or several processes: `torchrun --nproc-per-node 2 tests/helpers/rank_cases.py train FOLDER`.

Each case is trained into FOLDER/<case>; ranks other than the first write to FOLDER/other.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))  # torchrun starts this file by itself
from helpers.global_draws import GlobalDraws

from ganealogy.lineage import recipe as recipes
from ganealogy.lineage.versions import read_family
from ganealogy.runtime import distributed
from ganealogy.training import loop
from ganealogy.training.run_files import RunFiles
from ganealogy.training.state import TrainingState

BATCH, STEPS, STOP = 8, 6, 3
PROTOCOL = {
    "kimg": BATCH * STEPS / 1000,
    "batch_size": BATCH,
    "width": 4,
    "precision": "fp32",
    "ticks": 3,
    "tracker": "pixel8",
    "tracker_images": 250,
    "image_size": 16,
    "channels": 3,
}
EVERYTHING: dict[str, Any] = {
    "loss": {"name": "relativistic_average"},
    "penalties": [{"name": "dragan"}, {"name": "lecam"}, {"name": "bcr"}],
    "augment": [{"name": "ada", "share": 0.5, "interval": 1}, {"name": "instance_noise"}],
}
"""What sees a batch as a whole, and every kind of draw."""
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "no BatchNorm, R1, R2, EMA": ("v16", {}),
    "BatchNorm": ("v1", {}),
    "gradient penalty, five D steps": ("v10", {}),
    "all that couples a batch": ("v7", EVERYTHING),
    "dropout, simultaneous": ("mnist-dcgan", {}),
}
RESUMED = "no BatchNorm, R1, R2, EMA"


class StopOnFirstRank:
    """Callbacks that request a stop after a step on the first rank only; all ranks stop."""

    def __init__(self, stop: int | None) -> None:
        self.stop, self.calls = stop, 0

    def on_start(self, step: int, steps: int) -> None: ...
    def on_step(self, step: int, scalars: dict[str, float] | None) -> None: ...
    def on_warning(self, text: str) -> None:
        assert " kimg: " in text, text  # a sign of trouble, which six steps may show

    def should_stop(self) -> bool:
        self.calls += 1
        return self.stop is not None and self.calls >= self.stop and distributed.is_first()


@contextmanager
def equal_draws() -> Iterator[None]:
    """Let all ranks draw what one process would draw for the whole batch."""
    seed, step = loop.step_seed, TrainingState.train_step

    def train_step(self: TrainingState, *batches: Any) -> dict[str, Any]:
        with GlobalDraws(BATCH):
            return step(self, *batches)

    with patch.object(loop, "step_seed", lambda run, at, rank=0: seed(run, at)):
        if distributed.world_size() == 1:
            yield
        else:
            with patch.object(TrainingState, "train_step", train_step):
                yield


def pictures() -> np.ndarray:
    """520 blurry gradients: uint8 (N, 16, 16, 3)."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 200, 16)[None, :, None, None] * rng.random((520, 1, 1, 3))
    return (ramp + rng.random((520, 16, 16, 3)) * 50).astype(np.uint8)


def train(case: str, folder: Path, stop: int | None = None) -> loop.Outcome:
    version, adversary = CASES[case]
    recipe = recipes.complete(read_family([version])[version].recipe, version)
    recipe["adversary"] = {**recipe["adversary"], **adversary}
    if adversary:
        recipe["discriminator"] = {**recipe["discriminator"], "norm": "none", "batch_stddev": True}
    recipe = recipes.resolve_rates(recipes.complete(recipe, version), 2e-4)
    where = folder / case if distributed.is_first() else folder / "other" / case
    plan: Any = {"recipe": recipe, "protocol": PROTOCOL}
    files = RunFiles(where / "train", folder / case / "checkpoints", {"version": version, "seed": 7})
    return loop.train(
        plan, 7, loop.TrainingData(pictures(), held_out=pictures()[:40, :, ::-1]), files, "cpu", StopOnFirstRank(stop)
    )


def main(folder: Path) -> None:
    with distributed.process_group("cpu"):
        with equal_draws():
            for case in CASES:
                train(case, folder / "whole")
            train(RESUMED, folder / "begun", STOP)
            if (folder / "taken up").exists():
                train(RESUMED, folder / "taken up")
        train("dropout, simultaneous", folder / "own draws")


def shards(folder: Path) -> None:
    """Measure the distance of 1,100 pictures by one, two and four processes, into FOLDER/<n>.json."""
    from ganealogy.evaluation.features import extract, load_extractor
    from ganealogy.evaluation.metrics.frechet import frechet_distance

    fakes = np.concatenate([pictures(), 255 - pictures(), pictures()[:60]])
    extractor = load_extractor("pixel8", "cpu")
    for world in (1, 2, 4):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
        children = []
        for rank in range(world):
            child = os.fork()
            if child:
                children.append(child)
                continue
            os.environ.update(address, RANK=str(rank), WORLD_SIZE=str(world))
            with distributed.process_group("cpu"):
                found = extract(extractor, fakes, "fakes")
                value = frechet_distance(found.moments, extract(extractor, pictures(), "reals").moments)
                (folder / f"{world}-{rank}.json").write_text(json.dumps({"fd": value, "rows": len(found)}))
            os._exit(0)
        for child in children:
            assert os.waitpid(child, 0)[1] == 0


if __name__ == "__main__":
    {"train": main, "shards": shards}[sys.argv[1]](Path(sys.argv[2]))
