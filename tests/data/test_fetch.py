"""Downloads against a real server on loopback that misbehaves."""

from __future__ import annotations

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

from ganealogy.data import fetch
from ganealogy.data.fetch import Patience, Remote, download, in_mirror, mirror, obtain, verify
from ganealogy.errors import GanealogyError

BODY = bytes(range(256)) * 400
SHA = hashlib.sha256(BODY).hexdigest()
MD5 = hashlib.md5(BODY).hexdigest()
QUICK = Patience(attempts=3, backoff_s=0.01, connect_s=2, read_s=0.5, slowest=10_000, window_s=0.3)


class Misbehaving(BaseHTTPRequestHandler):
    """Each path is a fault; `seen` counts the requests."""

    protocol_version = "HTTP/1.1"
    seen: dict[str, int] = {}  # noqa: RUF012

    def do_GET(self) -> None:
        seen = self.seen[self.path] = self.seen.get(self.path, 0) + 1
        match self.path:
            case "/whole" | "/html-typed":
                kind = "text/html; charset=utf-8" if self.path == "/html-typed" else "application/octet-stream"
                self.reply(200, BODY, {"Content-Type": kind})
            case "/truncated":
                self.reply(200, BODY[:1000], {"Content-Length": str(len(BODY))})
            case "/truncated-once":
                self.reply(200, BODY[:1000] if seen == 1 else BODY, {"Content-Length": str(len(BODY))})
            case "/chunked-truncated":
                self.reply(200, b"400\r\n" + BODY[:1000], {"Transfer-Encoding": "chunked", "Content-Length": ""})
            case "/chunked":
                sized = b"%x\r\n" % len(BODY) + BODY + b"\r\n0\r\n\r\n"
                self.reply(200, sized, {"Transfer-Encoding": "chunked", "Content-Length": ""})
            case "/html":
                self.reply(200, b"\n <!DOCTYPE html><p>Quota exceeded</p>", {})
            case "/busy":
                self.reply(503 if seen < 3 else 200, BODY if seen >= 3 else b"", {})
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
                time.sleep(1.2)
            case "/slow":
                self.reply(200, b"", {"Content-Length": str(len(BODY))})
                for _ in range(30):
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
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    Misbehaving.seen = {}
    with ThreadingHTTPServer(("127.0.0.1", 0), Misbehaving) as http:
        threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_address[1]}"
        http.shutdown()


def get(url: str, target: Path, **checks: object) -> None:
    download(Remote("file.bin", (url,), **checks), target, QUICK, plain_loopback=True)  # type: ignore[arg-type]


@pytest.mark.parametrize("path", ["/whole", "/moved", "/chunked", "/truncated-once", "/busy"])
def test_a_whole_file_arrives_if_need_be_at_a_later_try(server: str, tmp_path: Path, path: str) -> None:
    get(server + path, tmp_path / "file.bin", sha256=SHA, md5=MD5, size=len(BODY))
    assert (tmp_path / "file.bin").read_bytes() == BODY
    assert Misbehaving.seen[path] == {"/truncated-once": 2, "/busy": 3}.get(path, 1)


@pytest.mark.parametrize(
    ("path", "reason", "tries"),
    [
        ("/truncated", "1,000 bytes came instead of 102,400|connection broke", 3),
        ("/chunked-truncated", "connection broke", 3),
        ("/html", "a web page came", 1),
        ("/html-typed", "a web page came", 1),
        ("/gone", "HTTP 404", 1),
        ("/away", "refused to go on at http://example.invalid", 1),
        ("/round", "redirected too often", 10),
        ("/hung", "no answer in time", 3),
        ("/slow", "too slow", 3),
    ],
)
def test_a_bad_answer_is_one_clear_error_and_the_old_file_stands(
    server: str, tmp_path: Path, path: str, reason: str, tries: int
) -> None:
    target = tmp_path / "file.bin"
    target.write_bytes(b"old")
    with pytest.raises(GanealogyError, match=reason) as caught:
        get(server + path, target)
    assert Misbehaving.seen[path] == tries
    assert "\n" not in str(caught.value) and "GANEALOGY_MIRROR" in str(caught.value)
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.bin"] and target.read_bytes() == b"old"


