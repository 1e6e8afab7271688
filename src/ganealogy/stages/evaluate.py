"""The evaluate stage: every metric of one run's samples, into evaluate/ of its run."""

from __future__ import annotations

from ganealogy.params import schema
from ganealogy.stages import _stage
from ganealogy.workspace import FEATURES, PACKED, REFERENCE, main_root, run_dir


def run(version: str, seed: int, ranks: int = 1) -> int:
    """Return the exit code. `ranks`: processes that share the work."""
    if ranks > 1:
        return _stage.launch_with_torchrun(ranks, "evaluate", version, seed, schema.load())
    directory = run_dir(version, seed)
    with _stage.run_stage("evaluate", version, seed, directory / "cost" / "evaluate.json") as stage:
        # Imported here: a wrong plan is reported before torch is loaded.
        from ganealogy.evaluation import evaluate
        from ganealogy.runtime.distributed import process_group

        with process_group(_stage.setup_device(schema.load().train)) as device:
            cache = main_root() / FEATURES
            evaluate.evaluate(directory, stage.settings, REFERENCE, PACKED, device=device, cache_dir=cache)
    return 0
