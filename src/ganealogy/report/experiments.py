"""A DVC experiment's results, read from git and DVC's cache: nothing is checked out, the workspace stays as it is.

What the report reads is copied into a folder of the same layout, so that `collect` and `pictures` serve for it too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from ganealogy.errors import GanealogyError
from ganealogy.files import atomic
from ganealogy.report.collect import MANIFEST, PLAN, REFERENCE, RUNS, collect
from ganealogy.report.findings import Findings
from ganealogy.report.pictures import GRID_SIDE

if TYPE_CHECKING:
    from dvc.api import DVCFileSystem
    from dvc.repo import Repo

WORKSPACE = "workspace"
"""Stands for the files as they lie here, like in DVC's own tables."""
SHARED = (MANIFEST, REFERENCE / "anchors.json", REFERENCE / "real.png")
OF_A_RUN = ("train/run.json", "train/metrics.jsonl", "cost/train.json", "evaluate/metrics.json", "sample/sample.json")
SAMPLES = "sample/images.npy"
NAME = re.compile(r"[a-z][a-z0-9-]*")


@dataclass
class Experiment:
    """One side of the comparison; `missing` are outputs that its lock names and the cache lacks."""

    name: str
    commit: str
    findings: Findings
    missing: list[str] = field(default_factory=list)

    @property
    def cure(self) -> str:
        """What brings the missing outputs."""
        return cure(self.name)


def cure(name: str) -> str:
    """What brings the outputs of an experiment, or of a commit, into the cache."""
    return f"dvc exp pull <git remote> {name} (an experiment) or dvc fetch --all-commits (a commit)"


def read(names: list[str], root: Path, into: Path) -> list[Experiment]:
    """Bring the named experiments (or any git revision, or `workspace`) below `into`, each in a folder of its own.

    Raises: GanealogyError for fewer than two names, a name given twice, a name that nothing is called by (it lists the
    experiments that there are), a folder without git or DVC, and an experiment without a plan.
    """
    if len(names) < 2 or len(set(names)) < len(names):
        given = ", ".join(names) or "none"
        raise GanealogyError(f"--exp compares two or more experiments, each named once; got {given}")
    with _opened(root) as repo:
        commits = {name: _commit(repo, name) for name in names}
        return [_bring(repo, name, commit, into / str(at)) for at, (name, commit) in enumerate(commits.items())]


@contextmanager
def _opened(root: Path) -> Iterator[Repo]:
    from dvc.exceptions import NotDvcRepoError
    from dvc.repo import Repo
    from dvc.scm import NoSCM

    try:
        repo = Repo(str(root))
    except NotDvcRepoError:
        raise GanealogyError(f"{root.resolve()}: not a DVC project; experiments are made by `dvc exp run`") from None
    with repo:
        if isinstance(repo.scm, NoSCM):
            raise GanealogyError(f"{root.resolve()}: not in git, where DVC keeps its experiments")
        yield repo


def _commit(repo: Repo, name: str) -> str:
    """The commit of an experiment or revision; empty for the workspace."""
    from dvc.exceptions import DvcException
    from dvc.repo.experiments.exceptions import AmbiguousExpRefInfo
    from dvc.repo.experiments.utils import exp_refs, resolve_name

    if name == WORKSPACE:
        return ""
    try:
        found = resolve_name(repo.scm, name)[name]
    except AmbiguousExpRefInfo:
        raise GanealogyError(f"{name}: more than one experiment is called so, give its commit (dvc exp list)") from None
    if found is not None:
        return str(repo.scm.get_ref(str(found)))
    try:
        from dvc.scm import resolve_rev

        return str(resolve_rev(repo.scm, name))
    except DvcException:
        known = ", ".join(sorted({str(ref.name) for ref in exp_refs(repo.scm)}))
        there = f"there are: {known}" if known else "there is none yet: dvc exp run -n NAME -S train.lr=1e-4"
        raise GanealogyError(f"{name}: no experiment or git revision is called so; {there}") from None


def _bring(repo: Repo, name: str, commit: str, into: Path) -> Experiment:
    from dvc.api import DVCFileSystem

    files = DVCFileSystem(repo.root_dir, rev=commit or None)
    missing: dict[str, None] = {}
    tree = _copied(files, PLAN / "tree.json", into, missing)
    if tree is None:
        where = f"{name} ({commit[:7]})" if commit else name
        why = "DVC's cache has not" if missing else "it was never made"
        raise GanealogyError(f"{where}: {PLAN} is needed and {why}; {cure(name) if missing else 'run `dvc exp run`'}")
    planned = json.loads(tree)
    for shared in SHARED:
        _copied(files, shared, into, missing)
    # Only names that the plan allows: they become paths.
    names = [str(entry["name"]) for entry in planned["versions"] if entry["listed"]]
    for version in filter(NAME.fullmatch, names):
        _copied(files, PLAN / f"versions/{version}.json", into, missing)
        for seed in map(int, planned["seeds"]):
            run = RUNS / f"{version}-{seed}"
            for path in OF_A_RUN:
                _copied(files, run / path, into, missing)
            _copied(files, run / SAMPLES, into, missing, _first_images)
    return Experiment(name, commit, collect(into), list(missing))


def _copied(
    files: DVCFileSystem,
    path: Path,
    into: Path,
    missing: dict[str, None],
    reduce: Callable[[IO[bytes]], bytes] | None = None,
) -> bytes | None:
    """The file's content, which now also lies below `into`; None when there is none. One that the lock names and the
    cache lacks is added to `missing` by the output it belongs to."""
    try:
        with files.open(path.as_posix(), "rb") as file:
            content: bytes = reduce(file) if reduce else file.read()
    except Exception as error:  # DVC, its object store and its file systems each raise their own
        if files.exists(path.as_posix()) or not isinstance(error, FileNotFoundError):
            missing.setdefault(_output(path), None)
        return None
    atomic.write_bytes(into / path, content)
    return content


def _output(path: Path) -> str:
    """The output in dvc.yaml that a file is part of."""
    parts = path.parts
    return "/".join(parts[:4] if parts[:2] == RUNS.parts else parts[:2]) if "cost" not in parts else path.as_posix()


def _first_images(file: IO[bytes]) -> bytes:
    """The samples that a sheet shows, as an .npy of their own: the whole file may be large."""
    version = np.lib.format.read_magic(file)
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, kind = header(file)
    if fortran or kind != np.uint8 or len(shape) != 4:
        raise ValueError("not uint8 (N, H, W, C)")
    count = min(shape[0], GRID_SIDE**2)
    size = int(np.prod(shape[1:]))
    images = np.frombuffer(file.read(count * size), np.uint8).reshape(count, *shape[1:])
    buffer = BytesIO()
    np.save(buffer, images, allow_pickle=False)
    return buffer.getvalue()
