"""Faulty inputs, and inputs that change during a stage: faults 10, 11, 13 to 17 and 20.

Downloads (12), archives (13) and pictures (14) have more tests in tests/data; here they are tested through the stages.
"""

from __future__ import annotations

import io
import json
import os
import re
import stat
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers import trainings
from PIL import Image

from ganealogy.errors import GanealogyError
from ganealogy.stages import _stage

pytestmark = pytest.mark.timeout(3600)  # each process has its own deadline

# --- Trouble in a training -------------------------------------------------------------------------------------------


def planned(folder: Path, version: str, **changes: object) -> Path:
    """A workspace whose plan has another recipe than the version file, with the same components."""
    trainings.workspace(folder, version)
    path = folder / "build" / "plan" / "versions" / f"{version}.json"
    plan = json.loads(path.read_text())
    for key, value in changes.items():
        section = plan["recipe"]
        *parents, last = key.split("__")
        for name in parents:
            section = section[name]
        section[last] = value
    path.write_text(json.dumps(plan))
    return folder


@pytest.mark.parametrize(
    ("version", "changes", "culprit"),
    [
        (
            "v10",
            {"adversary__penalties": [{"name": "gradient_penalty", "weight": 1e39}]},
            "discriminator (loss|gradient norm) is (inf|nan)",
        ),
        ("v1", {"optimizers__discriminator__lr": 1e38}, "(discriminator|generator) (loss|gradient norm) is (inf|nan)"),
    ],
)
def test_nan_or_infinity_stops_the_training_before_the_update(
    version: str, changes: dict[str, object], culprit: str, tmp_path: Path
) -> None:
    """Fault 10: caused by a penalty and by a learning rate. Exit code 0: a divergence is a result."""
    from safetensors.numpy import load_file

    folder = planned(tmp_path / "work", version, **changes)
    code, said = trainings.run(trainings.train, folder, version)
    assert code == 0 and f"{version} seed 0 diverged at step" in said, said
    run = json.loads((folder / f"build/runs/{version}/train/0/run.json").read_text())
    assert run["status"] == "diverged"
    assert re.fullmatch(rf"at step \d+: {culprit}", run["reason"]), run["reason"]
    weights = (folder / f"build/runs/{version}/train/0/weights").glob("generator-*.safetensors")
    assert all(np.isfinite(tensor).all() for path in weights for tensor in load_file(path).values())
    code, said = trainings.run(trainings.sample, folder, version)
    assert code == 0, said
    code, said = trainings.run(trainings.report, folder)
    assert code == 0, said
    assert "diverged" in (folder / "reports" / "report.md").read_text()


def test_a_collapsed_generator_is_measured_and_flagged(workspace: Path) -> None:
    """Fault 11: all samples are equal, as from a collapsed generator."""
    samples = workspace / "build/runs/v1/sample/0"
    pictures = np.load(samples / "images.npy")
    np.save(samples / "images.npy", np.broadcast_to(pictures[:1], pictures.shape))
    record = json.loads((samples / "sample.json").read_text())
    from ganealogy.files import atomic

    record["sha256"] = atomic.sha256(samples / "images.npy")
    (samples / "sample.json").write_text(json.dumps(record))
    code, said = trainings.run(trainings.verb, workspace, "evaluate", "v1", "--seeds", "0")
    assert code == 0, said
    found = json.loads((workspace / "build/runs/v1/evaluate/0/metrics.json").read_text())
    assert found["metrics"] and all(np.isfinite(value) for value in found["metrics"].values())
    assert found["flags"]["collapsed_pixel8"]["flag"], found["flags"]
    code, said = trainings.run(trainings.report, workspace)
    assert code == 0, said
    assert f"collapsed (seed 0): {found['flags']['collapsed_pixel8']['why']}" in (
        (workspace / "reports" / "report.md").read_text()
    )


# --- Archives and pictures, by the stages ----------------------------------------------------------------------------


def png(size: tuple[int, int] = (16, 16), mode: str = "RGB", **options: object) -> bytes:
    file = io.BytesIO()
    Image.new(mode, size).save(file, str(options.pop("kind", "PNG")), **options)  # type: ignore[arg-type]
    return file.getvalue()


def member(name: str, mode: int = stat.S_IFREG) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, (mode | 0o644) << 16
    return info


