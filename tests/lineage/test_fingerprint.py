"""A fingerprint changes with the behaviour of the code and with nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ganealogy.errors import GanealogyError
from ganealogy.lineage import fingerprint

BEFORE = '''
"""What it is."""
def f(x):
    """Doc."""
    return x + 1
'''


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Create a package of four modules: a imports b, b imports c, d imports nothing."""
    monkeypatch.setattr(fingerprint, "SOURCE", tmp_path)
    (tmp_path / "__init__.py").touch()
    (tmp_path / "a.py").write_text("from ganealogy import b\n")
    (tmp_path / "b.py").write_text("import ganealogy.c\n")
    (tmp_path / "c.py").write_text(BEFORE)
    (tmp_path / "d.py").write_text("x = 1\n")
    return tmp_path


def of(module: str) -> dict[str, str]:
    return fingerprint.closure([f"ganealogy.{module}"])


def test_the_closure_follows_imports(package: Path) -> None:
    assert list(of("a")) == ["ganealogy.a", "ganealogy.b", "ganealogy.c"]


@pytest.mark.parametrize(
    "after",
    [
        BEFORE.replace("Doc.", "Another text."),
        BEFORE.replace('    """Doc."""\n', ""),
        "# a comment\n\n\n" + BEFORE,
        BEFORE.replace("x + 1", "(x  +  1)  # why"),
    ],
)
def test_an_edit_without_effect_keeps_the_fingerprint(package: Path, after: str) -> None:
    before = of("a")
    (package / "c.py").write_text(after)
    assert of("a") == before


@pytest.mark.parametrize("after", [BEFORE.replace("1", "2"), BEFORE.replace("1", "True"), BEFORE.replace("1", "1.0")])
def test_an_edit_with_effect_changes_its_module_only(package: Path, after: str) -> None:
    before = of("a")
    (package / "c.py").write_text(after)
    changed = of("a")
    assert {name for name in before if before[name] != changed[name]} == {"ganealogy.c"}
    assert of("d") == fingerprint.closure(["ganealogy.d"])


def test_an_edit_during_a_stage_is_detected(package: Path) -> None:
    planned = of("a")
    fingerprint.verify(planned, "while it ran")
    (package / "c.py").write_text(BEFORE.replace("1", "22"))
    with pytest.raises(GanealogyError, match=r"ganealogy\.c: edited while it ran"):
        fingerprint.verify(planned, "while it ran")


def test_a_loaded_module_outside_the_closure_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    code = fingerprint.closure(["ganealogy.errors"])
    monkeypatch.setitem(sys.modules, "ganealogy.adversary.divergence", sys.modules[__name__])
    with pytest.raises(GanealogyError, match="not in its fingerprint"):
        fingerprint.verify_loaded(code)


def test_packages_are_empty_so_that_importing_a_part_imports_no_other() -> None:
    for path in fingerprint.SOURCE.rglob("__init__.py"):
        relative = path.relative_to(fingerprint.SOURCE)
        if relative.parts[0] not in {"tracking", "report"}:  # not in any training's closure
            assert path.read_text() == "", f"{relative} must stay empty"


@pytest.mark.parametrize("entry", ["training.loop", "sampling.sample", "evaluation.evaluate"])
def test_modules_that_compute_do_not_import_orchestration(entry: str) -> None:
    inner = {name.split(".")[1] for name in fingerprint.closure([f"ganealogy.{entry}"])}
    assert not inner & {"cli", "lineage", "params", "stages", "tracking", "report", "verdicts", "cluster", "export"}


def test_edits_of_paths_and_of_types_change_no_fingerprint() -> None:
    closure = fingerprint.closure(["ganealogy.training.loop", "ganealogy.evaluation.evaluate"])
    assert not {"ganealogy.workspace", "ganealogy.record_types"} & closure.keys()


def test_evaluation_metrics_are_not_in_a_trainings_closure() -> None:
    closure = fingerprint.closure(["ganealogy.training.loop", "ganealogy.evaluation.extractors.pixel8"])
    assert "ganealogy.evaluation.metrics.kid" not in closure and "ganealogy.evaluation.evaluate" not in closure


def test_importing_the_command_line_imports_nothing_heavy() -> None:
    heavy = ("torch", "mlflow", "pandas", "pydantic", "numpy")
    probe = f"import sys, ganealogy.cli.main; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
