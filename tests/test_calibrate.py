"""A root beside its published number: inside, outside, diverged, missing; and the protocol that the number needs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers.fake_runs import metrics_json, run_json, write_run
from ruamel.yaml import YAML

from ganealogy import calibrate, repro
from ganealogy.cli.main import cli
from ganealogy.errors import GanealogyError
from ganealogy.evaluation.extractors import inception
from ganealogy.lineage.versions import read_family
from ganealogy.params import edit
from ganealogy.stages import plan
from ganealogy.workspace import run_dir

NAME = "mimicry-dcgan"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with the preset's params.yaml, and Inception's weights."""
    for name in ("versions", "presets"):
        shutil.copytree(name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    edit.use("cifar10")
    inception.weights_path().parent.mkdir(parents=True)
    inception.weights_path().write_bytes(b"")
    return tmp_path


@pytest.fixture
def trained(project: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[tuple[str, ...]]]:
    """Replace DVC: `trained(28.1)` is a pipeline whose next run leaves that FID of seed 0; None is a divergence."""
    calls: list[tuple[str, ...]] = []

    def results(*values: float | None, **record: object) -> list[tuple[str, ...]]:
        def dvc(*arguments: str) -> None:
            calls.append(arguments)
            for seed, value in enumerate(values):
                ended = {"status": "finished", "reason": None}
                if value is None:
                    ended = {"status": "diverged", "reason": "at step 7: D's loss is not finite"}
                metrics = {} if value is None else {"fid": value}
                measured = metrics_json(NAME, seed, **{"metrics": metrics, **ended, **record})
                write_run(run_dir(NAME, seed), run_json(NAME, seed), metrics=measured)

        monkeypatch.setattr(repro, "dvc", dvc)
        return calls

    return results


def typed(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli, arguments)
    if isinstance(result.exception, GanealogyError):
        return 2, str(result.exception)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, " ".join(result.output.split())


@pytest.mark.parametrize(
    ("values", "code", "words"),
    [
        ([28.95], 0, f"{NAME}: inside 25.5 to 32.5: fid 28.95; published: 28.95"),
        ([25.5], 0, "inside"),
        ([32.6], 3, "outside 25.5 to 32.5: fid 32.60"),
        ([22.0], 3, "outside"),
        ([None], 3, "outside 25.5 to 32.5: seed 0 diverged (at step 7: D's loss is not finite); published"),
    ],
)
def test_inside_ends_with_0_and_outside_with_3(
    values: list[float | None], code: int, words: str, trained: Callable[..., list[tuple[str, ...]]]
) -> None:
    calls = trained(*values)
    found, said = typed("calibrate", NAME)
    assert (found, words in said) == (code, True), said
    assert calls == [("repro", f"evaluate@{NAME}")]


def test_the_mean_over_seeds_counts_and_a_seed_that_diverged_is_outside(
    project: Path, trained: Callable[..., list[tuple[str, ...]]]
) -> None:
    file = project / "params.yaml"
    file.write_text(file.read_text().replace("seeds: [0]", "seeds: [0, 1]"))
    trained(24.0, 30.0)
    assert typed("calibrate", NAME)[1].startswith(f"{NAME}: inside 25.5 to 32.5: fid 27.00 (24.00 with seed 0, 30.00 ")
    trained(29.0, None)
    code, said = typed("calibrate", NAME)
    assert code == 3 and "outside 25.5 to 32.5: fid 29.00, seed 1 diverged" in said


def test_a_number_that_is_missing_is_an_error_with_its_reason(trained: Callable[..., list[tuple[str, ...]]]) -> None:
    trained(1.0, metrics={}, not_measured={"fid": "needs 205 samples, has 50"})
    code, said = typed("calibrate", NAME)
    assert code == 2 and said.endswith("evaluate/0/metrics.json: no fid: needs 205 samples, has 50")
    trained()
    shutil.rmtree("build/runs")
    code, said = typed("calibrate", NAME)
    assert code == 2 and said.endswith(f"metrics.json: no such file; run `dvc repro evaluate@{NAME}`")


def test_absent_weights_are_named_before_anything_trains(trained: Callable[..., list[tuple[str, ...]]]) -> None:
    calls = trained(28.0)
    inception.weights_path().unlink()
    code, said = typed("calibrate", NAME)
    assert code == 2 and said.endswith("no such file; run `ganealogy fetch inception`") and not calls


def test_params_of_other_data_become_right_by_the_command_in_the_message(
    project: Path, trained: Callable[..., list[tuple[str, ...]]]
) -> None:
    edit.use("demo")
    before, calls = Path("params.yaml").read_text(), trained(28.0)
    code, said = typed("calibrate", NAME)
    message = "dataset.name = 'avatars', but mimicry-dcgan's fid of 28.95 is of cifar10; run `ganealogy use cifar10`"
    assert (code, said) == (2, f"params.yaml: {message}")
    assert Path("params.yaml").read_text() == before and not calls, "a person's protocol is theirs"
    assert typed("use", "cifar10")[0] == 0
    assert typed("calibrate", NAME)[0] == 0


def test_other_keys_are_named_with_their_values(project: Path) -> None:
    code, said = typed("calibrate", "mimicry-sngan")
    needed = "train.kimg: 6400 (now 12800.0), sample.count: 50000 (now 10000), evaluate.reals: null (now 10000)"
    assert code == 2 and said.endswith(f"another protocol than that of mimicry-sngan's fid of 16.77; set {needed}")
    file = project / "params.yaml"
    content = YAML().load(file)
    content["train"]["kimg"], content["sample"]["count"], content["evaluate"]["reals"] = 6400, 50000, None
    content["tree"]["versions"] = [NAME]
    YAML().dump(content, file)
    assert typed("calibrate", "mimicry-sngan")[1].endswith("; set tree.versions with mimicry-sngan")


def test_without_a_name_it_lists_what_is_published() -> None:
    code, said = typed("calibrate")
    assert code == 0 and "mimicry-dcgan fid 28.95 25.5 to 32.5" in said and "mimicry-sngan fid 16.77" in said
    with pytest.raises(GanealogyError, match=r"'v1'; known: mimicry-dcgan, mimicry-sngan"):
        calibrate.run("v1")


def test_no_plan_depends_on_a_calibration(project: Path) -> None:
    params = project / "params.yaml"
    content = YAML().load(params)
    content["tree"]["versions"], content["train"]["width"] = [NAME], 4  # which is quicker to plan
    YAML().dump(content, params)
    before = plan.make()
    file = project / f"versions/{NAME}.yaml"
    file.write_text(file.read_text().partition("calibration:")[0])
    assert read_family([NAME])[NAME].file.calibration is None
    assert plan.make() == before


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[25.5, 32.5]", "[29.5, 32.5]", r"accept = \[29\.5, 32\.5\] does not contain the value 28\.95"),
        ("kimg: 12800", "mimg: 12800", r"protocol\.train has no key 'mimg'; known: kimg, epochs, batch_size"),
        ("name: cifar10, ", "", r"protocol\.dataset\.name is missing"),
        ("metric: fid", "measure: fid", r"calibration\.metric is missing"),
    ],
)
def test_a_fault_in_a_calibration_is_named(old: str, new: str, message: str, project: Path) -> None:
    file = project / f"versions/{NAME}.yaml"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(GanealogyError, match=rf"versions/{NAME}\.yaml: .*{message}") as caught:
        read_family([NAME])
    assert "\n" not in str(caught.value)