@pytest.mark.parametrize("checks", [{"sha256": "0" * 64}, {"md5": "0" * 32}, {"size": 5}])
def test_another_file_than_published_is_refused(server: str, tmp_path: Path, checks: dict[str, object]) -> None:
    with pytest.raises(GanealogyError, match="instead of"):
        get(server + "/whole", tmp_path / "file.bin", **checks)
    assert list(tmp_path.iterdir()) == []
    assert Misbehaving.seen["/whole"] == 1  # the same bytes would come again


def test_a_gz_is_kept_as_it_is(server: str, tmp_path: Path) -> None:
    get(server + "/gzip", tmp_path / "file.gz")
    assert gzip.decompress((tmp_path / "file.gz").read_bytes()) == BODY


def test_http_is_refused_even_on_loopback_unless_a_test_asks(server: str, tmp_path: Path) -> None:
    with pytest.raises(GanealogyError, match="only https"):
        download(Remote("file.bin", (server + "/whole",)), tmp_path / "file.bin", QUICK)
    assert Misbehaving.seen == {}


def test_a_redirect_from_https_to_http_is_refused(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = self_signed(tmp_path / "server.pem")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))

    class Secure(Misbehaving):
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
        with pytest.raises(GanealogyError, match=r"refused to go on at http://127\.0\.0\.1"):
            download(Remote("file.bin", (url + "/down",)), tmp_path / "other.bin", QUICK)
        https.shutdown()
    assert Misbehaving.seen == {} and not (tmp_path / "other.bin").exists()


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


def test_nobody_listening(tmp_path: Path, server: str) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Misbehaving) as closed:
        port = closed.server_address[1]
    with pytest.raises(GanealogyError, match="connection refused"):
        get(f"http://127.0.0.1:{port}/whole", tmp_path / "file.bin")
    with pytest.raises(GanealogyError, match=r"127\.0\.0\.1"):  # a second address is tried, and both are named
        download(Remote("f", (f"http://127.0.0.1:{port}/x", server + "/gone")), tmp_path / "f", QUICK, True)
    download(Remote("f", (f"http://127.0.0.1:{port}/x", server + "/whole")), tmp_path / "f", QUICK, True)


def test_a_mirror_comes_from_the_environment_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_path_is_found_from_the_repository_when_a_copy_lacks_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "repository" / "photos").mkdir(parents=True)
    (tmp_path / "copy").mkdir()
    monkeypatch.chdir(tmp_path / "copy")
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "repository"))
    assert fetch.from_root("photos") == tmp_path / "repository" / "photos"


def test_obtain_keeps_copies_or_refuses(tmp_path: Path) -> None:
    (tmp_path / "mirror").mkdir()
    good, target = tmp_path / "mirror" / "file.bin", tmp_path / "raw" / "file.bin"
    good.write_bytes(BODY)
    remote = Remote("file.bin", (), sha256=SHA)
    assert in_mirror(tmp_path / "mirror", "other", "file.bin") == good
    obtain(remote, target, good)
    assert target.read_bytes() == BODY
    before = target.stat().st_mtime_ns
    obtain(remote, target, good)
    assert target.stat().st_mtime_ns == before  # it was whole
    target.write_bytes(BODY[:-1])
    obtain(remote, target, good)
    assert target.read_bytes() == BODY
    good.write_bytes(b"another")
    target.write_bytes(b"damaged")
    with pytest.raises(GanealogyError, match="replace or remove it"):
        obtain(remote, target, good)
    assert target.read_bytes() == b"damaged"


def test_verify(tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    with pytest.raises(GanealogyError, match="no such file"):
        verify(path)
    path.write_bytes(BODY)
    verify(path, sha256=SHA, md5=MD5, size=len(BODY))
    for wrong in ({"sha256": "0" * 64}, {"md5": "0"}, {"size": 3}):
        with pytest.raises(GanealogyError, match="instead of"):
            verify(path, **wrong)  # type: ignore[arg-type]
