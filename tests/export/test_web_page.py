"""The live page is one file without network access, and npm serves one pinned package."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest
import torch

from ganealogy.errors import GanealogyError
from ganealogy.export import onnxruntime_web, web_page
from ganealogy.export.onnxruntime_web import Runtime
from ganealogy.tracking import best_run, run_record
from ganealogy.tracking.context import Context

PACKAGE = f"onnxruntime-web-{onnxruntime_web.VERSION}.tgz"
STUB = Runtime("var ort = '</script>';", "export default 0;", b"\0asm")


def test_without_npm_the_error_says_what_to_install(make_run, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("PATH", str(project))
    with pytest.raises(GanealogyError, match=r"npm is not installed.*onnxruntime-web") as error:
        web_page.build(run_record.read(make_run()), root=project)
    assert "\n" not in str(error.value)
    assert not (project / "reports/live.html").exists()


def install_npm(script: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a program called npm, which runs a line of shell, first on the path."""
    (folder / "npm").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "npm").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.parametrize(
    ("body", "message"), [("echo broken wire >&2; exit 1", "broken wire"), ("exit 0", "exit code 0")]
)
def test_a_failing_npm_leaves_no_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, message: str
) -> None:
    install_npm(body, tmp_path, monkeypatch)
    with pytest.raises(GanealogyError, match=message):
        onnxruntime_web.runtime(tmp_path)
    assert list((tmp_path / "build/npm").iterdir()) == []


def test_a_package_with_another_hash_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "build/npm" / PACKAGE
    archive.parent.mkdir(parents=True)
    with tarfile.open(archive, "w:gz") as package:
        package.addfile(tarfile.TarInfo("package/dist/ort.wasm.min.js"), io.BytesIO())
    with pytest.raises(GanealogyError, match="sha512 differs"):
        onnxruntime_web.runtime(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not the package", b"\x1f\x8b" + bytes(1000)])
def test_what_npm_brings_gets_its_final_name_only_if_it_is_the_package(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "served").write_bytes(content)
    install_npm(f'cp "{tmp_path}/served" {PACKAGE}', tmp_path, monkeypatch)
    with pytest.raises(GanealogyError, match=r"sha512 differs; put the published file into .*build/npm"):
        onnxruntime_web.runtime(tmp_path)
    assert list((tmp_path / "build/npm").iterdir()) == []


def test_an_endless_package_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime_web, "LIMITED", [each.replace("2097152", "8") for each in onnxruntime_web.LIMITED])
    install_npm(f"trap '' XFSZ; dd if=/dev/zero of={PACKAGE} bs=1M", tmp_path, monkeypatch)
    with pytest.raises(GanealogyError, match=r"npm could not fetch .*File too large"):
        onnxruntime_web.runtime(tmp_path)
    assert list((tmp_path / "build/npm").iterdir()) == []


def test_hostile_text_is_escaped(make_run, project: Path) -> None:  # type: ignore[no-untyped-def]
    run = run_record.read(make_run())
    html = web_page.render(run, best_run.score(run), Context.load(None, project), b"model", STUB)
    assert "<script>alert(1)" not in html
    assert "&lt;script&gt;alert(1)" in html
    assert "'<\\/script>'" in html
    assert html == web_page.render(run, best_run.score(run), Context.load(None, project), b"model", STUB)
    assert "http://" not in html.replace("http://www.w3.org", "")


def test_the_directions_of_a_linear_generator_are_its_singular_vectors() -> None:
    generator = torch.nn.Sequential(torch.nn.Linear(5, 12, bias=False), torch.nn.Unflatten(1, (3, 2, 2)))
    with torch.no_grad():
        u, _ = torch.linalg.qr(torch.randn(12, 5))
        v, _ = torch.linalg.qr(torch.randn(5, 5))
        generator[0].weight.copy_(u @ torch.diag(torch.tensor([9.0, 5.0, 3.0, 1.0, 0.1])) @ v.T)  # type: ignore[operator]
    rows = web_page.directions(generator, {"size": 5, "distribution": "normal"}, 3)
    assert rows.shape == (3, 5)
    torch.testing.assert_close((rows.float() @ v[:, :3]).abs(), torch.eye(3), atol=1e-3, rtol=0)
