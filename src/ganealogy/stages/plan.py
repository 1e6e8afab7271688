"""The plan stage: check and resolve params.yaml and all versions, before anything is downloaded or trained.

`build/plan/` holds one small file per version and per stage, with its settings and the fingerprint of its code. Later
stages depend on these files, so that a change re-runs only the stages that it affects.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from filelock import FileLock

from ganealogy import components
from ganealogy.data import download
from ganealogy.errors import GanealogyError, one_of
from ganealogy.files import atomic
from ganealogy.lineage import fingerprint
from ganealogy.lineage import recipe as recipes
from ganealogy.lineage.ideas import in_force, overwritten
from ganealogy.lineage.versions import Version, known, left_out, read_family
from ganealogy.params.schema import WHERE_ONLY, Settings, load
from ganealogy.record_types import Recipe, StagePlan, VersionPlan
from ganealogy.runtime import process
from ganealogy.stages import _starts as starts
from ganealogy.stages import inputs
from ganealogy.tree_types import PlannedVersion, TreeJson
from ganealogy.verdicts import primary_metric
from ganealogy.verdicts.metric_kinds import split
from ganealogy.workspace import PARAMS, PLAN

if TYPE_CHECKING:
    from ganealogy.lineage.layers import Layer

PlanFiles: TypeAlias = "dict[str, VersionPlan | StagePlan | TreeJson]"

# Settings that only the trainings use, and those that only the report's verdicts use.
TRAINING_ONLY = {"flip"}
VERDICTS_ONLY = {"equivalence_margin", "against"}


def run() -> TreeJson:
    """Write the plan. Return what people read of it."""
    process.die_with_parent()
    inputs.check(load())
    files = make()
    with process.explain_full_disk(PLAN):
        write(files)
    return cast(TreeJson, files["tree.json"])


def make(params: Path = PARAMS, versions: Path | None = None) -> PlanFiles:
    """Check and resolve everything. Return relative path → content of the plan's files.

    Raises: GanealogyError naming file, key, value and what is legal.
    """
    settings = load(params)
    _check_names(settings, params, versions)
    family = read_family(settings.tree.versions, versions)
    completed = {name: complete(version, settings) for name, version in family.items()}
    _check_independence(completed, settings, params)
    # Only listed versions must fit the data; an ancestor may not support this image size.
    counts = {name: count_parameters(completed[name], settings, family[name].path) for name in settings.tree.versions}
    plans = {name: version_plan(family[name], completed[name], settings, versions) for name in settings.tree.versions}
    for name, plan in plans.items():
        starts.check_fits(plan, family[name].path)
    flops = {name: count_flops(plan) for name, plan in plans.items()}
    found = {name: list_layers(plan) for name, plan in plans.items()}
    files: PlanFiles = {f"stages/{name}.json": plan for name, plan in stage_plans(settings).items()}
    files |= {f"versions/{name}.json": plan for name, plan in plans.items()}
    unlisted = left_out(settings.tree.versions, versions)
    return files | {"tree.json": tree(family, completed, counts, flops, found, settings, unlisted, plans)}


def write(files: PlanFiles, folder: Path = PLAN) -> None:
    """Replace the folder by these files; a kill leaves the old plan, the new one or none, never a part.

    Another process that writes a plan is waited for.
    """
    fresh, old = (folder.with_name(f".{folder.name}.{which}.tmp") for which in ("new", "old"))
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        for leftover in (fresh, old):
            shutil.rmtree(leftover, ignore_errors=True)
        try:
            for name, content in files.items():
                atomic.write_json(fresh / name, content)
            if folder.exists():
                folder.rename(old)
            fresh.rename(folder)
            atomic.sync_directory(folder.parent)
        finally:
            for leftover in (fresh, old):
                shutil.rmtree(leftover, ignore_errors=True)


def complete(version: Version, settings: Settings) -> Recipe:
    """Return the version's recipe with all defaults, and the size of its latents."""
    recipe = recipes.complete(version.recipe, str(version.path))
    return recipes.resolve_latent(recipe, settings.dataset.channels, settings.dataset.image_size)


