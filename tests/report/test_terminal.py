"""`ganealogy summary` in terminals of several widths."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from helpers.fake_runs import cost_json, metrics_json, run_json, write_run
from helpers.five_seeds import METRIC, VALUES, edit_tree, make_tree, remove_metrics, write
from rich.cells import cell_len
from rich.console import Console

from ganealogy.cli.main import cli
from ganealogy.errors import GanealogyError
from ganealogy.report.collect import collect
from ganealogy.report.terminal import NO_RESULTS, summary
from ganealogy.report.verdict_table import estimates_for
from ganealogy.workspace import run_dir

ROOT = Path(__file__).parents[2]
DEMO = [f"v{number}" for number in range(1, 9)]


def shown(root: Path, width: int = 80) -> list[str]:
    """Return the lines of the summary in a terminal of this width; no line is wider."""
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(summary(root, width))
    lines = [line.rstrip() for line in console.export_text().splitlines()]
    assert max(map(cell_len, lines)) <= width
    return lines


def table_of(lines: list[str]) -> list[str]:
    """Return the lines from the headings to the last version."""
    start = next(at for at, line in enumerate(lines) if line.startswith("version"))
    end = next((at for at in range(start, len(lines)) if not lines[at]), len(lines))
    return lines[start:end]


def make_demo(root: Path, names: list[str] = DEMO, centre: float = 120.0, **titles: str) -> Path:
    """Make the project's own versions with five seeds each: every second is better than its parent."""
    entries = []
    for at, name in enumerate(names):
        content = yaml.safe_load((ROOT / f"versions/{name}.yaml").read_text())
        title = titles.get(name, content["title"])
        parent = content.get("parent")
        entries.append(
            {"name": name, "title": title, "parent": parent, "listed": True, "recipe": {}, "seeds": [*range(5)]}
        )
        for seed in range(5):
            value = centre * (0.8 if at % 2 else 1.0) * (1 + 0.02 * ((seed + at) % 5))
            metrics = metrics_json(name, seed, metrics={METRIC: value})
            write_run(run_dir(name, seed, root), run_json(name, seed), cost=cost_json(20 + seed), metrics=metrics)
    protocol = {"tracker": "pixel8", "kimg": 20, "batch_size": 32, "lr": 2e-4, "width": 32, "precision": "fp32"}
    evaluate = {"extractors": ["pixel8"], "lead": "fd_pixel8", "reals": 2000, "equivalence_margin": 0.1}
    write(root / "build/plan/tree.json", {"versions": entries, "protocol": protocol, "evaluate": evaluate})
    return root


@pytest.fixture
def demo(tmp_path: Path) -> Path:
    return make_demo(tmp_path)


@pytest.fixture
def seeded(tmp_path: Path) -> Path:
    return make_tree(tmp_path)


def test_the_demo_fits_80_columns_and_only_titles_are_cut(demo: Path) -> None:
    lines = shown(demo)
    heading, *rows = table_of(lines)
    assert heading.split() == ["version", "idea", "distance", "[95", "%]", "verdict", "seconds"]
    assert len(rows) == len(DEMO), "one line per version"
    assert max(map(cell_len, rows)) == 80, "titles take all the space that is left"
    for row in rows:
        assert re.search(r"\[\d+\.\d+, \d+\.\d+\]  .*  22$", row), row
    assert any("…" in row for row in rows)
    assert lines[0].startswith("Of 7 ideas, ") and any(METRIC in line for line in lines[:4])


def test_the_tree_is_indented_as_in_the_plan(demo: Path) -> None:
    starts = [re.match(r" *(└ )?v\d", row).group() for row in table_of(shown(demo))[1:]]  # type: ignore[union-attr]
    assert starts == ["v1", "  └ v2", "  └ v3", "    └ v4", "      └ v5", "        └ v6", "  └ v7", "    └ v8"]


@pytest.mark.parametrize("width", [60, 79, 80, 81, 120, 200])
@pytest.mark.parametrize("centre", [1e-4, 120.0, 123456.0])
def test_no_number_or_name_is_cut_at_any_width(tmp_path: Path, width: int, centre: float) -> None:
    root = make_demo(tmp_path, [*DEMO, "v9", "v11", "v12", "v13", "v14"], centre)
    text = "\n".join(table_of(shown(root, width)))
    numbers = re.findall(r"\[(\S+), (\S+)\]", text)
    assert len(numbers) == 13 and not any("…" in number for pair in numbers for number in pair)
    assert set(re.findall(r"v\d+", text)) == {*DEMO, "v9", "v11", "v12", "v13", "v14"}
    assert len(re.findall(r" 22$", text, re.MULTILINE)) == 13
    assert "better" in text and "worse" in text


def test_forty_columns_are_too_few_for_all_but_do_no_harm(demo: Path) -> None:
    assert shown(demo, 40)[0].startswith("Of 7 ideas, ")


def test_a_wide_terminal_shows_whole_titles(demo: Path) -> None:
    text = "\n".join(shown(demo, 120))
    assert "…" not in text and "One-sided label smoothing" in text


