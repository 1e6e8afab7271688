"""ONNX Runtime Web (Microsoft, MIT licence): the three files of it that a page needs, from its npm package.

The version is pinned by the package's own integrity hash, so that it does not matter where npm gets it from.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

from ganealogy.errors import GanealogyError

PACKAGE, VERSION = "onnxruntime-web", "1.30.0"
INTEGRITY = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
"""sha512 of the package, as npm writes it."""
CACHE = Path("build/npm")
SCRIPT, GLUE, BINARY = "ort.wasm.min.js", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"
WAIT_S = 300


@dataclass(frozen=True)
class Runtime:
    script: str
    """A classic script that defines `ort`: modules do not load from a file."""
    glue: str
    """A module that the script imports by the address it is given."""
    binary: bytes
    """WebAssembly."""


def runtime(root: Path = Path()) -> Runtime:
    """The files of the package in build/npm under `root`, fetched by npm when it is not there.

    Raises: GanealogyError when npm is absent or fails, or the package is not the pinned one.
    """
    archive = root / CACHE / f"{PACKAGE}-{VERSION}.tgz"
    if not archive.is_file():
        _fetch(archive)
    _verify(archive)
    with tarfile.open(archive) as package:

        def member(name: str) -> bytes:
            file = package.extractfile(f"package/dist/{name}")
            assert file is not None, name  # the hash has said what is in it
            return file.read()

        script, glue = (member(name).decode() for name in (SCRIPT, GLUE))
        return Runtime(_unmapped(script), _unmapped(glue), member(BINARY))


def _fetch(archive: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise GanealogyError(
            f"npm is not installed, and the page needs {PACKAGE} {VERSION} from it: install npm (apt-get install npm), "
            f"or put {archive.name} into {archive.parent}"
        )
    archive.parent.mkdir(parents=True, exist_ok=True)
    beside = archive.parent / f".{os.getpid()}.new"
    beside.mkdir(exist_ok=True)
    try:
        command = [npm, "pack", f"{PACKAGE}@{VERSION}", "--silent", "--no-update-notifier", "--pack-destination", "."]
        done = subprocess.run(
            command, cwd=beside, capture_output=True, text=True, timeout=WAIT_S, stdin=subprocess.DEVNULL, check=False
        )
        fetched = beside / archive.name
        if done.returncode or not fetched.is_file():
            said = " ".join((done.stderr or done.stdout).split())[-300:]
            raise GanealogyError(f"npm could not fetch {PACKAGE} {VERSION}: {said or f'exit code {done.returncode}'}")
        fetched.replace(archive)
    except subprocess.TimeoutExpired:
        raise GanealogyError(f"npm has not fetched {PACKAGE} {VERSION} within {WAIT_S} s; try again") from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _verify(archive: Path) -> None:
    with open(archive, "rb") as file:
        found = base64.b64encode(hashlib.file_digest(file, "sha512").digest()).decode()
    if found != INTEGRITY:
        raise GanealogyError(f"{archive}: is not {PACKAGE} {VERSION} (its sha512 differs); delete it and start again")


def _unmapped(script: str) -> str:
    """Without the line that has a browser's developer tools look for a source map."""
    return "\n".join(line for line in script.splitlines() if not line.startswith("//# sourceMappingURL"))
