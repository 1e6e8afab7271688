"""The MLflow UI on this project's store, on the loopback interface, opened where the runs are compared."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from urllib.error import URLError
from urllib.request import urlopen

from ganealogy.errors import GanealogyError
from ganealogy.tracking import store, ui_views
from ganealogy.tracking.store import StoreError

START_S = 60.0
PORTS = range(5000, 5020)
TABLE = "#/experiments/{}/runs?workflowType=machine_learning&viewStateShareKey=" + ui_views.RUNS
COMPARISON = f"{TABLE.replace(ui_views.RUNS, ui_views.VERSIONS)}&compareRunsMode=CHART"
"""The bare experiment page opens on traces of language models, and its table without a single metric."""


def ui(port: int | None = None, host: str = "127.0.0.1") -> None:
    """Serve until Ctrl-C or SIGTERM, after printing the address of the newest run's experiment, comparing its runs.

    `port`: None takes the first free one from 5000 on. With MLFLOW_TRACKING_URI naming a server, only its address is
    printed.

    Raises: GanealogyError when the store cannot be opened, the port is taken, or the server does not come up.
    """
    try:
        with store.opened() as client:
            experiments = [experiment.experiment_id for experiment in client.search_experiments()]
            newest = client.search_runs(experiments, order_by=["attributes.start_time DESC"], max_results=1)
    except StoreError as failure:
        cure = "mend it, or move it away and run `ganealogy sync`"
        raise GanealogyError(f"MLflow store {store.shown()}: {failure}; {cure}") from None
    pages = [page.format(newest[0].info.experiment_id) for page in (COMPARISON, TABLE)] if newest else [""]
    if store.is_server(store.uri()):
        _show(store.shown(), pages)
        return
    port = _free_port(host, PORTS if port is None else range(port, port + 1))
    server = subprocess.Popen(_command(host, port), env=_environment(), stdout=subprocess.DEVNULL, process_group=0)
    stop = signal.signal(signal.SIGTERM, _interrupt)
    try:
        _await(server, host, port)
        _show(f"http://{host}:{port}", pages)
        print("(Ctrl-C ends it)", flush=True)
        if server.wait() != 0:
            raise GanealogyError(f"the MLflow server ended with code {server.returncode}; its last words are above")
    except KeyboardInterrupt:
        print("MLflow UI ended", flush=True)
    finally:
        _end(server)
        signal.signal(signal.SIGTERM, stop)


def _show(server: str, pages: list[str]) -> None:
    for name, page in zip(("MLflow", "all runs, best first"), pages, strict=False):
        print(f"{name}: {server}/{page}", flush=True)


def _command(host: str, port: int) -> list[str]:
    names = [f"{name}:{port}" for name in dict.fromkeys([host, "127.0.0.1", "localhost"])]
    options = {
        "--backend-store-uri": store.uri(),
        "--default-artifact-root": (store.home() / "artifacts" / "default").as_uri(),
        "--host": host,
        "--port": str(port),
        "--workers": "1",
        "--allowed-hosts": ",".join(names),  # another name for this address is an attack by DNS rebinding
        "--cors-allowed-origins": ",".join(f"http://{name}" for name in names),
        "--uvicorn-opts": "--log-level warning",
    }
    return [sys.executable, "-m", "mlflow", "server", *(part for pair in options.items() for part in pair)]


def _environment() -> dict[str, str]:
    """Without the queues for language-model jobs, which are processes of their own, and MLflow's own deprecations."""
    return {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "PYTHONWARNINGS": "ignore"}


def _free_port(host: str, ports: range) -> int:
    for port in ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                reason = error.strerror
            else:
                return port
    tried = ports[0] if len(ports) == 1 else f"{ports[0]} to {ports[-1]}"
    raise GanealogyError(f"cannot serve on {host}:{tried} ({reason}); give another --port")


def _await(server: subprocess.Popen[bytes], host: str, port: int) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urlopen(f"http://{host}:{port}/health", timeout=2):
                return
        except (URLError, OSError):
            time.sleep(0.2)
    raise GanealogyError(f"no MLflow server on {host}:{port} after {START_S:.0f} s; its last words are above")


def _end(server: subprocess.Popen[bytes]) -> None:
    """The server and the worker it started: they are one process group."""
    for number, patience in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
        try:
            os.killpg(server.pid, number)
            server.wait(patience)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt
