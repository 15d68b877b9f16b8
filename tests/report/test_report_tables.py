from itertools import pairwise

import keras
import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import confusion_matrix, f1_score

from hpa.data.tables import SampleTable
from hpa.errors import BadInput
from hpa.files import write_json
from hpa.report import tables
from hpa.scoring.evaluation import evaluate
from hpa.scoring.members import Members
from hpa.scoring.predictions import Predictions

RANDOM = np.random.default_rng(0)
CLASSES = ("A", "B", "C")


def predictions(n=300, labels="many", noise=0.25, seed=0):
    random = np.random.default_rng(seed)
    targets = np.eye(3, dtype=np.uint8)[random.integers(0, 3, n)]
    if labels == "many":
        targets |= (random.random((n, 3)) < 0.2).astype(np.uint8)
    values = np.clip(0.2 + 0.6 * targets + random.normal(0, noise, (n, 3)), 0.01, 0.99)
    values = values / values.sum(axis=1, keepdims=True) if labels == "one" else values
    return Predictions(np.arange(n).astype(str), CLASSES, values.astype(np.float32), targets, labels)


def found(labels="many", **named):
    own = predictions(labels=labels, **named)
    return evaluate(own, np.full(3, 0.5), SampleTable(own.ids, own.targets) if labels == "many" else None)


def test_reliability_is_that_of_scikit_learn():
    values = RANDOM.random(500)
    positive = RANDOM.random(500) < values**2
    share, mean = calibration_curve(positive, values, n_bins=tables.BINS)
    result = tables.reliability(positive, values)
    np.testing.assert_allclose(result[:2], [mean, share])
    assert result[2].sum() == 500


def test_the_expected_calibration_error_of_each_class():
    own = found()
    values, positive = own.predictions.probabilities[:, 1], own.predictions.targets[:, 1]
    edges = np.linspace(0, 1, tables.BINS + 1)
    parts = [(values >= low) & (values < high) for low, high in pairwise(edges)]
    error = sum(abs(values[part].mean() - positive[part].mean()) * part.mean() for part in parts if part.any())
    assert tables.classes(own)[1]["ece"] == pytest.approx(error, abs=1e-6)


def test_the_interval_of_f1_is_that_of_resampled_rows():
    own = found()
    row = tables.classes(own)[0]
    targets, predicted = own.predictions.targets[:, 0], own.predicted[:, 0]
    drawn = [RANDOM.integers(0, len(targets), len(targets)) for _ in range(2000)]
    scores = [f1_score(targets[rows], predicted[rows]) for rows in drawn]
    low, high = 2 * row["f1"] - np.quantile(scores, [0.975, 0.025])
    assert row["f1"] == pytest.approx(f1_score(targets, predicted))
    assert (row["low"], row["high"]) == pytest.approx((low, high), abs=0.01)


def test_a_class_that_never_occurs_has_no_interval():
    own = predictions()
    own.targets[:, 2], own.probabilities[:, 2] = 0, 0.01
    row = tables.classes(evaluate(own, np.full(3, 0.5)))[2]
    assert (row["rows"], row["low"], row["high"], row["precision"], row["recall"]) == (0, None, None, None, None)


def test_the_mix_ups_of_one_label_are_the_confusion_matrix():
    own = found("one", noise=0.5)
    expected = confusion_matrix(own.predictions.targets.argmax(axis=1), own.predicted.argmax(axis=1))
    assert tables.mix_ups(own) == expected.tolist()
    assert np.sum(expected) > np.trace(expected)


def test_a_missed_class_is_counted_with_each_that_was_added():
    targets = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 1]], np.uint8)
    values = np.array([[0.9, 0.1, 0.8], [0.9, 0.8, 0.7], [0.1, 0.2, 0.9]], np.float32)
    own = evaluate(Predictions(np.array(["a", "b", "c"]), CLASSES, values, targets), np.full(3, 0.5))
    assert tables.mix_ups(own) == [[2, 0, 0], [0, 0, 1], [0, 0, 1]]


def test_confident_labels_of_a_case_by_hand():
    given = np.array([0, 0, 0, 1, 1])
    values = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8], [0.3, 0.7]])
    # Limits: 0.6 for label 0, 0.75 for label 1. The last row is sure of nothing; row 2 is sure of label 1.
    guess, share = tables.confident(given, values)
    assert guess.tolist() == [0, 0, 1, 1, 1]
    assert share == pytest.approx(1 - 4 / 5)  # joint [[2, 1], [0, 1]], its second row scaled to 2


@pytest.mark.parametrize("labels", ["one", "many"])
def test_swapped_labels_are_found(labels):
    own = predictions(400, labels, noise=0.08, seed=3)
    swapped = set(range(0, 400, 40))
    for row in swapped:
        own.targets[row] = np.roll(own.targets[row], 1) if labels == "one" else 1 - own.targets[row]
    doubtful, share = tables.doubtful_labels(own)
    found = {each["row"] for each in doubtful}
    assert found <= swapped
    assert len(found) >= 5  # those whose probability is above the mean, about half of them
    assert share == pytest.approx(len(swapped) / 400, abs=0.01)
    margins = [each["margin"] for each in doubtful]
    assert margins == sorted(margins)
    assert margins[-1] < 0


def test_what_a_member_adds_and_how_errors_go_together():
    first, second = predictions(seed=1), predictions(seed=2)
    targets = first.targets
    noise = np.random.default_rng(5).normal(0, 0.2, (2, *targets.shape))
    validation = [np.clip(0.2 + 0.6 * targets + own, 0.01, 0.99).astype(np.float32) for own in noise]
    members = Members(["a", "b"], CLASSES, targets, validation, [], ids=second.ids)
    about = tables.ensemble(members, np.array([0.75, 0.25]), 0.5, 0.34)

    def score(values):
        predicted = values > 0.5
        empty = ~predicted.any(axis=1)
        predicted[empty, values[empty].argmax(axis=1)] = True
        return f1_score(targets, predicted, average="macro")

    whole = score(0.75 * validation[0] + 0.25 * validation[1])
    assert about["score"] == pytest.approx(whole)
    assert [row["adds"] for row in about["members"]] == pytest.approx(
        [whole - score(validation[1]), whole - score(validation[0])]
    )
    errors = [(own - targets).ravel() for own in validation]
    assert about["correlation"][0][1] == pytest.approx(np.corrcoef(*errors)[0, 1], abs=1e-4)
    assert len(about["sweep"]) == tables.SHIFTS


def test_the_accuracy_of_a_run_has_its_interval():
    own = predictions(200, "one", noise=0.5)
    row = tables.held_out_score(own, "strongest", 0)
    right = (own.probabilities.argmax(axis=1) == own.targets.argmax(axis=1)).mean()
    deviation = np.sqrt(right * (1 - right) / 200)
    assert row["score"] == pytest.approx(right)
    assert (row["low"], row["high"]) == pytest.approx((right - 1.96 * deviation, right + 1.96 * deviation), abs=0.02)


def test_weights_are_counted_without_keras(tmp_path):
    network = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3), keras.layers.BatchNormalization(),
                                keras.layers.Dropout(0.5), keras.layers.Flatten(), keras.layers.Dense(5)])  # fmt: skip
    network.save(tmp_path / "model.keras")
    assert tables.count_parameters(tmp_path / "model.keras") == network.count_params()
    (tmp_path / "other.keras").write_text("none")
    assert tables.count_parameters(tmp_path / "other.keras") is None
    assert tables.count_parameters(tmp_path / "absent.keras") is None


def test_an_ensemble_names_its_members(tmp_path):
    members = [{"folder": "a/b", "weight": 1, "validation_f1": 0.5}, {"folder": "c/d", "weight": 3}]
    write_json(tmp_path / "entry.json", {"members": members})
    folders, weights, about = tables.folders_of_ensemble(tmp_path / "entry.json")
    assert [str(folder) for folder in folders] == ["a/b", "c/d"]
    assert weights.tolist() == [0.25, 0.75]
    assert about["members"][0]["validation_f1"] == 0.5
    for wrong in ({}, {"members": [{"folder": "a"}]}, {"members": ["a"]}, {"members": []}):
        write_json(tmp_path / "entry.json", wrong)
        with pytest.raises(BadInput, match=r"entry\.json: names no members"):
            tables.folders_of_ensemble(tmp_path / "entry.json")
