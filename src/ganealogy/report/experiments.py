"""Read a DVC experiment's results from git and DVC's cache, without a checkout.

The files that the report needs are copied into a folder of the same layout, for `collect` and `pictures` to read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from ganealogy.errors import GanealogyError
from ganealogy.files import atomic
from ganealogy.report.collect import collect
from ganealogy.report.findings import Findings
from ganealogy.report.pictures import GRID_SIDE
from ganealogy.workspace import ANCHORS, MANIFEST, PLAN, REFERENCE, RUNS, TREE, VERSION_NAME, plan_path, run_dir

if TYPE_CHECKING:
    from dvc.api import DVCFileSystem
    from dvc.repo import Repo

WORKSPACE = "workspace"
"""Name of the current files, as in DVC's own tables."""
SHARED = (MANIFEST, ANCHORS, REFERENCE / "real.png")
RUN_FILES = ("train/run.json", "train/metrics.jsonl", "evaluate/metrics.json", "sample/sample.json")
SAMPLES = "sample/images.npy"


@dataclass
class Experiment:
    """One column of the comparison. `missing`: outputs in its lock file that DVC's cache lacks."""

    name: str
    commit: str
    findings: Findings
    missing: list[str] = field(default_factory=list)

    @property
    def hint(self) -> str:
        """What makes the missing outputs readable here."""
        return push_hint(self.name)


def push_hint(name: str) -> str:
    """Return what to type, and where, so that outputs of an experiment or a commit are readable here.

    Files that the cache lacks are read from the DVC remote. DVC pushes to, and reads from, the default remote that the
    commit's own .dvc/config has.
    """
    return (
        f"`dvc exp push <git remote> {name}` (an experiment) or `dvc push --all-commits` (a commit) where it was run; "
        "a DVC remote newer than the commit needs `dvc remote add --local -d NAME ADDRESS`, there and here"
    )


def read(names: list[str], root: Path, into: Path, at_least: int = 2) -> list[Experiment]:
    """Copy the results of experiments, git revisions or `workspace` into one folder each below `into`.

    Raises: GanealogyError for fewer than `at_least` names, a repeated name, an unknown name (the message lists the
    existing experiments), a folder without git or DVC, an experiment without a plan, and one of an older Ganealogy.
    """
    if len(names) < at_least or len(set(names)) < len(names):
        given = ", ".join(names) or "none"
        raise GanealogyError(f"--exp needs two or more experiments, each named once; got {given}")
    from dvc.repo.brancher import switch

    with _opened(root) as repo:
        commits = {name: _commit(repo, name) for name in names}
        found = []
        for at, (name, commit) in enumerate(commits.items()):
            # By the project's own root, which may be a folder of a larger git repository.
            with switch(repo, commit) if commit else nullcontext():
                found.append(_copy_results(repo, name, commit, into / str(at)))
        return found


@contextmanager
def _opened(root: Path) -> Iterator[Repo]:
    from dvc.exceptions import NotDvcRepoError
    from dvc.repo import Repo
    from dvc.scm import NoSCM, SCMError

    try:
        repo = Repo(str(root))
    except NotDvcRepoError:
        raise GanealogyError(f"{root.resolve()}: not a DVC project; experiments are made with: dvc exp run") from None
    except SCMError:
        raise GanealogyError(
            f"{root.resolve()}: no git repository, which DVC needs for experiments; run: git init"
        ) from None
    with repo:
        if isinstance(repo.scm, NoSCM):
            raise GanealogyError(
                f"{root.resolve()}: its DVC works without git, and experiments need it; run: git init && "
                "dvc config --unset core.no_scm"
            )
        if _is_empty(repo):
            raise GanealogyError(
                f"{root.resolve()}: no commit yet, and experiments start from one; "
                "run: git add -A && git commit -m start"
            )
        yield repo


def _is_empty(repo: Repo) -> bool:
    """Return whether the git repository has no commit."""
    from scmrepo.exceptions import SCMError

    try:
        return repo.scm.get_rev() is None
    except SCMError:
        return True


