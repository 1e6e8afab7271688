"""`ganealogy doctor`: what this machine and this workspace lack, each with its cure.

Fast checks first; what is slow (hashing DVC's cache) shows its progress and can be left out.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from ganealogy.errors import GanealogyError
from ganealogy.params.schema import Settings, load
from ganealogy.runtime import dvc_rwlock, nvidia, process
from ganealogy.runtime.progress import Progress
from ganealogy.runtime.root import main_root
from ganealogy.workspace import PARAMS, VERSIONS

Mark = Literal["✓", "!", "✗"]
"""Good, worth knowing, and what must be mended before the pipeline can be trusted."""

LOW_BYTES, LEAST_BYTES = 2 * 2**30, 256 * 2**20
"""Of free disk: below the first a real training's checkpoints may not fit, below the second nothing does."""
PATIENCE_S = 600
CHUNK = 2**20
OBJECT = re.compile(r"[0-9a-f]{30}(\.dir)?")

TORCH = """
import json, sys
told = {}
import torch
told["torch"] = torch.__version__
try:
    import torchvision
    from torchvision.ops import nms
    nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
    told["torchvision"] = torchvision.__version__
except Exception as error:
    told["fault"] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
told["build"], told["cuda"] = torch.version.cuda, torch.cuda.is_available()
if told["cuda"]:
    told["gpu"] = torch.cuda.get_device_name()
    told["capability"], told["kernels"] = torch.cuda.get_device_capability(), torch.cuda.get_arch_list()
    try:
        told["works"] = bool(torch.ones(8, 8, device="cuda").mm(torch.ones(8, 8, device="cuda")).sum().item() == 512)
    except RuntimeError as error:
        told["works"], told["gpu_fault"] = False, str(error).splitlines()[0]
else:
    try:
        torch.cuda.init()
    except (AssertionError, RuntimeError) as error:
        told["gpu_fault"] = str(error).splitlines()[0]
print(json.dumps(told))
"""
WEIGHTS = """
import json, sys
from ganealogy.errors import GanealogyError
from ganealogy.evaluation.features import load_extractor
told = {}
for name in sys.argv[1:]:
    try:
        load_extractor(name, "cpu")
        told[name] = None
    except GanealogyError as error:
        told[name] = str(error)
    except Exception as error:
        told[name] = f"does not load ({type(error).__name__}: {error})"
print(json.dumps(told))
"""


@dataclass(frozen=True)
class Finding:
    mark: Mark
    text: str
    """What was found and, unless it is good, what to do."""

    def __str__(self) -> str:
        return f"{self.mark} {process.single_printable_line(self.text)}"


def examine(quick: bool = False) -> Iterator[Finding]:
    """Each check's findings as it ends. `quick` leaves DVC's cache unhashed.

    A check that fails itself is a finding like any other: the others still run.
    """
    settings: Settings | None = None
    try:
        settings = load()
        yield Finding("✓", f"{PARAMS} is valid")
    except (GanealogyError, OSError) as error:
        yield Finding("✗", str(error))
    checks: list[Callable[[], Iterator[Finding]]] = [
        _versions,
        _programs,
        _busy,
        lambda: _threads(settings),
        _disk,
        lambda: _torch(settings),
        lambda: _weights(settings),
        _store,
        lambda: _cache(quick),
    ]
    for check in checks:
        try:
            yield from check()
        except (GanealogyError, OSError, subprocess.SubprocessError, ValueError) as error:
            yield Finding("✗", f"a check could not be made: {error}")


def report(quick: bool, say: Callable[[str], None]) -> int:
    """Print a line a finding; returns the exit code: 2 when something must be mended, else 0."""
    worst = process.OK
    for finding in examine(quick):
        say(str(finding))
        if finding.mark == "✗":
            worst = process.CURABLE
    return worst


def _versions() -> Iterator[Finding]:
    from ganealogy.lineage import versions

    names = versions.known()
    try:
        versions.read_family(names)
    except GanealogyError as error:
        yield Finding("✗", str(error))
    else:
        yield Finding("✓", f"{len(names)} versions in {VERSIONS}/ are valid")


