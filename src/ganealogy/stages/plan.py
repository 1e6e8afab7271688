"""The plan: everything checked and resolved before anything is fetched or trained.

`build/plan/` holds one small file for each version and stage, with its settings and the fingerprint of its code. The
later stages depend on these files, so that exactly what a change concerns runs again.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from ganealogy import components
from ganealogy.data import download
from ganealogy.errors import GanealogyError
from ganealogy.files import atomic
from ganealogy.lineage import fingerprint
from ganealogy.lineage import recipe as recipes
from ganealogy.lineage.versions import FOLDER, Version, read_family
from ganealogy.params.schema import PARAMS, Settings, load

PLAN = Path("build/plan")

# Settings that say where or how fast, not what: they move no result's identity.
WHERE_ONLY = {"dataset": {"mirror"}, "train": {"device", "threads"}}
# Settings by which the report judges numbers that are there: they measure nothing anew.
JUDGING_ONLY = {"equivalence_margin"}


def make(params: Path = PARAMS, versions: Path = FOLDER) -> dict[str, Any]:
    """Check everything and resolve it. Returns relative path → content of the plan's files.

    Raises: GanealogyError naming file, key, value and what is legal.
    """
    settings = load(params)
    _check_names(settings, params)
    family = read_family(settings.tree.versions, versions)
    completed = {name: recipes.complete(version.recipe, str(version.path)) for name, version in family.items()}
    # Only what will train must fit the data: a version's ancestors may be unable to express this size.
    counts = {name: count_parameters(completed[name], settings, family[name].path) for name in settings.tree.versions}
    files = {f"stages/{name}.json": content for name, content in stage_plans(settings).items()}
    for name in settings.tree.versions:
        files[f"versions/{name}.json"] = version_plan(family[name], completed[name], settings)
    flops = {name: count_flops(files[f"versions/{name}.json"]) for name in settings.tree.versions}
    files["tree.json"] = tree(family, completed, counts, flops, settings)
    return files


def write(files: dict[str, Any], folder: Path = PLAN) -> None:
    """Replace the folder by exactly these files; a kill leaves the old plan, the new one or none, never a part."""
    fresh, old = (folder.with_name(f".{folder.name}.{which}.tmp") for which in ("new", "old"))
    for leftover in (fresh, old):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        for name, content in files.items():
            atomic.write_json(fresh / name, content)
        if folder.exists():
            folder.rename(old)
        fresh.rename(folder)
    finally:
        for leftover in (fresh, old):
            shutil.rmtree(leftover, ignore_errors=True)


def version_plan(version: Version, recipe: dict[str, Any], settings: Settings) -> dict[str, Any]:
    """What a training of this version depends on, and nothing else: no title, no seed, no list of versions."""
    train = settings.train.model_dump(exclude=WHERE_ONLY["train"] | {"lr"})
    protocol = {**train, "image_size": settings.dataset.image_size, "channels": settings.dataset.channels}
    if recipe["labels"]:
        protocol["classes"] = class_count(settings)
    resolved = recipes.resolve_rates(recipe, settings.train.lr)
    tracker = components.module_name("evaluation.extractors", settings.train.tracker)
    code = fingerprint.closure(["ganealogy.training.loop", tracker, *recipes.component_modules(recipe)])
    content = {"recipe": resolved, "protocol": protocol, "code": code}
    return {"version": version.name, "parent": version.parent, **content, "fingerprint": atomic.digest(content)}


def stage_plans(settings: Settings) -> dict[str, Any]:
    """One mapping a stage that is not a training: its settings, its code, and the digest of both."""
    dataset = settings.dataset.model_dump(exclude=WHERE_ONLY["dataset"])
    source = components.module_name("data.sources", settings.dataset.name)
    extractors = [components.module_name("evaluation.extractors", name) for name in settings.evaluate.extractors]
    raw = download.inputs(dataset)
    measured = {**settings.evaluate.model_dump(exclude=JUDGING_ONLY), "count": settings.sample.count}
    stages = {
        "download": (raw, ["ganealogy.data.download", source]),
        "preprocess": (dataset, ["ganealogy.data.preprocess", source]),
        "reference": (measured, ["ganealogy.evaluation.reference", *extractors]),
        "sample": (settings.sample.model_dump(), ["ganealogy.sampling.sample"]),
        "evaluate": (measured, ["ganealogy.evaluation.evaluate", *extractors]),
        "report": ({}, ["ganealogy.report.build"]),
    }
    plans = {}
    for name, (values, entries) in stages.items():
        code = fingerprint.closure(entries)
        if name == "report":
            code |= fingerprint.resources("report")
        content = {"settings": values, "code": code}
        plans[name] = {**content, "fingerprint": atomic.digest(content)}
    return plans


def tree(
    family: dict[str, Version],
    recipe: dict[str, dict[str, Any]],
    counts: dict[str, dict[str, int]],
    flops: dict[str, int],
    settings: Settings,
) -> dict[str, Any]:
    """What people read: titles, ideas, changes. Only the report depends on it, so a mended typo trains nothing."""
    members = [
        {
            "name": name,
            "title": version.file.title,
            "idea": version.file.idea,
            "source": version.file.source,
            "note": version.file.note,
            "parent": version.parent,
            "listed": name in settings.tree.versions,
            "changes": version.file.changes,
            "recipe": recipe[name],
            "origins": origins(version, recipe[name]),
            "parameters": counts.get(name),
            "flops": flops.get(name),
            "pinned_lr": recipes.pins_rate(recipe[name]),
        }
        for name, version in family.items()
    ]
    return {
        "versions": members,
        "seeds": settings.tree.seeds,
        "dataset": settings.dataset.model_dump(exclude=WHERE_ONLY["dataset"]),
        "protocol": settings.train.model_dump(exclude=WHERE_ONLY["train"]),
        "sample": settings.sample.model_dump(),
        "evaluate": settings.evaluate.model_dump(),
    }


def origins(version: Version, completed: dict[str, Any]) -> dict[str, str]:
    """Dotted key → the version that set it, or `default` where a component's own default stands."""
    return {key: version.origins.get(key, "default") for key in recipes.flatten(completed)}


def count_parameters(recipe: dict[str, Any], settings: Settings, path: Path) -> dict[str, int]:
    """Trainable parameters of both networks, built without memory: this is also the check that they can be built.

    Raises: GanealogyError when a network cannot express the image size or the number of channels, or when ideas of the
    recipe cannot be combined.
    """
    import torch
    from torch.overrides import TorchFunctionMode

    from ganealogy.lineage import compatibility
    from ganealogy.networks import _build

    class Shapes(TorchFunctionMode):
        """What gives a tensor values and leaves its shape: on the meta device there are none, and asking all the same
        imports torch's compiler, which takes two seconds."""

        valuing = (
            torch.Tensor.normal_,
            torch.Tensor.uniform_,
            torch.nn.init.normal_,
            torch.nn.init.uniform_,
            torch.nn.functional.normalize,
        )

        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = kwargs or {}
            if function in self.valuing:
                return args[0] if args else kwargs["tensor"]
            return function(*args, **kwargs)

    protocol = {
        "channels": settings.dataset.channels,
        "image_size": settings.dataset.image_size,
        "width": settings.train.width,
        "classes": class_count(settings),
    }
    try:
        with torch.device("meta"), Shapes():
            networks = {
                "generator": _build.generator(recipe, protocol),
                "discriminator": _build.discriminator(recipe, protocol),
            }
    except GanealogyError as error:
        raise GanealogyError(f"{path}: {error}") from None
    compatibility.check(recipe, networks["discriminator"], str(path))
    return {name: _build.parameter_count(network) for name, network in networks.items()}


def count_flops(planned: dict[str, Any]) -> int:
    """Operations of a training step per image; `planned`: a version's plan."""
    from ganealogy.lineage import flops

    return flops.per_image(planned["recipe"], planned["protocol"])


def class_count(settings: Settings) -> int:
    """The classes of the data set; 0 when it has none."""
    source = components.load("data.sources", settings.dataset.name)
    return int(getattr(source, "CLASSES", 0))


def _check_fits(name: str, key: str, settings: Settings, params: Path) -> None:
    """Whether the data and the key are what an extractor's file says it is made for."""
    stated = components.module_constants("evaluation.extractors", name)
    if settings.dataset.name not in stated.get("DATASETS", (settings.dataset.name,)):
        made_for = ", ".join(stated["DATASETS"])
        raise GanealogyError(
            f"{params}: {key}: {name} is made for dataset.name {made_for} and its labels, "
            f"not {settings.dataset.name!r}: take it out"
        )
    if settings.dataset.image_size not in stated.get("IMAGE_SIZES", (settings.dataset.image_size,)):
        sizes = " or ".join(map(str, stated["IMAGE_SIZES"]))
        raise GanealogyError(
            f"{params}: {key}: {name} takes {sizes} pixels a side, and dataset.image_size is "
            f"{settings.dataset.image_size}: take it out or change the size"
        )
    if key == "train.tracker" and "prepare" in stated:
        raise GanealogyError(
            f"{params}: {key}: {name} is trained on labels in the reference stage, which no training waits for, and "
            "what picked `best` must not measure it too: name pixel8 or effnet_lite0"
        )


def _check_names(settings: Settings, params: Path) -> None:
    """The names that params.yaml gives of files in the package; checked before torch is imported."""
    for key, names in (
        ("train.tracker", [settings.train.tracker]),
        ("evaluate.extractors", settings.evaluate.extractors),
    ):
        for name in names:
            if name not in components.known("evaluation.extractors"):
                components.load("evaluation.extractors", name, f"{params}: {key}")  # raises, listing the known
            _check_fits(name, key, settings, params)
    if len(set(settings.evaluate.extractors)) < len(settings.evaluate.extractors):
        raise GanealogyError(f"{params}: evaluate.extractors lists one twice: {settings.evaluate.extractors}")
