"""What the commands say outside a project."""

from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from ganealogy.cli import _groups
from ganealogy.cli.main import cli
from ganealogy.errors import GanealogyError
from ganealogy.project import speed

NEEDY = [name for name in cli.commands if name not in _groups.ANYWHERE]


def invoke(verb: str, *arguments: str) -> Result:
    return CliRunner().invoke(cli, [verb, *arguments])


def message(verb: str) -> str:
    # Enough arguments for any command: the check comes before they are used.
    required = [parameter for parameter in cli.commands[verb].params if parameter.required]
    arguments = [parameter.opts[0] if parameter.opts[0].startswith("-") else "" for parameter in required]
    error = invoke(verb, *(part for name in arguments for part in (name, "v1") if part)).exception
    assert isinstance(error, GanealogyError), error
    return str(error)


@pytest.mark.parametrize("verb", NEEDY)
def test_a_command_that_needs_a_project_says_so(verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "no project, as it has no params.yaml" in message(verb)
    assert "`ganealogy init faces --pictures FOLDER`" in message(verb)


def test_the_named_command_makes_a_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(speed, "images_per_second", lambda *_: 1e3)
    (tmp_path / "FOLDER").mkdir()
    for level in range(0, 250, 10):
        Image.new("L", (16, 16), level).save(tmp_path / f"FOLDER/{level}.png")
    _, command, _ = message("plan").split("`")[-3:]
    assert invoke(*command.split()[1:]).exit_code == 0
    monkeypatch.chdir("faces")
    assert invoke("plan").exit_code == 0


def test_in_a_folder_of_a_project_it_says_where_the_project_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = tmp_path / "my faces"
    (project / "reports/generated").mkdir(parents=True)
    for name in ("params.yaml", "dvc.yaml"):
        (project / name).touch()
    monkeypatch.chdir(project / "reports/generated")
    assert f"type `cd '{project}'`" in message("summary")


@pytest.mark.parametrize("verb", ["tree", "show", "diff"])
def test_the_shipped_versions_are_shown_anywhere(verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = {"tree": ["--all"], "show": ["v2"], "diff": ["v1", "v2"]}[verb]
    outcome = invoke(verb, *arguments)
    assert outcome.exit_code == 0 and "relu" in outcome.output.lower()


@pytest.mark.parametrize("name", _groups.ANYWHERE)
def test_every_name_is_of_a_command(name: str) -> None:
    assert isinstance(cli.commands[name], click.Command)