def _programs() -> Iterator[Finding]:
    """git, DVC, and the `python` that DVC's stages will start."""
    if shutil.which("git") is None:
        yield Finding("✗", "git is not installed: DVC cannot work without it; install it")
    elif subprocess.run(["git", "rev-parse", "--git-dir"], capture_output=True, check=False).returncode:
        yield Finding("✗", "this is no git repository: run `git init`")
    else:
        yield Finding("✓", "git is here, and this is a repository")
    python = shutil.which("python")
    if python is None or Path(python).parent.resolve() != Path(sys.executable).parent.resolve():
        found = f"`python` is {python}" if python else "there is no `python` on the PATH"
        here = Path(sys.executable).parent
        yield Finding("✗", f"{found}, where DVC's stages need {here}/python: run `source {here}/activate`")
    try:
        yield Finding("✓", f"DVC {metadata.version('dvc')} and Python {sys.version.split()[0]}")
    except metadata.PackageNotFoundError:
        yield Finding("✗", "DVC is not installed in this environment: run `make setup`")


def _busy() -> Iterator[Finding]:
    """Whether a killed DVC left what stops the next."""
    if not dvc_rwlock.is_damaged(Path()):
        yield Finding("✓", "no killed DVC stands in the way of the next")
        return
    process = dvc_rwlock.running(Path())
    if process is None:
        why = "half-written by a DVC that was killed, and every later one stops there: run `ganealogy mend`"
        yield Finding("✗", f"{dvc_rwlock.RWLOCK}: {why}")
    else:
        yield Finding(
            "!", f"{dvc_rwlock.RWLOCK}: not whole while DVC runs (process {process}): look again when it ended"
        )


def _threads(settings: Settings | None) -> Iterator[Finding]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if settings is None:
        return
    wanted = process.threads(settings.train.threads)
    if wanted > cores:
        yield Finding("!", f"a training takes {wanted} threads of {cores} cores, which is slow: lower train.threads")
    else:
        yield Finding("✓", f"{wanted} threads a training, {cores} cores")


def _disk() -> Iterator[Finding]:
    for place in {Path().resolve(), main_root()}:
        free = shutil.disk_usage(place).free
        told = f"{free / 2**30:.1f} GiB free in {place}"
        if free < LEAST_BYTES:
            yield Finding("✗", f"{told}: make room before anything is trained")
        elif free < LOW_BYTES:
            yield Finding("!", f"{told}: enough for the demo; make room for real trainings")
        else:
            yield Finding("✓", told)


def _torch(settings: Settings | None) -> Iterator[Finding]:
    """In a process of its own, as a mismatched pair may take down whoever imports it."""
    cure = "install both from one place: run `make setup`"
    done = _python(TORCH)
    if done.returncode:
        yield Finding("✗", f"torch does not import ({_last_line(done.stderr)}): {cure}")
        return
    told = json.loads(done.stdout.splitlines()[-1])
    if "fault" in told:
        yield Finding("✗", f"torch {told['torch']} and torchvision do not match ({told['fault']}): {cure}")
    else:
        yield Finding("✓", f"torch {told['torch']} and torchvision {told['torchvision']} match")
    wanted = settings.train.device if settings else "auto"
    if told["cuda"]:
        yield _seen(told, wanted)
    else:
        yield from _unseen(told, wanted, nvidia.look(os.environ))


def _seen(told: dict[str, Any], wanted: str) -> Finding:
    """Whether the GPU that torch sees computes."""
    if told["works"]:
        return Finding("✓", f"{told['gpu']} computes" + (", but train.device is cpu" if wanted == "cpu" else ""))
    why = told.get("gpu_fault", "a product of ones came out wrong")
    remedy = "mend the driver"
    if not nvidia.has_kernels(told["capability"], told["kernels"]):
        card = ".".join(map(str, told["capability"]))
        why += f"; torch {told['torch']} is built for {', '.join(told['kernels'])}, the card is of capability {card}"
        remedy = "install a build of torch for this card"
    text = f"{told['gpu']} does not compute ({why}): {remedy}"
    return Finding("!", text) if wanted == "cpu" else Finding("✗", f"{text}, or set train.device to cpu")


