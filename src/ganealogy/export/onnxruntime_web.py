"""Fetch ONNX Runtime Web (Microsoft, MIT licence) with npm, and read the three files that a page needs.

The package is pinned by its integrity hash, so that any npm registry or mirror can serve it.
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
from ganealogy.files import atomic
from ganealogy.workspace import NPM

PACKAGE, VERSION = "onnxruntime-web", "1.30.0"
INTEGRITY = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
"""sha512 of the package in npm's format."""
SCRIPT, GLUE, BINARY = "ort.wasm.min.js", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"
TIMEOUT_S = 300
LIMITED = ["sh", "-c", 'ulimit -f 2097152 && exec "$@"', "sh"]
"""No file of the command may grow beyond 1 GiB (2 GiB where sh is bash); the package has 140 MB."""


@dataclass(frozen=True)
class Runtime:
    script: str
    """A classic script that defines `ort`: browsers load no modules from a file."""
    glue: str
    """A module that the script imports from `ort.env.wasm.wasmPaths`."""
    binary: bytes
    """WebAssembly."""


def runtime(root: Path = Path()) -> Runtime:
    """Return the files of the package in build/npm below `root`; npm fetches it if it is absent.

    Raises: GanealogyError if npm is absent or fails, or the package is not the pinned one.
    """
    archive = root / NPM / f"{PACKAGE}-{VERSION}.tgz"
    if archive.is_file():
        _verify(archive)
    else:
        _fetch(archive)
    with tarfile.open(archive) as package:

        def member(name: str) -> bytes:
            file = package.extractfile(f"package/dist/{name}")
            assert file is not None, name  # the pinned package has it
            return file.read()

        script, glue = (member(name).decode() for name in (SCRIPT, GLUE))
        return Runtime(_without_source_map(script), _without_source_map(glue), member(BINARY))


def _fetch(archive: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise GanealogyError(
            f"npm is not installed, but the page needs {PACKAGE} {VERSION}; install npm (apt-get install npm), "
            f"or put {archive.name} into {archive.parent}"
        )
    archive.parent.mkdir(parents=True, exist_ok=True)
    folder = archive.parent / f".{os.getpid()}.new"
    folder.mkdir(exist_ok=True)
    try:
        command = [
            *LIMITED,
            npm,
            "pack",
            f"{PACKAGE}@{VERSION}",
            "--silent",
            "--no-update-notifier",
            "--pack-destination",
            ".",
        ]
        done = subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            stdin=subprocess.DEVNULL,
            check=False,
        )
        package = folder / archive.name
        if done.returncode or not package.is_file():
            message = " ".join((done.stderr or done.stdout).split())[-300:]
            raise GanealogyError(
                f"npm could not fetch {PACKAGE} {VERSION}: {message or f'exit code {done.returncode}'}"
            )
        _verify(package)
        package.replace(archive)
        atomic.sync_directory(archive.parent)
    except subprocess.TimeoutExpired:
        raise GanealogyError(f"npm did not fetch {PACKAGE} {VERSION} within {TIMEOUT_S} s; try again") from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _verify(archive: Path) -> None:
    with open(archive, "rb") as file:
        integrity = base64.b64encode(hashlib.file_digest(file, "sha512").digest()).decode()
    if integrity != INTEGRITY:
        raise GanealogyError(
            f"{archive.name} is not {PACKAGE} {VERSION}: its sha512 differs; put the published file into "
            f"{archive.parent}, or move that one away, and npm fetches it again"
        )


def _without_source_map(script: str) -> str:
    """Remove the line that makes a browser's developer tools request a source map."""
    return "\n".join(line for line in script.splitlines() if not line.startswith("//# sourceMappingURL"))
