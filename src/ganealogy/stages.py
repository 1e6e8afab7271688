"""How a stage runs: its plan in, its code checked before and after, its record handed over when it is whole."""

from __future__ import annotations

import json
import os
import platform
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from ganealogy import atomic, process
from ganealogy.errors import GanealogyError
from ganealogy.lineage import fingerprint
from ganealogy.progress import Progress
from ganealogy.settings import VERSION_NAME, Settings, Train

PLAN = Path("build/plan")
RAW, PACKED, REFERENCE = Path("data/raw"), Path("data/packed"), Path("data/reference")
RUNS = Path("build/runs")
REPORTS = [Path("reports") / name for name in ("index.html", "report.md", "report", "fd.csv", "metrics.json")]
WORK = Path("build/wip")
"""Below the main workspace: work in progress, by run key."""
FEATURES = Path("build/features")
"""Below the main workspace too: features of networks, by what they are of."""
WARNING_LETTERS = 60
"""Of the newest warning, in the progress bar."""
CHECKPOINT_FACTS = {"step", "ticks", "summed", "best", "seconds", "resumed"}
"""What `training/loop.py` needs of a checkpoint beside its tensors."""


def run_directory(version: str, seed: int) -> Path:
    """Raises: GanealogyError for what is no version's name: it becomes part of paths."""
    if not VERSION_NAME.fullmatch(version):
        raise GanealogyError(f"{version!r} is not a version name: a small letter, then small letters, digits and '-'")
    return RUNS / f"{version}-{seed}"


def features_directory() -> Path:
    return process.root() / FEATURES


@contextmanager
def stage(
    name: str,
    cost: Path | None = None,
    version: str | None = None,
    deps: Sequence[Path] = (),
    outs: Sequence[Path] = (),
) -> Iterator[dict[str, Any]]:
    """The stage's plan; its code, plan and inputs are the same before and after, or the stage fails.

    `cost`: where its seconds go; `version`: whose networks it runs (a change in them comes with the trained weights);
    `deps`, `outs`: the files and directories that it reads and writes.

    Raises: GanealogyError also for a disk that is full, naming `outs`.
    """
    process.die_with_parent()
    sweep([*outs, *([cost] if cost else [])])
    plans = [PLAN / "stages" / f"{name}.json", *([PLAN / "versions" / f"{version}.json"] if version else [])]
    read = [read_plan(path) for path in plans]
    code = {module: digest for planned in read for module, digest in planned["code"].items()}
    inputs = Inputs([*deps, *plans])
    began = time.monotonic()
    with process.writes_to(*outs):
        yield read[0]
        fingerprint.verify(code, "while it ran")
        fingerprint.verify_loaded(code)
        inputs.verify()
        if cost is not None:
            atomic.write_json(cost, {"seconds": round(time.monotonic() - began, 3)})


def read_plan(path: Path) -> dict[str, Any]:
    """Raises: GanealogyError when there is no plan, it is damaged, or the sources are not those it was made for."""
    cure = "run `dvc repro plan` first, and name a version of tree.versions"
    if not path.is_file():
        raise GanealogyError(f"{path} is not there: {cure}")
    try:
        planned = json.loads(path.read_text(encoding="utf-8"))
        code = planned["code"]
        if not isinstance(code, dict) or not all(isinstance(part, str) for part in (*code, *code.values())):
            raise ValueError("its 'code' is no mapping of modules to hashes")
    except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        raise GanealogyError(f"{path}: not a plan ({error}): {cure}") from None
    fingerprint.verify(code, "since the plan was made")
    whole: dict[str, Any] = planned
    return whole


