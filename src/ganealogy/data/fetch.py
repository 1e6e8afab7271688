"""Files from the network or from a local mirror: checked before they reach their final name, whole or absent."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import requests
from urllib3.exceptions import HTTPError

from ganealogy.errors import GanealogyError
from ganealogy.files.atomic import writing
from ganealogy.runtime.progress import Progress
from ganealogy.runtime.root import main_root

MIRROR = "GANEALOGY_MIRROR"
CHUNK = 2**20
WEB_PAGE = "a web page came instead of the file: a login is asked for, a quota is used up, or the file moved"
LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True)
class Remote:
    """One public file: its name, where it lies, and how to know that it arrived whole."""

    name: str
    urls: tuple[str, ...]
    page: str = ""
    """Where a person can fetch it by hand, when that is not the first URL."""
    sha256: str | None = None
    md5: str | None = None
    size: int | None = None


@dataclass(frozen=True)
class Patience:
    """How long to put up with a server."""

    attempts: int = 3
    backoff_s: float = 1.0
    connect_s: float = 10.0
    read_s: float = 30.0
    slowest: float = 1024.0
    """Bytes a second; below it for `window_s`, the server counts as hung."""
    window_s: float = 60.0


PATIENCE = Patience()


class _Fault(Exception):  # noqa: N818
    """A try that failed; `again` says whether another one may do better."""

    def __init__(self, reason: str, again: bool) -> None:
        super().__init__(reason)
        self.again = again


def from_root(path: str | Path) -> Path:
    """A user's path: `~` expanded, relative to the working directory, or else to DVC_ROOT.

    `dvc exp run --temp` works in a copy without the git-ignored folders, where DVC_ROOT still names the repository.
    """
    path = Path(path).expanduser()
    if path.exists() or path.is_absolute():
        return path
    return main_root() / path


def mirror(setting: str | None) -> Path | None:
    """The local mirror: the environment's, or else the setting's. Raises: GanealogyError when it is not a directory."""
    for origin, value in ((MIRROR, os.environ.get(MIRROR)), ("dataset.mirror", setting)):
        if value:
            folder = from_root(value)
            if not folder.is_dir():
                raise GanealogyError(f"{origin} = {value!r}: no such directory; correct it or unset it")
            return folder
    return None


def in_mirror(folder: Path | None, *names: str) -> Path | None:
    """The first of `names` that lies in the mirror."""
    return next((folder / name for name in names if folder and (folder / name).is_file()), None)


def obtain(remote: Remote, target: Path, found: Path | None = None) -> None:
    """Bring a file to `target`: kept when it is there and whole, else copied from `found` in a mirror, else downloaded.

    Raises: GanealogyError that says what to do; whatever lay at `target` before still does.
    """
    if target.is_file() and (remote.sha256 or remote.md5):
        try:
            verify(target, remote.sha256, remote.md5, remote.size)
            return
        except GanealogyError:
            pass  # it is damaged or of another release: a good one replaces it below
    if found is not None:
        copy(remote, found, target)
    else:
        download(remote, target)


def copy(remote: Remote, source: Path, target: Path) -> None:
    """Take a local file for the remote one. Raises: GanealogyError when it is not what the checksums say."""

    def chunks() -> Iterator[bytes]:
        with open(source, "rb") as file:
            while chunk := file.read(CHUNK):
                yield chunk

    try:
        _receive(remote, chunks(), target, source.stat().st_size)
    except _Fault as fault:
        raise GanealogyError(f"{source}: {fault}; replace or remove it") from None


def verify(path: Path, sha256: str | None = None, md5: str | None = None, size: int | None = None) -> None:
    """Raises: GanealogyError when the file is absent or not what length and checksums say."""
    if not path.is_file():
        raise GanealogyError(f"{path}: no such file; run the download stage")
    fault = f"{path.stat().st_size:,} bytes instead of {size:,}" if size not in (None, path.stat().st_size) else ""
    for algorithm, expected in (("sha256", sha256), ("md5", md5)):
        if expected and not fault:
            with open(path, "rb") as file:
                actual = hashlib.file_digest(file, algorithm).hexdigest()
            if actual != expected:
                fault = f"{algorithm} is {actual} instead of {expected}"
    if fault:
        raise GanealogyError(f"{path}: damaged or another release: {fault}; delete it and fetch it again")


def download(remote: Remote, target: Path, patience: Patience = PATIENCE, plain_loopback: bool = False) -> None:
    """Fetch over https, trying each URL several times; an existing `target` stands until the new one is whole.

    `plain_loopback` allows http to this machine itself: for tests, which cannot have a certificate.

    Raises: GanealogyError naming each URL's fault and the way around it.
    """
    faults: dict[str, str] = {}
    with requests.Session() as session:
        for url in remote.urls:
            for attempt in range(patience.attempts):
                try:
                    _download_once(session, url, remote, target, patience, plain_loopback)
                    return
                except _Fault as fault:
                    faults[urlsplit(url).hostname or url] = str(fault)
                    if not fault.again:
                        break
                if attempt + 1 < patience.attempts:
                    time.sleep(patience.backoff_s * 2**attempt)
    reasons = "; ".join(f"{host}: {reason}" for host, reason in faults.items())
    raise GanealogyError(
        f"{remote.name} could not be downloaded ({reasons}); fetch it by hand from {remote.page or remote.urls[0]} "
        f"as {remote.name} into a folder and name that folder in {MIRROR} or dataset.mirror"
    )


def _download_once(
    session: requests.Session, url: str, remote: Remote, target: Path, patience: Patience, plain_loopback: bool
) -> None:
    with closing(_open(session, url, patience, plain_loopback)) as response:
        if response.status_code != 200:
            again = response.status_code in (408, 425, 429) or response.status_code >= 500
            raise _Fault(f"HTTP {response.status_code} {response.reason}", again)
        if "text/html" in response.headers.get("Content-Type", ""):
            raise _Fault(WEB_PAGE, False)
        length = response.headers.get("Content-Length", "")
        total = int(length) if length.isdecimal() else None
        if remote.size is not None and total not in (None, remote.size):
            raise _Fault(f"{total:,} bytes are offered instead of {remote.size:,}", False)
        _receive(remote, _body(response, patience), target, total)


def _open(session: requests.Session, url: str, patience: Patience, plain_loopback: bool) -> requests.Response:
    """Follow redirects by hand, because requests would follow one from https down to http."""
    for _hop in range(10):
        parts = urlsplit(url)
        if parts.scheme != "https" and not (plain_loopback and parts.scheme == "http" and parts.hostname in LOOPBACK):
            raise _Fault(f"refused to go on at {parts.scheme}://{parts.hostname}: only https is safe", False)
        try:
            response = session.get(
                url,
                stream=True,
                allow_redirects=False,
                timeout=(patience.connect_s, patience.read_s),
                headers={"Accept-Encoding": "identity"},  # a .gz is the file itself, not a wrapping to take off
            )
        except (requests.ConnectionError, requests.Timeout) as error:
            raise _Fault(_reason(error), True) from None
        except requests.RequestException as error:
            raise _Fault(_reason(error), False) from None
        if not response.is_redirect:
            return response
        url = urljoin(url, response.headers["Location"])
        response.close()
    raise _Fault("redirected too often", False)


def _body(response: requests.Response, patience: Patience) -> Iterator[bytes]:
    since, received = time.monotonic(), 0
    try:
        while chunk := response.raw.read1(CHUNK, decode_content=False):
            yield chunk
            received += len(chunk)
            if (elapsed := time.monotonic() - since) >= patience.window_s:
                if received < patience.slowest * elapsed:
                    raise _Fault(f"too slow: {received:,} bytes in {elapsed:.0f} s", True)
                since, received = time.monotonic(), 0
    except (HTTPError, OSError) as error:
        raise _Fault(f"the connection broke: {_reason(error)}", True) from None


def _receive(remote: Remote, chunks: Iterator[bytes], target: Path, total: int | None) -> None:
    """Write chunks to `target` through a temporary file; it gets its name only when length and checksums are right."""
    hashes = {"sha256": hashlib.sha256(), "md5": hashlib.md5(usedforsecurity=False)}
    received, expected = 0, total if remote.size is None else remote.size
    with Progress(target.name, expected or 0, "B") as progress, writing(target) as file:
        for chunk in chunks:
            if not received and chunk[:200].lstrip().lower().startswith((b"<!doctype html", b"<html")):
                raise _Fault(WEB_PAGE, False)
            file.write(chunk)
            for running in hashes.values():
                running.update(chunk)
            received += len(chunk)
            progress.update(len(chunk))
        if expected is not None and received != expected:
            raise _Fault(f"{received:,} bytes came instead of {expected:,}", True)
        if not received:
            raise _Fault("an empty file came", True)
        for name, wanted in (("sha256", remote.sha256), ("md5", remote.md5)):
            if wanted and hashes[name].hexdigest() != wanted:
                raise _Fault(f"{name} is {hashes[name].hexdigest()} instead of {wanted}", False)


def _reason(error: BaseException) -> str:
    """The innermost cause in a few words: what requests wraps around it names pools and objects."""
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    text = " ".join(str(error).split())
    for known in ("Name or service not known", "Temporary failure in name resolution", "Connection refused"):
        if known in text:
            return known.lower()
    return text[:150] or type(error).__name__
