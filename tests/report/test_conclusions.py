"""Conclusions: written into version files, shown below the verdict, and stale once the numbers have changed."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from helpers.fabricated import edit as edit_json
from helpers.pipeline import ROOT

from ganealogy.cli.main import cli
from ganealogy.errors import GanealogyError
from ganealogy.lineage.versions import VersionFile, known, read_family
from ganealogy.params import edit
from ganealogy.report import as_json, markdown, page
from ganealogy.report.collect import collect
from ganealogy.report.pictures import Gallery
from ganealogy.stages import plan
from ganealogy.workspace import SHIPPED, VERSIONS

NO_PICTURES = Gallery()
WORDS = "Helps; keep it: {a} # b"


@pytest.fixture
def own(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fabricated project with files of its versions v1 and v3."""
    monkeypatch.chdir(project)
    VERSIONS.mkdir()
    for name in ("v1", "v3"):
        shutil.copy(SHIPPED / VERSIONS / f"{name}.yaml", VERSIONS)
    return project


def conclude(*arguments: str) -> str:
    done = CliRunner().invoke(cli, ["conclude", *arguments], catch_exceptions=False)
    assert done.exit_code == 0
    return done.output


def planned(name: str) -> None:
    """Put the conclusion of a version's file into the fabricated plan, as the plan stage does."""
    path = Path("build/plan/tree.json")
    tree = json.loads(path.read_text())
    conclusion = read_family([name])[name].file.conclusion
    for entry in tree["versions"]:
        if entry["name"] == name:
            entry["conclusion"] = conclusion.model_dump() if conclusion else None
    path.write_text(json.dumps(tree))


def shown(name: str) -> list[str]:
    """Return what the page, the Markdown file, `show` and `summary --json` have of a version."""
    planned(name)
    findings = collect()
    summary = next(each for each in as_json.summary(Path())["versions"] if each["name"] == name)
    return [
        page.render(findings, NO_PICTURES),
        markdown.render(findings, {}).replace("\\", ""),
        " ".join(CliRunner().invoke(cli, ["show", name], catch_exceptions=False).output.split()),
        f"{summary['conclusion']} ({summary['conclusion_remark']})",
    ]


def test_a_conclusion_is_written_and_shown_and_its_numbers_may_change(own: Path) -> None:
    before = Path("versions/v3.yaml").read_text()
    assert "versions/v3.yaml" in conclude("v3", WORDS)
    after = Path("versions/v3.yaml").read_text()
    assert after.startswith(before) and len(after.splitlines()) == len(before.splitlines()) + 3
    for text in shown("v3"):
        assert WORDS in text and "stale" not in text and "not tied" not in text
    run = own / "build/runs/v1/evaluate/0/metrics.json"
    metrics = json.loads(run.read_text())["metrics"]
    edit_json(run, metrics=metrics | {"fd_effnet_lite0": 1.0})
    assert not any("stale" in text for text in shown("v3")), "of another metric"
    edit_json(run, metrics=metrics | {"fd_pixel8": 2 * metrics["fd_pixel8"]})
    for text in shown("v3"):
        assert WORDS in text and "stale: the numbers of v3 and v1 have changed since" in text
    conclude("v3")  # as the remark says
    assert not any("stale" in text for text in shown("v3")) and WORDS in shown("v3")[0]
    conclude("v3", "It does not.")
    assert WORDS not in shown("v3")[0] and "It does not." in shown("v3")[0]
    assert Path("versions/v3.yaml").read_text().startswith(before)


def test_a_conclusion_by_hand_is_not_tied_to_numbers(own: Path) -> None:
    with Path("versions/v1.yaml").open("a") as file:
        file.write("conclusion: A fair start.\n")
    for text in shown("v1"):
        assert "A fair start." in text and "not tied to numbers; type" in text and "ganealogy conclude v1" in text
    conclude("v1")
    for text in shown("v1"):
        assert "A fair start." in text and "not tied" not in text


def test_without_a_conclusion_nothing_is_shown(own: Path) -> None:
    html, *texts = shown("v3")
    assert "<b>Conclusion" not in html and not any("Conclusion" in text for text in texts)
    with pytest.raises(GanealogyError, match=r"v3\.yaml: no conclusion yet; type `ganealogy conclude v3") as error:
        conclude("v3")
    conclude(*shlex.split(str(error.value).partition("conclude ")[2].rstrip("`")))
    assert "TEXT" in shown("v3")[1]


def test_a_version_that_comes_with_ganealogy_gets_a_copy_of_its_file(own: Path) -> None:
    Path("versions/v3.yaml").unlink()
    shipped = SHIPPED / VERSIONS / "v3.yaml"
    before = shipped.read_text()
    with pytest.raises(GanealogyError, match="conclusion"):
        conclude("v3", "")
    assert not Path("versions/v3.yaml").exists()
    conclude("v3", WORDS)
    assert WORDS in shown("v3")[0]
    assert Path("versions/v3.yaml").read_text().startswith(before) and shipped.read_text() == before


def test_what_is_not_measured_has_no_conclusion_until_it_is(own: Path) -> None:
    Path("build/runs/v3/evaluate").rename("kept")
    with pytest.raises(GanealogyError, match="v3 has no fd_pixel8 yet to conclude from; run `dvc repro`"):
        conclude("v3", WORDS)
    Path("kept").rename("build/runs/v3/evaluate")  # as `dvc repro` does
    conclude("v3", WORDS)
    with pytest.raises(GanealogyError, match=r"unknown version of tree\.versions 'v99'; known: v1, v3"):
        conclude("v99", WORDS)


@pytest.mark.parametrize(
    ("conclusion", "message"),
    [("''", "conclusion.text = ''"), ("5", "conclusion = 5"), ("{text: a, numbers: v8}", "conclusion.numbers = 'v8'")],
)
def test_a_wrong_conclusion_is_named(conclusion: str, message: str, own: Path) -> None:
    with Path("versions/v1.yaml").open("a") as file:
        file.write(f"conclusion: {conclusion}\n")
    with pytest.raises(GanealogyError, match=rf"versions/v1\.yaml: {message}"):
        read_family(["v1"])


@pytest.mark.parametrize("name", known(SHIPPED / VERSIONS))
def test_no_other_line_of_a_version_file_changes(name: str, tmp_path: Path) -> None:
    path = Path(shutil.copy(SHIPPED / VERSIONS / f"{name}.yaml", tmp_path))
    added = edit.rewrite(path, lambda content: content.update(conclusion={"text": WORDS}), VersionFile)
    changed = [line for line in added.splitlines()[2:] if line.startswith(("-", "+"))]
    assert [line[0] for line in changed] == ["+", "+"], added


def test_a_conclusion_trains_nothing(tmp_path: Path) -> None:
    """It is in no training's plan; of the stages, only the report depends on the file that has it."""
    versions = Path(shutil.copytree(SHIPPED / VERSIONS, tmp_path / "versions"))
    before = plan.make(ROOT / "tests/tiny.yaml", versions)
    with (versions / "v3.yaml").open("a") as file:
        file.write(f"conclusion: {{text: '{WORDS}', numbers: 0123456789ab}}\n")
    after = plan.make(ROOT / "tests/tiny.yaml", versions)
    assert [name for name in before if before[name] != after[name]] == ["tree.json"]
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    having_it = {"build/plan", "build/plan/tree.json", "versions"}
    readers = [name for name, stage in stages.items() if having_it & {*stage.get("deps", [])}]
    assert readers == ["plan", "report"]
