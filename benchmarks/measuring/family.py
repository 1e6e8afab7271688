"""The plan of a version of this checkout, without a params.yaml."""

from __future__ import annotations

from typing import Any, cast

from ganealogy.lineage import recipe as recipes
from ganealogy.lineage.versions import read_family
from ganealogy.record_types import VersionPlan
from measuring.claims import ROOT


def plan(version: str, **protocol: Any) -> VersionPlan:
    """Return recipe and protocol as in build/plan/versions/<version>.json. `lr`: the base rate."""
    member = read_family([version], ROOT / "versions")[version]
    base = protocol.pop("lr", 2e-4)
    settled = {
        "image_size": 64,
        "channels": 3,
        "batch_size": 128,
        "width": 64,
        "precision": "fp32",
        "kimg": 1.0,
        "ticks": 1,
        "tracker": "pixel8",
        "tracker_images": 500,
        **protocol,
    }
    recipe = recipes.resolve_rates(recipes.complete(member.recipe, str(member.path)), base)
    recipe = recipes.resolve_latent(recipe, settled["channels"], settled["image_size"])
    plan = {"version": version, "parent": None, "recipe": recipe, "protocol": settled, "fingerprint": version}
    return cast("VersionPlan", plan)
