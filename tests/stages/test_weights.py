"""Inception's weights: fetched once where params.yaml names it; without them the run continues and says so."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from ganealogy.cli import main, stage_verbs
from ganealogy.evaluation.extractors import _inception_weights as published
from ganealogy.files import atomic
from ganealogy.params import edit, schema
from ganealogy.stages import _weights, inputs
from ganealogy.workspace import PRESETS, SHIPPED, WEIGHTS

CONTENT = b"weights"
FID = "lead: fid"
PIXELS = "lead: fd_pixel8"


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project that names inception, on a machine without a network. Its weights are seven bytes."""
    monkeypatch.chdir(tmp_path)
    for name in ("DVC_ROOT", "GANEALOGY_MIRROR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    (tmp_path / "known").write_bytes(CONTENT)
    remote = dataclasses.replace(
        published.INCEPTION, urls=("https://127.0.0.1:1/",), sha256=atomic.sha256(tmp_path / "known"), size=len(CONTENT)
    )
    monkeypatch.setattr(published, "INCEPTION", remote)
    settings(PIXELS)
    return tmp_path


def settings(lead: str, extractors: str = "[pixel8, inception]") -> schema.Settings:
    Path("params.yaml").write_text(
        "dataset: {name: avatars, image_size: 16}\ntree: {versions: [v1], seeds: [0]}\n"
        "train: {kimg: 1, batch_size: 8, lr: 0.0002, tracker: pixel8}\nsample: {count: 500}\n"
        f"evaluate: {{extractors: {extractors}, {lead}}}\n"
    )
    return schema.load()


def missing(lead: str) -> dict[str, str]:
    return _weights.not_measured(["pixel8", "inception"], lead.removeprefix("lead: "))


def test_without_a_network_one_line_says_that_fid_is_not_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert inputs.run()["weights"] == {}
    [line] = capsys.readouterr().err.splitlines()
    assert "Inception's weights are not on this machine, so fid is not measured: " in line
    assert "could not be downloaded (127.0.0.1: connection refused)" in line and "GANEALOGY_MIRROR" in line
    assert missing(PIXELS) == {"inception": _weights.ABSENT}


@pytest.mark.parametrize("lead", ["fid", "kid_inception", "fd_w64_inception"])
def test_where_it_leads_it_is_not_left_out(lead: str, capsys: pytest.CaptureFixture[str]) -> None:
    settings(f"lead: {lead}")
    assert inputs.run()["weights"] == {}
    assert "so the stages that use them will fail" in capsys.readouterr().err
    assert missing(f"lead: {lead}") == {}


def test_a_project_that_does_not_name_it_asks_no_network(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings(PIXELS, "[pixel8]")
    monkeypatch.setattr(published, "fetch_weights", lambda *_: pytest.fail("it was fetched"))
    assert inputs.run()["weights"] == {} and not capsys.readouterr().err
    assert _weights.not_measured(["pixel8"], "fd_pixel8") == {}


@pytest.mark.parametrize("place", ["mirror", "torch/hub/checkpoints", "cache/torch/hub/checkpoints"])
def test_a_later_run_finds_them_and_dvc_sees_a_new_input(
    place: str, project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = inputs.run()
    capsys.readouterr()
    atomic.write_bytes(project / place / published.FILE, CONTENT)
    if place == "mirror":
        monkeypatch.setenv("GANEALOGY_MIRROR", place)
    elif place.startswith("cache"):
        monkeypatch.delenv("TORCH_HOME")
        monkeypatch.setenv("XDG_CACHE_HOME", str(project / "cache"))
    after = inputs.run()
    assert after["weights"] == {published.FILE: atomic.sha256(project / "known")} != before["weights"]
    assert "ganealogy:" not in capsys.readouterr().err and missing(PIXELS) == {}
    assert (project / WEIGHTS / published.FILE).read_bytes() == CONTENT
    (project / place / published.FILE).unlink()
    assert inputs.run() == after, "they are kept"


def test_a_damaged_file_in_torchs_cache_is_passed_over(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    atomic.write_bytes(project / "torch/hub/checkpoints" / published.FILE, CONTENT[::-1])
    assert inputs.run()["weights"] == {}
    assert "could not be downloaded" in capsys.readouterr().err
    assert not (project / WEIGHTS / published.FILE).exists()


def test_where_results_of_them_exist_they_are_needed(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Else a machine without them would replace a colleague's FIDs by nothing."""
    atomic.write_bytes(project / "torch/hub/checkpoints" / published.FILE, CONTENT)
    before = inputs.run()
    (project / "torch/hub/checkpoints" / published.FILE).unlink()
    (project / WEIGHTS / published.FILE).unlink()
    capsys.readouterr()
    assert inputs.run() == before
    assert "so the record in data/inputs.json stays" in capsys.readouterr().err and missing(PIXELS) == {}


def test_the_commands_of_the_message_bring_them(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs.run()
    typed = re.findall("`ganealogy ([^`]+)`", missing(PIXELS)["inception"])
    atomic.write_bytes(project / "mirror" / published.FILE, CONTENT)
    monkeypatch.setenv("GANEALOGY_MIRROR", "mirror")
    for command in typed:
        assert CliRunner().invoke(main.cli, command.split(), catch_exceptions=False).exit_code == 0
    assert typed == ["fetch inception"] and missing(PIXELS) == {} and inputs.run()["weights"]


def test_the_plan_says_the_same() -> None:
    def warnings() -> str:
        done = CliRunner().invoke(stage_verbs.plan, catch_exceptions=False)
        assert done.exit_code == 0
        return done.stderr

    assert f"fid: not measured: {_weights.ABSENT}" in warnings()
    atomic.write_bytes(Path(WEIGHTS, published.FILE), CONTENT)
    assert "fid" not in warnings()


def test_the_downloader_needs_no_torch() -> None:
    """The inputs stage runs at every `dvc repro`."""
    code = "import sys, ganealogy.evaluation.extractors._inception_weights; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", edit.known())
def test_presets_that_download_their_data_measure_fid(name: str) -> None:
    settings = schema.load(SHIPPED / PRESETS / f"{name}.yaml")
    downloads = name not in ("demo", "avatars", "folder")  # which must work without a network
    assert ("inception" in settings.evaluate.extractors) == downloads
    assert (settings.evaluate.lead == "fid") == (name == "cifar10")