def version_plan(
    version: Version, recipe: Recipe, settings: Settings, versions: Path | None = None, trail: tuple[str, ...] = ()
) -> VersionPlan:
    """Return all that a training of this version depends on, and its seeds: no title, no list of versions.

    `versions`: the folder of the files; `trail`: the versions that start from this one.
    """
    train = settings.train.model_dump(exclude=WHERE_ONLY["train"] | {"lr"}, exclude_none=True)
    protocol = {**train, **settings.dataset.model_dump(include={"image_size", "channels", "flip"})}
    if recipe["labels"]:
        protocol["classes"] = inputs.classes(settings)
    resolved = recipes.resolve_rates(recipe, settings.train.lr)
    tracker = components.module_name("evaluation.extractors", settings.train.tracker)
    code = fingerprint.closure(["ganealogy.training.loop", tracker, *recipes.component_modules(recipe)])
    content: dict[str, Any] = {"recipe": resolved, "protocol": protocol, "code": code}
    source: dict[str, Any] = {}
    if start := version.file.start:
        source["from"] = {"seed": start.seed, "plan": _source_plan(version, settings, versions, (*trail, version.name))}
        content["from"] = {"seed": start.seed, "plan": source["from"]["plan"]["fingerprint"]}
    names = {"version": version.name, "parent": version.parent, "seeds": settings.tree.seeds_of(version.name)}
    plan = {**names, **content, **source, "fingerprint": atomic.digest(content)}
    return cast(VersionPlan, plan)


def _source_plan(version: Version, settings: Settings, versions: Path | None, trail: tuple[str, ...]) -> VersionPlan:
    """Return the plan of the training from whose networks a version starts."""
    start, where = version.file.start, f"{version.path}: train.from.version"
    assert start is not None
    if start.version in trail:
        through = f" through {version.name}" if start.version != version.name else ""
        raise GanealogyError(f"{where} = {start.version!r}: it starts from itself{through}; name another version")
    if start.version not in known(versions):
        raise one_of("version", start.version, known(versions), where)
    source = read_family([start.version], versions)[start.version]
    with_budget = settings.model_copy(update={"train": starts.with_budget(settings.train, start.kimg)})
    return version_plan(source, complete(source, with_budget), with_budget, versions, trail)


def stage_plans(settings: Settings) -> dict[str, StagePlan]:
    """Return the plan of each stage except train: its settings, its code, and the digest of both."""
    dataset: Any = settings.dataset.model_dump(exclude=WHERE_ONLY["dataset"] | TRAINING_ONLY)
    source = components.module_name("data.sources", settings.dataset.name)
    extractors = [components.module_name("evaluation.extractors", name) for name in settings.evaluate.extractors]
    raw = download.inputs(dataset)
    measured = {**settings.evaluate.model_dump(exclude=VERDICTS_ONLY), "count": settings.sample.count}
    stages = {
        "download": (raw, ["ganealogy.data.download", source]),
        "preprocess": (dataset, ["ganealogy.data.preprocess", source]),
        "reference": (measured, ["ganealogy.evaluation.reference", *extractors]),
        "sample": (settings.sample.model_dump(), ["ganealogy.sampling.sample"]),
        "evaluate": (measured, ["ganealogy.evaluation.evaluate", *extractors]),
        "report": ({}, ["ganealogy.report.build"]),
    }
    plans: dict[str, StagePlan] = {}
    for name, (values, entries) in stages.items():
        code = fingerprint.closure(entries)
        if name == "report":
            code |= fingerprint.resources("report")
        content = {"settings": values, "code": code}
        plans[name] = cast(StagePlan, {**content, "fingerprint": atomic.digest(content)})
    return plans


