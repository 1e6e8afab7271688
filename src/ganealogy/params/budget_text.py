"""The budget of the trainings, for people and for estimates: in kimg and in epochs of the training pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ganealogy import budget
from ganealogy.files.records import RecordError, read_record
from ganealogy.record_types import TrainingProtocol
from ganealogy.workspace import MANIFEST


def describe(protocol: TrainingProtocol, pictures: int | None) -> str:
    """Return such as `25 epochs (1,427.2 kimg)` or `16 kimg (2.98 epochs)`; one of the two without `pictures`.

    The first is the one that params.yaml has. Empty if the protocol has none.
    """
    known, batch = budget.resolve(protocol, pictures), protocol.get("batch_size") or 1
    kimg = f"{known['kimg']:,g} kimg" if "kimg" in known else ""
    if "epochs" in known:
        epochs = f"{known['epochs']:g} epochs"
        return f"{epochs} ({kimg})" if kimg else epochs
    per_epoch = (pictures or 0) // batch * batch / 1000
    return f"{kimg} ({known['kimg'] / per_epoch:.3g} epochs)" if kimg and per_epoch else kimg


def packed_pictures(dataset: Mapping[str, Any]) -> int | None:
    """Return the number of training pictures; None before they are packed, and if others than these are.

    `dataset`: params.yaml's section.
    """
    try:
        manifest = read_record(MANIFEST, "", ("source", "image_size", "channels", "counts"))
    except RecordError:
        return None  # a stage that needs it reports the damage
    same = ("name", "source"), ("image_size", "image_size"), ("channels", "channels")
    if any(dataset.get(key) != manifest[recorded] for key, recorded in same):
        return None
    return train_count(manifest)


def train_count(manifest: Mapping[str, Any] | None) -> int | None:
    """Return the number of training pictures in a manifest, None where it has none."""
    counts = (manifest or {}).get("counts")
    count = counts.get("train") if isinstance(counts, dict) else None
    return count if isinstance(count, int) else None
