"""evaluate.metrics: names are checked before anything runs, and reach the stages that measure."""

from __future__ import annotations

from pathlib import Path

import pytest

from ganealogy.errors import GanealogyError
from ganealogy.stages import plan


def made(folder: Path, metrics: str) -> plan.PlanFiles:
    (folder / "params.yaml").write_text(Path("tests/tiny.yaml").read_text() + f"  metrics: {metrics}\n")
    return plan.make(folder / "params.yaml")


def test_listed_metrics_reach_the_plan_of_the_stages_that_measure(tmp_path: Path) -> None:
    files = made(tmp_path, "[fd_pixel8, copies_pixel8]")
    for stage in ("reference", "evaluate"):
        assert files[f"stages/{stage}.json"]["settings"]["metrics"] == ["fd_pixel8", "copies_pixel8"]  # type: ignore[typeddict-item]
    assert made(tmp_path, "null")["stages/evaluate.json"]["settings"]["metrics"] is None  # type: ignore[typeddict-item]


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        ("[fd_pixel8, kid_pixel8]", r"evaluate\.metrics: unknown .*'kid_pixel8'.*diversity_pixel8"),
        ("[diversity_pixel8]", r"evaluate\.metrics leaves out evaluate\.lead.*add fd_pixel8"),
        ("[]", r"evaluate\.metrics = \[\]: .*at least 1 item"),
    ],
)
def test_wrong_lists_are_refused(tmp_path: Path, metrics: str, message: str) -> None:
    with pytest.raises(GanealogyError, match=message):
        made(tmp_path, metrics)
