"""Downloads from a real but faulty server on loopback."""

from __future__ import annotations

import contextlib
import datetime
import gzip
import hashlib
import ipaddress
import ssl
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests

from ganealogy.data import fetch
from ganealogy.data.fetch import Patience, Remote, download, in_mirror, mirror, obtain, verify
from ganealogy.errors import GanealogyError

BODY = bytes(range(256)) * 400
SHA = hashlib.sha256(BODY).hexdigest()
MD5 = hashlib.md5(BODY).hexdigest()
OPEN_SESSION = fetch.open_session
QUICK = Patience(attempts=3, backoff_s=0.01, connect_s=2, read_s=0.5, slowest=10_000, window_s=0.3)


class FaultyHandler(BaseHTTPRequestHandler):
    """Each path is a fault; `requests` counts the requests per path."""

    protocol_version = "HTTP/1.1"
    requests: dict[str, int] = {}  # noqa: RUF012

    def do_GET(self) -> None:
        count = self.requests[self.path] = self.requests.get(self.path, 0) + 1
        match self.path:
            case "/whole" | "/html-typed":
                kind = "text/html; charset=utf-8" if self.path == "/html-typed" else "application/octet-stream"
                self.reply(200, BODY, {"Content-Type": kind})
            case "/truncated":
                self.reply(200, BODY[:1000], {"Content-Length": str(len(BODY))})
            case "/truncated-once":
                self.reply(200, BODY[:1000] if count == 1 else BODY, {"Content-Length": str(len(BODY))})
            case "/chunked-truncated":
                self.reply(200, b"400\r\n" + BODY[:1000], {"Transfer-Encoding": "chunked", "Content-Length": ""})
            case "/chunked":
                sized = b"%x\r\n" % len(BODY) + BODY + b"\r\n0\r\n\r\n"
                self.reply(200, sized, {"Transfer-Encoding": "chunked", "Content-Length": ""})
            case "/endless":
                self.reply(200, b"", {"Transfer-Encoding": "chunked", "Content-Length": ""})
                with contextlib.suppress(OSError):
                    for _ in range(5000):  # 500 MB
                        self.wfile.write(b"186a0\r\n" + bytes(100_000) + b"\r\n")
            case "/unsized":
                self.reply(200, BODY, {"Content-Length": ""})
            case "/boastful":
                self.reply(200, BODY, {"Content-Length": str(2**50)})
            case "/html":
                self.reply(200, b"\n <!DOCTYPE html><p>Quota exceeded</p>", {})
            case "/busy":
                self.reply(503 if count < 3 else 200, BODY if count >= 3 else b"", {})
            case "/gone":
                self.reply(404, b"", {})
            case "/moved":
                self.reply(302, b"", {"Location": "/whole"})
            case "/away":
                self.reply(302, b"", {"Location": "http://example.invalid/whole"})
            case "/round":
                self.reply(302, b"", {"Location": "/round"})
            case "/gzip":
                self.reply(200, gzip.compress(BODY, mtime=0), {"Content-Encoding": "gzip"})
            case "/hung":
                self.rfile.read(1)  # until the client gives up
            case "/slow":
                self.reply(200, b"", {"Content-Length": str(len(BODY))})
                while True:
                    try:
                        self.wfile.write(b"x")
                    except OSError:
                        return
                    time.sleep(0.05)

    def reply(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **headers}.items():
            if value:
                self.send_header(key, value)
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a server over http, which only this test's sessions accept: it cannot have a certificate."""

    def accept_loopback(patience: Patience) -> requests.Session:
        session = OPEN_SESSION(patience)
        session.mount("http://127.0.0.1:", session.get_adapter("https://"))
        return session

    monkeypatch.setattr(fetch, "open_session", accept_loopback)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    FaultyHandler.requests = {}
    with ThreadingHTTPServer(("127.0.0.1", 0), FaultyHandler) as http:
        threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_address[1]}"
        http.shutdown()


def get(url: str, target: Path, **checks: object) -> None:
    download(Remote("file.bin", (url,), **checks), target, QUICK)  # type: ignore[arg-type]


