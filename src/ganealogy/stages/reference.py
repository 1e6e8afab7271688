"""The reference stage: features of the real pictures, and the anchors of each metric, into data/reference."""

from __future__ import annotations

from ganealogy.params import schema
from ganealogy.stages import _stage, _weights
from ganealogy.workspace import FEATURES, PACKED, REFERENCE, main_root


def run() -> None:
    with _stage.run_stage("reference") as stage:
        # Imported here: a wrong plan is reported before torch is loaded.
        from ganealogy.data import packed
        from ganealogy.evaluation import reference

        _stage.verify_packed(packed.read_manifest(PACKED), PACKED)
        reference.measure_reference(
            stage.settings,
            stage.settings["count"],
            PACKED,
            REFERENCE,
            absent=_weights.not_measured(stage.settings["extractors"], stage.settings["lead"]),
            device=_stage.setup_device(schema.load().train),
            cache_dir=main_root() / FEATURES,
        )