def tree(
    family: dict[str, Version],
    recipe: dict[str, Recipe],
    counts: dict[str, dict[str, int]],
    flops: dict[str, dict[str, int]],
    layers: dict[str, dict[str, list[dict[str, Any]]]],
    settings: Settings,
    unlisted: list[str],
    plans: dict[str, VersionPlan],
) -> TreeJson:
    """Return what people read: titles, ideas, changes. Only the report depends on it, so an edit trains nothing."""
    members: list[PlannedVersion] = [
        {
            "name": name,
            "title": version.file.title,
            "idea": version.file.idea,
            "source": version.file.source,
            "note": version.file.note,
            "conclusion": version.file.conclusion.model_dump() if version.file.conclusion else None,
            "parent": version.parent,
            "parents": version.parents,
            "ablates": version.file.ablates.model_dump(exclude_none=True) if version.file.ablates else {},
            "in_force": in_force(version, family),
            "overwritten": overwritten(version, family),
            "listed": name in settings.tree.versions,
            "changes": _block(version, recipe[name]),
            "recipe": recipe[name],
            "origins": origins(version, recipe[name]),
            "parameters": counts.get(name),
            "flops": flops.get(name, {}).get("step"),
            "sample_flops": flops.get(name, {}).get("sample"),
            "layers": layers.get(name, {}),
            "seeds": settings.tree.seeds_of(name) if name in settings.tree.versions else [],
        }
        for name, version in family.items()
    ]
    for member in members:
        if "from" in plans.get(member["name"], {}):
            member["from"] = starts.described(plans[member["name"]])
    sections = {
        "dataset": settings.dataset.model_dump(exclude=WHERE_ONLY["dataset"]),
        "protocol": settings.train.model_dump(exclude=WHERE_ONLY["train"], exclude_none=True),
        "sample": settings.sample.model_dump(),
        "evaluate": settings.evaluate.model_dump(),
    }
    return cast(TreeJson, {"versions": members, "left_out": unlisted, **sections})


def _block(version: Version, completed: Recipe) -> Any:
    """Return what a version changes in its parent; None for a root.

    Of a merge, and of a version that leaves ideas out, that is more than its file has: the recipe is the block.
    """
    if len(version.parents) > 1 or version.file.without:
        return completed
    return version.file.changes if version.parent is None else version.file.changes or {}


def origins(version: Version, completed: Recipe) -> dict[str, str]:
    """Return dotted key → the version that set it, or `default` for a component's own default."""
    return {key: version.origins.get(key, "default") for key in recipes.flatten(completed)}


def count_parameters(recipe: Recipe, settings: Settings, path: Path) -> dict[str, int]:
    """Return the trainable parameters of both networks, built on the meta device, which needs no memory.

    Raises: GanealogyError when a network does not support the image size or the channels, or when ideas of the recipe
    cannot be combined.
    """
    import torch

    from ganealogy.lineage import compatibility
    from ganealogy.networks import _build
    from ganealogy.runtime.without_dynamo import SkipInitialisation

    protocol = {
        "channels": settings.dataset.channels,
        "image_size": settings.dataset.image_size,
        "width": settings.train.width,
        "classes": inputs.classes(settings) if recipe["labels"] else 0,
    }
    try:
        with torch.device("meta"), SkipInitialisation():
            networks = {
                "generator": _build.generator(recipe, protocol),
                "discriminator": _build.discriminator(recipe, protocol),
            }
    except GanealogyError as error:
        raise GanealogyError(f"{path}: {error}") from None
    compatibility.check(recipe, networks["generator"], networks["discriminator"], str(path))
    return {name: _build.parameter_count(network) for name, network in networks.items()}


def layers(version: Version, settings: Settings) -> dict[str, list[Layer]]:
    """Return network → layers of a version, at the size of `settings`.

    Raises: GanealogyError when a network does not support it.
    """
    from ganealogy.lineage import layers

    recipe = complete(version, settings)
    count_parameters(recipe, settings, version.path)  # raises
    made = version_plan(version, recipe, settings)
    return layers.of_recipe(made["recipe"], made["protocol"])


def count_flops(plan: VersionPlan) -> dict[str, int]:
    """Return the floating-point operations of a training step per image, and of a sample."""
    from ganealogy.lineage import flops

    recipe, protocol = plan["recipe"], plan["protocol"]
    return {"step": flops.per_image(recipe, protocol), "sample": flops.per_sample(recipe, protocol)}


def list_layers(plan: VersionPlan) -> dict[str, list[dict[str, Any]]]:
    """Return network → layers, as the tree has them."""
    from ganealogy.lineage import layers

    found = layers.of_recipe(plan["recipe"], plan["protocol"])
    return {network: [asdict(layer) for layer in each] for network, each in found.items()}


