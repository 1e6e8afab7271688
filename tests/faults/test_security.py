"""Rules for all source files: no input runs code, no shell is started, files are written atomically, one host served.

The scans parse each module, so that a new one is checked without being listed here.
"""

from __future__ import annotations

import ast
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from helpers import trainings

from ganealogy.data.fetch import Remote
from ganealogy.files import atomic

SOURCE = Path("src/ganealogy")
MODULES = sorted(path for path in SOURCE.rglob("*.py"))


def calls(path: Path) -> Iterator[tuple[str, ast.Call, list[ast.With]]]:
    """Yield (dotted name, call, enclosing `with` statements) of each call in a module."""

    def visit(node: ast.AST, around: list[ast.With]) -> Iterator[tuple[str, ast.Call, list[ast.With]]]:
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node, around
        inner = [*around, node] if isinstance(node, ast.With) else around
        for child in ast.iter_child_nodes(node):
            yield from visit(child, inner)

    yield from visit(ast.parse(path.read_bytes()), [])


def given(call: ast.Call, name: str) -> object:
    """Return the literal value of a keyword argument, or None."""
    for keyword in call.keywords:
        if keyword.arg == name and isinstance(keyword.value, ast.Constant):
            return keyword.value.value
    return None


def is_safe(name: str, call: ast.Call) -> bool:
    """Return whether this call cannot run code from a file or a text."""
    last = name.rsplit(".", 1)[-1]
    if name in ("eval", "exec", "compile", "__import__", "os.system", "os.popen", "runpy.run_path"):
        return False
    if re.match(r"(pickle|cPickle|marshal|shelve|dill|cloudpickle|joblib)\.", name) or last == "read_pickle":
        return False
    if name == "torch.load":
        return given(call, "weights_only") is True
    if name in ("np.load", "numpy.load"):
        return given(call, "allow_pickle") is False
    if name in ("np.save", "np.savez", "np.savez_compressed"):
        return given(call, "allow_pickle") is False or name == "np.savez_compressed"
    if name in ("torch.save", "torch.hub.load", "torch.jit.load"):
        return False
    if name.startswith("yaml."):
        return last in ("safe_load", "safe_dump")
    if name == "YAML":
        return given(call, "typ") in (None, "safe")  # without: the round trip, which makes no objects either
    if given(call, "shell"):
        return False
    if name.startswith("subprocess."):
        return not (call.args and isinstance(call.args[0], ast.Constant))  # a list of words, never one text
    return True


SAFE_UNTIL = {
    # The one dynamic import, of a name that is among the files of its folder.
    "importlib.import_module": {"components.py"}
}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_input_file_can_run_code(path: Path) -> None:
    """Fault 8, for all code at once."""
    unsafe = [f"{path}:{call.lineno}: {name}" for name, call, _ in calls(path) if not is_safe(name, call)]
    for name, call, _ in calls(path):
        if name in SAFE_UNTIL and path.name not in SAFE_UNTIL[name]:
            unsafe.append(f"{path}:{call.lineno}: {name}")
    assert unsafe == []


@pytest.mark.parametrize(
    "line",
    [
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "pickle.load(file)",
        "yaml.load(text)",
        "YAML(typ='unsafe')",
        "eval(text)",
        "os.system(text)",
        "subprocess.run(command, shell=True)",
        "subprocess.run('rm ' + name, shell=True)",
    ],
)
def test_the_scan_detects_an_unsafe_call(line: str, tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text(f"def f():\n    with a:\n        {line}\n")
    assert any(not is_safe(name, call) for name, call, _ in calls(tmp_path / "x.py"))


WRITERS = {
    # Who writes without `atomic.writing`, and why that leaves no part of a file at a final name.
    "files/atomic.py": "the door itself",
    "training/run_files.py": "metrics.jsonl grows by a line; readers take whole lines, a resume cuts the rest",
    "data/sources/anime.py": "nowhere (os.devnull), where Kaggle's client prints its help",
    "data/workers.py": "nowhere (os.devnull), where decoders print",
    "evaluation/standalone.py": "pixels, in a temporary directory",
    "tracking/model.py": "a copy in a temporary directory, for MLflow to take",
    "runs/store.py": "copies beside the final name, which then get it by a rename",
    "runs/continuing.py": "a work folder, which counts with its checkpoints alone: these get their name by a rename",
    "runtime/workers.py": "the log of a run, which grows as it comes",
    "evaluation/feature_cache.py": "into memory; the file's bytes then go through `atomic`",
    "report/experiments.py": "into memory",
    "cluster/node_task.py": "lock files without content, and a pipe",
    "cluster/transfer.py": "in a folder beside the final one, which then gets its name by a rename",
    "cluster/fill.py": "the log of a run, which grows as it comes",
    "stages/plan.py": "a folder beside the final one, which then gets its name by a rename",
}
MODES = re.compile(r"[wax+]")
COPIES = ("shutil.copy", "shutil.copy2", "shutil.copyfile", "shutil.copytree", "shutil.move", "os.link", "os.rename")
STREAMS = ("np.save", "np.savez", "np.savez_compressed", "np.savetxt", "json.dump", "onnx.save", "onnx.save_model")


def writes(path: Path) -> list[str]:
    """Return calls that write to a file without `atomic`."""
    found = []
    for name, call, around in calls(path):
        last = name.rsplit(".", 1)[-1]
        opened = [item.context_expr for block in around for item in block.items]
        through_the_door = any(re.match(r"(atomic\.)?writing\(", ast.unparse(expression)) for expression in opened)
        mode = call.args[1] if len(call.args) > 1 else next((k.value for k in call.keywords if k.arg == "mode"), None)
        if name == "open" or (last == "open" and isinstance(call.func, ast.Attribute) and name.startswith("path")):
            writing = mode is not None and (not isinstance(mode, ast.Constant) or MODES.search(str(mode.value)))
        elif last in ("write_text", "write_bytes"):
            writing = not name.startswith("atomic.")
        elif name in STREAMS:
            writing = not through_the_door
        else:
            writing = name in COPIES
        if writing and not through_the_door:
            found.append(f"{path}:{call.lineno}: {name}")
    return found


def test_all_files_are_written_atomically() -> None:
    """Faults 1 and 9: `atomic.writing` makes a file appear complete or not at all."""
    found = {str(path.relative_to(SOURCE)): writes(path) for path in MODULES}
    others = {name: lines for name, lines in found.items() if lines and name not in WRITERS}
    assert others == {}, "write through ganealogy.files.atomic, or say here why not"


@pytest.mark.parametrize(
    "line", ["open(p, 'w')", "p.write_text(t)", "np.save(p, a)", "shutil.copy(a, b)", "open(p, m)"]
)
def test_the_scan_detects_a_write(line: str, tmp_path: Path) -> None:
    (tmp_path / "x.py").write_text(f"def f():\n    {line}\n")
    assert writes(tmp_path / "x.py")
    (tmp_path / "y.py").write_text("def f():\n    with atomic.writing(p) as file:\n        np.save(file, a)\n")
    assert not writes(tmp_path / "y.py")


def remotes() -> list[Remote]:
    """Return the public files that modules download."""
    import importlib

    found = []
    for path in MODULES:
        if "Remote(" in path.read_text() and path.name != "fetch.py":
            module = importlib.import_module(".".join(path.with_suffix("").parts[1:]))
            found += [value for value in vars(module).values() if isinstance(value, Remote)]
    return found


def test_downloads_are_pinned_and_use_https() -> None:
    """Fault 12. Kaggle publishes no checksum; source.json records the hash of the download."""
    from ganealogy.data.sources import mnist

    assert remotes()
    for remote in remotes():
        assert remote.sha256 or remote.md5, f"{remote.name} is not pinned"
        assert all(urlsplit(url).scheme == "https" for url in remote.urls)
    assert all(re.fullmatch(r"[0-9a-f]{32}", md5) for md5 in mnist.FILES.values())
    assert all(host.startswith("https://") for host in mnist.HOSTS)


def test_only_fetch_uses_the_network() -> None:
    for path in MODULES:
        text = path.read_text()
        names = {name for name, _, _ in calls(path)}
        network = {n for n in names if re.match(r"(requests|urllib\.request|httpx|aiohttp)\.|urlopen|urlretrieve", n)}
        if path.name not in ("fetch.py", "mlflow_ui.py"):
            assert not network, f"{path}: {network}"
        assert "0.0.0.0" not in text, f"{path} serves the whole network"


HOSTILE = ["../x", "v1; touch pwned", "<script>", "v1\nv2", "$(touch pwned)", "v 1", "V1", "", "-rf", "v1/../v3"]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_refused_wherever_a_person_can_give_one(name: str, workspace: Path) -> None:
    """Fault 16."""
    from ganealogy.lineage import new_version, versions
    from ganealogy.params import schema
    from ganealogy.runtime import process
    from ganealogy.workspace import run_dir

    def refused(work: object) -> None:
        assert process.report_errors(work, debug=False) == 2  # type: ignore[arg-type]

    before = trainings.files(workspace)
    refused(lambda: run_dir(name, 0) and None)
    refused(lambda: versions.read_family([name], workspace / "versions") and None)
    refused(lambda: new_version.new(name, "v1", workspace / "versions", workspace / "params.yaml") and None)
    refused(lambda: new_version.new("v99", name, workspace / "versions", workspace / "params.yaml") and None)
    content = schema.read_yaml(workspace / "params.yaml")
    content["tree"]["versions"] = [name]
    refused(lambda: schema.parse(schema.Settings, content, "params.yaml"))
    assert trainings.files(workspace) == before and not Path("pwned").exists()


def test_texts_are_escaped_where_they_are_shown(workspace: Path) -> None:
    """Fault 16, in the page and in Markdown, from a version file to the report."""
    (workspace / "versions").unlink()
    (workspace / "versions").mkdir()
    text = (trainings.ROOT / "versions" / "v1.yaml").read_text()
    title = "title: '<script>alert(1)</script> | **bold** [link](javascript:x)'"
    (workspace / "versions" / "v1.yaml").write_text(re.sub(r"^title: .*$", title, text, flags=re.M))
    for verb in (["plan"],):
        code, said = trainings.run(trainings.verb, workspace, *verb)
        assert code == 0, said
    code, said = trainings.run(trainings.report, workspace)
    assert code == 0, said
    page = (workspace / "reports" / "index.html").read_text()
    assert "<script>alert(1)" not in page and "&lt;script&gt;alert(1)" in page
    markdown = (workspace / "reports" / "report.md").read_text()
    assert not re.search(r"(?<!\\)(<script>|\*\*bold|\]\(javascript:)", markdown), "escaped by a backslash or an entity"


def test_the_ui_answers_only_this_machine(tmp_path: Path) -> None:
    """It listens on loopback, and refuses a foreign Host and requests from another origin."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "DVC_"))}
    environment = {**inherited, "PYTHONPATH": str(trainings.ROOT / "src")}
    atomic.write_json(
        tmp_path / "build/plan/tree.json", {"versions": [], "dataset": {"name": "mnist", "image_size": 32}}
    )
    command = [sys.executable, "-m", "ganealogy", "ui", "--port", str(port)]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as ui:
        try:
            assert ui.stdout is not None and f"127.0.0.1:{port}" in ui.stdout.readline()
            own, foreign = f"127.0.0.1:{port}", "evil.example.org"
            status, headers = ask(port, {"Host": own})
            assert status == 200 and headers.get("access-control-allow-origin") in (None, f"http://{own}")
            assert ask(port, {"Host": foreign})[0] == 403
            assert ask(port, {"Host": f"{foreign}:{port}"})[0] == 403
            search, body = "/api/2.0/mlflow/experiments/search", b'{"max_results": 1}'
            status, headers = ask(port, {"Host": own, "Origin": f"http://{foreign}"}, "POST", search, body)
            assert status == 403 or "access-control-allow-origin" not in headers
            assert headers.get("access-control-allow-origin") not in ("*", f"http://{foreign}")
            assert list(listening(port)) == ["127.0.0.1"]
        finally:
            ui.send_signal(signal.SIGTERM)
            assert ui.wait(60) in (0, 143)
    deadline = time.monotonic() + 30
    while list(listening(port)):
        assert time.monotonic() < deadline, "the server outlived the command"
        time.sleep(0.1)


def ask(
    port: int, headers: dict[str, str], method: str = "GET", path: str = "/", body: bytes | None = None
) -> tuple[int, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        more = {"Content-Type": "application/json"} if body else {}
        connection.request(method, path, body, {**headers, **more})
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}
    finally:
        connection.close()


def listening(port: int) -> Iterator[str]:
    """Return the addresses on which a process listens at `port`, from the kernel."""
    for table, family in (("/proc/net/tcp", socket.AF_INET), ("/proc/net/tcp6", socket.AF_INET6)):
        for line in Path(table).read_text().splitlines()[1:]:
            local, state = line.split()[1], line.split()[3]
            address, at = local.split(":")
            if state == "0A" and int(at, 16) == port:
                raw = bytes.fromhex(address)
                words = b"".join(raw[i : i + 4][::-1] for i in range(0, len(raw), 4))
                yield socket.inet_ntop(family, words)
