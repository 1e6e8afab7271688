"""MLflow failing, and in long use: faults 18 and 19, and the soak test.

A store that is locked, damaged, read-only, hanging or opened by four processes is tested in
tests/tracking/test_store.py. Here a server stops and restarts during a training, and many trainings share one store.
"""

from __future__ import annotations

import gc
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from helpers import trainings

from ganealogy import tracking
from ganealogy.tracking import LiveSync, live_sync, store
from ganealogy.workspace import RunDir, run_dir, unfinished

SOAK = bool(os.environ.get("GANEALOGY_SOAK"))
MANY = 500 if SOAK else 50
DEADLINE_S = 900

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*noload.*:DeprecationWarning"),  # within MLflow
    pytest.mark.timeout(36_000 if SOAK else 3600),
]


@pytest.fixture
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("MLFLOW_", "DVC_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")


def histories(name: str) -> dict[str, list[tuple[int, float]]]:
    """Return metric → points (step, value) of the run `name`."""
    with store.open_client() as client:
        experiments = [found.experiment_id for found in client.search_experiments()]
        runs = [run for run in client.search_runs(experiments) if run.info.run_name == name]
        assert len(runs) == 1, f"{len(runs)} runs are called {name}"
        run = runs[0]
        found = {metric: client.get_metric_history(run.info.run_id, metric) for metric in run.data.metrics}
    return {metric: sorted((point.step, point.value) for point in points) for metric, points in found.items()}


def recorded(run: RunDir) -> dict[str, list[tuple[int, float]]]:
    """Return the same from metrics.jsonl."""
    curves: dict[str, list[tuple[int, float]]] = {}
    for line in (run / "train/metrics.jsonl").read_text().splitlines():
        tick = json.loads(line)
        for name, value in tick.items():
            if name not in ("tick", "step") and value is not None:
                curves.setdefault(f"train/{name}", []).append((tick["step"], value))
    return curves


def assert_every_point_once(run: RunDir, name: str) -> None:
    held = {metric: points for metric, points in histories(name).items() if metric.startswith("train/")}
    assert held == recorded(run)


# --- Many trainings, one store ---------------------------------------------------------------------------------------


def tiny(folder: Path, seed: int) -> RunDir:
    """Run a training of a few steps in this process, as the train stage leaves it, without weights."""
    import numpy as np

    from ganealogy.files import atomic
    from ganealogy.training import loop
    from ganealogy.training.run_files import RunFiles

    plan = json.loads((folder / "build/plan/versions/v1.json").read_text())
    run = run_dir("v1", seed, folder)
    key = atomic.digest([plan["fingerprint"], seed])
    identity = {name: plan[name] for name in ("version", "parent", "recipe", "protocol")}
    identity |= {"seed": seed, "key": key, "plan": plan["fingerprint"], "data": trainings.data(folder)}
    pictures = np.load(folder / "data/packed/train.npy", allow_pickle=False)
    files = RunFiles(run / "train", folder / "build/wip" / str(seed), identity)
    loop.train(plan, seed, loop.TrainingData(pictures), files, "cpu", Quiet())
    shutil.rmtree(run / "train/weights")
    shutil.rmtree(run / "train/grids")
    return run


def as_work(run: RunDir) -> Path:
    """Return a folder of an unfinished training with the files of `run`."""
    work = Path("build/wip/live")
    work.mkdir(parents=True)
    (work / "train").symlink_to((run / "train").resolve())
    return work


class Quiet:
    def on_start(self, step: int, steps: int) -> None: ...
    def on_step(self, step: int, scalars: dict[str, float] | None) -> None: ...
    def should_stop(self) -> bool:
        return False

    def on_warning(self, text: str) -> None:
        assert " kimg: " in text, text  # a sign of trouble: a training of a few steps has learnt nothing


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clean: None) -> Path:
    """A workspace that is the working directory, for trainings of four steps and two ticks."""
    folder = trainings.workspace(tmp_path / "work", kimg=0.032, ticks=2)
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.slow
def test_many_trainings_in_a_row_lose_nothing_and_leak_nothing(shared: Path) -> None:
    process = psutil.Process()
    context = None
    files: dict[int, int] = {}
    memory: dict[int, int] = {}
    for seed in range(MANY):
        run = tiny(shared, seed)
        result = tracking.sync(run, context=context)
        assert result.warning is None and result.posted["metrics"] > 0
        if seed in (MANY // 5, MANY - 1):
            gc.collect()
            files[seed], memory[seed] = process.num_fds(), process.memory_info().rss
    first, last = files
    assert files[last] <= files[first], f"{files[last] - files[first]} files stay open"
    # A leak of one tiny training's pictures and networks (about 0.5 MiB) a run would be 20 MiB and more.
    growth = memory[last] - memory[first]
    assert growth < 16 * 2**20 + 10_000 * MANY, f"{growth / 2**20:.0f} MiB more after {last - first} trainings"
    for seed in range(MANY) if SOAK else (0, MANY // 2, MANY - 1):
        assert_every_point_once(run_dir("v1", seed, shared), f"v1 seed {seed}")
    with store.open_client() as client:
        runs = client.search_runs([found.experiment_id for found in client.search_experiments()], max_results=1000)
    assert len(runs) == MANY


def train_and_sync(seed: int) -> None:
    """Train in a new process and sync to a store that all share and none has created yet."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    store.LOCK_WAIT_S = DEADLINE_S  # on a busy machine the eighth waits long
    result = tracking.sync(tiny(Path(), seed))
    sys.exit(result.warning)


@pytest.mark.slow
def test_eight_trainings_at_once_lose_no_point(shared: Path) -> None:
    """Also fault 19: the store does not exist yet."""
    processes = [trainings.begin(trainings.in_module, shared, __file__, "train_and_sync", seed) for seed in range(8)]
    for process in processes:
        process.join(DEADLINE_S)
        process.kill()
    assert [process.exitcode for process in processes] == [0] * 8, trainings.said(shared)
    for seed in range(8):
        assert_every_point_once(run_dir("v1", seed, shared), f"v1 seed {seed}")


# --- A training that is stopped -------------------------------------------------------------------------------------


def held(name: str) -> tuple[str, str]:
    """Return the id and the MLflow status of the run `name`."""
    with store.open_client() as client:
        experiments = [found.experiment_id for found in client.search_experiments()]
        [run] = [run for run in client.search_runs(experiments) if run.info.run_name == name]
        return run.info.run_id, run.info.status


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 143)])
def test_a_stopped_training_is_killed_in_the_store_until_it_goes_on(number: int, code: int, shared: Path) -> None:
    """Fault 4: a killed process posts nothing, so a later sync has to notice its end."""
    ended, said = trainings.run(trainings.train, shared, "v1", 3, number=number)
    assert ended == code, said
    [work] = (shared / "build" / "wip").iterdir()
    status = json.loads((work / "train" / "run.json").read_text())["status"]
    assert status == ("running" if number == signal.SIGKILL else "interrupted"), "the fault did not fire"
    assert [found.warning for found in tracking.sync_all()] == [None]
    run_id, status = held("v1 seed 0")
    assert status == "KILLED"
    assert_every_point_once(unfinished(work), "v1 seed 0")
    assert trainings.run(trainings.train, shared, "v1")[0] == 0
    assert [found.warning for found in tracking.sync_all()] == [None]
    assert held("v1 seed 0") == (run_id, "FINISHED"), "the same run goes on"
    assert_every_point_once(run_dir("v1", 0, shared), "v1 seed 0")


# --- An outage -------------------------------------------------------------------------------------------------------


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def server(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A real MLflow server on a sqlite file, killed at the end."""
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/server.db", "--default-artifact-root", f"{folder}/files"]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "PYTHONWARNINGS": "ignore"}
    environment["TMPDIR"] = str(folder)  # MLflow leaves lock files in it
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, env=environment, process_group=0, **quiet) as process:  # type: ignore[call-overload]
        try:
            deadline = time.monotonic() + DEADLINE_S
            while not answers(port):
                assert process.poll() is None and time.monotonic() < deadline, "no MLflow server"
                time.sleep(0.1)
            yield process
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def answers(port: int) -> bool:
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


@contextmanager
def hung(port: int) -> Iterator[list[socket.socket]]:
    """Accept connections and never answer."""
    kept: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", port)) as listener:

        def accept() -> None:
            while True:
                try:
                    kept.append(listener.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield kept
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in kept:
                connection.close()


def tick(run: RunDir, number: int) -> None:
    """Append the next tick of a training, as `training/run_files.py` does."""
    with open(run / "train/metrics.jsonl", "a") as file:
        line = {"tick": number, "step": 10 * number, "kimg": 0.1 * number, "d_loss": 1 / (number + 1)}
        file.write(json.dumps(line) + "\n")


@pytest.mark.slow
def test_a_server_that_is_killed_hangs_and_comes_back_gets_every_point_once(
    shared: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Fault 18: a later sync posts from the run directory what the store lacks, once."""
    run = tiny(shared, 0)
    (run / "train/metrics.jsonl").write_text("")
    port = free_port()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "120")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with server(shared, port):
        tick(run, 0)
        assert tracking.sync(run).warning is None
        tick(run, 1)
        assert tracking.sync(run).posted["metrics"] > 0
    tick(run, 2)
    assert tracking.sync(run).store_failed, "it was killed"
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    with hung(port) as connections:
        tick(run, 3)
        assert tracking.sync(run).store_failed
    assert connections, "the fault did not fire"
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 2 and all("`ganealogy sync` posts them later" in line for line in lines), lines
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "120")
    with server(shared, port):
        assert [found.warning for found in tracking.sync_all()] == [None]
        assert_every_point_once(run, "v1 seed 0")
        assert sum(tracking.sync_all()[0].posted.values()) == 0, "a second time there is nothing to post"


def record_waits(following: LiveSync, monkeypatch: pytest.MonkeyPatch) -> list[float | None]:
    """Return the list to which each wait of the training for the process is added: its timeout in seconds."""
    process, waits = following.process, []
    assert process is not None
    wait = process.wait

    def recorded(timeout: float | None = None) -> int:
        waits.append(timeout)
        return wait(timeout)

    monkeypatch.setattr(process, "wait", recorded)
    return waits


def test_a_hanging_store_costs_a_training_at_most_one_percent(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fault 18: MLflow runs in another process, for which the training waits 1 % of its time."""
    code = (
        "import sys, ganealogy.stages.train, ganealogy.tracking, ganealogy.training.loop; "
        "sys.exit('mlflow' in sys.modules)"
    )
    path = str(trainings.ROOT / "src")
    assert subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}).returncode == 0
    monkeypatch.setenv("PYTHONPATH", path)
    port = free_port()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    run = tiny(shared, 0)
    with hung(port) as connections:
        with LiveSync(as_work(run), start_after_s=0) as following:
            deadline = time.monotonic() + DEADLINE_S
            while not connections:
                assert time.monotonic() < deadline, "the follower did not try"
                time.sleep(0.1)
            waits = record_waits(following, monkeypatch)
            following.start_time = time.monotonic() - live_sync.START_AFTER_S  # the shortest training that has one
            spent = time.process_time()
        spent = time.process_time() - spent
    assert following.process is not None and following.process.returncode == -signal.SIGKILL, "it did not hang"
    assert waits == [pytest.approx(0.01 * live_sync.START_AFTER_S, rel=0.5), None], "the second is of a killed process"
    assert spent < 1, "the wait itself takes no processor time"


@pytest.mark.slow
@pytest.mark.parametrize(("stopped", "seconds"), [(False, 3.0), (True, live_sync.STOPPED_WAIT_S)])
def test_a_store_that_hangs_at_the_end_costs_no_more(
    stopped: bool, seconds: float, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 18: the server hangs after the first sync and continues later."""
    monkeypatch.setenv("PYTHONPATH", str(trainings.ROOT / "src"))
    port = free_port()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    run = tiny(shared, 0)
    record = json.loads((run / "train/run.json").read_text())
    (run / "train/run.json").write_text(json.dumps({**record, "status": "running"}))
    with server(shared, port) as process:
        with LiveSync(as_work(run), stopped=lambda: stopped, start_after_s=0) as following:
            deadline = time.monotonic() + DEADLINE_S
            while not whole(run):
                assert time.monotonic() < deadline, "the follower did not sync"
                time.sleep(0.5)
            os.killpg(process.pid, signal.SIGSTOP)
            tick(run, 9)
            waits = record_waits(following, monkeypatch)
            following.start_time = time.monotonic() - 300  # a training of five minutes
        assert following.process is not None and following.process.returncode == -signal.SIGKILL, "it did not hang"
        assert waits == [pytest.approx(seconds, rel=0.5), None], "the second is of a killed process"
        os.killpg(process.pid, signal.SIGCONT)
        (run / "train/run.json").write_text(json.dumps(record))
        shutil.rmtree("build/wip")  # the training has ended
        assert [found.warning for found in tracking.sync_all()] == [None]
        assert_every_point_once(run, "v1 seed 0")


def whole(run: RunDir) -> bool:
    """Return whether the store has all points of a run."""
    with store.open_client() as client:
        experiments = [found.experiment_id for found in client.search_experiments()]
        there = bool(experiments and client.search_runs(experiments))
    return there and recorded(run).items() <= histories("v1 seed 0").items()
