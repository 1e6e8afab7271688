"""Texts of a colleague's records on every way out: page, Markdown, terminal. A remote's JSON is not ours."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt
from rich.console import Console

from ganealogy.errors import GanealogyError
from ganealogy.report import markdown, page
from ganealogy.report.collect import collect
from ganealogy.report.pictures import gather
from ganealogy.report.terminal import summary

POISON = (
    "\x1b]52;c;Y2F0\x07\x1b[2J\b\b\x9b2J"
    "gnp\u202eexe.\u2066"
    "<img src=x onerror=alert(1)></td></table><script>alert(1)</script>"
    "`|\n\n# h [a](javascript:alert(1)) ![b](https://example.org/p.png) **x** </details>"
    "[/x] [red] [link=https://example.org]"
)


def poisoned(content: Any) -> Any:
    """Return a record with the poison at the end of every text that is no name of a file, a version or a state."""
    if isinstance(content, dict):
        keep = [
            "name",
            "parent",
            "status",
            "source",
            "lead",
            "tracker",
            "extractors",
            "key",
            "plan",
            "data",
            "protocol",
        ]
        return {
            key: value if key in keep and isinstance(value, str | list) else poisoned(value)
            for key, value in content.items()
        }
    if isinstance(content, list):
        return [poisoned(value) for value in content]
    return content + POISON if isinstance(content, str) else content


@pytest.fixture
def hostile(project: Path) -> Path:
    root = project
    for path in root.rglob("*.json"):
        path.write_text(json.dumps(poisoned(json.loads(path.read_text()))))
    metrics = next(root.glob("build/runs/v1/evaluate/0/metrics.json"))
    record = json.loads(metrics.read_text())
    record["metrics"]["fd_" + POISON] = 1.0
    record["not_measured"]["kid_" + POISON] = "because " + POISON
    metrics.write_text(json.dumps(record))
    tree = root / "build/plan/tree.json"
    record = json.loads(tree.read_text())
    record["protocol"]["extra" + POISON] = POISON
    record["evaluate"]["against"] = ["v1", "v0" + POISON]
    record["versions"][1]["conclusion"] = {"text": POISON, "numbers": POISON}
    tree.write_text(json.dumps(record))
    return root


def clean(text: str) -> bool:
    return all(letter.isprintable() or letter in "\n\t" for letter in text)


def test_a_colleague_s_records_are_shown_as_texts(hostile: Path) -> None:
    findings = collect(hostile)
    gallery = gather(findings)
    shown = page.render(findings, gallery)
    assert "<img src=x" not in shown and "<script>alert" not in shown and 'href="javascript:' not in shown
    written = markdown.render(findings, {})
    html = MarkdownIt("commonmark").enable("table").render(written)
    assert "<img" not in html and "<script" not in html and "<a " not in html and "</details" not in html
    rows = [line for line in written.splitlines() if line.startswith("|")]
    assert html.count("<tr>") == len(rows) - html.count("<table>"), "a cell ends no row"
    console = Console(width=80, file=(file := io.StringIO()), color_system=None)
    console.print(summary(hostile, 80))
    assert clean(file.getvalue()) and clean(written) and clean(shown.partition("<script>")[0])


def test_a_hostile_name_in_a_plan_is_one_error(project: Path) -> None:
    tree = project / "build/plan/tree.json"
    content = tree.read_text()
    for name in ("../x", "v1`x", "<b>", "v1\n", "[red]", 7):
        for key, value in {"name": name, "parent": name, "parents": ["v1", name], "ablates": {"version": name}}.items():
            record = json.loads(content)
            record["versions"][-1][key] = value
            tree.write_text(json.dumps(record))
            with pytest.raises(GanealogyError, match="run: ganealogy plan"):
                collect(project)


@pytest.mark.parametrize("damaged", [{"without": {}}, {"version": "v1", "without": "v3"}, {"version": "v1", "only": 3}])
def test_damaged_words_on_an_ablation_make_it_a_child(project: Path, damaged: dict[str, Any]) -> None:
    tree = project / "build/plan/tree.json"
    record = json.loads(tree.read_text())
    record["versions"][-1]["ablates"] = damaged
    tree.write_text(json.dumps(record))
    assert collect(project).versions[-1].ablates == {}