ATTACKS: dict[str, list[tuple[zipfile.ZipInfo, bytes]]] = {
    "climbs out": [(member("../evil.png"), png())],
    "absolute": [(member("/tmp/evil.png"), png())],
    "a link": [(member("evil.png", stat.S_IFLNK), b"/etc/passwd")],
    "a device": [(member("evil.png", stat.S_IFCHR), b"")],
    "a bomb": [(member("evil.png"), bytes(20 * 2**20))],
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_hostile_archive_is_refused_by_the_download_stage(attack: str, workspace: Path) -> None:
    """Fault 13: with the archive as `dataset.path`, the download stage refuses it and writes nothing."""
    with zipfile.ZipFile(workspace / "hostile.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for info, content in ATTACKS[attack]:
            archive.writestr(info, content, zipfile.ZIP_DEFLATED)
    params = workspace / "params.yaml"
    params.write_text(params.read_text().replace("path: pictures", "path: hostile.zip"))
    assert trainings.run(trainings.verb, workspace, "plan")[0] == 0
    before = {str(path) for path in workspace.parent.rglob("*")}
    code, said = trainings.run(trainings.verb, workspace, "download")
    assert code == 2 and "hostile.zip: refused" in said and said.count("\n") == 1, said
    assert {str(path) for path in workspace.parent.rglob("*")} <= before
    assert not list(workspace.parent.rglob("evil.png"))


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


BOMB = chunk(b"IHDR", struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)) + chunk(
    b"IDAT", zlib.compress(bytes(99))
)
BAD_PICTURES = {
    "truncated.png": png((64, 64), mode="RGB")[:60],
    "tiny.png": png((1, 1)),
    "text.png": b"no picture at all",
    "empty.png": b"",
    "pixel-bomb.png": b"\x89PNG\r\n\x1a\n" + BOMB,
    "animated.gif": png(kind="GIF", save_all=True, append_images=[Image.new("RGB", (16, 16), "red")]),
}
GOOD_PICTURES = {
    "cmyk.jpg": png(mode="CMYK", kind="JPEG"),
    "sixteen.png": png(mode="I;16"),
    "alpha.png": png(mode="RGBA"),
}


def test_bad_pictures_are_listed_with_their_reasons_and_too_many_are_an_error(workspace: Path) -> None:
    """Fault 14."""
    for name, content in (BAD_PICTURES | GOOD_PICTURES).items():
        (workspace / "pictures" / name).write_bytes(content)
    for verb in ("plan", "download", "preprocess"):
        code, said = trainings.run(trainings.verb, workspace, verb)
        assert code == 0, said
    manifest = json.loads((workspace / "data/packed/manifest.json").read_text())
    assert {entry["name"] for entry in manifest["rejected"]} == set(BAD_PICTURES)
    reasons = {entry["name"]: entry["reason"] for entry in manifest["rejected"]}
    assert all(reasons.values()) and "bomb" in reasons["pixel-bomb.png"] and "too small" in reasons["tiny.png"], reasons
    params = workspace / "params.yaml"
    params.write_text(params.read_text().replace("holdout: 0.2", "holdout: 0.2, max_rejected: 0.05"))
    assert trainings.run(trainings.verb, workspace, "plan")[0] == 0
    code, said = trainings.run(trainings.verb, workspace, "preprocess")
    assert code == 2 and "6 of 99 pictures cannot be used" in said and "Traceback" not in said, said
    assert not list((workspace / "data/packed").glob("*.npy")), "no packed data that nobody may use"


# --- Settings --------------------------------------------------------------------------------------------------------

VERSION = "title: t\nidea: i\nsource: s\nparent: {}\nchanges: {{adversary: {{loss: {{real_target: 0.9}}}}}}\n"
BAD: dict[str, tuple[Callable[[str], str], str]] = {
    "an unknown key": (lambda text: text.replace("kimg:", "kimgs: 1, kimg:"), "unknown key 'train.kimgs'; known here"),
    "a word for a number": (lambda text: text.replace("lr: 0.0002", "lr: abc"), "train.lr = 'abc'"),
    "NaN": (lambda text: text.replace("lr: 0.0002", "lr: .nan"), "train.lr = nan"),
    "not above zero": (lambda text: text.replace("lr: 0.0002", "lr: 0"), "train.lr = 0"),
    "a duplicate key": (lambda text: text.replace("kimg:", "kimg: 1, kimg:"), 'duplicate key "kimg"'),
    "a missing version": (lambda text: text.replace("[v1]", "[v99]"), "tree.versions: no version 'v99'"),
    "a cycle of parents": (lambda text: text.replace("[v1]", "[a]"), "makes a cycle of parents"),
}


@pytest.mark.parametrize("fault", BAD)
def test_a_bad_setting_is_named_before_any_work(fault: str, workspace: Path) -> None:
    """Fault 15, within one second of CPU time."""
    (workspace / "versions").unlink()
    (workspace / "versions").mkdir()
    (workspace / "versions" / "v1.yaml").write_bytes((trainings.ROOT / "versions" / "v1.yaml").read_bytes())
    for name, parent in (("a", "b"), ("b", "a")):
        (workspace / "versions" / f"{name}.yaml").write_text(VERSION.format(parent))
    change, named = BAD[fault]
    params = workspace / "params.yaml"
    params.write_text(change(params.read_text()))
    before = trainings.files(workspace)
    environment = {**os.environ, "PYTHONPATH": str(trainings.ROOT / "src")}
    with subprocess.Popen(
        [sys.executable, "-X", "importtime", "-m", "ganealogy", "plan"],
        cwd=workspace,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        said = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    lines = [line for line in said.splitlines() if not line.startswith("import time:")]
    assert process.returncode == 2 and len(lines) == 1 and named in lines[0], lines
    assert not re.search(r"\| +(torch|mlflow|scipy|pandas)$", said, flags=re.M), "it imported what it had no need of"
    assert usage.ru_utime < 2, "a second on a quiet machine"
    assert trainings.files(workspace) == before


# --- Changes under a stage -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("edited", ["data/packed/train.npy", "data/packed/manifest.json"])
def test_data_edited_during_a_training_fails_it(edited: str, tmp_path: Path) -> None:
    """Fault 17."""
    folder = trainings.workspace(tmp_path / "work")
    code, said = trainings.run(trainings.train, folder, "v1", edit=edited)
    assert code == 2 and f"{edited}: changed while the stage ran" in said, said
    assert not (folder / "build/runs/v1/train/0").exists()


def test_a_changed_plan_during_a_training_fails_it(tmp_path: Path) -> None:
    folder = trainings.workspace(tmp_path / "work")
    code, said = trainings.run(trainings.train, folder, "v1", edit="build/plan/versions/v1.json")
    assert code == 2 and "build/plan/versions/v1.json: changed while the stage ran" in said, said
    assert "Run `dvc repro` again" in said
    code, said = trainings.run(trainings.train, folder, "v1")
    assert code == 0 and (folder / "build/runs/v1/train/0/run.json").is_file(), said
    code, said = trainings.run(trainings.train, trainings.workspace(tmp_path / "same"), "v1", edit="params.yaml")
    assert code == 0, "the plan says what is trained, not params.yaml: " + said


def test_inputs_edited_during_a_stage_fail_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a").write_text("a")
    inputs = _stage.InputSnapshot([Path("in"), Path("absent")])
    inputs.verify()
    (tmp_path / "in" / "b").write_text("b")
    with pytest.raises(GanealogyError, match=r"in/b: changed while the stage ran"):
        inputs.verify()
    (tmp_path / "in" / "b").unlink()
    inputs.verify()
    (tmp_path / "in" / "a").unlink()
    with pytest.raises(GanealogyError, match=r"in/a: changed while the stage ran"):
        inputs.verify()


def test_params_edited_between_two_stages_do_not_reach_the_second(workspace: Path) -> None:
    """Fault 17: a stage uses its plan; otherwise DVC would record results of the new size for the old one."""
    params = workspace / "params.yaml"
    params.write_text(params.read_text().replace("image_size: 16", "image_size: 8"))
    code, said = trainings.run(trainings.verb, workspace, "preprocess")
    assert code == 0, said
    assert json.loads((workspace / "data/packed/manifest.json").read_text())["image_size"] == 16


def test_the_report_says_what_is_missing_and_why(workspace: Path) -> None:
    """Fault 20: a version that was not trained, and one with a damaged record."""
    (workspace / "build/runs/v1/train/0/run.json").write_text("{")
    params = workspace / "params.yaml"
    params.write_text(params.read_text().replace("[v1]", "[v1, v3]"))
    assert trainings.run(trainings.verb, workspace, "plan")[0] == 0
    code, said = trainings.run(trainings.report, workspace)
    assert code == 0, said
    text = (workspace / "reports/report.md").read_text()
    assert "v3 seed 0" in text and "it has not been trained" in text
    assert "v1 seed 0" in text and "run.json" in text
