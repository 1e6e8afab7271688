"""Fetch public files over https or from a local mirror; a file gets its final name only when it is complete."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3 import Retry
from urllib3.exceptions import HTTPError

from ganealogy.data.user_files import check_path
from ganealogy.errors import GanealogyError
from ganealogy.files.atomic import writing
from ganealogy.runtime.progress import Progress
from ganealogy.workspace import main_root

MIRROR = "GANEALOGY_MIRROR"
CHUNK = 2**20
MAX_BYTES = 2**35
"""Of a download whose size is not known beforehand: far more than any data set listed here."""
WEB_PAGE = "the server sent a web page: it requires a login, a quota is exceeded, or the file moved"


@dataclass(frozen=True)
class Remote:
    """A public file: its name, its URLs, and its checksums."""

    name: str
    urls: tuple[str, ...]
    page: str = ""
    """Web page for a download by hand, if not the first URL."""
    sha256: str | None = None
    md5: str | None = None
    size: int | None = None


@dataclass(frozen=True)
class Patience:
    """Retries and timeouts of a download."""

    attempts: int = 3
    backoff_s: float = 1.0
    connect_s: float = 10.0
    read_s: float = 30.0
    slowest: float = 1024.0
    """Bytes per second; a server that is slower over `window_s` counts as hung."""
    window_s: float = 60.0


PATIENCE = Patience()


class NoMirrorError(GanealogyError):
    """The mirror's directory is not on this machine."""


class _Fault(Exception):  # noqa: N818
    """A download failed; `retry`: another attempt may succeed."""

    def __init__(self, reason: str, retry: bool = False) -> None:
        super().__init__(reason)
        self.retry = retry


def from_root(path: str | Path) -> Path:
    """Return a user's path: `~` expanded, relative to the working directory or else to the main workspace.

    `dvc exp run --temp` works in a copy without the git-ignored folders.
    """
    path = Path(path)
    with suppress(RuntimeError):  # no such user: a folder may have that name
        path = path.expanduser()
    if path.exists() or path.is_absolute():
        return path
    return main_root() / path


def mirror(setting: str | None) -> Path | None:
    """Return the local mirror, from the environment or else the setting.

    Raises: NoMirrorError if it is absent; GanealogyError if it lies in a folder that DVC empties.
    """
    for origin, value in ((MIRROR, os.environ.get(MIRROR)), ("dataset.mirror", setting)):
        if value:
            folder = from_root(value)
            if not folder.is_dir():
                raise NoMirrorError(f"{origin} = {value!r}: no such directory; correct it or unset it")
            return check_path(folder, origin, around=False)
    return None


def in_mirror(folder: Path | None, *names: str) -> Path | None:
    """Return the path of the first of `names` that is in the mirror."""
    return next((folder / name for name in names if folder and (folder / name).is_file()), None)


def obtain(remote: Remote, target: Path, local: Path | None = None, patience: Patience = PATIENCE) -> None:
    """Keep `target` if its checksums match; else copy `local`, a file in a mirror, or download it.

    Raises: GanealogyError if that fails; an existing `target` is then unchanged.
    """
    if target.is_file() and (remote.sha256 or remote.md5):
        try:
            verify(target, remote.sha256, remote.md5, remote.size)
            return
        except GanealogyError:
            pass  # damaged or of another release: replaced below
    if local is not None:
        copy(remote, local, target)
    else:
        download(remote, target, patience)


def copy(remote: Remote, source: Path, target: Path) -> None:
    """Copy a local file in place of a download. Raises: GanealogyError if its checksums differ."""

    def chunks() -> Iterator[bytes]:
        with open(source, "rb") as file:
            while chunk := file.read(CHUNK):
                yield chunk

    size = source.stat().st_size
    try:
        if remote.size not in (None, size):
            raise _Fault(f"{size:,} bytes instead of {remote.size:,}")
        _receive(remote, chunks(), target, size)
    except _Fault as fault:
        raise GanealogyError(f"{source}: {fault}; replace or remove it") from None


def verify(path: Path, sha256: str | None = None, md5: str | None = None, size: int | None = None) -> None:
    """Raises: GanealogyError if the file is absent or its size or checksums differ."""
    if not path.is_file():
        raise GanealogyError(f"{path}: no such file; run `dvc repro download`")
    fault = f"{path.stat().st_size:,} bytes instead of {size:,}" if size not in (None, path.stat().st_size) else ""
    for algorithm, expected in (("sha256", sha256), ("md5", md5)):
        if expected and not fault:
            with open(path, "rb") as file:
                actual = hashlib.file_digest(file, algorithm).hexdigest()
            if actual != expected:
                fault = f"{algorithm} is {actual} instead of {expected}"
    if fault:
        raise GanealogyError(f"{path}: damaged or another release: {fault}; run `dvc repro download`")


def download(remote: Remote, target: Path, patience: Patience = PATIENCE) -> None:
    """Try each URL several times; an existing `target` is replaced only by a complete file.

    Raises: GanealogyError with each URL's fault and how to fetch the file by hand.
    """
    faults: dict[str, str] = {}
    with open_session(patience) as session:
        for url in remote.urls:
            for attempt in range(patience.attempts):
                time.sleep(patience.backoff_s * attempt)
                try:
                    _download_once(session, url, remote, target, patience)
                    return
                except _Fault as fault:
                    faults[urlsplit(url).hostname or url] = str(fault)
                    if not fault.retry:
                        break
    reasons = "; ".join(f"{host}: {reason}" for host, reason in faults.items())
    raise GanealogyError(
        f"{remote.name} could not be downloaded ({reasons}); fetch it by hand from {remote.page or remote.urls[0]} "
        f"as {remote.name} into a folder and name that folder in {MIRROR} or dataset.mirror"
    )


def open_session(patience: Patience) -> requests.Session:
    """Return a session that retries requests and has no adapter for http, so that a redirect to http fails."""
    session = requests.Session()
    session.adapters.clear()
    retry = Retry(
        patience.attempts - 1,
        status_forcelist=(408, 425, 429, 500, 502, 503, 504),
        backoff_factor=patience.backoff_s,
        raise_on_status=False,
        respect_retry_after_header=False,  # it may be hours
    )
    session.mount("https://", HTTPAdapter(max_retries=retry))
    session.max_redirects = 9
    session.headers["Accept-Encoding"] = "identity"  # a .gz file must not be decompressed in transit
    return session


def _download_once(session: requests.Session, url: str, remote: Remote, target: Path, patience: Patience) -> None:
    """Raises: _Fault. Only a broken transfer has `retry` set: the session has already retried the request."""
    try:
        response = session.get(url, stream=True, timeout=(patience.connect_s, patience.read_s))
    except requests.exceptions.InvalidSchema as error:
        raise _Fault(f"only https is allowed: {error}") from None
    except requests.RequestException as error:
        raise _Fault(_reason(error)) from None
    with response:
        if response.status_code != 200:
            raise _Fault(f"HTTP {response.status_code} {response.reason}")
        if "text/html" in response.headers.get("Content-Type", ""):
            raise _Fault(WEB_PAGE)
        length = response.headers.get("Content-Length", "")
        total = int(length) if length.isdecimal() else None
        if remote.size is not None and total not in (None, remote.size):
            raise _Fault(f"the server offers {total:,} bytes instead of {remote.size:,}")
        if total is not None and total > max(MAX_BYTES, remote.size or 0):
            raise _Fault(f"the server offers {total:,} bytes, more than {MAX_BYTES:,}")
        _receive(remote, _body(response, patience), target, total)


def _body(response: requests.Response, patience: Patience) -> Iterator[bytes]:
    since, received = time.monotonic(), 0
    try:
        while chunk := response.raw.read1(CHUNK, decode_content=False):
            yield chunk
            received += len(chunk)
            if (elapsed := time.monotonic() - since) >= patience.window_s:
                if received < patience.slowest * elapsed:
                    raise _Fault(f"too slow: {received:,} bytes in {elapsed:.0f} s", retry=True)
                since, received = time.monotonic(), 0
    except (HTTPError, OSError) as error:
        raise _Fault(f"the connection broke: {_reason(error)}", retry=True) from None


def _receive(remote: Remote, chunks: Iterator[bytes], target: Path, total: int | None) -> None:
    """Write chunks to a temporary file, and rename it to `target` if length and checksums match. Raises: _Fault."""
    hashes = {"sha256": hashlib.sha256(), "md5": hashlib.md5(usedforsecurity=False)}
    received, expected = 0, total if remote.size is None else remote.size
    most = MAX_BYTES if expected is None else expected
    with Progress(target.name, expected or 0, "B") as progress, writing(target) as file:
        for chunk in chunks:
            if not received and chunk[:200].lstrip().lower().startswith((b"<!doctype html", b"<html")):
                raise _Fault(WEB_PAGE)
            received += len(chunk)
            if received > most:
                raise _Fault(f"it sends more than {most:,} bytes")
            file.write(chunk)
            for running in hashes.values():
                running.update(chunk)
            progress.update(len(chunk))
        if expected is not None and received != expected:
            raise _Fault(f"{received:,} bytes instead of {expected:,}", retry=True)
        if not received:
            raise _Fault("an empty file", retry=True)
        for name, checksum in (("sha256", remote.sha256), ("md5", remote.md5)):
            if checksum and hashes[name].hexdigest() != checksum:
                raise _Fault(f"{name} is {hashes[name].hexdigest()} instead of {checksum}")


def _reason(error: BaseException) -> str:
    """Return the cause in a few words, without the pools and objects that requests names."""
    text = " ".join(str(error).split())
    for cause in ("Name or service not known", "Temporary failure in name resolution", "Connection refused"):
        if cause in text:
            return cause.lower()
    return "no answer in time" if "timed out" in text else text[:150] or type(error).__name__
