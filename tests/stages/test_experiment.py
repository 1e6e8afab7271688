"""`dvc exp run -S key=value` where nothing differs from the last run says so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

import pytest
import yaml
from helpers.pipeline import ran, with_results

from ganealogy.lineage import tables
from ganealogy.params import schema
from ganealogy.runtime.tables import Fitted
from ganealogy.stages import _experiment, plan
from ganealogy.tree_types import TreeJson

TINY = Path("tests/tiny.yaml")


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    params = {"params.yaml": schema.read_yaml(TINY)}
    (tmp_path / "dvc.lock").write_text(yaml.safe_dump({"stages": {"plan": {"params": params}}}))
    return tmp_path / "dvc.lock"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, "every value of params.yaml is that of the last run"),
        ({"train.lr": 2e-4}, "every value"),
        ({"train.precision": "fp32"}, "every value"),  # the default, which params.yaml leaves out
        ({"train.device": "auto"}, "only train.device differs, which changes no result"),
        ({"dataset.mirror": "m", "train.threads": 2}, "only dataset.mirror and train.threads differ,"),
        ({"train.lr": 4e-4}, ""),
        ({"train.width": 8}, ""),
        ({"tree.seeds": [0, 1]}, ""),
        ({"sample.count": 60}, ""),
        ({"train.lr": 4e-4, "train.device": "auto"}, ""),
    ],
    ids=str,
)
def test_an_experiment_without_a_difference_is_noted(
    change: dict[str, object], words: str, lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = schema.read_yaml(TINY)
    for key, value in change.items():
        section, name = key.split(".")
        content[section][name] = value
    settings = schema.parse(schema.Settings, content, "params.yaml")
    assert _experiment.note(settings, lock) == "", "only in an experiment"
    monkeypatch.setenv(_experiment.EXPERIMENT, "faster")
    note = _experiment.note(settings, lock)
    assert note.startswith(f"experiment faster: {words}") if words else note == ""


@pytest.mark.parametrize(
    "content", ["", "stages: {}", "[]", "\t", "stages: {plan: {params: {params.yaml: {tree: 1}}}}"]
)
def test_without_a_last_run_there_is_nothing_to_note(
    content: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(_experiment.EXPERIMENT, "faster")
    (tmp_path / "dvc.lock").write_text(content)
    settings = schema.load(TINY)
    assert _experiment.note(settings, tmp_path / "dvc.lock") == _experiment.note(settings, tmp_path / "none") == ""


def test_dvc_shows_the_note_and_the_command_in_it_makes_a_difference(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """README's first experiment, typed with the value that params.yaml already has."""
    workspace = with_results(tmp_path_factory, tmp_path / "my work")
    workspace.dvc("repro")
    output = workspace.dvc("exp", "run", "-n", "same", "-S", "train.lr=0.0002")
    assert ran(output) == ["inputs"]
    [note] = [line for line in output.splitlines() if "experiment same:" in line]
    assert "every value of params.yaml is that of the last run" in note and "trains nothing" in note
    command = note.partition("run: ")[2]
    assert command == "dvc exp run -S train.lr=0.0004"
    output = workspace.dvc(*command.split()[1:])
    assert "train@v1" in ran(output) and "is that of the last run" not in output


@pytest.mark.parametrize(
    ("versions", "words"),
    [
        (["v1", "v3"], "base learning rate 0.0002 · seeds 0"),
        (["v5"], "base learning rate 0.0002 (of v5 for G alone) ·"),
        (["v1", "v5", "v6", "v10"], "base learning rate 0.0002 (not of v6 and v10; of v5 for G alone) ·"),
    ],
)
def test_the_plan_names_versions_that_another_rate_does_not_move(
    versions: list[str], words: str, tmp_path: Path
) -> None:
    content = schema.read_yaml(TINY)
    content["tree"]["versions"] = versions
    (tmp_path / "params.yaml").write_text(json.dumps(content))
    made = cast(TreeJson, plan.make(tmp_path / "params.yaml", Path("versions"))["tree.json"])
    shown = tables.table(made)
    assert isinstance(shown, Fitted) and words in shown.caption
