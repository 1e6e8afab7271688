"""What is for show neither ends the work nor steers the terminal: real processes with odd streams."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from ganealogy.runtime import streams, workers

PROGRAM = """
import sys
from ganealogy.runtime import process, streams
from ganealogy.runtime.progress import Progress
@streams.for_show()
def run():
    from rich.console import Console
    from rich.table import Table
    import click
    with Progress("größer → 8×8", 2, "Bilder") as progress:
        progress.update(2, "猫")
    table = Table("≈ verdict", title="Fréchet")
    table.add_row("✓ better")
    Console().print(table)
    click.echo("▲ \\ud800 done")
    print("└ printed " * 2000)
    print("ganealogy: −3 %", file=sys.stderr)
    open("finished", "w").close()
sys.exit(process.report_errors(run, debug=False))
"""


def run(
    folder: Path, redirect: str = "", program: str = PROGRAM, **environment: str
) -> subprocess.CompletedProcess[bytes]:
    """Run a program by a shell with its streams redirected. Its code is that of the first part of a pipe."""
    (folder / "program.py").write_text(program, encoding="utf-8")
    env = {**os.environ, "PYTHONPATH": str(Path("src").resolve()), "COLUMNS": "60", **environment}
    env = {name: value for name, value in env.items() if value or name not in ("PYTHONIOENCODING", "PYTHONUTF8")}
    command = ["bash", "-c", f"set -o pipefail; {sys.executable} program.py {redirect}"]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, timeout=60)


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "latin-1"},
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "cp1252"},
        {"PYTHONIOENCODING": "shift_jis"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
    ids=lambda environment: next(iter(environment.values())),
)
def test_letters_that_the_encoding_lacks_are_replaced(environment: dict[str, str], tmp_path: Path) -> None:
    done = run(tmp_path, **environment)
    assert done.returncode == 0 and (tmp_path / "finished").exists(), done.stderr
    assert b"better" in done.stdout and b" printed" in done.stdout and b"3 %" in done.stderr


@pytest.mark.parametrize("redirect", ["| true", "| head -c 1", ">&-", "<&- >&- 2>&-", "2>/dev/full", "2>&1 | true"])
def test_a_reader_that_is_gone_ends_nothing(redirect: str, tmp_path: Path) -> None:
    done = run(tmp_path, redirect)
    assert done.returncode == 0 and (tmp_path / "finished").exists(), done.stderr
    assert b"Traceback" not in done.stderr and b"Exception ignored" not in done.stderr


@pytest.mark.parametrize(("stage", "code"), [("", 2), ("plan", 0)])
def test_a_full_device_is_named_and_ends_no_stage(stage: str, code: int, tmp_path: Path) -> None:
    """DVC reads a stage's files, not what it prints; for `summary > file` the text is the result."""
    environment = {"DVC_STAGE": stage} if stage else {}
    done = run(tmp_path, "> /dev/full", **environment)
    assert done.returncode == code and (tmp_path / "finished").exists()
    assert (b"standard output: No space left on device" in done.stderr) == bool(code)
    assert b"Traceback" not in done.stderr


def test_a_closed_stream_takes_no_other_file_s_place(tmp_path: Path) -> None:
    """Without standard output, the next file that is opened gets its descriptor, and what is printed."""
    program = PROGRAM.replace(
        'open("finished", "w").close()', 'open("finished", "w").write(str(open("f", "w").fileno()))'
    )
    run(tmp_path, ">&- <&-", program)
    assert int((tmp_path / "finished").read_text()) > 2


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]52;c;Y2F0\x07", rb"\x1b]52;c;Y2F0\x07"),  # writes to the clipboard
        ("\x1bPq\x9b2J", rb"\x1bPq\x9b2J"),
        ("gnp\u202eexe.cat", rb"gnp\u202eexe.cat"),
        ("ganealogy: x\x1b[2J\b", rb"ganealogy: x\x1b[2J\x08"),
        ("\x1b[32mgreen\x1b[0m", b"\x1b[32mgreen\x1b[0m"),  # as progress bars have it
    ],
)
def test_what_steers_a_terminal_is_visible_there(text: str, shown: bytes, tmp_path: Path) -> None:
    program = f"from ganealogy.runtime import streams\nwith streams.for_show():\n    print({text!r})\n"
    (tmp_path / "program.py").write_text(program)
    master, slave = pty.openpty()
    env = {**os.environ, "PYTHONPATH": str(Path("src").resolve()), "PYTHONIOENCODING": "utf-8"}
    subprocess.run([sys.executable, "program.py"], cwd=tmp_path, env=env, stdout=slave, check=True, timeout=60)
    assert os.read(master, 1000).strip() == shown
    os.close(slave), os.close(master)


def test_the_log_of_a_worker_has_no_control_characters(tmp_path: Path) -> None:
    """A traceback quotes a library's message, which may quote a file."""
    log = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    sent: list[str] = []
    sender = type("Sender", (), {"send": lambda self, kind, line: sent.append(line)})()
    stream = workers._Lines(log, sender)
    print("ganealogy: v1 \x1b[2J猫\u202e", file=stream)
    print("ValueError: \x1b]52;c;x\x07\b\b", file=stream)
    assert (
        tmp_path / "log"
    ).read_text() == "ganealogy: v1 \\x1b[2J猫\\u202e\nValueError: \\x1b]52;c;x\\x07\\x08\\x08\n"
    assert sent == ["ganealogy: v1 \\x1b[2J猫\\u202e"]
    os.close(log)


def test_a_full_device_under_a_log_is_no_error() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    stream = streams.Shown(full, "utf-8")
    print("lost\n" * 10_000, file=stream, flush=True)
    assert stream.descriptor.fault is not None
    os.close(full)
