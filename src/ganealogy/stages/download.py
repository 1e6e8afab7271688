"""The download stage: fetch or draw the pictures of `dataset.name` into data/raw."""

from __future__ import annotations

from ganealogy.data import download
from ganealogy.params import schema
from ganealogy.record_types import DatasetSettings
from ganealogy.stages import _stage
from ganealogy.workspace import RAW


def run() -> None:
    with _stage.run_stage("download") as stage:
        settings: DatasetSettings = stage.settings
        settings["mirror"] = schema.load().dataset.mirror  # where to look, so not part of the plan
        download.download(settings, RAW)
