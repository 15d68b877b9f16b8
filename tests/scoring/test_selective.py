"""Intervals over groups, votes of groups, and the accuracy of sure answers."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.random import default_rng

from hpa.scoring.predictions import Predictions
from hpa.scoring.selective import confidence, group_intervals, selective_accuracy, votes
from hpa.scoring.thresholds import predict_classes

GROUPS = np.repeat(np.arange(20), 10)
TRUTH = GROUPS % 2


def predictions(probabilities):
    ids = np.arange(len(GROUPS)).astype(str)
    return Predictions(ids, ("a", "b"), probabilities.astype(np.float32), np.eye(2, dtype=np.uint8)[TRUTH], "one")


def test_intervals_over_groups_are_wider_than_over_rows():
    right = np.repeat(default_rng(0).random(20) < 0.7, 10)  # whole groups are wrong
    predicted = np.eye(2, dtype=bool)[np.where(right, TRUTH, 1 - TRUTH)]
    own = predictions(predicted)
    over_groups, over_rows = (group_intervals(own, predicted, each) for each in (GROUPS, np.arange(200)))
    for name in over_groups.index:
        assert over_groups.loc[name, "score"] == pytest.approx(own.kind.scores[name](own.known_targets, predicted))
    many = replace(own, labels="many", targets=np.eye(2, dtype=np.uint8)[TRUTH] | (np.arange(200) % 3 == 0)[:, None])
    for name, row in group_intervals(many, predicted, GROUPS).iterrows():
        assert row["score"] == pytest.approx(many.kind.scores[name](many.known_targets, predicted))
    assert over_groups.loc["accuracy", "score"] == pytest.approx(right.mean())
    widths = [each.loc["accuracy", "high"] - each.loc["accuracy", "low"] for each in (over_groups, over_rows)]
    assert widths[0] == pytest.approx(np.sqrt(10) * widths[1], rel=0.2)
    assert widths[1] == pytest.approx(2 * 1.96 * np.sqrt(right.mean() * (1 - right.mean()) / 200), rel=0.2)


def test_a_group_votes_by_its_mean_logit():
    probabilities = np.tile([0.6, 0.4], (200, 1))
    probabilities[10] = [0.001, 0.999]  # one sure row of group 1
    probabilities[GROUPS == 3] = [0.3, 0.7]
    table = votes(predictions(probabilities), GROUPS)
    assert table["class"].tolist() == ["a", "b"] * 10
    assert table["vote"].tolist() == ["a", "b", "a", "b"] + ["a"] * 16
    assert table["accuracy"].tolist() == [1, 0.1, 1, 1] + [1, 0] * 8
    assert table["rows"].tolist() == [10] * 20
    assert votes(predictions(probabilities), np.zeros(200, int)).empty  # of two classes


def test_groups_of_multi_label_samples_do_not_vote():
    targets = np.array([[1, 0, 1], [1, 0, 1], [1, 0, 0]], np.uint8)  # the first class of all rows is the same
    own = Predictions(np.array(["x_1", "x_2", "x_3"]), ("a", "b", "c"), np.full((3, 3), 0.4, np.float32), targets, "many")
    table = votes(own, np.zeros(3, int))
    assert table.columns.tolist() == ["class", "rows", "accuracy", "vote"]
    assert table.empty


def test_the_surest_answers_come_first():
    targets = np.eye(2)[[0, 0, 0, 1]]
    probabilities = np.array([[0.9, 0.1], [0.4, 0.6], [0.8, 0.2], [0.3, 0.7]])
    sure = confidence(probabilities, probabilities > 0.5)
    assert sure.tolist() == [0.9, 0.6, 0.8, 0.7]
    table = selective_accuracy(targets, probabilities > 0.5, sure, (1.0, 0.75, 0.5, 0.01))
    assert table.to_numpy().tolist() == [[1.0, 0.75], [0.75, 1.0], [0.5, 1.0], [0.01, 1.0]]


def test_multi_label_samples_are_as_sure_as_their_classes_are_far_from_the_thresholds():
    thresholds = np.array([0.1, 0.5])
    probabilities = np.array([[0.0, 0.9], [0.01, 0.9], [0.09, 0.9], [0.1, 0.9], [0.5, 0.9], [0.5, 0.5], [0.05, 0.4]])
    predicted, fallbacks = predict_classes(probabilities, thresholds)
    assert fallbacks == 1
    # 0.01 and 0.5 have odds 11 times below and 9 times above those of the threshold 0.1.
    expected = np.array([0.9, 0.9 * 11 / 12, 0.9 * 0.5291, 0.9 / 2, 0.9 * 9 / 10, 0.9 / 2, 0.6786 * 0.4])
    np.testing.assert_allclose(confidence(probabilities, predicted, thresholds), expected, atol=1e-4)
    certain = confidence(np.array([[0.0, 1.0]], np.float32), np.array([[False, True]]), np.array([1.0, 0.5]))
    assert certain == pytest.approx([1])


@pytest.mark.parametrize("shift", [-3, 0, 3])
def test_the_surest_multi_label_samples_are_right_more_often_wherever_the_thresholds_lie(shift):
    generator = default_rng(0)
    logits = generator.normal(0, 4, (4000, 5))
    targets = generator.random(logits.shape) < 1 / (1 + np.exp(-logits))
    thresholds = np.full(5, 1 / (1 + np.exp(-shift)))
    probabilities = 1 / (1 + np.exp(-logits - shift))  # as of a loss that prefers few or many classes
    predicted, _ = predict_classes(probabilities, thresholds)
    table = selective_accuracy(targets, predicted, confidence(probabilities, predicted, thresholds))
    assert (table["accuracy"].diff()[1:] > 0.02).all()
