from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import ganealogy
from ganealogy.report.build import build

FILMED = ("v1-seed0", "v1-seed1", "v3-seed0", "v3-seed1", "v5-seed0", "v5-seed1", "v7-seed1")
OUTPUTS = [
    "all-metrics.json", "d_loss.csv", "fd.csv", "g_loss.csv", "index.html", "metrics.json",
    *(f"progress/{run}.{kind}" for run in FILMED for kind in ("png", "webp")),
    "report/curves.png", "report/interpolation.png", "report/samples.png", "report.md", "samples/real-pictures.png",
    *(f"samples/{version}-samples.png" for version in ("v1", "v3", "v5", "v7")),
]  # fmt: skip


def digests(root: Path) -> dict[str, str]:
    files = sorted(path for path in (root / "reports").rglob("*") if path.is_file())
    return {str(path.relative_to(root / "reports")): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_all_outputs_are_written_and_a_second_build_gives_the_same_bytes(project: Path) -> None:
    assert build(project) == project / "reports/index.html"
    first = digests(project)
    assert list(first) == OUTPUTS
    build(project)
    assert digests(project) == first


def test_the_page_links_the_mlflow_runs(project: Path) -> None:
    record = project / "build/runs/v1/train/0/run.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"key": "k1"}))
    address = "http://127.0.0.1:5000/#/experiments/3/runs/abc"
    page = build(project, lambda keys: {key: address for key in keys if key == "k1"})
    assert page.read_text().count(f'href="{address}"') == 1


def test_the_report_imports_no_heavy_libraries(project: Path) -> None:
    code = (
        "import sys; from ganealogy.report.build import build; import ganealogy.report.terminal\n"
        "assert not {'pandas', 'plotly', 'matplotlib', 'jinja2', 'PIL'} & set(sys.modules), 'at import'\n"
        "build()\n"
        "assert not {'torch', 'mlflow', 'scipy.stats', 'statsmodels'} & set(sys.modules), 'in the build, two seeds'\n"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(ganealogy.__file__).parents[1])}
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=project, env=env, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr
