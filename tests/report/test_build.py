from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import ganealogy
from ganealogy.report.build import build

OUTPUTS = [
    "fd.csv", "index.html", "metrics.json",
    "report/curves.png", "report/interpolation.png", "report/samples.png", "report.md",
]  # fmt: skip


def digests(root: Path) -> dict[str, str]:
    files = sorted(path for path in (root / "reports").rglob("*") if path.is_file())
    return {str(path.relative_to(root / "reports")): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_everything_is_written_and_again_the_same(project: Path) -> None:
    assert build(project) == project / "reports/index.html"
    first = digests(project)
    assert list(first) == OUTPUTS
    build(project)
    assert digests(project) == first


def test_a_report_starts_without_the_heavy_libraries(project: Path) -> None:
    code = (
        "import sys; from ganealogy.report.build import build; import ganealogy.report.numbers\n"
        "assert not {'pandas', 'plotly', 'matplotlib', 'jinja2', 'PIL'} & set(sys.modules), 'at import'\n"
        "build()\n"
        "assert not {'torch', 'mlflow', 'scipy.stats', 'statsmodels'} & set(sys.modules), 'at all, with two seeds'\n"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(ganealogy.__file__).parents[1])}
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=project, env=env, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr
