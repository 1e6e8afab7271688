"""Tables by class on the page and in Markdown: names, means over seeds, many classes, damaged records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from helpers.fabricated import edit, save
from PIL import Image

from ganealogy.report.build import build
from ganealogy.report.class_tables import ROWS, class_tables
from ganealogy.report.collect import collect

HOSTILE = "<i>owls</i> | **x**"


def record(coverage: list[Any], own: list[Any] | None = None) -> dict[str, Any]:
    size = len(coverage)
    columns = {"reals": [100] * size, "recall": [0.5] * size, "samples": [1 / size] * size}
    whole = {"k": 5, "coverage": coverage, "own": own, **columns}
    pixels = {**whole, "coverage": [0.9] * size}
    return {"pixel8": {"network": False, **pixels}, "effnet_lite0": {"network": True, **whole}}


def give(project: Path, name: str, classes: Any) -> None:
    version, seed = name.split("-")
    edit(project / f"build/runs/{version}/evaluate/{seed}/metrics.json", classes=classes)


@pytest.fixture
def classes(project: Path) -> Path:
    """A project whose data set has three classes, measured for v1 with both seeds and v3 with one."""
    edit(project / "data/packed/manifest.json", classes=["cats", "dogs", HOSTILE])
    give(project, "v1-0", record([0.2, 0.6, None]))
    give(project, "v1-1", record([0.4, 0.8, None]))
    give(project, "v3-0", record([0.0, 1.0, None], own=[0.25, 0.75, None]))
    return project


def test_a_row_per_class_by_name_with_the_mean_over_seeds(classes: Path) -> None:
    tables = class_tables(collect(classes))
    assert [table.title for table in tables] == [
        "Coverage by class",
        "Recall by class",
        "Share of the samples",
        "Samples of a class that look like it",
    ]
    assert tables[0].rows == [
        {"class": "cats", "reals": "100", "v1": "0.30", "v3": "0.00"},
        {"class": "dogs", "reals": "100", "v1": "0.70", "v3": "1.00"},
        {"class": HOSTILE, "reals": "100", "v1": "–", "v3": "–"},
    ]
    assert tables[2].rows[0] == {"class": "cats", "reals": "33.3 %", "v1": "33.3 %", "v3": "33.3 %"}
    assert tables[3].rows[0] == {"class": "cats", "reals": "100", "v3": "0.25"}, "conditional versions alone"
    assert "EfficientNet-Lite0" in tables[0].about and "k = 5" in tables[0].about


def test_page_and_markdown_have_them_with_names_escaped(classes: Path) -> None:
    tree = classes / "build/plan/tree.json"
    tree.write_text(tree.read_text().replace('"labels": false', '"labels": true', 2))
    for seed in (0, 1):
        save(classes / f"build/runs/v1/sample/{seed}/classes.png", Image.new("RGB", (700, 200)))
    build(classes)
    page, text = (classes / "reports/index.html").read_text(), (classes / "reports/report.md").read_text()
    assert "Coverage by class" in page and '<th scope="row">dogs</th><td class="num">100</td>' in page
    assert "&lt;i&gt;owls&lt;/i&gt;" in page and "<i>owls</i>" not in page + text
    assert 'href="#classes"' in page and page.count("a row per class") == 1
    assert "**Coverage by class.**" in text and "| cats | 100 | 0.30 | 0.00 |" in text
    assert r"\*\*x\*\*" in text


def test_without_classes_there_is_no_section(project: Path) -> None:
    build(project)
    assert class_tables(collect(project)) == []
    assert 'id="classes"' not in (project / "reports/index.html").read_text()
    assert "## Classes" not in (project / "reports/report.md").read_text()


def test_of_many_classes_those_of_the_lowest_coverage_are_shown(project: Path) -> None:
    count = 10 * ROWS
    give(project, "v1-0", record([1 - index / count for index in range(count)]))
    tables = class_tables(collect(project))
    assert [row["class"] for row in tables[0].rows] == [str(index) for index in range(count - 1, count - 1 - ROWS, -1)]
    assert f"The {ROWS} classes of the lowest coverage, of {count}." in tables[0].about


@pytest.mark.parametrize(
    "damaged", [{"effnet_lite0": {}}, {"effnet_lite0": {"reals": 3}}, {"effnet_lite0": 1}, [1], {"x": {"reals": []}}]
)
def test_a_damaged_record_makes_no_table(project: Path, damaged: Any) -> None:
    give(project, "v1-0", damaged)
    assert class_tables(collect(project)) == []


def test_an_absent_sheet_of_a_conditional_version_is_a_gap(classes: Path) -> None:
    tree = classes / "build/plan/tree.json"
    tree.write_text(tree.read_text().replace('"labels": false', '"labels": true', 1))
    build(classes)
    assert "dvc repro sample@v1" in (classes / "reports/index.html").read_text()