@pytest.mark.parametrize("path", ["/whole", "/moved", "/chunked", "/truncated-once", "/busy"])
def test_a_complete_file_arrives_after_retries(server: str, tmp_path: Path, path: str) -> None:
    get(server + path, tmp_path / "file.bin", sha256=SHA, md5=MD5, size=len(BODY))
    assert (tmp_path / "file.bin").read_bytes() == BODY
    assert FaultyHandler.requests[path] == {"/truncated-once": 2, "/busy": 3}.get(path, 1)


@pytest.mark.parametrize(
    ("path", "reason", "attempts"),
    [
        ("/truncated", "1,000 bytes instead of 102,400|connection broke", 3),
        ("/chunked-truncated", "connection broke", 3),
        ("/html", "the server sent a web page", 1),
        ("/html-typed", "the server sent a web page", 1),
        ("/gone", "HTTP 404", 1),
        ("/away", "only https is allowed.*http://example.invalid", 1),
        ("/round", "Exceeded 9 redirects", 10),
        ("/hung", "no answer in time", 3),
        ("/slow", "too slow", 3),
    ],
)
def test_a_faulty_response_is_one_error_and_the_old_file_stays(
    server: str, tmp_path: Path, path: str, reason: str, attempts: int
) -> None:
    target = tmp_path / "file.bin"
    target.write_bytes(b"old")
    with pytest.raises(GanealogyError, match=reason) as caught:
        get(server + path, target)
    assert FaultyHandler.requests[path] == attempts
    assert "\n" not in str(caught.value) and "GANEALOGY_MIRROR" in str(caught.value)
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.bin"] and target.read_bytes() == b"old"


@pytest.mark.parametrize("checks", [{"sha256": "0" * 64}, {"md5": "0" * 32}, {"size": 5}])
def test_a_file_with_another_checksum_or_size_is_refused(
    server: str, tmp_path: Path, checks: dict[str, object]
) -> None:
    with pytest.raises(GanealogyError, match="instead of"):
        get(server + "/whole", tmp_path / "file.bin", **checks)
    assert list(tmp_path.iterdir()) == []
    assert FaultyHandler.requests["/whole"] == 1  # a retry would return the same bytes


def test_a_gz_file_is_not_decompressed(server: str, tmp_path: Path) -> None:
    get(server + "/gzip", tmp_path / "file.gz")
    assert gzip.decompress((tmp_path / "file.gz").read_bytes()) == BODY


def test_http_is_refused(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "open_session", OPEN_SESSION)
    with pytest.raises(GanealogyError, match="only https"):
        download(Remote("file.bin", (server + "/whole",)), tmp_path / "file.bin", QUICK)
    assert FaultyHandler.requests == {}


def test_a_redirect_from_https_to_http_is_refused(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "open_session", OPEN_SESSION)
    certificate = self_signed(tmp_path / "server.pem")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))

    class Secure(FaultyHandler):
        def do_GET(self) -> None:
            if self.path == "/down":
                self.reply(302, b"", {"Location": server + "/whole"})
            else:
                self.reply(200, BODY, {})

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with ThreadingHTTPServer(("127.0.0.1", 0), Secure) as https:
        https.socket = context.wrap_socket(https.socket, server_side=True)
        threading.Thread(target=https.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        url = f"https://127.0.0.1:{https.server_address[1]}"
        download(Remote("file.bin", (url + "/whole",), sha256=SHA), tmp_path / "file.bin", QUICK)
        with pytest.raises(GanealogyError, match=r"only https is allowed.*http://127\.0\.0\.1"):
            download(Remote("file.bin", (url + "/down",)), tmp_path / "other.bin", QUICK)
        https.shutdown()
    assert FaultyHandler.requests == {} and not (tmp_path / "other.bin").exists()


def self_signed(path: Path) -> Path:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "loopback")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(secret + certificate.public_bytes(pem))
    return path


def test_without_a_server_the_next_url_is_tried(tmp_path: Path, server: str) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), FaultyHandler) as closed:
        port = closed.server_address[1]
    with pytest.raises(GanealogyError, match="connection refused"):
        get(f"http://127.0.0.1:{port}/whole", tmp_path / "file.bin")
    with pytest.raises(GanealogyError, match=r"127\.0\.0\.1"):  # the error names both
        download(Remote("f", (f"http://127.0.0.1:{port}/x", server + "/gone")), tmp_path / "f", QUICK)
    download(Remote("f", (f"http://127.0.0.1:{port}/x", server + "/whole")), tmp_path / "f", QUICK)