def _commit(repo: Repo, name: str) -> str:
    """Return the commit of an experiment or revision; empty for the workspace."""
    from dvc.exceptions import DvcException
    from dvc.repo.experiments.exceptions import AmbiguousExpRefInfo
    from dvc.repo.experiments.utils import exp_refs, resolve_name

    if name == WORKSPACE:
        return ""
    try:
        reference = resolve_name(repo.scm, name)[name]
    except AmbiguousExpRefInfo:
        raise GanealogyError(f"{name}: more than one experiment has this name; use its commit (dvc exp list)") from None
    if reference is not None:
        return str(repo.scm.get_ref(str(reference)))
    try:
        from dvc.scm import resolve_rev

        return str(resolve_rev(repo.scm, name))
    except DvcException:
        names = ", ".join(sorted({str(ref.name) for ref in exp_refs(repo.scm)}))
        existing = f"experiments: {names}" if names else "no experiments yet: dvc exp run -n NAME -S train.lr=1e-4"
        raise GanealogyError(f"{name}: no such experiment or git revision; {existing}") from None


def _copy_results(repo: Repo, name: str, commit: str, into: Path) -> Experiment:
    from dvc.api import DVCFileSystem

    files = DVCFileSystem(repo=repo)
    missing: dict[str, None] = {}
    tree = _copy(files, TREE, into, missing)
    if tree is None:
        where = f"{name} ({commit[:7]})" if commit else name
        if missing:
            raise GanealogyError(f"{where}: {PLAN} is missing from DVC's cache and remote; type {push_hint(name)}")
        raise GanealogyError(f"{where}: {PLAN} was never made; to get it, run: dvc exp run")
    plan = json.loads(tree)
    if any("seeds" not in entry for entry in plan["versions"]):
        raise GanealogyError(f"{name}: made by an older Ganealogy, whose runs were in other folders; run it again")
    for shared in SHARED:
        _copy(files, shared, into, missing)
    # Names become paths, so only valid ones pass.
    for entry in plan["versions"]:
        version = str(entry["name"])
        if not entry["listed"] or not VERSION_NAME.fullmatch(version):
            continue
        _copy(files, plan_path(version), into, missing)
        for seed in map(int, entry["seeds"]):
            run = run_dir(version, seed)
            for path in (*(run / name for name in RUN_FILES), run.costs["train"]):
                _copy(files, path, into, missing)
            _copy(files, run / SAMPLES, into, missing, _first_images)
    return Experiment(name, commit, collect(into), list(missing))


def _copy(
    files: DVCFileSystem,
    path: Path,
    into: Path,
    missing: dict[str, None],
    reduce: Callable[[IO[bytes]], bytes] | None = None,
) -> bytes | None:
    """Copy a file below `into` and return its content; None when there is none.

    If the lock file has it but the cache lacks it, add its output to `missing`.
    """
    try:
        with files.open(path.as_posix(), "rb") as file:
            content: bytes = reduce(file) if reduce else file.read()
    except Exception as error:  # DVC, its object store and its file systems raise various types
        if files.exists(path.as_posix()) or not isinstance(error, FileNotFoundError):
            missing.setdefault(_output(path), None)
        return None
    atomic.write_bytes(into / path, content)
    return content


def _output(path: Path) -> str:
    """Return the output in dvc.yaml that contains a file."""
    parts = path.parts
    if parts[: len(RUNS.parts)] != RUNS.parts:
        return "/".join(parts[:2])
    return "/".join(parts[: 5 if parts[3] == "cost" else 4])


def _first_images(file: IO[bytes]) -> bytes:
    """Return the samples of one sheet as an .npy: the whole file may be large."""
    version = np.lib.format.read_magic(file)
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, kind = header(file)
    if fortran or kind != np.uint8 or len(shape) != 4:
        raise ValueError("expected uint8 (N, H, W, C)")
    count = min(shape[0], GRID_SIDE**2)
    size = int(np.prod(shape[1:]))
    images = np.frombuffer(file.read(count * size), np.uint8).reshape(count, *shape[1:])
    buffer = BytesIO()
    np.save(buffer, images, allow_pickle=False)
    return buffer.getvalue()
