"""`ganealogy doctor`: check environment and workspace, and print what to do. Fast checks come first."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, TypeAlias

from ganealogy.errors import GanealogyError
from ganealogy.params.schema import Settings, load
from ganealogy.runtime import dvc_rwlock, nvidia, process, reinstall
from ganealogy.workspace import PARAMS, VERSIONS, main_root

TorchReport: TypeAlias = "dict[str, Any]"
"""What the program TORCH prints."""
Mark = Literal["✓", "!", "✗"]
"""Good, worth knowing, must be fixed."""

LOW_BYTES, LEAST_BYTES = 2 * 2**30, 256 * 2**20
"""Free disk space: below LOW_BYTES a long training's checkpoints may not fit, below LEAST_BYTES nothing does."""
LEAST_FILES = 2_000
"""Free inodes: below it, a tree's runs and their copies in DVC's cache may not fit. A run has dozens of files."""
TIMEOUT_S = 600

TORCH = """
import json, sys
result = {}
import torch
result["torch"] = torch.__version__
try:
    import torchvision
    from torchvision.ops import nms
    nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
    result["torchvision"] = torchvision.__version__
except Exception as error:
    result["fault"] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
result["build"], result["cuda"] = torch.version.cuda, torch.cuda.is_available()
if result["cuda"]:
    result["gpu"] = torch.cuda.get_device_name()
    result["capability"], result["kernels"] = torch.cuda.get_device_capability(), torch.cuda.get_arch_list()
    try:
        result["works"] = bool(torch.ones(8, 8, device="cuda").mm(torch.ones(8, 8, device="cuda")).sum().item() == 512)
    except RuntimeError as error:
        result["works"], result["gpu_fault"] = False, str(error).splitlines()[0]
else:
    try:
        torch.cuda.init()
    except (AssertionError, RuntimeError) as error:
        result["gpu_fault"] = str(error).splitlines()[0]
print(json.dumps(result))
"""
WEIGHTS = """
import json, sys
from ganealogy.errors import GanealogyError
from ganealogy.evaluation.features import load_extractor
result = {}
for name in sys.argv[1:]:
    try:
        load_extractor(name, "cpu")
        result[name] = None
    except GanealogyError as error:
        result[name] = str(error)
    except Exception as error:
        result[name] = f"does not load ({type(error).__name__}: {error})"
print(json.dumps(result))
"""


@dataclass(frozen=True)
class Finding:
    mark: Mark
    text: str
    """The state and, unless it is good, what to do."""

    def __str__(self) -> str:
        return f"{self.mark} {process.single_printable_line(self.text)}"


def examine() -> Iterator[Finding]:
    """Yield the findings of each check when it ends. A check that fails is a finding too; the others still run."""
    settings: Settings | None = None
    try:
        settings = load()
        yield Finding("✓", f"{PARAMS} is valid")
    except (GanealogyError, OSError) as error:
        yield Finding("✗", str(error))
    checks: list[Callable[[], Iterator[Finding]]] = [
        check_versions,
        check_programs,
        check_lock,
        lambda: check_threads(settings),
        check_disk,
        lambda: check_torch(settings),
        lambda: check_weights(settings),
        check_store,
    ]
    for check in checks:
        try:
            yield from check()
        except (GanealogyError, OSError, subprocess.SubprocessError, ValueError) as error:
            yield Finding("✗", f"a check failed: {error}")


def report(write: Callable[[str], None]) -> int:
    """Write one line per finding. Return the exit code: 2 when something must be fixed, else 0."""
    findings = []
    for finding in examine():
        write(str(finding))
        findings.append(finding)
    return exit_code(findings)


def exit_code(findings: Iterable[Finding]) -> int:
    """Return 2 when something must be fixed, else 0."""
    return process.FIXABLE if any(finding.mark == "✗" for finding in findings) else process.OK


def check_versions() -> Iterator[Finding]:
    from ganealogy.lineage import versions

    names = versions.known()
    try:
        versions.read_family(names)
    except GanealogyError as error:
        yield Finding("✗", str(error))
    else:
        yield Finding("✓", f"{len(names)} versions in {VERSIONS}/ are valid")


def check_programs() -> Iterator[Finding]:
    """Check git, DVC, and the `python` that DVC's stages start."""
    here = Path().resolve()
    if shutil.which("git") is None:
        yield Finding("✗", "git is not installed, and DVC needs it: install it")
    elif subprocess.run(["git", "rev-parse", "--git-dir"], capture_output=True, check=False).returncode:
        yield Finding("✗", "this is not a git repository: run `git init`")
    elif not any((folder / ".dvc").is_dir() for folder in (here, *here.parents)):
        command = "dvc init" if (here / ".git").exists() else "dvc init --subdir"
        yield Finding("✗", f"DVC does not know this project, because .dvc is missing: run `{command}`")
    else:
        yield Finding("✓", "git is installed, and this is a repository")
    python, ours = shutil.which("python"), Path(sys.executable).parent
    if python is None or Path(python).parent.resolve() != ours.resolve():
        first = f"`python` is {python}" if python else "there is no `python` on the PATH"
        yield Finding("✗", f"{first}, but DVC's stages need {ours}/python: run `source {ours}/activate`")
    try:
        yield Finding("✓", f"DVC {metadata.version('dvc')} and Python {sys.version.split()[0]}")
    except metadata.PackageNotFoundError:
        yield Finding("✗", f"DVC is not installed in this environment: run `{reinstall.command()}`")


def check_lock() -> Iterator[Finding]:
    """Check for the half-written lock file of a DVC that was killed."""
    if not dvc_rwlock.is_broken(Path()):
        yield Finding("✓", "DVC's lock file is in order")
    elif (pid := dvc_rwlock.running(Path())) is None:
        yield Finding("✗", f"{dvc_rwlock.RWLOCK}: half-written by a DVC that was killed: run `ganealogy doctor --fix`")
    else:
        yield Finding("!", f"{dvc_rwlock.RWLOCK}: incomplete while DVC runs (process {pid}); check again later")