class Inputs:
    """What a stage reads, as it stood when it began: DVC hashes it only when the stage has ended."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = list(paths)
        self.state = self._look()

    def verify(self) -> None:
        """Raises: GanealogyError when a file was edited, added or removed since; plans count by their content."""
        now = self._look()
        changed = sorted(path for path in {*self.state, *now} if self.state.get(path) != now.get(path))
        if changed:
            more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
            raise GanealogyError(
                f"{changed[0]}{more}: changed while the stage ran; its results would be filed under inputs that did "
                "not make them. Run `dvc repro` again"
            )

    def _look(self) -> dict[str, Any]:
        files = [file for path in self.paths for file in (path.rglob("*") if path.is_dir() else [path])]
        return {str(file): self._state(file) for file in files if file.is_file()}

    @staticmethod
    def _state(file: Path) -> Any:
        if PLAN in file.parents:
            return atomic.sha256(file)  # a plan made anew with the same content is the same plan
        status = file.stat()
        return status.st_size, status.st_mtime_ns


def verify_packed(manifest: dict[str, Any], directory: Path) -> None:
    """Raises: GanealogyError when packed pictures are not those of the manifest: a bit flipped, another set."""
    sums = manifest.get("sha256")
    for name, expected in sums.items() if isinstance(sums, dict) else ():
        path = directory / Path(name).name
        if not path.is_file() or atomic.sha256(path) != expected:
            raise GanealogyError(f"{path}: absent or damaged: not the sha256 of manifest.json; run `dvc repro`")


def report_inputs() -> list[Path]:
    """What the report reads: of the run directories only those that the plan lists, as it removes the others."""
    try:
        tree = json.loads((PLAN / "tree.json").read_text(encoding="utf-8"))
        listed = [entry["name"] for entry in tree["versions"] if entry["listed"]]
        runs = [run_directory(name, seed) for name in listed for seed in tree["seeds"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []  # the report itself says what is wrong with its plan
    return [PLAN / "tree.json", PACKED / "manifest.json", REFERENCE / "anchors.json", REFERENCE / "real.png", *runs]


def sweep(outs: Sequence[Path]) -> None:
    """Remove what a killed writer left beside its file; DVC empties output directories, not what lies beside them."""
    for out in outs:
        for stray in out.parent.glob(f".{out.name}.*tmp"):
            if stray.is_dir():
                shutil.rmtree(stray)
            else:
                stray.unlink(missing_ok=True)


def train(version: str, seed: int, settings: Settings) -> int:
    """Train one version with one seed, or go on with it. Returns the exit code: 0, or 143/130 when told to stop.

    A version that diverges is a result: it is recorded and the code is 0.
    """
    process.die_with_parent()
    interruption = process.Interruption()
    first = os.environ.get("RANK", "0") == "0"  # torchrun's name for who writes what all compute
    run = run_directory(version, seed)
    path = PLAN / "versions" / f"{version}.json"
    plan = read_plan(path)
    from ganealogy.data import packed  # numpy, which a person who mistyped need not wait for

    manifest = packed.read_manifest(PACKED)
    verify_packed(manifest, PACKED)
    data = manifest["dataset"]
    key = atomic.digest([plan["fingerprint"], data, seed])
    work = process.root() / WORK / key[:20]
    with (
        process.writes_to(work, run),
        process.only_one(work, f"{version} with seed {seed}") if first else nullcontext(),
    ):
        if first:
            sweep([run / "train", run / "cost" / "train.json"])
        return _train(plan, seed, data, key, work, settings.train, interruption, Inputs([path, PACKED]))


def _train(
    plan: dict[str, Any],
    seed: int,
    data: str,
    key: str,
    work: Path,
    settings: Train,
    interruption: process.Interruption,
    inputs: Inputs,
) -> int:
    from ganealogy import ranks, tracking
    from ganealogy.data import packed
    from ganealogy.training import loop
    from ganealogy.training.record import Record

    device = settle(settings)
    if device == "cuda" and settings.deterministic:
        repeat_on_cuda()
    version = plan["version"]
    facts = {
        "version": version,
        "parent": plan["parent"],
        "seed": seed,
        "plan": plan["fingerprint"],
        "data": data,
        "key": key,
        "recipe": plan["recipe"],
        "protocol": plan["protocol"],
    }
    if os.environ.get("RANK", "0") == "0":
        tidy(work, facts)  # before the other ranks are met, who then look for the same checkpoint
    watcher = Bar(f"{version} seed {seed}", plan["protocol"]["batch_size"], work / "train" / "metrics.jsonl")
    images = packed.open_split(PACKED, "train")
    labels = packed.open_labels(PACKED, "train") if plan["recipe"]["labels"] else None
    with ranks.joined(device) as device:

        def share(record: Record) -> loop.Outcome:
            checkpoints, asked = work / "checkpoints", lambda: bool(interruption)
            return loop.train(plan, seed, data, images, record, checkpoints, device, watcher, asked, labels)

        if not ranks.is_first():
            with tempfile.TemporaryDirectory() as unread:
                outcome = share(Record(Path(unread), facts))
            return interruption.exit_code if outcome.status == "interrupted" else 0
        with tracking.LiveSync(work):
            outcome = share(Record(work / "train", facts))
    watcher.close()
    if outcome.status == "interrupted":
        print(
            f"ganealogy: {version} seed {seed} {outcome.run['reason']}; it goes on from there next time",
            file=sys.stderr,
        )
        return interruption.exit_code
    if outcome.status == "diverged":
        print(f"ganealogy: {version} seed {seed} diverged {outcome.run['reason']}; recorded", file=sys.stderr)
    fingerprint.verify(plan["code"], "while it trained")
    fingerprint.verify_loaded(plan["code"])
    inputs.verify()
    weights = sorted((work / "train" / "weights").glob("*.safetensors"))
    sums = {path.stem: atomic.sha256(path) for path in weights}
    atomic.write_json(work / "train" / "run.json", {**outcome.run, "weights": sums})
    run = run_directory(version, seed)
    atomic.write_json(run / "cost" / "train.json", cost(outcome, device))
    hand_over(work / "train", run / "train")
    # Checkpoints first: one without the record that it goes on from would end in another record.
    if (work / "checkpoints").is_dir():  # there are none where the training diverged at once
        shutil.rmtree(work / "checkpoints")
    shutil.rmtree(work)  # the lock goes too: there is nothing left to hold
    return 0


def on_ranks(ranks: int, stage: str, version: str, seed: int, settings: Settings) -> int:
    """The stage on several processes of this machine, by torchrun; returns the exit code.

    Raises: GanealogyError when the batch cannot be shared so, or there are too few GPUs.
    """
    batch = settings.train.batch_size
    if stage == "train" and batch % ranks:
        raise GanealogyError(f"params.yaml: train.batch_size = {batch} does not divide by {ranks} ranks: change one")
    if settle(settings.train) == "cuda":
        import torch

        if torch.cuda.device_count() < ranks:
            raise GanealogyError(f"{ranks} ranks need a GPU each, and there are {torch.cuda.device_count()}")
    read_plan(PLAN / "versions" / f"{version}.json")
    return process.torchrun(ranks, [stage, version, str(seed)], process.threads(settings.train.threads))


def settle(settings: Train) -> str:
    """Give torch its threads; returns the device to work on, "cuda" or "cpu".

    Raises: GanealogyError when CUDA is asked for and not there.
    """
    import torch

    process.keep_memory()
    torch.set_num_threads(process.threads(settings.threads))
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise GanealogyError("params.yaml: train.device is cuda, and torch sees no GPU; set it to auto or cpu")
    return "cuda" if settings.device != "cpu" and torch.cuda.is_available() else "cpu"


def tidy(work: Path, facts: dict[str, Any]) -> None:
    """What an earlier attempt left behind is made fit to go on from, or put aside; `facts`: of the run's record."""
    announce_fresh_start(work, facts)
    for stray in (work / "train").rglob(".*.tmp"):  # of a killed writer; the record is handed over as a whole
        stray.unlink()
    forget_without_record(work)
    set_aside_foreign(work / "checkpoints", facts["recipe"], facts["protocol"])


