"""The end of each command: a documented exit code, one line, and a traceback only with --debug."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import pytest
from helpers import trainings

pytestmark = pytest.mark.timeout(3600)  # each process has its own deadline


def run(folder: Path, *arguments: str) -> tuple[int, str]:
    return trainings.run(trainings.verb, folder, *arguments)


def test_the_codes_are_documented(workspace: Path) -> None:
    code, said = run(workspace, "--help")
    assert code == 0
    for number in ("0 ", "1 ", "2 ", "3 ", "130 ", "143 "):
        assert number in said.split("Exit codes:")[1]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ("show v99", 2, "no version 'v99'"),
        ("use nothing", 2, "unknown preset 'nothing'; known:"),
        ("train v99 --seeds 0", 2, "run `dvc repro plan` first"),
        ("train v1 --seeds x", 2, "Invalid value for '--seeds'"),
        ("sample v1 --seeds 7", 2, "build/runs/v1/train/7/run.json"),
        ("no-such-verb", 2, "No such command 'no-such-verb'"),
        ("plan --wrong", 2, "No such option"),
        ("tree", 0, "v16"),
        ("", 2, "Usage:"),
    ],
)
def test_each_end_has_its_exit_code(arguments: str, code: int, words: str, workspace: Path) -> None:
    found, said = run(workspace, *arguments.split())
    assert found == code and words in " ".join(said.split()) and "Traceback" not in said, said


@pytest.mark.parametrize("arguments", [["--debug", "show", "v99"], ["show", "v99", "--debug"]])
def test_debug_shows_the_traceback_and_changes_no_code(arguments: list[str], workspace: Path) -> None:
    code, said = run(workspace, *arguments)
    assert code == 2 and "Traceback (most recent call last)" in said
    assert said.splitlines()[-1].startswith("ganealogy: ")


def test_a_fault_of_ours_keeps_its_traceback_and_ends_with_1(workspace: Path) -> None:
    code, said = trainings.run(trainings.in_module, workspace, __file__, "breaking")
    assert code == 1 and "ZeroDivisionError" in said and "Traceback" in said


def breaking() -> None:
    from ganealogy.lineage import versions

    versions.known = lambda *arguments: 1 / 0  # type: ignore[assignment, return-value]
    from ganealogy.cli.main import main

    sys.argv = ["ganealogy", "tree"]
    main()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_a_stop_during_a_write_leaves_no_half_written_file(number: int, code: int, workspace: Path) -> None:
    """The signal arrives while `preprocess` has a file open."""
    found, said = trainings.run(trainings.in_module, workspace, __file__, "stopped", number)
    assert found == code and said.splitlines()[-1] == "ganealogy: stopped", said
    assert "the fault fired" in said
    assert trainings.litter(workspace) == [] and not (workspace / "data/packed/manifest.json").exists()


def stopped(number: int) -> None:
    """Run `preprocess`, and send the signal while it writes its first array."""
    import numpy as np

    original = np.lib.format.write_array_header_1_0

    def signalled(file: object, header: object) -> None:
        original(file, header)  # type: ignore[arg-type]
        assert list(Path("data/packed").glob(".*.tmp")), "it is writing"
        print("the fault fired")
        os.kill(os.getpid(), number)
        time.sleep(1)  # never to its end: the signal's exception comes first

    np.lib.format.write_array_header_1_0 = signalled  # type: ignore[assignment]
    trainings.verb("preprocess")


def test_under_nohup_a_closed_terminal_stops_nothing(workspace: Path) -> None:
    found, said = trainings.run(trainings.in_module, workspace, __file__, "unhurt")
    assert found == 0 and "the fault fired" in said, said
    assert (workspace / "data/packed/manifest.json").is_file()


def unhurt() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    stopped(signal.SIGHUP)


def test_a_damaged_plan_or_manifest_names_its_remedy(workspace: Path) -> None:
    for path, arguments in (("build/plan/versions/v1.json", "train v1"), ("data/packed/manifest.json", "train v1")):
        whole = (workspace / path).read_bytes()
        (workspace / path).write_text(json.dumps(["no", "mapping"]))
        code, said = run(workspace, *arguments.split())
        assert code == 2 and path in said and "dvc repro" in said and said.count("\n") == 1, said
        (workspace / path).write_bytes(whole)
