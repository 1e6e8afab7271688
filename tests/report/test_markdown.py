from __future__ import annotations

from pathlib import Path

from markdown_it import MarkdownIt
from PIL import Image

from ganealogy.report.collect import collect
from ganealogy.report.markdown import plain, render, write_markdown
from ganealogy.report.pictures import gather


def test_the_markdown_renders_tables_and_pictures(project: Path) -> None:
    findings = collect(project)
    path = write_markdown(findings, gather(findings))
    html = MarkdownIt("commonmark").enable("table").render(path.read_text())
    assert html.count("<table>") == 5
    assert "<script>" not in html and "&lt;script&gt;" in html
    for picture in ("report/samples.png", "report/interpolation.png", "report/curves.png"):
        assert f'src="{picture}"' in html
        with Image.open(path.parent / picture) as image:
            assert image.width > 500
    with Image.open(path.parent / "report/curves.png") as with_terms:
        height = with_terms.height
    for run in findings.runs:
        for tick in run.ticks:
            tick.pop("d_loss_real", None)
    write_markdown(findings, gather(findings))
    with Image.open(path.parent / "report/curves.png") as without:
        assert without.height < height, "a row of panels for the terms of D's loss, where a run has them"
    rows = [line for line in path.read_text().splitlines() if line.startswith("| **v")]
    assert len(rows) == 4
    assert all(row.replace(r"\|", "").count("|") == 9 for row in rows), "a title's | must not end a cell"


def test_anchors_unmeasured_metrics_and_credits_are_included(shared_project: Path, tmp_path: Path) -> None:
    findings = collect(shared_project)
    findings.root = tmp_path
    findings.gaps.clear()
    text = write_markdown(findings, gather(collect(shared_project))).read_text()
    assert "| *floor* |" in text and "| *mean image* |" in text
    assert "`fid: not measured`" in text
    assert "†" in text
    assert "by Lisa Wischofsky, CC BY 4.0" in text
    assert "| `precision_effnet_lite0` ↑ |" in text, "metrics that are no headline metrics have their own table"


def test_it_has_the_pages_verdicts_flags_and_protocol(shared_project: Path) -> None:
    findings = collect(shared_project)
    text = render(findings, {})
    line = next(line for line in text.splitlines() if line.startswith("  - **v7**"))
    assert "Spectral norm in D" in line and "%" in line and "too few seeds" in line and "*seed 0 missing*" in line
    assert "collapsed (seed 0): 2% of the reals' variance: below 5%" in text
    assert "seed 1 diverged at step 376: d\\_loss is NaN" in text
    assert "weights\\_sha256 579344248a93e230" in text


def test_untrusted_text_is_escaped() -> None:
    assert plain("<b>*a*</b> | [x](y) `z`\n# h") == r"&lt;b&gt;\*a\*&lt;/b&gt; \| \[x\](y) \`z\` \# h"