def test_numbers_and_verdicts_are_those_of_the_report(seeded: Path) -> None:
    lines = shown(seeded)
    assert lines[0] == "Of 3 ideas, 1 helped, 1 harmed and 1 makes no difference within 10 %; best: v3."
    text = "\n".join(lines)
    assert "Family of 3 edges. Seed correlation" in text
    v1 = estimates_for(collect(seeded), METRIC)["v1"]
    assert f"{v1.mean:.1f} [{v1.low:.1f}, {v1.high:.1f}]" in text and "geometric mean" in text
    rows = table_of(lines)[1:]
    assert [re.split(r" {2,}", row.strip())[3] for row in rows] == ["root", "✓ better", "≈ equivalent", "✗ worse"]
    assert all(row.endswith("–") for row in rows), "no run has a cost"
    for version in VALUES:
        for seed in (1, 2, 3, 4):
            remove_metrics(seeded, version, seed)
    lines = shown(seeded)
    assert "95 %" not in "\n".join(lines) and "too few seeds" in "\n".join(lines)


def test_problems_and_unlisted_ancestors_are_named(shared_project: Path, seeded: Path) -> None:
    assert shown(shared_project)[-1] == "v5: seed 1 diverged, collapsed · v7: seed 0 missing"
    versions = json.loads((seeded / "build/plan/tree.json").read_text())["versions"]
    edit_tree(seeded, versions=[entry | {"listed": entry["name"] == "v5"} for entry in versions])
    assert [row.split() for row in table_of(shown(seeded))[1:]] == [
        ["v1", "v1", "not", "listed"],
        ["└", "v3", "v3", "not", "listed"],
        ["└", "v5", "v5", "152.0", "[147.8,", "156.2]", "not", "measured", "–"],
        ["└", "v7", "v7", "not", "listed"],
    ]


def test_one_version_with_one_seed(tmp_path: Path) -> None:
    make_demo(tmp_path, ["v1"])
    lines = shown(tmp_path)
    assert lines[0] == "No idea to test; best: v1 (the root)."
    assert re.fullmatch(r"v1 +The tutorial's DCGAN +124\.\d \[.*\]  root +22", lines[-1])


def test_versions_may_have_different_numbers_of_seeds(demo: Path) -> None:
    tree = json.loads((demo / "build/plan/tree.json").read_text())
    edit_tree(demo, versions=[each | {"seeds": [0, 1] if each["name"] == "v3" else [0]} for each in tree["versions"]])
    text = " ".join(" ".join(shown(demo)).split())
    assert "8 versions × 1 to 2 seeds" in text and "All 7 ideas are open (too few seeds)" in text
    assert len(re.findall(r"\[\d+\.", text)) == 1, "only v3 has an interval"


@pytest.mark.parametrize(
    "title",
    [
        "[red]bold[/red] [/]",
        "<script>alert(1)</script>",
        "\x1b[31mred\x1b[2J\a\r\n\tand on",
        "漢字" * 60,
        "é" * 120,
        "👩‍🔬 " * 30,
    ],
)
def test_hostile_titles_stay_in_their_column(tmp_path: Path, title: str) -> None:
    root = make_demo(tmp_path, v3=title)
    for width in (60, 80, 200):
        lines = shown(root, width)
        assert not any(letter in "\x1b\a\r\t" for line in lines for letter in line)
        (row,) = [line for line in lines if line.startswith("  └ v3")]
        assert row.endswith("22")
    assert "[red]bold" in "\n".join(shown(root, 120)) or "red" not in title or "\x1b" in title


def test_better_and_worse_are_coloured_on_a_terminal(demo: Path) -> None:
    console = Console(width=80, file=(file := io.StringIO()), force_terminal=True, color_system="standard")
    console.print(summary(demo, 80))
    assert "\x1b[32m✓ better" in file.getvalue() and "\x1b[31m✗ worse" in file.getvalue()


def test_forty_generations_do_not_break_the_table(crowd: Path) -> None:
    rows = table_of(shown(crowd))
    assert len([row for row in rows if re.match(r" *└ v\d+ ", row)]) == 39


def test_the_command_prints_where_the_report_is(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(demo)
    done = CliRunner().invoke(cli, ["summary"], catch_exceptions=False)
    assert done.exit_code == 0
    *_, report, mlflow = done.output.splitlines()
    assert report == f"report     {(demo / 'reports/index.html').as_uri()}" and mlflow == "MLflow UI  ganealogy ui"


def test_without_results_one_line_names_the_command(
    tmp_path: Path, demo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in DEMO:
        for seed in range(5):
            (run_dir(name, seed, demo) / "train/run.json").unlink()
    with pytest.raises(GanealogyError) as raised:
        summary(demo, 80)
    assert str(raised.value) == NO_RESULTS and "dvc repro" in NO_RESULTS and "\n" not in NO_RESULTS
    with pytest.raises(GanealogyError, match="dvc repro"):
        summary(tmp_path / "elsewhere", 80)
    (demo / "build/plan/tree.json").write_text("{")
    with pytest.raises(GanealogyError, match=r"tree\.json: cannot be read"):
        summary(demo, 80)