def repeat_on_cuda() -> None:
    """Have torch refuse CUDA algorithms that give other bits when they run again."""
    import torch

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts, which is later
    torch.use_deterministic_algorithms(True)
    # We read none, and filling it costs time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def announce_fresh_start(work: Path, facts: dict[str, Any]) -> None:
    """Where an interrupted training of this version stands under another plan, say what differs; it is left alone."""
    if (work / "checkpoints").is_dir():
        return
    for other in sorted(work.parent.glob("*/checkpoints/*.json")):
        path = other.parent.parent / "train" / "run.json"
        try:
            run = json.loads(path.read_text(encoding="utf-8"))
            same = (run["version"], run["seed"]) == (facts["version"], facts["seed"])
            same = same and all(isinstance(run[name], dict) for name in ("recipe", "protocol"))
        except (OSError, ValueError, KeyError, TypeError):
            continue  # not this training's to judge
        if same:
            differing = [name for name in ("recipe", "protocol", "data") if run.get(name) != facts[name]]
            keys = [
                key
                for name in ("recipe", "protocol")
                for key in sorted({*run[name], *facts[name]})
                if run[name].get(key) != facts[name].get(key)
            ]
            what = ", ".join(keys) or ("the data" if "data" in differing else "the code")
            print(
                f"{facts['version']} seed {facts['seed']}: starts afresh; {what} changed since it was interrupted",
                file=sys.stderr,
            )
            return


def forget_without_record(work: Path) -> None:
    """Drop checkpoints whose record is not there: to go on from one would leave the earlier curves and grids out."""
    checkpoints, metrics = work / "checkpoints", work / "train" / "metrics.jsonl"
    if checkpoints.is_dir() and not metrics.is_file():
        print(f"{metrics}: no such file; its checkpoints are of no use without it: starting afresh", file=sys.stderr)
        shutil.rmtree(checkpoints)


