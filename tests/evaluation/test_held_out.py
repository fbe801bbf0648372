import numpy as np
import pytest
from random_inputs import generator

from facejax.errors import UserError
from facejax.evaluation.held_out import held_out


def test_a_fifth_the_same_in_every_call():
    part = held_out(101)
    assert part.sum() == 20
    np.testing.assert_array_equal(part, held_out(101))


def test_a_fifth_of_every_class_and_none_of_the_small_ones():
    labels = generator().permutation([3] * 50 + [7] * 11 + [9] * 4)
    part = held_out(65, labels=labels)
    assert [part[labels == label].sum() for label in (3, 7, 9)] == [10, 2, 0]


def test_small_classes_only_still_leave_something_to_judge():
    part = held_out(30, labels=np.arange(30) // 3)
    assert part.sum() == 6


def test_groups_stay_together():
    groups = generator().integers(0, 20, 300)
    part = held_out(300, groups=groups, labels=np.zeros(300, int))
    assert 0 < part.sum() < 300
    assert not set(groups[part]) & set(groups[~part])


def test_too_little_is_said():
    with pytest.raises(UserError, match="at least 5 training images, not 4"):
        held_out(4)
    with pytest.raises(UserError, match="one group"):
        held_out(8, groups=np.ones(8))
