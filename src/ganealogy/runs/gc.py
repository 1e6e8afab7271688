"""Find what the store holds for no branch, tag or experiment: runs that only earlier settings asked for."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ganealogy.errors import GanealogyError
from ganealogy.runs import continuing, store
from ganealogy.runs.store import Entry
from ganealogy.workspace import KEY_LENGTH, MANIFEST, PACKED, PLAN, WORK, main_root, run_key

if TYPE_CHECKING:
    from dvc.repo import Repo

HERE = "the workspace"
RUN_KEY = re.compile(rf"[0-9a-f]{{{KEY_LENGTH}}}")
"""The names of folders that may be removed; a person's own have others."""
DAMAGE = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, yaml.YAMLError)
"""Raised for a file that is absent or not what its writer wrote, in any way."""


@dataclass(frozen=True)
class Named:
    """What one revision asks for, by digest."""

    trainings: dict[str, tuple[str, ...]]
    """Run key → what it has in common with trainings of other budgets, which it may continue: `runs/continuing.py`."""
    stages: dict[str, str]
    """sample, evaluate → fingerprint of the stage's plan."""


@dataclass
class Garbage:
    """What can be removed, and what stays."""

    entries: list[Entry] = field(default_factory=list)
    unfinished: list[Path] = field(default_factory=list)
    kept: int = 0
    """Number of entries that stay."""
    unknown: list[str] = field(default_factory=list)
    """Revisions whose plan cannot be read, mostly because DVC's cache lacks it: what they need is not known."""

    @property
    def bytes(self) -> int:
        files = (path for folder in self.unfinished for path in folder.rglob("*") if path.is_file())
        return sum(entry.bytes for entry in self.entries) + sum(path.stat().st_size for path in files)


def find(root: Path = Path()) -> Garbage:
    """Compare the store with the workspace, and with all branches, tags and experiments.

    Raises: GanealogyError outside git or DVC.
    """
    garbage = Garbage()
    named = list(_named(root, garbage.unknown))
    trainings = frozenset[str]().union(*(each.trainings for each in named))
    entries = list(store.entries())
    made = {entry.record["made_from"].get("run") for stage, entry in entries if stage == "train"}
    awaited = {same for each in named for key, same in each.trainings.items() if same and key not in made}
    for _stage, entry in entries:
        if _is_named(entry, named) or _same(entry) in awaited:
            garbage.kept += 1
        else:
            garbage.entries.append(entry)
    short = {key[:KEY_LENGTH] for key in trainings}
    for folder in sorted((main_root() / WORK).glob("*")):
        if folder.is_dir() and RUN_KEY.fullmatch(folder.name) and folder.name not in short:
            garbage.unfinished.append(folder)
    garbage.unfinished += store.leftovers()
    return garbage


def unreadable(unknown: list[str]) -> GanealogyError:
    """Return the error for revisions that cannot be read, with the commands that fetch their plans."""
    experiments = [name.rpartition("/")[2] for name in unknown if name.startswith("refs/exps/")]
    remedies = []
    if HERE in unknown:
        remedies.append("`dvc repro preprocess` (the workspace)")
    if len(unknown) > len(experiments) + (HERE in unknown):
        remedies.append("`dvc fetch --all-commits build/plan data/packed` (commits)")
    if experiments:
        remedies.append(f"`dvc exp pull <git remote> {' '.join(experiments)}` (experiments)")
    names = ", ".join(dict.fromkeys(name.rpartition("/")[2] for name in unknown[:5]))
    return GanealogyError(
        f"{names}: the plan is not in DVC's cache, so what they need is not known; to get it, run: "
        f"{' and '.join(remedies)}; `ganealogy gc --ignore-unknown` continues without it"
    )


def _is_named(entry: Entry, named: Iterable[Named]) -> bool:
    """Return whether a revision has the training, and for later stages also its plan of the stage."""
    made_from = entry.record["made_from"]
    stage, run, fingerprint = entry.record["stage"], made_from.get("run"), made_from.get("plan")
    return any(run in each.trainings and each.stages.get(stage, fingerprint) == fingerprint for each in named)


def _same(entry: Entry) -> tuple[str, ...]:
    """Return what a training has in common with those that differ in their budget; empty for other entries."""
    made_from = entry.record["made_from"]
    digest = made_from.get("without_budget")
    return (digest, made_from["data"], made_from["seed"]) if digest and "vary" not in made_from else ()


def _named(root: Path, unknown: list[str]) -> Iterator[Named]:
    from dvc.exceptions import NotDvcRepoError
    from dvc.repo import Repo
    from dvc.scm import SCMError

    if (root / PLAN).is_dir():
        files = {path.relative_to(root / PLAN).as_posix(): path for path in (root / PLAN).rglob("*.json")}
        yield from _read(HERE, files, root / MANIFEST, unknown)
    try:
        repo = Repo(str(root))
    except (NotDvcRepoError, SCMError):
        raise GanealogyError(f"{root.resolve()}: not a DVC project in a git repository") from None
    seen: set[tuple[str, str]] = set()
    with repo:
        for name, commit in _revisions(root):
            try:
                lock = yaml.safe_load(_git(root, "show", f"{commit}:./dvc.lock", missing="{}")) or {}
                outs = {
                    out["path"]: str(out.get("md5", ""))
                    for each in (lock.get("stages") or {}).values()
                    for out in each.get("outs", [])
                }
            except DAMAGE:
                unknown.append(name)
                continue
            plan, packed = outs.get(PLAN.as_posix(), ""), outs.get(PACKED.as_posix(), "")
            if not plan or not packed or (plan, packed) in seen:
                continue
            seen.add((plan, packed))
            yield from _read(name, _cached(repo, plan), _cached(repo, packed).get(MANIFEST.name), unknown)


def _read(name: str, files: dict[str, Path], manifest: Path | None, unknown: list[str]) -> Iterator[Named]:
    """Yield what a revision names, from its plan's files, by relative path, and the manifest of its data.

    Without one of them, or if one is damaged, add the revision to `unknown`: it may need anything.
    """
    if not files or manifest is None:
        unknown.append(name)
        return
    trainings, stages = dict[str, tuple[str, ...]](), {}
    try:
        data = str(json.loads(manifest.read_text())["dataset"])
        for place, path in files.items():
            folder, _, file = place.rpartition("/")
            content = json.loads(path.read_text())
            if folder == "versions":
                same = continuing.digest(content)
                for seed in content.get("seeds", []):
                    trainings[run_key(content["fingerprint"], data, seed)] = (same, data, str(seed))
                    trainings |= dict.fromkeys(_sources(content, data, seed), ())
            elif folder == "stages":
                stages[file.removesuffix(".json")] = content["fingerprint"]
    except DAMAGE:
        unknown.append(name)
    else:
        yield Named(trainings, stages)


def _sources(plan: Any, data: str, seed: int) -> Iterator[str]:
    """Yield the run keys of the trainings that one starts from."""
    while source := plan.get("from"):
        seed = seed if source["seed"] == "same" else source["seed"]
        plan = source["plan"]
        yield run_key(plan["fingerprint"], data, seed)


def _cached(repo: Repo, oid: str) -> dict[str, Path]:
    """Return relative path → file in DVC's cache of a cached folder; empty if a part is absent."""
    odb: Any = repo.cache.local
    try:
        listed = json.loads(Path(odb.oid_to_path(oid)).read_text())
        files = {entry["relpath"]: Path(odb.oid_to_path(entry["md5"])) for entry in listed}
    except DAMAGE:
        return {}
    return files if all(path.is_file() for path in files.values() if path.suffix != ".npy") else {}


def _revisions(root: Path) -> Iterator[tuple[str, str]]:
    """Yield (name, commit) of HEAD and of all branches, tags and experiments, those of remotes included."""
    listed = _git(root, "for-each-ref", "--format=%(refname) %(objectname)").splitlines()
    for name, commit in [
        ("HEAD", _git(root, "rev-parse", "-q", "--verify", "HEAD", missing="")),
        *map(str.split, listed),
    ]:
        if commit:
            yield name, commit.strip()


def _git(root: Path, *arguments: str, missing: str | None = None) -> str:
    """Return git's output; `missing` if it fails. Raises: GanealogyError if it fails and `missing` is None."""
    result = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)
    if result.returncode == 0:
        return result.stdout
    if missing is None:
        raise GanealogyError(f"git {arguments[0]}: {(result.stderr.strip().splitlines() or ['failed'])[-1]}")
    return missing