def set_aside_foreign(checkpoints: Path, recipe: dict[str, Any], protocol: dict[str, Any]) -> None:
    """Take checkpoints of other networks, or without all their facts, out of the way: whole files, but not ours.

    What is damaged is left to the training, which names it and takes an older one.
    """
    from safetensors import SafetensorError, safe_open

    from ganealogy.networks import build

    wanted: dict[str, list[int]] = {}
    for path in sorted(checkpoints.glob("*.json"), reverse=True):
        if not wanted:
            networks = {"generator": build.generator, "discriminator": build.discriminator}
            wanted = {
                f"{name}/{key}": list(tensor.shape)
                for name, network in networks.items()
                for key, tensor in network(recipe, protocol).state_dict().items()
            }
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))["facts"]
            with safe_open(str(path.with_suffix(".safetensors")), "pt") as file:
                found = {
                    name: file.get_slice(name).get_shape()
                    for name in file.keys()  # noqa: SIM118 (no mapping: it has no iterator)
                    if name.startswith(("generator/", "discriminator/"))
                }
        except (OSError, ValueError, KeyError, TypeError, RecursionError, SafetensorError):
            continue
        if found != wanted or not isinstance(facts, dict) or not facts.keys() >= CHECKPOINT_FACTS:
            print(f"{path}: checkpoint cannot be used (not of this training); trying an older one", file=sys.stderr)
            path.rename(path.with_suffix(".foreign"))


def hand_over(source: Path, target: Path) -> None:
    """Give a finished record its final name. A copy, so that a kill at any moment leaves the source to begin from."""
    if target.exists():
        shutil.rmtree(target)
    beside = target.with_name(f".{target.name}.copy.tmp")
    shutil.rmtree(beside, ignore_errors=True)
    shutil.copytree(source, beside, copy_function=_link_or_copy)
    beside.replace(target)


def _link_or_copy(source: str, target: str) -> None:
    """On one file system both names are of one file, which costs no space; nothing writes to it any more."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def cost(outcome: Any, device: str) -> dict[str, Any]:
    """Clocks and host: everything about a training that may differ when it is repeated."""
    import torch

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    if device == "cuda":
        peak = torch.cuda.max_memory_allocated()
    return {
        "seconds": round(outcome.seconds, 2),
        "tick_seconds": outcome.tick_seconds,
        "images_per_second": round(outcome.images / max(outcome.seconds, 1e-9), 1),
        "peak_memory_bytes": peak,
        "device": device,
        "device_name": torch.cuda.get_device_name()
        if device.startswith("cuda")
        else platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "host_cpus": os.cpu_count(),
        "resumed": outcome.resumed,
    }


class Bar:
    """The progress of a training: kimg, images/s, time left, losses, the tracker's distance, the newest warning.

    `metrics`: the record's metrics.jsonl, which has the distance of the newest tick.
    """

    def __init__(self, label: str, batch_size: int, metrics: Path | None = None) -> None:
        self.label, self.batch_size, self.metrics = label, batch_size, metrics
        self.progress: Progress | None = None
        self.silent = os.environ.get("RANK", "0") != "0"
        self.warning = ""
        self.read, self.latest = 0, ""

    def begin(self, step: int, steps: int) -> None:
        if self.silent:
            return
        total, initial = (count * self.batch_size / 1000 for count in (steps, step))
        self.progress = Progress(self.label, round(total, 3), "kimg", round(initial, 3), pieces=(1000, "images"))

    def stepped(self, step: int, images: int, note: str) -> None:
        if self.progress is not None:
            self.progress.update(images / 1000, self._note(note) if note else "")

    def warn(self, text: str) -> None:
        """On a line of its own, whole; its beginning stays in the bar."""
        self.warning = text if len(text) <= WARNING_LETTERS else f"{text[: WARNING_LETTERS - 1]}…"
        line = f"ganealogy: {self.label}: {text}"
        if self.progress is None:
            print(line, file=sys.stderr)
        else:
            self.progress.say(line)

    def close(self) -> None:
        if self.progress is not None:
            self.progress.close()

    def _note(self, losses: str) -> str:
        """`D 0.71 · G 1.90 · best 87` of the training, with the newest distance before the best."""
        losses, _, best = losses.partition(" · best ")
        distance = self._distance()
        if best:
            distance = f"{distance}, best {best}" if distance else f"best {best}"
        return " · ".join(part for part in (losses, distance, self.warning and f"! {self.warning}") if part)

    def _distance(self) -> str:
        """`FD 91`, read again only when the record has grown."""
        try:
            size = self.metrics.stat().st_size if self.metrics else 0
            if self.metrics and size != self.read:
                self.read = size
                line = json.loads(self.metrics.read_text(encoding="utf-8").splitlines()[-1])
                scores = [value for name, value in line.items() if name.startswith("fd_")]
                self.latest = f"FD {scores[0]:.0f}" if scores and scores[0] is not None else ""
        except (OSError, ValueError, IndexError, AttributeError):
            return ""  # a bar never stops a training
        return self.latest
