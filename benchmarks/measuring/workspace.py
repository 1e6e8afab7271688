"""Temporary workspaces of this checkout, for measurements of the whole pipeline."""

from __future__ import annotations

import copy
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from measuring.claims import ROOT, timed

PROTOCOL: dict[str, Any] = {
    "dataset": {"name": "avatars", "image_size": 32, "channels": 3, "count": 120, "holdout": 0.2},
    "train": {
        "kimg": 0.016,
        "batch_size": 8,
        "lr": 0.0002,
        "width": 4,
        "ticks": 1,
        "tracker_images": 32,
        "device": "cpu",
        "threads": 1,
    },
    "sample": {"count": 50, "walk_frames": 8},
    "evaluate": {"extractors": ["pixel8"], "lead": "fd_pixel8", "reals": 64},
}
"""The smallest protocol that suits every version, so that a stage is almost only overhead."""
COMMIT = """
from dvc.repo import Repo
with Repo() as repo, repo.lock:
    stages = list(repo.index.stages)
    for stage in stages:
        stage.save()
        stage.commit()
    stages[0].dvcfile.dump_stages(stages, update_pipeline=False)
"""
"""As `dvc commit --force`, which would write the lock once per stage."""
ONE_FILE = {
    "data/raw": "source.json",
    "data/packed": "manifest.json",
    "data/reference": "real.png",
    "cost/train": "{seed}.json",
    "cost/sample": "{seed}.json",
    "cost/evaluate": "{seed}.json",
    "/train": "{seed}/run.json",
    "/sample": "{seed}/sample.json",
    "/evaluate": "{seed}/metrics.json",
    "reports/report": "curves.png",
    "reports/samples": "real-pictures.png",
    "reports/progress": "v1-seed0.png",
}
"""End of an output that is a directory → a file that a stage writes there."""
SHIPPED = [f"v{number}" for number in range(1, 17)]


class Workspace:
    def __init__(self, path: Path, versions: int, seeds: int, protocol: dict[str, Any] = PROTOCOL) -> None:
        """Copy this checkout's code and versions into a git repository at `path`. Versions beyond v16 are invented."""
        self.path, self.seeds = path, list(range(seeds))
        self.versions = (SHIPPED + [f"w{number}" for number in range(versions)])[:versions]
        for name in ("src", "versions"):
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, path / name, ignore=ignored)
        for name in ("dvc.yaml", ".gitignore", ".dvcignore", ".dvc/config"):
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / name).exists():
                shutil.copy(ROOT / name, path / name)
        for number, name in enumerate(self.versions):
            if not (path / "versions" / f"{name}.yaml").exists():
                changes = {"adversary": {"loss": {"name": "bce", "real_target": round(0.5 + number / 200, 3)}}}
                about = {
                    "title": f"Invented, {number}",
                    "parent": "v1",
                    "idea": "None.",
                    "source": "None",
                    "changes": changes,
                }
                (path / "versions" / f"{name}.yaml").write_text(yaml.safe_dump(about))
        tree = {"tree": {"versions": self.versions, "seeds": self.seeds}}
        (path / "params.yaml").write_text(yaml.safe_dump({**protocol, **tree}, sort_keys=False))
        self.run("git", "init", "-q")

    def run(self, *command: str) -> str:
        """Run a command with the environment's python first on the PATH. Return its output.

        Raises: RuntimeError with the output when it fails.
        """
        return "".join(self.lines(*command))

    def lines(self, *command: str, **environment: str) -> Iterator[str]:
        """Like `run`, but yield each line as it is printed."""
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(("DVC_", "MLFLOW_TRACKING"))
        }
        own = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": "src",
            "PYTHONUNBUFFERED": "1",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        said: list[str] = []
        with subprocess.Popen(
            command,
            cwd=self.path,
            env={**inherited, **own, **environment},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                said.append(line)
                yield line
        if process.returncode:
            raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{''.join(said)[-2000:]}")

    def copy(self, path: Path) -> Workspace:
        """Copy the workspace to `path`."""
        other = copy.copy(self)
        other.path = shutil.copytree(self.path, path, symlinks=True)
        return other

    def dvc(self, *arguments: str) -> str:
        return self.run(sys.executable, "-m", "dvc", *arguments)

    def ganealogy(self, *arguments: str) -> str:
        return self.run(sys.executable, "-m", "ganealogy", *arguments)

    @property
    def stages(self) -> int:
        return 6 + 3 * len(self.versions)

    def pretend(self) -> float:
        """Create the state after a whole `dvc repro`: a real plan, one file per other output, a complete dvc.lock.

        Returns the seconds of the plan.
        """
        self.ganealogy("inputs")
        planning = timed(lambda: self.ganealogy("plan"))
        for output in self.outputs():
            path = self.path / output
            if not path.exists():
                name = next((name for folder, name in ONE_FILE.items() if output.endswith(folder)), "")
                for each in dict.fromkeys(path / name.format(seed=seed) for seed in self.seeds):
                    each.parent.mkdir(parents=True, exist_ok=True)
                    each.write_text(f"{output}\n")
        self.run(sys.executable, "-c", COMMIT)
        return planning

    def outputs(self) -> list[str]:
        """Return every output that dvc.yaml names, and every file inside one that another stage depends on."""
        found = []
        for name, stage in yaml.safe_load((self.path / "dvc.yaml").read_text())["stages"].items():
            if name == "inputs":  # it has run
                continue
            named: list[Any] = [*stage.get("outs", []), *stage.get("metrics", [])]
            outputs = [next(iter(item)) if isinstance(item, dict) else item for item in named]
            inner = [path for path in stage["deps"] if Path(path).suffix and path.startswith(("data/", "build/runs/"))]
            for path in outputs + inner:
                for version in self.versions:
                    found.append(path.replace("${item.version}", version))
        return sorted(set(found))
