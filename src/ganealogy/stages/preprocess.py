"""The preprocess stage: decode, crop, resize, drop duplicates and split into data/packed."""

from __future__ import annotations

from ganealogy.data import preprocess
from ganealogy.runtime import memory
from ganealogy.stages import _stage
from ganealogy.workspace import PACKED, RAW


def run() -> None:
    memory.keep_freed()
    with _stage.run_stage("preprocess") as stage:
        preprocess.preprocess(stage.settings, RAW, PACKED)
