"""Samples of a conditional generator have the classes of the training pictures, in their proportions."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ganealogy.sampling.labels import proportional_labels

COUNTS = st.lists(st.integers(0, 60), min_size=1, max_size=12).filter(any)


def test_equal_classes_take_turns() -> None:
    assert proportional_labels([7, 7, 7], 8).tolist() == [0, 1, 2, 0, 1, 2, 0, 1]


def test_three_of_four_pictures_are_three_of_four_samples() -> None:
    assert proportional_labels([30, 10], 8).tolist() == [0, 0, 1, 0, 0, 0, 1, 0]


def test_a_class_without_training_pictures_is_never_drawn() -> None:
    assert set(proportional_labels([5, 0, 5], 100)) == {0, 2}


@given(COUNTS, st.integers(1, 400))
def test_each_class_has_its_share_to_within_one(counts: list[int], count: int) -> None:
    drawn = np.bincount(proportional_labels(counts, count), minlength=len(counts))
    assert drawn.sum() == count
    assert np.abs(drawn - count * np.array(counts) / sum(counts)).max() <= 1 + 1e-9


@given(COUNTS, st.integers(1, 200), st.integers(0, 200))
def test_fewer_are_the_first_of_more(counts: list[int], count: int, more: int) -> None:
    assert (proportional_labels(counts, count + more)[:count] == proportional_labels(counts, count)).all()
