"""The report's messages name commands. Typed after the fault, each makes it disappear."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers.pipeline import Workspace, with_results

from ganealogy.report.collect import collect
from ganealogy.report.findings import Gap
from ganealogy.report.pictures import gather
from ganealogy.workspace import run_dir


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, str, str]:
    """A workspace, what `summary` says in it before the first run, and after the command that this names."""
    workspace = with_results(tmp_path_factory, tmp_path_factory.mktemp("remedies") / "my work")
    workspace.run("git", "rm", "-q", "--cached", "-r", "reports")
    before = workspace.ganealogy("summary")
    assert before.returncode == 2
    type_command(workspace, before.stdout.rpartition("run: ")[2])
    return workspace, before.stdout, workspace.ganealogy("summary").stdout


def type_command(workspace: Workspace, command: str) -> str:
    words = shlex.split(command)
    if words[0] == "ganealogy":
        return workspace.ganealogy(*words[1:]).stdout
    assert words[0] == "dvc"
    return workspace.dvc(*words[1:])


def gaps(workspace: Workspace) -> list[Gap]:
    """Return what the report lacks, without FID, which the tiny protocol does not measure."""
    findings = collect(workspace.path)
    gather(findings)
    return [gap for gap in findings.gaps if gap.hint and not gap.what.startswith("fid")]


def test_without_results_the_remedy_makes_some(finished: tuple[Workspace, str, str]) -> None:
    workspace, before, after = finished
    assert "no results here yet" in before and "verdict" in after
    assert gaps(workspace) == []


def removed(name: str) -> Callable[[Path], None]:
    return lambda root: (root / name).unlink()


def damaged(name: str) -> Callable[[Path], None]:
    def damage(root: Path) -> None:
        content = (root / name).read_bytes()
        (root / name).unlink()  # a link to the cache or the store would damage that, too
        (root / name).write_bytes(content[: len(content) // 2])

    return damage


def of_another_protocol(root: Path) -> None:
    path = run_dir("v3", 0, root) / "evaluate/metrics.json"
    record = json.loads(path.read_text())
    record["protocol"]["fd_pixel8"]["reals"] = 1
    path.unlink()
    path.write_text(json.dumps(record))


V1 = "build/runs/v1"


@pytest.mark.parametrize(
    ("fault", "hint"),
    [
        (removed("data/packed/manifest.json"), "dvc repro preprocess"),
        (damaged("data/reference/anchors.json"), "dvc repro reference"),
        (removed("data/reference/real.png"), "dvc repro reference"),
        (removed(f"{V1}/train/0/run.json"), "dvc repro train@v1"),
        (damaged(f"{V1}/train/0/run.json"), "dvc repro train@v1 --force"),
        (damaged(f"{V1}/train/0/metrics.jsonl"), "dvc repro train@v1 --force"),
        (removed(f"{V1}/sample/0/images.npy"), "dvc repro sample@v1"),
        (damaged(f"{V1}/sample/0/images.npy"), "dvc repro sample@v1"),
        (damaged(f"{V1}/evaluate/0/metrics.json"), "dvc repro evaluate@v1"),
        (of_another_protocol, "dvc repro --force evaluate@v3"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_gap_is_gone_after_its_remedy(
    finished: tuple[Workspace, str, str], fault: Callable[[Path], None], hint: str
) -> None:
    workspace = finished[0]
    fault(workspace.path)
    found = gaps(workspace)
    assert hint in {gap.hint for gap in found}
    type_command(workspace, hint)
    assert gaps(workspace) == []


@pytest.mark.parametrize("fault", [removed("build/plan/tree.json"), damaged("build/plan/tree.json")])
def test_a_plan_is_made_again_by_its_remedy(
    finished: tuple[Workspace, str, str], fault: Callable[[Path], None]
) -> None:
    workspace = finished[0]
    fault(workspace.path)
    said = workspace.ganealogy("report").stdout
    command = said.strip().rpartition("run: ")[2].partition("`")[0]
    assert command == "ganealogy plan"
    type_command(workspace, command)
    assert gaps(workspace) == []


def test_edited_code_is_repaired_by_another_repro(finished: tuple[Workspace, str, str]) -> None:
    workspace = finished[0]
    workspace.append("src/ganealogy/report/palette.py", "EDITED = True")
    said = workspace.ganealogy("report").stdout
    assert "edited since the plan was made" in said and "Run `dvc repro` again" in said
    type_command(workspace, "dvc repro")
    assert workspace.ganealogy("report").returncode == 0


def test_too_few_seeds_are_repaired_as_the_message_says(finished: tuple[Workspace, str, str]) -> None:
    """The four messages of `ganealogy seeds`, in the order in which a person meets them."""
    workspace = finished[0]
    said = workspace.ganealogy("seeds", "v3").stdout
    assert "add seeds to tree.seeds in params.yaml, then run: dvc repro" in said
    workspace.edit("params.yaml", "seeds: [0]", "seeds: [0, 1]")
    type_command(workspace, "dvc repro plan")
    said = workspace.ganealogy("seeds", "v3").stdout
    assert "needs at least two" in said
    type_command(workspace, "dvc repro")
    said = workspace.ganealogy("seeds", "v3").stdout
    assert "The next look is at 5 seeds" in said
    lines = [line.strip() for line in said.splitlines() if line.startswith("  ")]
    section = lines[0].removeprefix("tree.more_seeds: ")
    workspace.edit("params.yaml", "seeds: [0, 1]", f"seeds: [0, 1]\n  more_seeds: {section}")
    type_command(workspace, "dvc repro plan")
    said = workspace.ganealogy("seeds", "v3").stdout
    assert "which params.yaml already has. Run: dvc repro" in said
    assert {len(version.seeds) for version in collect(workspace.path).listed} == {5}


def test_the_hint_of_a_new_version_s_file_shows_the_keys() -> None:
    from ganealogy.cli.main import cli
    from ganealogy.lineage.new_version import FILE

    assert "`ganealogy show $parent`" in FILE.template
    done = CliRunner().invoke(cli, ["show", "v1"], env={"COLUMNS": "120"})
    assert done.exit_code == 0 and "adversary.loss.name" in done.output
