from __future__ import annotations

from pathlib import Path

from markdown_it import MarkdownIt
from PIL import Image

from ganealogy.report.collect import collect
from ganealogy.report.markdown import plain, write_markdown
from ganealogy.report.pictures import gather


def test_it_reads_as_tables_and_pictures(project: Path) -> None:
    findings = collect(project)
    path = write_markdown(findings, gather(findings))
    html = MarkdownIt("commonmark").enable("table").render(path.read_text())
    assert html.count("<table>") == 2
    assert "<script>" not in html and "&lt;script&gt;" in html
    for picture in ("report/samples.png", "report/curves.png"):
        assert f'src="{picture}"' in html
        with Image.open(path.parent / picture) as image:
            assert image.width > 600
    rows = [line for line in path.read_text().splitlines() if line.startswith("| **v")]
    assert len(rows) == 4
    assert all(row.replace(r"\|", "").count("|") == 7 for row in rows), "a title's | must not end a cell"


def test_numbers_anchors_and_what_is_missing(shared_project: Path, tmp_path: Path) -> None:
    findings = collect(shared_project)
    findings.root = tmp_path
    findings.gaps.clear()
    text = write_markdown(findings, gather(collect(shared_project))).read_text()
    assert "| *floor* |" in text and "| *mean image* |" in text
    assert "`fid: not measured`" in text
    assert "†" in text
    assert "Lisa Wischofsky, CC BY 4.0" in text


def test_other_peoples_words_stay_words() -> None:
    assert plain("<b>*a*</b> | [x](y) `z`\n# h") == r"&lt;b&gt;\*a\*&lt;/b&gt; \| \[x\](y) \`z\` \# h"
