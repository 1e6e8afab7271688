"""Weights that no package contains: their digests, and Inception's, which are fetched where params.yaml names it.

The reference stage imports this module, so it imports at its head only what is in every stage's fingerprint or cannot
change results.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

from ganealogy import components
from ganealogy.errors import GanealogyError
from ganealogy.files.records import RecordError, read_record
from ganealogy.params.schema import Settings
from ganealogy.runtime import process
from ganealogy.workspace import INPUTS, WEIGHTS, main_root

KIND = "evaluation.extractors"
INCEPTION, FID = "inception", "fid"
NOT_HERE = "Inception's weights are not on this machine"
ABSENT = f"{NOT_HERE}; run `ganealogy fetch inception`, then `dvc repro`"


def digests(settings: Settings, before: Any, sha256: Callable[[Path], str]) -> dict[str, str]:
    """Return file → digest of the weights in build/weights that the named extractors use.

    A file that is not on this machine keeps its digest in `before`, the record of the last time. Inception's are
    fetched if they are absent. If that fails, one line says so.
    """
    found = {}
    for name in sorted({settings.train.tracker, *settings.evaluate.extractors}):
        components.require(KIND, name, "evaluate.extractors")
        file = _file(name)
        path, recorded = main_root() / WEIGHTS / file, before.get(file) if isinstance(before, dict) else None
        if name == INCEPTION and not path.is_file():
            _try_to_fetch(settings, recorded is not None)
        if path.is_file():
            found[file] = sha256(path)
        elif recorded is not None:
            found[file] = recorded
    return found


def not_measured(extractors: Collection[str], lead: str) -> dict[str, str]:
    """Return extractor → why it is not measured: Inception, unless it leads or its weights are here.

    Where the record of the inputs has their digest, results of them exist, so they are needed.
    """
    path = main_root() / WEIGHTS / _file(INCEPTION)
    needed = INCEPTION not in extractors or lead == FID or lead.endswith(f"_{INCEPTION}")
    return {} if needed or path.is_file() or _recorded(path.name) else {INCEPTION: ABSENT}


def _recorded(file: str) -> bool:
    with suppress(RecordError):
        weights = read_record(INPUTS, "").get("weights")
        return isinstance(weights, dict) and file in weights
    return False


def _try_to_fetch(settings: Settings, recorded: bool) -> None:
    """Try once to get Inception's weights, and print a line if that fails."""
    from ganealogy.data import fetch
    from ganealogy.evaluation.extractors import _inception_weights

    mirror = None
    with suppress(fetch.NoMirrorError):
        mirror = fetch.mirror(settings.dataset.mirror)
    try:
        with process.explain_full_disk(WEIGHTS):
            _inception_weights.fetch_weights(mirror, _inception_weights.ONE_TRY)
    except GanealogyError as error:
        if recorded:
            effect = f"the record in {INPUTS} stays"
        elif not_measured(settings.evaluate.extractors, settings.evaluate.lead):
            effect = f"{FID} is not measured"
        else:
            effect = "the stages that use them will fail"
        process.warn(f"{NOT_HERE}, so {effect}: {error}")


def _file(extractor: str) -> str:
    """Return the name of an extractor's weights."""
    return str(components.module_constants(KIND, extractor).get("FILE") or f"{extractor}.safetensors")
