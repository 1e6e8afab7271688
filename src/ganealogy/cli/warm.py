"""`ganealogy warm COMMAND`: run COMMAND, whose stages find torch loaded.

DVC starts a process per stage, and each imports torch, which takes longer than most of the work of `sample`. Here a
server imports the libraries of the stages once, and forks itself for every `python -m ganealogy` below COMMAND. That
process passes its arguments, directory, environment and streams to the fork, and exits with the fork's code.

A fork has the libraries in memory and imports this package anew, from the stage's path. A stage that cannot use the
server (another environment, another terminal, no server) runs by itself.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import hashlib
import importlib
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

NAME = "GANEALOGY_WARM"
"""Environment variable: a digest that must be equal for stage and server, and the server's address."""
READ_ON_LOADING = re.compile("(CUDA|GOMP|KMP|LD|MALLOC|MKL|OMP|OPENBLAS|PYTORCH|TORCH)_|PYTHON")
"""Variables that libraries read when they are loaded: they must be equal for stage and server."""
PEER = struct.Struct("3i")
"""SO_PEERCRED: process, user and group of the peer."""


def run(command: Sequence[str]) -> int:
    """Run `command` and return its exit code, 128 + n if signal n ended it. There is a server on Linux only.

    Raises: GanealogyError for an unknown command.
    """
    from ganealogy.errors import GanealogyError

    if shutil.which(command[0]) is None:
        raise GanealogyError(f"{command[0]}: no such command; `ganealogy warm dvc repro` is the usual one")
    if sys.platform != "linux":
        return _code(subprocess.call(command))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("")  # an abstract name chosen by the kernel: no file that could be left behind
        listener.listen()
        address = listener.getsockname()[1:].decode("latin-1")
        # Not a handler that raises: Python ignores its exception during a fork, and the server would live on.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        server = os.fork()
        if server == 0:
            _serve(listener)
    process = subprocess.Popen(command, env={**os.environ, NAME: f"{_compatibility()}:{address}"})
    signal.signal(signal.SIGINT, _nothing)  # a terminal sends it to the command as well
    signal.signal(signal.SIGTERM, lambda number, _frame: process.send_signal(number))
    code = process.wait()
    os.kill(server, signal.SIGTERM)
    os.waitpid(server, 0)
    return _code(code)


def _code(returned: int) -> int:
    """Convert subprocess's return code to a shell's: -15 to 143."""
    return returned if returned >= 0 else 128 - returned


def hand_over() -> None:
    """If this process runs below `ganealogy warm`, let a fork do its work and exit with the fork's code."""
    compatibility, _, address = os.environ.pop(NAME, "").partition(":")  # processes that the stage starts are no stages
    if not address or compatibility != _compatibility():
        return
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect("\0" + address)
            if not _is_own_user(connection):  # the server was killed, and another user took its name
                return
            socket.send_fds(connection, [b"\n"], [0, 1, 2])
            request = [sys.argv, sys.path, str(Path.cwd()), dict(os.environ)]
            connection.sendall(json.dumps(request).encode() + b"\n")
            fork = int(connection.recv(32))
        except (OSError, ValueError):  # no server, or it refuses
            return
        sys.exit(_wait_for(connection, fork))


def _is_own_user(connection: socket.socket) -> bool:
    """Return whether the peer has the same user: any user can listen on an abstract name."""
    user: int = PEER.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEER.size))[1]
    return user == os.getuid()


def _wait_for(connection: socket.socket, fork: int) -> int:
    """Wait until the process `fork` has ended, and return its exit code."""
    from ganealogy.runtime import process

    signal.signal(signal.SIGINT, _nothing)  # a terminal sends it to the fork as well
    signal.signal(signal.SIGTERM, lambda number, _frame: os.kill(fork, number))
    process.die_with_parent()
    code = connection.recv(1)
    connection.recv(1)  # returns when the fork's end is closed
    if code:
        return code[0]
    print(f"ganealogy: process {fork}, which ran this stage, was killed; run it again", file=sys.stderr)
    return process.KILLED


def _nothing(_number: int, _frame: object) -> None:
    """Handle a signal that must not end this process. SIG_IGN would be inherited by its children."""


def _compatibility() -> str:
    """Return a digest of what a fork cannot take over from a stage."""
    read = sorted((name, value) for name, value in os.environ.items() if READ_ON_LOADING.match(name))
    return hashlib.sha256(json.dumps([sys.prefix, os.getpgrp(), read]).encode()).hexdigest()


def _load() -> None:
    """Import the libraries of train, sample and evaluate."""
    import scipy.linalg  # noqa: F401

    import ganealogy.evaluation.evaluate
    import ganealogy.evaluation.extractors.effnet_lite0
    import ganealogy.sampling.sample
    import ganealogy.training.loop  # noqa: F401


def _serve(listener: socket.socket) -> NoReturn:
    from ganealogy.runtime import process

    signal.signal(signal.SIGINT, _nothing)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel reaps forks
    process.die_with_parent()
    _load()
    gc.freeze()  # forks do not traverse the loaded objects, which would copy their pages
    while True:
        connection, _ = listener.accept()
        with connection:
            streams, request = _request(connection)
            if request is not None and os.fork() == 0:
                listener.close()
                _work(connection, streams, request)  # and exits
            for stream in streams:  # a reader of the stage's output waits until all copies are closed
                os.close(stream)


def _request(connection: socket.socket) -> tuple[list[int], Any]:
    """Return a stage's streams and its request; the request is None from another user or a stage that has ended."""
    if not _is_own_user(connection):
        return [], None
    streams: list[int] = []
    try:
        streams = socket.recv_fds(connection, 1, 3)[1]
        with connection.makefile("rb") as file:
            return streams, json.loads(file.readline())
    except (OSError, ValueError):
        return streams, None


def _work(connection: socket.socket, streams: list[int], request: Any) -> None:
    """Do the work of `python -m ganealogy` in this fork, and send the exit code to the stage."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.argv, sys.path[:], directory, environment = request
    os.chdir(directory)
    os.environ.clear()
    os.environ.update(environment)
    for name in [name for name in sys.modules if name.split(".")[0] == "ganealogy"]:
        del sys.modules[name]
    importlib.invalidate_caches()
    os.dup(connection.fileno())  # closed by the kernel only, after all that this process does on exit
    # If the stage's process ends, the kernel sends SIGTERM: the fork must not outlive the process that DVC knows.
    fcntl.fcntl(connection, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(connection, fcntl.F_SETSIG, signal.SIGTERM)
    fcntl.fcntl(connection, fcntl.F_SETFL, os.O_ASYNC)
    connection.sendall(str(os.getpid()).encode())
    code = 1
    try:
        from ganealogy.cli import main

        main.main()
    except SystemExit as end:
        code = int(end.code or 0)
        raise
    finally:
        fcntl.fcntl(connection, fcntl.F_SETFL, 0)
        with contextlib.suppress(OSError):  # the stage's process has ended
            connection.send(bytes([code]))
