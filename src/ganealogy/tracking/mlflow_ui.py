"""Serve the MLflow UI of this project's store on the loopback interface."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from urllib.error import URLError
from urllib.request import urlopen

from ganealogy.errors import GanealogyError
from ganealogy.runtime import process
from ganealogy.runtime.process import Terminated
from ganealogy.tracking import store, syncing, ui_views
from ganealogy.tracking.store import StoreError

START_S = 60.0
PORTS = range(5000, 5020)
# No processes for language-model jobs, and no deprecation warnings of MLflow's own code.
ENVIRONMENT = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "PYTHONWARNINGS": "ignore"}
TABLE = "#/experiments/{}/runs?workflowType=machine_learning&viewStateShareKey=" + ui_views.RUNS
COMPARISON = f"{TABLE.replace(ui_views.RUNS, ui_views.VERSIONS)}&compareRunsMode=CHART"
"""Pages of the UI. The plain experiment page shows traces of language models, and its table has no metrics."""


def ui(port: int | None = None, host: str = "127.0.0.1") -> None:
    """Print the addresses of the newest run's experiment and serve it until Ctrl-C, SIGTERM or SIGHUP.

    An empty store gets the runs of this project first. `port`: None takes the first free one from 5000 on. If
    MLFLOW_TRACKING_URI names a server, only print its address.

    Raises: GanealogyError when there is neither a store nor a plan, the store cannot be opened, the port is in use, or
    the server does not start.
    """
    newest = _newest_experiment() if _exists() else None
    if newest is None:
        syncing.sync_all()
        newest = _newest_experiment()
    if newest is None:
        print("no run has been trained yet; `dvc repro` trains them", file=sys.stderr, flush=True)
    pages = [page.format(newest) for page in (COMPARISON, TABLE)] if newest else [""]
    if store.is_server(store.uri()):
        _print_pages(store.display_uri(), pages)
        return
    port = free_port(host, PORTS if port is None else range(port, port + 1))
    process.raise_on_stop()
    with tempfile.TemporaryDirectory(prefix="ganealogy-ui-") as folder:  # MLflow leaves lock files in it
        environment = {**os.environ, **ENVIRONMENT, "MLFLOW_BACKEND_STORE_URI": store.uri(), "TMPDIR": folder}
        server = subprocess.Popen(_command(host, port), env=environment, stdout=subprocess.DEVNULL, process_group=0)
        # It ends the group when the pipe closes: this process can be killed, and the server starts one of its own.
        watch = ["/bin/sh", "-c", 'read _; rm -rf "$1"; kill -9 0', "sh", folder]
        watcher = subprocess.Popen(watch, stdin=subprocess.PIPE, process_group=server.pid)
        try:
            _wait_until_ready(server, host, port)
            _print_pages(f"http://{host}:{port}", pages)
            print("(Ctrl-C stops it)", flush=True)
            if server.wait() != 0:
                raise GanealogyError(f"the MLflow server ended with code {server.returncode}; its messages are above")
        except (KeyboardInterrupt, Terminated):
            print("MLflow UI stopped", flush=True)
        finally:
            _stop(server)
            watcher.communicate()


def _exists() -> bool:
    file = store.database()
    return file is None or file.exists()


def _newest_experiment() -> str | None:
    """Return the id of the newest run's experiment. Raises: GanealogyError when the store cannot be opened."""
    try:
        with store.open_client() as client:
            experiments = [experiment.experiment_id for experiment in client.search_experiments()]
            newest = client.search_runs(experiments, order_by=["attributes.start_time DESC"], max_results=1)
    except StoreError as failure:
        raise GanealogyError(f"MLflow store {store.display_uri()}: {failure}; {failure.repair}") from None
    return newest[0].info.experiment_id if newest else None


def _print_pages(server: str, pages: list[str]) -> None:
    for name, page in zip(("MLflow", "all runs, best first"), pages, strict=False):
        print(f"{name}: {server}/{page}", flush=True)


def _command(host: str, port: int) -> list[str]:
    names = [f"{name}:{port}" for name in dict.fromkeys([host, "127.0.0.1", "localhost"])]
    options = {
        "--default-artifact-root": store.artifact_root(),
        "--host": host,
        "--port": str(port),
        "--workers": "1",
        "--allowed-hosts": ",".join(names),  # refuses requests by DNS rebinding
        "--cors-allowed-origins": ",".join(f"http://{name}" for name in names),
        "--uvicorn-opts": "--log-level warning",
    }
    return [sys.executable, "-m", "mlflow", "server", *(part for pair in options.items() for part in pair)]


def free_port(host: str, ports: range) -> int:
    """Raises: GanealogyError when none of `ports` is free."""
    for port in ports:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                reason = error.strerror
            else:
                return port
    range_text = ports[0] if len(ports) == 1 else f"{ports[0]} to {ports[-1]}"
    raise GanealogyError(f"cannot serve on {host}:{range_text} ({reason}); choose another --port")


def _wait_until_ready(server: subprocess.Popen[bytes], host: str, port: int) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urlopen(f"http://{host}:{port}/health", timeout=2):
                return
        except (URLError, OSError):
            time.sleep(0.2)
    raise GanealogyError(f"no MLflow server on {host}:{port} after {START_S:.0f} s; its messages are above")


def _stop(server: subprocess.Popen[bytes]) -> None:
    """Stop the process group of the server, which includes its worker."""
    for number, timeout in ((signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
        try:
            os.killpg(server.pid, number)
            server.wait(timeout)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue
