"""The lock file of a DVC that was killed while writing it, with the DVC that is installed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ganealogy.cli import doctor
from ganealogy.errors import GanealogyError
from ganealogy.runtime import dvc_rwlock

DVC = (sys.executable, "-m", "dvc")
pytestmark = pytest.mark.timeout(1200)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Create a workspace with one stage, which waits for the file `stop`; make it the working directory."""
    folder = tmp_path / "a workspace"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for name in [name for name in os.environ if name.startswith("DVC_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    subprocess.run(["git", "init", "-q"], check=True)
    subprocess.run([*DVC, "init", "-q"], check=True)
    wait = "touch began; until test -e stop; do sleep 0.1; done; echo done > out"
    (folder / "dvc.yaml").write_text(f"stages:\n  wait:\n    cmd: {wait}\n    outs: [out]\n")
    return folder


def repro() -> subprocess.CompletedProcess[str]:
    return subprocess.run([*DVC, "repro"], capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.parametrize("content", ["", '{"write": {"/a/wo'])
def test_a_half_written_lock_file_stops_dvc_until_it_is_removed(place: Path, content: str) -> None:
    """Fault 3."""
    (place / "stop").touch()
    assert not dvc_rwlock.remove_broken(place), "there is none"
    dvc_rwlock.RWLOCK.parent.mkdir(parents=True, exist_ok=True)
    dvc_rwlock.RWLOCK.write_text(content)
    stopped = repro()
    assert stopped.returncode and "rwlock" in stopped.stderr, "DVC accepts it: `doctor --fix` is not needed"
    [finding] = doctor.check_lock()
    assert finding.mark == "✗" and "ganealogy doctor --fix" in finding.text
    source = str(Path(dvc_rwlock.__file__).parents[2])
    fixed = subprocess.run(
        [sys.executable, "-m", "ganealogy", "doctor", "--fix"],
        env={**os.environ, "PYTHONPATH": source},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ".dvc/tmp/rwlock" in fixed.stdout and fixed.stdout.count("\n") == 1
    assert [found.mark for found in doctor.check_lock()] == ["✓"]
    went = repro()
    assert went.returncode == 0, went.stderr
    assert not dvc_rwlock.remove_broken(place), "DVC leaves a complete file"


def test_the_lock_file_of_a_running_dvc_stays(place: Path) -> None:
    with subprocess.Popen([*DVC, "repro"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            deadline = time.monotonic() + 300
            while not (place / "began").exists():
                assert process.poll() is None and time.monotonic() < deadline, "DVC did not start its stage"
                time.sleep(0.05)
            whole = dvc_rwlock.RWLOCK.read_text()
            assert str(process.pid) in whole and dvc_rwlock.running(place) == process.pid
            assert not dvc_rwlock.remove_broken(place)
            dvc_rwlock.RWLOCK.write_text("")
            with pytest.raises(GanealogyError, match=f"DVC runs here as process {process.pid}"):
                dvc_rwlock.remove_broken(place)
            assert dvc_rwlock.RWLOCK.read_text() == ""
            assert [found.mark for found in doctor.check_lock()] == ["!"]
            dvc_rwlock.RWLOCK.write_text(whole)
            (place / "stop").touch()
            assert process.wait(300) == 0
        finally:
            process.kill()
    assert dvc_rwlock.running(place) is None


def test_make_repro_begins_with_doctor_fix() -> None:
    recipe = (Path(__file__).parents[2] / "Makefile").read_text().split("\nrepro:")[1].split("\n\n")[0]
    assert recipe.index("ganealogy doctor --fix") < recipe.index("ganealogy repro")
