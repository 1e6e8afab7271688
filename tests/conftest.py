"""For all tests: one thread, no network, the repository's root as the working directory."""

from __future__ import annotations

import os

# Before torch is imported: tests run side by side, and two torch processes of two threads each on two cores take
# forty times as long as one.
os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"
os.environ["GANEALOGY_THREADS"] = "1"
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.pop("MLFLOW_TRACKING_URI", None)  # a server of the developer must get nothing from the tests

import gc
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# A script's background job ignores Ctrl-C, and `nohup` a closed terminal: the tests send both.
for name, handler in (("SIGINT", signal.default_int_handler), ("SIGHUP", signal.SIG_DFL)):
    if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) == signal.SIG_IGN:
        signal.signal(getattr(signal, name), handler)


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.fixture(autouse=True)
def environment_as_it_was() -> Iterator[None]:
    """Restore the environment after each test, so that tests do not depend on their order."""
    before = dict(os.environ)
    yield
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the files that start processes first: a worker that begins one last would end long after the others."""
    items.sort(key=lambda item: not {"Workspace", "subprocess"} & vars(getattr(item, "module", item)).keys())


def pytest_collection_finish() -> None:
    """Leave the thousands of collected tests out of every later garbage collection."""
    gc.collect()
    gc.freeze()


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """Name bytes by their argument, not by their value.

    An archive created at collection contains the time, and pytest-xdist's workers collect at different times: they
    must produce the same names.
    """
    return argname if isinstance(val, bytes) else None


def tool(name: str) -> str:
    """Return the path of a program. Without it the test is skipped, or fails if REQUIRE=all is set."""
    found = shutil.which(name)
    if found is None:
        if os.environ.get("REQUIRE") == "all":
            pytest.fail(f"{name} is not installed, and REQUIRE=all allows no skips")
        pytest.skip(f"{name} is not installed")
    return found
