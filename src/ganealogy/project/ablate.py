"""Check the versions that take another one apart, say what they cost, and write them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from ganealogy.budget import resolve
from ganealogy.errors import GanealogyError
from ganealogy.files import atomic
from ganealogy.lineage.ablations import Ablation
from ganealogy.lineage.versions import Version, path_of
from ganealogy.params import edit
from ganealogy.params.budget_text import packed_pictures
from ganealogy.params.schema import Settings
from ganealogy.runs.times import Seconds
from ganealogy.stages import plan
from ganealogy.workspace import PARAMS, VERSIONS

WIDEST_LINE = 120
OTHER_SECONDS = 15.0
"""Of a run beside its training: sampling and measuring on one core."""


def checked(found: Iterable[Ablation], settings: Settings) -> list[Ablation]:
    """Return the ablations; those that cannot be trained with these settings are refused, with the reason."""
    return [_checked(each, settings) for each in found]


def _checked(ablation: Ablation, settings: Settings) -> Ablation:
    version = ablation.version
    if version is None or ablation.refused:
        return ablation
    try:
        plan.count_parameters(plan.complete(version, settings), settings, version.path)
    except GanealogyError as error:
        return replace(ablation, refused=str(error).removeprefix(f"{version.path}: "))
    taken = path_of(ablation.name)
    return replace(ablation, refused=f"{taken} exists") if taken.is_file() else ablation


def seconds(
    whole: Version, found: Sequence[Ablation], settings: Settings, rate: Callable[[Version, Settings], float]
) -> list[Seconds]:
    """Return what each run of the ablations takes: from the whole version's images per second, and the operations.

    Empty where the budget is in epochs of pictures that are not packed yet.
    """
    plan_of_whole = plan.version_plan(whole, plan.complete(whole, settings), settings)
    protocol = resolve(plan_of_whole["protocol"], packed_pictures(settings.dataset.model_dump()))
    if "kimg" not in protocol:
        return []
    per_image = 1 / rate(whole, settings)
    base = _flops(whole, settings)
    runs = []
    for each in found:
        assert each.version is not None
        share = _flops(each.version, settings) / base
        one = 1000 * protocol["kimg"] * per_image * share + OTHER_SECONDS
        runs += [Seconds(one, one)] * len(settings.tree.seeds)
    return runs


def _flops(version: Version, settings: Settings) -> int:
    recipe = plan.complete(version, settings)
    return plan.count_flops(plan.version_plan(version, recipe, settings))["step"]


def write(found: Iterable[Ablation], params: Path = PARAMS) -> list[Path]:
    """Write the versions' files and add them to tree.versions. Return the files."""
    written = []
    for each in found:
        path = VERSIONS / f"{each.name}.yaml"
        atomic.write_text(path, text(each.content))
        edit.add_version(each.name, params)
        written.append(path)
    return written


def text(content: Mapping[str, Any]) -> str:
    """Return the content of a version file."""
    return yaml.safe_dump(
        dict(content), sort_keys=False, default_flow_style=None, allow_unicode=True, width=WIDEST_LINE
    )
