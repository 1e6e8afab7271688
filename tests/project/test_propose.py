"""The settings that `ganealogy init` proposes fit the pictures and the time."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from ganealogy.errors import GanealogyError
from ganealogy.lineage.versions import read_family
from ganealogy.params.schema import Settings
from ganealogy.project import propose
from ganealogy.project.look import Look
from ganealogy.project.propose import ENOUGH_KIMG, FEW, OTHER_SECONDS, Proposal

PICTURES = Look(
    count=20_000, classes=(), decoded=300, rejected=0, short_side=200, smallest=200, square=True, grey=False
)


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ganealogy.stages._side_by_side.slots", lambda settings: [{}, {}])


def rate(name: str, settings: Settings) -> float:
    """Images per second as of a core: four times the pixels, a quarter of the speed; v20 half as fast as the others."""
    return 600 * (32 / settings.dataset.image_size) ** 2 * (0.5 if name == "v20" else 1)


def proposed(look: Look = PICTURES, hours: float = 2, on_gpu: bool = False, size: int | None = None) -> Proposal:
    return propose.propose(look, "/pictures", hours, on_gpu, rate, size)


def test_the_runs_fill_the_time_and_no_more() -> None:
    for hours in (0.5, 2, 12):
        found = proposed(hours=hours)
        settings = found.settings
        seconds = sum(
            settings.train.kimg * 1000 / rate(name, settings) + OTHER_SECONDS for name in settings.tree.versions
        )
        whole = seconds * len(settings.tree.seeds) / 2  # two at a time
        assert 0.85 * hours * 3600 < whole <= hours * 3600
        assert found.seconds == pytest.approx(whole, rel=0.05)
        assert found.reasons["train.kimg"] == f"what {hours:g} hours allow"


def test_the_size_is_the_largest_with_enough_images_for_each_training() -> None:
    for hours, size in ((12, 64), (2, 64), (0.75, 32), (0.2, 16)):
        found = proposed(hours=hours)
        assert found.settings.dataset.image_size == size, hours
        assert found.settings.train.kimg >= ENOUGH_KIMG or size == 16
    assert re.match(r"at 64 pixels a training would get \d+ kimg", proposed(hours=0.75).reasons["dataset.image_size"])
    assert re.match(r"at 32 pixels a training would get \d+ kimg", proposed(hours=0.2).reasons["dataset.image_size"])


def test_pictures_are_not_enlarged() -> None:
    found = proposed(replace(PICTURES, short_side=50), hours=100)
    assert found.settings.dataset.image_size == 32
    assert found.reasons["dataset.image_size"] == "the pictures' short side is 50"
    assert proposed(replace(PICTURES, short_side=10), hours=100).settings.dataset.image_size == 16


def test_few_pictures_get_augmentation() -> None:
    many, few = proposed(), proposed(replace(PICTURES, count=FEW - 1), hours=4)
    assert few.settings.tree.versions == [*many.settings.tree.versions, "diffaugment", "ada"]
    assert "2,999 pictures are few" in few.reasons["tree.versions"]


def test_class_folders_get_a_conditional_version() -> None:
    found = proposed(replace(PICTURES, classes=("cats", "dogs")), hours=4)
    assert found.settings.tree.versions == [*proposed().settings.tree.versions, "conditional"]
    assert found.reasons["tree.versions"].endswith("; 2 class folders")


def test_each_proposed_version_has_a_verdict() -> None:
    found = proposed(replace(PICTURES, classes=("cats", "dogs"), count=FEW - 1), hours=4)
    versions = found.settings.tree.versions
    assert all(version.parent in versions for version in read_family(versions).values() if version.parent)


def test_grey_pictures_have_one_channel() -> None:
    assert proposed(replace(PICTURES, grey=True)).settings.dataset.channels == 1
    assert proposed().settings.dataset.channels == 3


def test_a_gpu_gets_the_tutorials_batch_and_width() -> None:
    settings = proposed(on_gpu=True, hours=50).settings
    assert (settings.train.batch_size, settings.train.width, settings.dataset.image_size) == (128, 64, 128)


def test_a_given_size_is_kept() -> None:
    found = proposed(hours=2, size=48)
    assert (found.settings.dataset.image_size, found.reasons["dataset.image_size"]) == (48, "as given")


def test_too_little_time_says_how_much_is_needed() -> None:
    with pytest.raises(GanealogyError, match=r"--hours 0\.05: too short for 16 pixels; give at least") as error:
        proposed(hours=0.05)
    needed = float(re.findall(r"[\d.]+$", str(error.value))[0])
    assert proposed(hours=2 * needed).settings.train.kimg >= 2


def test_rounding_keeps_two_digits_and_never_rounds_up() -> None:
    for value, rounded in ((64.9, 64), (1399, 1300), (0.359, 0.35), (99.99, 99), (7, 7), (40.0, 40)):
        assert propose._rounded(value) == rounded
