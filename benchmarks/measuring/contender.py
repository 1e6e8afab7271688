"""A contender in its own process, with its own allocator, threads and caches."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping
from types import TracebackType


class Contender:
    def __init__(self, script: str, *arguments: str) -> None:
        """Start `script` with `arguments`, which must call `serve`."""
        command = [sys.executable, script, *arguments]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def turn(self, name: str) -> Callable[[], float]:
        """Return a function that runs the named block in the process and returns its seconds."""

        def block() -> float:
            assert self.process.stdin is not None and self.process.stdout is not None
            self.process.stdin.write(f"{name}\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
            if not answer:
                raise RuntimeError(f"{self.process.args!r} ended with {self.process.wait()}")
            return float(answer)

        return block

    def __enter__(self) -> Contender:
        return self

    def __exit__(self, _kind: type[BaseException] | None, _error: object, _trace: TracebackType | None) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.close()  # ends the process
        self.process.wait()
        self.process.stdout.close()


def serve(blocks: Mapping[str, Callable[[], float]]) -> None:
    """Run the blocks named on stdin, until it is closed."""
    for line in sys.stdin:
        print(blocks[line.strip()](), flush=True)