def _unseen(told: dict[str, Any], wanted: str, machine: nvidia.Machine) -> Iterator[Finding]:
    """Why torch sees no GPU: there is none, or something stands between them."""
    if machine.is_empty and wanted != "cuda":
        yield Finding("✓", "no GPU is seen; trainings run on the CPU")
    elif machine.is_empty:
        yield Finding("✗", "train.device is cuda and torch sees no GPU: set it to auto or cpu, or mend the driver")
    else:
        card = ", ".join(machine.cards) or "an NVIDIA card"
        fault = told.get("gpu_fault", "without an error")
        for obstacle in nvidia.obstacles(machine, told["torch"], told["build"], fault):
            text = f"torch does not see {card}: {obstacle}"
            yield Finding("✗", f"{text}, or set train.device to cpu") if wanted == "cuda" else Finding("!", text)


def _weights(settings: Settings | None) -> Iterator[Finding]:
    """The extractors that params.yaml names, each loaded as the stages load it."""
    if settings is None:
        return
    names = list(dict.fromkeys([*settings.evaluate.extractors, settings.train.tracker]))
    done = _python(WEIGHTS, *names)
    if done.returncode:
        yield Finding("✗", f"extractors do not import ({_last_line(done.stderr)}): run `make setup`")
        return
    for name, fault in json.loads(done.stdout.splitlines()[-1]).items():
        yield Finding("✗", f"{name}: {fault}") if fault else Finding("✓", f"{name}: its weights are here and whole")
    if "inception" not in names:
        yield Finding("!", "FID is not measured: `ganealogy fetch inception` gets its weights, if you want it")


def _store() -> Iterator[Finding]:
    from ganealogy.tracking import store

    database = store.database()
    if database is not None and not database.exists():
        yield Finding("✓", "no MLflow store yet; the first report makes one")
        return
    try:
        with store.opened() as client:
            count = len(client.search_experiments())
    except store.StoreError as failure:
        cure = "mend it, or move it away and run `ganealogy sync`: the run directories hold all that was in it"
        yield Finding("✗", f"MLflow store {store.shown()}: {failure}; {cure}")
    else:
        yield Finding("✓", f"MLflow store {store.shown()} opens, {count} experiments")


def _cache(quick: bool) -> Iterator[Finding]:
    """Every object of DVC's cache against its name, which is the md5 of its bytes."""
    folder = cache_directory()
    objects = sorted(path for path in folder.glob("files/md5/??/*") if OBJECT.fullmatch(path.name))
    if quick:
        yield Finding("!", f"DVC's cache was not hashed ({len(objects)} objects): leave out --quick")
        return
    damaged = []
    with Progress("hashing DVC's cache", sum(path.stat().st_size for path in objects), "B") as progress:
        for path in objects:
            if _md5(path, progress) != path.parent.name + path.name.removesuffix(".dir"):
                damaged.append(path)
    for path in damaged:
        yield Finding("✗", f"{path}: damaged: delete it, and `dvc repro` (or `dvc pull`) brings it back")
    if not damaged:
        yield Finding("✓", f"DVC's cache is whole: {len(objects)} objects")


def cache_directory() -> Path:
    """Where DVC keeps its objects. Raises: GanealogyError when DVC does not say."""
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "cache", "dir"], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    if done.returncode or not done.stdout.strip():
        raise GanealogyError(f"`dvc cache dir` failed ({_last_line(done.stderr)}): run this where dvc.yaml lies")
    return Path(done.stdout.strip().splitlines()[-1])


def _md5(path: Path, progress: Progress) -> str:
    running = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            running.update(chunk)
            progress.update(len(chunk))
    return running.hexdigest()


def _python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    source = str(Path(__file__).parents[2])
    path = os.pathsep.join(part for part in (os.environ.get("PYTHONPATH"), source) if part)
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": path, "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else "it said nothing"
