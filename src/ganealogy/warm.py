"""`ganealogy warm COMMAND`: the stages that COMMAND starts find torch loaded.

DVC starts a process for each stage, and each would import torch anew, which takes longer than most of what `sample`
has to do. Here a server imports once what the stages of a run need, and forks itself for every `python -m ganealogy`
that COMMAND comes to. That process hands over its arguments, directory, environment and streams, and ends as the fork
does.

A fork has libraries in memory and nothing else: it reads our own modules anew, from where the stage would have. Where
anything stands in the way (another environment, another terminal, nobody listening) a stage does its work itself.
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
"""Of the environment's variable: the marks that a stage must have in common with the server, and its address."""
READ_ON_LOADING = re.compile("(CUDA|GOMP|KMP|LD|MALLOC|MKL|OMP|OPENBLAS|PYTORCH|TORCH)_|PYTHON")
"""Variables that libraries look at when they are loaded: where they differ, a fork is not what the stage would be."""
PEER = struct.Struct("3i")
"""SO_PEERCRED: process, user and group at the other end."""


def run(command: Sequence[str]) -> int:
    """Returns `command`'s exit code, 128 + n where signal n ended it. Without Linux it runs without a server.

    Raises: GanealogyError for a command that there is not.
    """
    from ganealogy.errors import GanealogyError

    if shutil.which(command[0]) is None:
        raise GanealogyError(f"{command[0]}: no such command; `ganealogy warm dvc repro` is the usual one")
    if sys.platform != "linux":
        return _code(subprocess.call(command))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("")  # a name that the kernel finds: no file, which could be left behind
        listener.listen()
        address = listener.getsockname()[1:].decode("latin-1")
        # A handler that raises, which Python ignores while it forks, would let the server live on.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        server = os.fork()
        if server == 0:
            _serve(listener)
    process = subprocess.Popen(command, env={**os.environ, NAME: f"{_marks()}:{address}"})
    signal.signal(signal.SIGINT, _nothing)  # a terminal sends it to the command as well
    signal.signal(signal.SIGTERM, lambda number, _frame: process.send_signal(number))
    code = process.wait()
    os.kill(server, signal.SIGTERM)
    os.waitpid(server, 0)
    return _code(code)


def _code(returned: int) -> int:
    """As shells have it, of what subprocess says."""
    return returned if returned >= 0 else 128 - returned


def hand_over() -> None:
    """Where `ganealogy warm` started what started this process, let a fork do the work, and exit as it does."""
    marks, _, address = os.environ.pop(NAME, "").partition(":")  # what the stage starts is no stage
    if not address or marks != _marks():
        return
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect("\0" + address)
            if not _ours(connection):  # the server was killed, and another user has its name now
                return
            socket.send_fds(connection, [b"\n"], [0, 1, 2])
            request = [sys.argv, sys.path, str(Path.cwd()), dict(os.environ)]
            connection.sendall(json.dumps(request).encode() + b"\n")
            fork = int(connection.recv(32))
        except (OSError, ValueError):  # nobody there, or he does not want it
            return
        sys.exit(_await(connection, fork))


def _ours(connection: socket.socket) -> bool:
    """Whether the process at the other end is the same user's: abstract names are everybody's to listen on."""
    user: int = PEER.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEER.size))[1]
    return user == os.getuid()


def _await(connection: socket.socket, fork: int) -> int:
    """The exit code that the process `fork` leaves, when it is gone."""
    from ganealogy.runtime import process

    signal.signal(signal.SIGINT, _nothing)  # a terminal sends it to the fork as well
    signal.signal(signal.SIGTERM, lambda number, _frame: os.kill(fork, number))
    process.die_with_parent()
    code = connection.recv(1)
    connection.recv(1)  # nothing comes, when the last to hold the other end is gone
    if code:
        return code[0]
    print(f"ganealogy: process {fork}, which did this stage's work, was killed; run it again", file=sys.stderr)
    return process.KILLED


def _nothing(_number: int, _frame: object) -> None:
    """For signals that must not end a process; ignored ones would stay so in what it starts."""


def _marks() -> str:
    """What a fork cannot take over from the stage that it works for."""
    read = sorted((name, value) for name, value in os.environ.items() if READ_ON_LOADING.match(name))
    return hashlib.sha256(json.dumps([sys.prefix, os.getpgrp(), read]).encode()).hexdigest()


def _load() -> None:
    """With all that these import: what the stages of each version and seed need."""
    import scipy.linalg  # noqa: F401

    import ganealogy.evaluation.evaluate
    import ganealogy.evaluation.extractors.effnet_lite0
    import ganealogy.sampling.sample
    import ganealogy.training.loop  # noqa: F401


def _serve(listener: socket.socket) -> NoReturn:
    from ganealogy.runtime import process

    signal.signal(signal.SIGINT, _nothing)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel buries forks
    process.die_with_parent()
    _load()
    gc.freeze()  # what is loaded stays: forks need not look through it, nor copy its pages to do so
    while True:
        connection, _ = listener.accept()
        with connection:
            streams, request = _request(connection)
            if request is not None and os.fork() == 0:
                listener.close()
                _work(connection, streams, request)  # and exits
            for stream in streams:  # whoever reads from the stage waits until nobody has them
                os.close(stream)


def _request(connection: socket.socket) -> tuple[list[int], Any]:
    """Streams and the rest of what a stage hands over, which is None from another user, or who is gone already."""
    if not _ours(connection):
        return [], None
    streams: list[int] = []
    try:
        streams = socket.recv_fds(connection, 1, 3)[1]
        with connection.makefile("rb") as file:
            return streams, json.loads(file.readline())
    except (OSError, ValueError):
        return streams, None


def _work(connection: socket.socket, streams: list[int], request: Any) -> None:
    """As `python -m ganealogy` would, and leave the exit code with who waits for it."""
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
    os.dup(connection.fileno())  # closed by the kernel alone: this process is gone then, and all that it does on exit
    # Should the other end be gone, the kernel sends SIGTERM: a stage must not outlive what DVC takes for it.
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
        with contextlib.suppress(OSError):  # who waited is gone
            connection.send(bytes([code]))