def test_the_environments_mirror_has_priority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    monkeypatch.delenv("GANEALOGY_MIRROR", raising=False)
    assert mirror(None) is None
    assert mirror(str(two)) == two
    monkeypatch.setenv("GANEALOGY_MIRROR", str(one))
    assert mirror(str(two)) == one
    monkeypatch.setenv("GANEALOGY_MIRROR", str(tmp_path / "none"))
    with pytest.raises(GanealogyError, match="GANEALOGY_MIRROR"):
        mirror(str(two))


def test_a_path_absent_in_a_copy_is_taken_from_the_main_workspace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "repository" / "photos").mkdir(parents=True)
    (tmp_path / "copy").mkdir()
    monkeypatch.chdir(tmp_path / "copy")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "repository"))
    assert fetch.from_root("photos") == tmp_path / "repository" / "photos"


def test_obtain_keeps_a_good_file_or_copies_the_mirrors(tmp_path: Path) -> None:
    (tmp_path / "mirror").mkdir()
    good, target = tmp_path / "mirror" / "file.bin", tmp_path / "raw" / "file.bin"
    good.write_bytes(BODY)
    remote = Remote("file.bin", (), sha256=SHA)
    assert in_mirror(tmp_path / "mirror", "other", "file.bin") == good
    obtain(remote, target, good)
    assert target.read_bytes() == BODY
    before = target.stat().st_mtime_ns
    obtain(remote, target, good)
    assert target.stat().st_mtime_ns == before  # kept
    target.write_bytes(BODY[:-1])
    obtain(remote, target, good)
    assert target.read_bytes() == BODY
    good.write_bytes(b"another")
    target.write_bytes(b"damaged")
    with pytest.raises(GanealogyError, match="replace or remove it"):
        obtain(remote, target, good)
    assert target.read_bytes() == b"damaged"


def test_verify_checks_size_and_checksums(tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    with pytest.raises(GanealogyError, match="no such file"):
        verify(path)
    path.write_bytes(BODY)
    verify(path, sha256=SHA, md5=MD5, size=len(BODY))
    for wrong in ({"sha256": "0" * 64}, {"md5": "0"}, {"size": 3}):
        with pytest.raises(GanealogyError, match="instead of"):
            verify(path, **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("path", "checks", "message"),
    [
        ("/endless", {}, "sends more than 1,000,000 bytes"),
        ("/endless", {"size": 5000}, "sends more than 5,000 bytes"),
        ("/endless", {"sha256": SHA}, "sends more than 1,000,000 bytes"),
        ("/unsized", {"size": len(BODY) - 1}, f"sends more than {len(BODY) - 1:,} bytes"),
        ("/boastful", {}, "the server offers 1,125,899,906,842,624 bytes"),
    ],
)
def test_a_download_beyond_its_size_is_cut_off_and_the_old_file_stays(
    path: str, checks: dict[str, object], message: str, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "MAX_BYTES", 1_000_000)
    (tmp_path / "file.bin").write_bytes(b"old")
    with pytest.raises(GanealogyError, match=message):
        get(server + path, tmp_path / "file.bin", **checks)
    assert [file.name for file in tmp_path.iterdir()] == ["file.bin"]
    assert (tmp_path / "file.bin").read_bytes() == b"old"


@pytest.mark.parametrize("checks", [{"size": len(BODY)}, {"size": len(BODY), "sha256": SHA}])
def test_a_sparse_file_in_a_mirror_is_refused_before_it_is_read(checks: dict[str, object], tmp_path: Path) -> None:
    with open(tmp_path / "file.bin", "wb") as file:
        file.truncate(200 * 10**9)
    (tmp_path / "raw").mkdir()
    with pytest.raises(GanealogyError, match=r"200,000,000,000 bytes instead of 102,400; replace or remove it"):
        obtain(Remote("file.bin", (), **checks), tmp_path / "raw/file.bin", tmp_path / "file.bin")  # type: ignore[arg-type]
    assert not list((tmp_path / "raw").iterdir()) and (tmp_path / "file.bin").stat().st_size == 200 * 10**9
