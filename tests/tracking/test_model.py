"""The logged generator loads without pickle and draws the same images as the weights."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
import pytest

from ganealogy import tracking
from ganealogy.files import atomic
from ganealogy.networks import _build
from ganealogy.sampling import generate, latents
from ganealogy.tracking import run_record, store
from ganealogy.workspace import RunDir


@pytest.fixture
def loaded(finished: RunDir, lab: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    import mlflow

    monkeypatch.setattr(sys, "path", [*sys.path])  # loading adds the model's copy of the package
    [model] = lab.contents(tracking.sync(finished).run_id)["models"]
    with store.open_client():
        yield mlflow.pyfunc.load_model(f"models:/{model}")


def test_it_draws_the_same_images_as_the_weights(loaded: Any, finished: RunDir) -> None:
    from mlflow.exceptions import MlflowException

    run = run_record.read(finished).run
    network = _build.load_generator(
        finished / "train/weights/generator-best.safetensors", run["recipe"], run["protocol"]
    )
    z = latents.sample_latents(run["recipe"]["latent"], 5, seed=3)
    drawn = loaded.predict([], params={"n": 5, "seed": 3, "temperature": 0.7})
    assert drawn.dtype == np.uint8
    assert drawn.shape == (5, 16, 16, 3)
    np.testing.assert_array_equal(drawn, generate.generate(network, z * 0.7))
    np.testing.assert_array_equal(loaded.predict(z.numpy()), generate.generate(network, z))
    assert loaded.predict([]).shape == (16, 16, 16, 3)
    with pytest.raises(MlflowException, match="a list of at most 10000 latents of 8 numbers each"):
        loaded.predict(np.zeros((2, 3), np.float32))


def test_it_contains_no_pickle(loaded: Any, project: Path) -> None:
    [folder] = Path("mlartifacts").glob("*/models/*/artifacts")
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert not [path for path in files if path.suffix in (".pkl", ".pickle", ".pt", ".pth", ".bin")]
    assert [path.name for path in files if path.suffix == ".safetensors"] == ["generator-best.safetensors"]
    assert (folder / "code/ganealogy/networks/_build.py").is_file()


def test_new_weights_replace_the_model(finished: RunDir, lab: SimpleNamespace) -> None:
    run_id = tracking.sync(finished).run_id
    before = lab.contents(run_id)["models"]
    weights = finished / "train/weights/generator-best.safetensors"
    weights.write_bytes((content := weights.read_bytes())[:-1] + bytes([content[-1] ^ 1]))
    assert tracking.sync(finished).posted["models"] == 1
    after = lab.contents(run_id)["models"]
    assert len(after) == 1
    assert after != before


def test_a_diverged_run_has_no_model(project: Path, lab: SimpleNamespace) -> None:
    run = lab.make_run(project, status="diverged")
    assert lab.contents(tracking.sync(run).run_id)["models"] == []


def test_it_is_served_over_http(finished: RunDir) -> None:
    """Serve the registered model by its alias; no process of the server is left."""
    tracking.sync(finished)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "MLFLOW_TRACKING_URI": store.uri(),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONWARNINGS": "ignore",
    }
    options = ["-m", "models:/avatars-16x16@best", "--env-manager", "local", "--host", "127.0.0.1", "--port", str(port)]
    command = [sys.executable, "-m", "mlflow", "models", "serve", *options, "--workers", "1"]
    log = Path("serve.log")
    with log.open("w") as output:
        server = subprocess.Popen(command, env=environment, stdout=output, stderr=output, process_group=0)
    try:
        deadline = time.monotonic() + 200
        while True:
            try:
                assert request(port, "GET", "/ping")[0] == 200
                break
            except OSError:
                assert server.poll() is None and time.monotonic() < deadline, log.read_text()
                time.sleep(0.2)
        query = {"inputs": [], "params": {"n": 3, "seed": 5, "temperature": 0.7}}
        status, answer = request(port, "POST", "/invocations", query)
        assert status == 200, answer
        pictures = np.asarray(answer["predictions"])
        run = run_record.read(finished).run
        z = latents.sample_latents(run["recipe"]["latent"], 3, seed=5)
        weights = finished / "train/weights/generator-best.safetensors"
        network = _build.load_generator(weights, run["recipe"], run["protocol"])
        np.testing.assert_array_equal(pictures, generate.generate(network, z * 0.7))
        status, answer = request(port, "POST", "/invocations", {"inputs": z.tolist()})
        assert status == 200, answer
        np.testing.assert_array_equal(answer["predictions"], generate.generate(network, z))
        assert request(port, "POST", "/invocations", {"inputs": [[1.0, 2.0]]})[0] >= 400
    finally:
        family = psutil.Process(server.pid).children(recursive=True)
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError, subprocess.TimeoutExpired):
                os.killpg(server.pid, number)
                server.wait(20)
    _, left = psutil.wait_procs(family, timeout=20)
    assert [process.cmdline() for process in left if process.status() != psutil.STATUS_ZOMBIE] == []
    with pytest.raises(OSError):
        request(port, "GET", "/ping")


def request(port: int, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, body and json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        content = answer.read().decode()
        return answer.status, json.loads(content) if content.startswith("{") else content
    finally:
        connection.close()


def test_a_registered_model_generates_the_pictures_of_its_run(
    finished: RunDir, lab: SimpleNamespace, tmp_path: Path
) -> None:
    from ganealogy.errors import GanealogyError
    from ganealogy.export import generators, pictures

    record = json.loads((finished / "sample/sample.json").read_text())
    atomic.write_json(finished / "sample/sample.json", {**record, "class_names": ["cats"]})
    tracking.sync(finished)
    assert generators.find("models:/avatars-16x16@best").class_names == ["cats"]
    for name, source in (("model", "models:/avatars-16x16@best"), ("run", f"{finished.version}-{finished.seed}")):
        pictures.write(generators.find(source), tmp_path / name, 3, 11, None, 1.0)
    for seed in (11, 12, 13):
        one, other = ((tmp_path / name / f"seed{seed:06}.png").read_bytes() for name in ("model", "run"))
        assert one == other
    with pytest.raises(GanealogyError, match="`ganealogy ui` shows the registered models"):
        generators.find("models:/nothing@best")