def _check_fits(name: str, key: str, settings: Settings, params: Path) -> None:
    """Raises: GanealogyError when an extractor does not support the data set, the image size or its use as tracker."""
    constants = components.module_constants("evaluation.extractors", name)
    if settings.dataset.name not in constants.get("DATASETS", (settings.dataset.name,)):
        made_for = ", ".join(constants["DATASETS"])
        raise GanealogyError(
            f"{params}: {key}: {name} needs the labels of dataset.name {made_for}, "
            f"not {settings.dataset.name!r}: remove it"
        )
    if settings.dataset.image_size not in constants.get("IMAGE_SIZES", (settings.dataset.image_size,)):
        sizes = " or ".join(map(str, constants["IMAGE_SIZES"]))
        raise GanealogyError(
            f"{params}: {key}: {name} takes {sizes} pixels a side, and dataset.image_size is "
            f"{settings.dataset.image_size}: remove it or change the size"
        )
    if key == "train.tracker" and constants.get("TRACKS") is False:
        raise GanealogyError(f"{params}: {key}: {name} has no distance to track: use layout_edges_32_64 or pixel8")
    if key == "train.tracker" and "prepare" in constants:
        raise GanealogyError(
            f"{params}: {key}: {name} is trained on labels in the reference stage, which trainings do not wait for: "
            "use pixel8 or effnet_lite0"
        )


def _check_names(settings: Settings, params: Path, versions: Path | None) -> None:
    """Check component names of params.yaml, before torch is imported. Raises: GanealogyError."""
    for key, names in (
        ("train.tracker", [settings.train.tracker]),
        ("evaluate.extractors", settings.evaluate.extractors),
    ):
        for name in names:
            components.require("evaluation.extractors", name, f"{params}: {key}")
            _check_fits(name, key, settings, params)
    for version in settings.tree.more_seeds:
        if version not in known(versions):
            raise one_of("version", version, list(known(versions)), f"{params}: tree.more_seeds")
    _check_lead(settings, params)
    for version in settings.evaluate.against:
        if version not in settings.tree.versions:
            raise one_of("version", version, settings.tree.versions, f"{params}: evaluate.against")
    _check_metrics(settings, params)
    if len(set(settings.evaluate.extractors)) < len(settings.evaluate.extractors):
        raise GanealogyError(f"{params}: evaluate.extractors lists one twice: {settings.evaluate.extractors}")


def _check_metrics(settings: Settings, params: Path) -> None:
    """Raises: GanealogyError when evaluate.metrics names an unknown metric or leaves out the leading one."""
    metrics, lead = settings.evaluate.metrics, settings.evaluate.lead
    if metrics is None:
        return
    from ganealogy.evaluation.measure import known_metrics

    key = f"{params}: evaluate.metrics"
    if lead not in metrics:
        raise GanealogyError(f"{key} leaves out evaluate.lead, by which versions are compared: add {lead}")
    legal = [name for extractor in settings.evaluate.extractors for name in known_metrics(extractor)]
    for name in metrics:
        if name not in legal:
            raise one_of("metric of evaluate.extractors", name, legal, key)


def _check_lead(settings: Settings, params: Path) -> None:
    """Raises: GanealogyError when the leading metric is none that judges, is not measured, or needs more samples."""
    lead, extractors = settings.evaluate.lead, settings.evaluate.extractors
    legal = [name for extractor in extractors for name in primary_metric.distances(extractor)]
    if lead not in legal:
        raise one_of("distance of evaluate.extractors", lead, legal, f"{params}: evaluate.lead")
    extractor = next(name for name in extractors if lead in primary_metric.distances(name))
    fewest = components.module_constants("evaluation.extractors", extractor).get("MIN_FAKES", 0)
    if settings.sample.count < fewest:
        raise GanealogyError(
            f"{params}: sample.count = {settings.sample.count}: evaluate.lead {lead} needs at least {fewest} samples"
        )


def _check_independence(recipe: dict[str, Recipe], settings: Settings, params: Path) -> None:
    """Raises: GanealogyError when a listed version's D sees features of the network that leads or tracks.

    G then learns to please the judge itself (Kynkäänniemi et al., arXiv 2203.06026).
    """
    judges = {"evaluate.lead": split(settings.evaluate.lead)[1], "train.tracker": settings.train.tracker}
    for version in settings.tree.versions:
        discriminator = recipe[version]["discriminator"]
        if discriminator is None:
            continue
        seen = components.module_constants("networks", discriminator["name"]).get("FEATURES_OF")
        for key, extractor in judges.items():
            if seen is not None and extractor.startswith(str(seen)):
                raise GanealogyError(
                    f"{params}: {key}: the discriminator of {version} sees features of {seen}, which flatters "
                    f"it: use another extractor, such as layout_edges_32_64"
                )
