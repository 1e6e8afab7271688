"""`ganealogy settle`: seeds are added in params.yaml until each edge has its verdict, with a made-up training."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers import small_tree
from helpers.small_tree import METRIC, around, version

from ganealogy import repro, settle
from ganealogy.cli.main import cli
from ganealogy.errors import GanealogyError
from ganealogy.params import edit, schema
from ganealogy.workspace import run_dir

CENTRES = {"v1": 200.0, "v2": 150.0, "v3": 198.0}
"""v2 is better at the first look; v3 is within a tenth of v1, which takes more seeds."""
TURNS = {"v1": 0, "v2": 1, "v3": 2}
NOISE = (0.9, 1.12, 0.95, 1.05, 0.98)
ENTRIES = [version("v1"), version("v2", "v1"), version("v3", "v1")]


def value(name: str, seed: int) -> float:
    return CENTRES[name] * NOISE[(seed * (2 if name == "v3" else 1) + TURNS[name]) % 5]


class Trainer:
    """In place of `repro.repro`: gives every run of params.yaml its distance."""

    def __init__(self, root: Path) -> None:
        self.root, self.calls = root, 0
        self.code, self.measures = 0, True

    def __call__(self) -> int:
        self.calls += 1
        if self.code:
            return self.code
        tree = schema.load(self.root / "params.yaml").tree
        entries = [{**each, "seeds": tree.seeds_of(each["name"])} for each in ENTRIES]
        values = {each["name"]: [value(each["name"], seed) for seed in each["seeds"]] for each in entries}
        before = (self.root / "params.yaml").read_text()
        small_tree.make(self.root, entries, values)
        (self.root / "params.yaml").write_text(before)
        if not self.measures:
            for name, row in values.items():
                (run_dir(name, len(row) - 1, self.root) / "evaluate/metrics.json").unlink()
        return 0


@pytest.fixture
def trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trainer:
    """A project with two seeds of each version."""
    small_tree.make(tmp_path, ENTRIES, {name: [value(name, seed) for seed in range(2)] for name in CENTRES})
    monkeypatch.chdir(tmp_path)
    found = Trainer(tmp_path)
    monkeypatch.setattr(repro, "repro", found)
    return found


def tree(root: Path) -> schema.Tree:
    return schema.load(root / "params.yaml").tree


def test_open_edges_get_seeds_and_decided_ones_stop(trainer: Trainer) -> None:
    looks = list(settle.settle([], 20, None))
    words = {state.child: (state.verdict.word, state.pairs) for state in looks[-1].states}
    assert words["v2"] == ("better", 5)
    assert words["v3"][1] > 5 and not looks[-1].next.edges
    assert len(tree(trainer.root).seeds_of("v2")) == 5 < len(tree(trainer.root).seeds_of("v3"))
    assert trainer.calls == len(looks) - 1


def test_named_edges_alone_get_seeds(trainer: Trainer) -> None:
    list(settle.settle(["v2"], 40, None))
    root, child, other = (len(tree(trainer.root).seeds_of(name)) for name in CENTRES)
    assert root == child > other == 2


def test_it_goes_on_where_it_was_stopped(trainer: Trainer) -> None:
    trainer.code = 130
    with pytest.raises(SystemExit) as stopped:
        list(settle.settle([], 20, None))
    assert stopped.value.code == 130 and tree(trainer.root).seeds_of("v2") == [0, 1, 2, 3, 4]
    trainer.code = 0
    looks = list(settle.settle([], 20, None))
    assert not looks[-1].next.edges and {state.child: state.pairs for state in looks[-1].states}["v2"] == 5


def test_a_project_without_a_plan_is_trained_first(trainer: Trainer) -> None:
    (trainer.root / "build/plan/tree.json").unlink()
    assert next(settle.settle([], 20, None)).states[0].pairs == 2 and trainer.calls == 1


def test_runs_without_a_result_end_it(trainer: Trainer) -> None:
    trainer.measures = False
    with pytest.raises(GanealogyError, match=f"v2, v3: the seeds of the next look have ended without a {METRIC}"):
        list(settle.settle([], 40, None))


def test_the_budget_chooses_the_edges(trainer: Trainer) -> None:
    trainer()
    whole = settle.load([], 40, None)
    assert whole.next.runs == 9 and whole.next.seconds and whole.all.runs == 3 * 38 and not whole.waiting
    less = settle.load([], 40, whole.next.seconds - 1)
    assert [state.child for state in less.next.edges] == ["v2"] and [s.child for s, _ in less.waiting] == ["v3"]
    assert less.next.runs == 6


def test_a_budget_that_allows_nothing_is_one_line(trainer: Trainer) -> None:
    done = CliRunner().invoke(cli, ["settle", "--budget", "0.001m"])
    assert isinstance(done.exception, GanealogyError) and trainer.calls == 0
    assert str(done.exception).startswith("--budget: the next look of v2 takes about ")
    assert str(done.exception).endswith(", and no other takes less")


@pytest.mark.parametrize("text", ["6", "h", "-1h", "0h", "six hours", "1w"])
def test_a_budget_is_a_time(text: str) -> None:
    done = CliRunner().invoke(cli, ["settle", "--budget", text])
    assert done.exit_code == 2 and "such as 6h, 30m or 1.5d" in done.output


def test_a_version_without_an_edge_is_refused(trainer: Trainer) -> None:
    for name in ("v1", "v9"):
        with pytest.raises(GanealogyError, match=f"'{name}'.*v2, v3"):
            settle.load([name], 40, None)


def test_a_dry_run_trains_nothing_and_writes_nothing(trainer: Trainer) -> None:
    before = (trainer.root / "params.yaml").read_text()
    done = CliRunner(env={"COLUMNS": "150"}).invoke(cli, ["settle", "--dry-run"], catch_exceptions=False)
    assert "look 1 of 5: 5 seeds" in done.output and "next look: 9 runs more" in done.output
    assert trainer.calls == 0 and (trainer.root / "params.yaml").read_text() == before


def test_the_command_prints_each_look(trainer: Trainer) -> None:
    done = CliRunner(env={"COLUMNS": "150"}).invoke(cli, ["settle", "--at-most", "8"], catch_exceptions=False)
    assert done.exit_code == 0 and "settled: better" in done.output and "8 of at most 8 seeds" in done.output
    assert done.output.rstrip().endswith("all edges are settled")


def test_comments_of_params_stay(trainer: Trainer) -> None:
    path = trainer.root / "params.yaml"
    path.write_text("# mine\n" + path.read_text())
    settle.write(settle.load([], 40, None).next)
    assert path.read_text().startswith("# mine\n") and tree(trainer.root).seeds_of("v1") == list(range(5))


def test_seeds_of_ones_own_are_continued(trainer: Trainer) -> None:
    path = trainer.root / "params.yaml"
    path.write_text(path.read_text().replace('"seeds": [0, 1]', '"seeds": [3, 7]'))
    assert settle.load([], 40, None).next.more_seeds["v1"] == [8, 9, 10]


def test_no_edges_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_tree.make(tmp_path, [version("v1")], {"v1": around(200.0)})
    monkeypatch.chdir(tmp_path)
    with pytest.raises(GanealogyError, match="no version whose parent is listed, too: nothing to settle"):
        settle.load([], 40, None)


def test_the_seeds_of_a_version_are_one_line_and_the_empty_lines_stay(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    shutil.copy("params.yaml", path)
    before = path.read_text()
    edit.set_more_seeds({"v2": [5, 6], "v24": [5]}, path)
    text = path.read_text()
    assert "  more_seeds:\n    v2: [5, 6]\n    v24: [5]\n" in text
    assert text.replace("  more_seeds:\n    v2: [5, 6]\n    v24: [5]\n", "") == before
    edit.set_more_seeds({"v2": [5, 6, 7]}, path)
    assert "  more_seeds:\n    v2: [5, 6, 7]\n  seeds:" in path.read_text()