def check_threads(settings: Settings | None) -> Iterator[Finding]:
    if settings is None:
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = process.threads(settings.train.threads)
    if threads > cores:
        yield Finding("!", f"a training uses {threads} threads on {cores} cores, which is slow: lower train.threads")
    else:
        yield Finding("✓", f"{threads} threads per training, {cores} cores")


def check_disk() -> Iterator[Finding]:
    for place in {Path().resolve(), main_root()}:
        free = shutil.disk_usage(place).free
        text = f"{free / 2**30:.1f} GiB free in {place}"
        if free < LEAST_BYTES:
            yield Finding("✗", f"{text}: free space before training")
        elif free < LOW_BYTES:
            yield Finding("!", f"{text}: enough for the demo; free space for longer trainings")
        else:
            yield Finding("✓", text)
        files = os.statvfs(place) if hasattr(os, "statvfs") else None
        if files and files.f_files and files.f_favail < LEAST_FILES:  # a file system without a limit has f_files 0
            left = f"only {files.f_favail} more files fit in {place}, however small"
            yield Finding("✗", f"{left} (`df -i` shows the inodes): delete some there before training")


def check_torch(settings: Settings | None) -> Iterator[Finding]:
    """Import torch and torchvision in another process: a mismatched pair may crash it."""
    hint = f"install both from one place: run `{reinstall.command()}`"
    done = _python(TORCH)
    if done.returncode:
        yield Finding("✗", f"torch does not import ({_last_line(done.stderr)}): {hint}")
        return
    torch = json.loads(done.stdout.splitlines()[-1])
    if "fault" in torch:
        yield Finding("✗", f"torch {torch['torch']} and torchvision do not match ({torch['fault']}): {hint}")
    else:
        yield Finding("✓", f"torch {torch['torch']} and torchvision {torch['torchvision']} match")
    device = settings.train.device if settings else "auto"
    if torch["cuda"]:
        yield _visible_gpu(torch, device)
    else:
        yield from _invisible_gpu(torch, device, nvidia.inspect(os.environ))


def _visible_gpu(torch: TorchReport, device: str) -> Finding:
    """Return whether the GPU that torch sees computes correctly."""
    if torch["works"]:
        return Finding("✓", f"{torch['gpu']} computes" + (", but train.device is cpu" if device == "cpu" else ""))
    reason = torch.get("gpu_fault", "a product of ones has a wrong result")
    remedy = "repair the driver"
    if not nvidia.has_kernels(torch["capability"], torch["kernels"]):
        capability = ".".join(map(str, torch["capability"]))
        kernels = ", ".join(torch["kernels"])
        reason += f"; torch {torch['torch']} is built for {kernels}, and the GPU has capability {capability}"
        remedy = "install a build of torch for this GPU"
    text = f"{torch['gpu']} does not compute ({reason}): {remedy}"
    return Finding("!", text) if device == "cpu" else Finding("✗", f"{text}, or set train.device to cpu")


def _invisible_gpu(torch: TorchReport, device: str, machine: nvidia.Machine) -> Iterator[Finding]:
    """Yield why torch sees no GPU."""
    if machine.is_empty and device != "cuda":
        yield Finding("✓", "no GPU; trainings run on the CPU")
    elif machine.is_empty:
        yield Finding("✗", "train.device is cuda and torch sees no GPU: set it to auto or cpu, or repair the driver")
    else:
        name = ", ".join(machine.cards) or "an NVIDIA GPU"
        fault = torch.get("gpu_fault", "without an error")
        for obstacle in nvidia.obstacles(machine, torch["torch"], torch["build"], fault):
            text = f"torch does not see {name}: {obstacle}"
            yield Finding("✗", f"{text}, or set train.device to cpu") if device == "cuda" else Finding("!", text)


def check_weights(settings: Settings | None) -> Iterator[Finding]:
    """Load the extractors that params.yaml names, as the stages do."""
    if settings is None:
        return
    names = list(dict.fromkeys([*settings.evaluate.extractors, settings.train.tracker]))
    done = _python(WEIGHTS, *names)
    if done.returncode:
        yield Finding("✗", f"extractors do not import ({_last_line(done.stderr)}): run `{reinstall.command()}`")
        return
    from ganealogy.stages import _weights

    absent = _weights.not_measured(settings.evaluate.extractors, settings.evaluate.lead)
    for name, fault in json.loads(done.stdout.splitlines()[-1]).items():
        if name in absent and name != settings.train.tracker:
            yield Finding("!", f"fid: not measured: {absent[name]}")
            continue
        yield Finding("✗", f"{name}: {fault}") if fault else Finding("✓", f"{name}: its weights are intact")
    if "inception" not in names:
        yield Finding("!", "FID is not measured: `ganealogy fetch inception` downloads its weights")


def check_store() -> Iterator[Finding]:
    from ganealogy.tracking import store

    database = store.database()
    if database is not None and not database.exists():
        yield Finding("✓", "no MLflow store yet; the first report creates it")
        return
    try:
        with store.open_client() as client:
            count = len(client.search_experiments())
    except store.StoreError as failure:
        yield Finding("✗", f"MLflow store {store.display_uri()}: {failure}; {failure.repair}")
    else:
        yield Finding("✓", f"MLflow store {store.display_uri()} opens, {count} experiments")


def _python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    source = str(Path(__file__).parents[2])
    path = os.pathsep.join(part for part in (os.environ.get("PYTHONPATH"), source) if part)
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": path, "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else "no output"
