import numpy as np
import pytest

from skage._targets import AgeTargets
from skage._training.targets import check_labels


def test_labels_of_zero_weight_are_not_classes():
    labels = check_labels(
        [3, 1, 2, 1],
        sample_weight=[1, 2, 0, 1],
        targets=AgeTargets(
            ages=[30, 10, 20, 11],
            bin_values=[0, 10, 20, 30],
            distributions=[[0, 0, 1, 1], [0, 2, 1, 1], [0, 0, 1, 0], [0, 1, 0, 0]],
        ),
    )
    assert labels.positions.tolist() == [0, 1, 3]
    assert labels.classes.tolist() == [1, 3]
    assert labels.bin_values.tolist() == [10, 30]
    assert labels.targets.codes.tolist() == [1, 0, 0]
    np.testing.assert_allclose(labels.targets.weight, [0.75, 1.5, 0.75])
    np.testing.assert_allclose(labels.targets.distribution, [[0, 1], [2 / 3, 1 / 3], [1, 0]])


def test_weights_of_the_remaining_images_average_1():
    labels = check_labels([0, 1, 0, 1], sample_weight=[1, 0, 2, 4])
    np.testing.assert_allclose(labels.targets_of(np.array([2, 3])).weight, [2 / 3, 4 / 3])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"targets": AgeTargets([1, 2], [1, 2, 3])}, "inconsistent numbers of samples"),
        (
            {"targets": AgeTargets([1, 2, 3], [1, 2, 3], np.ones((3, 2)))},
            r"has shape \(3, 2\).* Pass shape \(3, 3\)",
        ),
        ({"sample_weight": [0, 0, 0]}, "zero"),
        ({"targets": AgeTargets([1, 2, 3], [1, 2])}, "whole numbers from 0 to 1"),
        (
            {"targets": AgeTargets([1, 2, 3], [1, 2, 3], np.zeros((3, 3)))},
            "no probability on any label of y at index 0",
        ),
        ({"class_weight": "balanced_ages"}, "needs ages"),
        ({"class_weight": {0: -1}}, "numbers >= 0"),
        ({"class_weight": {0: 0, 1: 0, 2: 0}}, "nothing to learn from"),
    ],
)
def test_labels_that_contradict_their_targets_or_weights_are_an_error(arguments, message):
    with pytest.raises(ValueError, match=message):
        check_labels([0, 1, 2], **arguments)
