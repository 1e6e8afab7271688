"""Which metric may lead: it must be measured, on enough samples, and be independent of the versions' training."""

from __future__ import annotations

from pathlib import Path

import pytest

from ganealogy.errors import GanealogyError
from ganealogy.stages import plan

TINY = Path(__file__).parents[1] / "tiny.yaml"


def make(tmp_path: Path, *changes: tuple[str, str]) -> object:
    text = TINY.read_text()
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    params = tmp_path / "params.yaml"
    params.write_text(text)
    return plan.make(params)


@pytest.mark.parametrize(
    ("lead", "legal"),
    [
        ("fd_layout_edges_32_64", "known: fd_pixel8, swd$"),
        ("precision_pixel8", "known: fd_pixel8, swd$"),
        ("fid", "unknown distance of evaluate.extractors 'fid'"),
    ],
)
def test_a_lead_that_is_not_measured_is_refused_with_the_legal_ones(tmp_path: Path, lead: str, legal: str) -> None:
    with pytest.raises(GanealogyError, match=rf"params\.yaml: evaluate\.lead: .*{legal}"):
        make(tmp_path, ("extractors: [pixel8]", "extractors: [pixel8, pictures]"), ("lead: fd_pixel8", f"lead: {lead}"))


def test_too_few_samples_for_the_lead_are_refused(tmp_path: Path) -> None:
    changes = [("extractors: [pixel8]", "extractors: [layout_edges_32_64]"), ("fd_pixel8", "fd_layout_edges_32_64")]
    with pytest.raises(GanealogyError, match=r"sample\.count = 50: .* needs at least 500 samples"):
        make(tmp_path, *changes)
    make(tmp_path, *changes, ("count: 50\n", "count: 500\n"))


@pytest.mark.parametrize("key", ["evaluate.lead", "train.tracker"])
def test_a_network_whose_features_a_discriminator_sees_is_refused(tmp_path: Path, key: str) -> None:
    changes = {
        "evaluate.lead": [
            ("extractors: [pixel8]", "extractors: [effnet_lite0_64]"),
            ("lead: fd_pixel8", "lead: fd_w64_effnet_lite0_64"),
        ],
        "train.tracker": [("tracker: pixel8", "tracker: effnet_lite0")],
    }
    with pytest.raises(GanealogyError, match=rf"{key}: the discriminator of v19 sees features of effnet_lite0"):
        make(tmp_path, ("versions: [v1, v3]", "versions: [v1, v19]"), *changes[key])
