import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score, precision_score, recall_score

from hpa.scoring import metrics
from hpa.scoring.evaluation import Evaluation, class_table
from hpa.scoring.metrics import accuracy, class_f1, macro_f1, mean_class_accuracy, micro_f1
from hpa.scoring.predictions import Predictions


@st.composite
def tables(draw):
    shape = draw(st.tuples(st.integers(1, 12), st.integers(2, 5)))
    return draw(arrays(np.uint8, shape, elements=st.integers(0, 1))), draw(arrays(bool, shape))


@st.composite
def class_numbers(draw):
    """The number of classes, and the true and the predicted class of some rows."""
    classes, rows = draw(st.integers(2, 6)), draw(st.integers(1, 15))
    numbers = arrays(np.int64, rows, elements=st.integers(0, classes - 1))
    return classes, draw(numbers), draw(numbers)


def table_of(targets, predicted):
    """The table of an evaluation's classes."""
    rows, classes = (np.arange(length).astype(str) for length in targets.shape)
    predictions = Predictions(rows, tuple(classes), predicted.astype(np.float32), targets)
    return class_table(Evaluation(predictions, np.full(len(classes), 0.5), predicted, {}))


@settings(max_examples=40, deadline=None)
@given(tables())
def test_many_labels_equal_scikit_learn(table):
    targets, predicted = table
    np.testing.assert_allclose(class_f1(targets, predicted), f1_score(targets, predicted, average=None, zero_division=0))
    assert macro_f1(targets, predicted) == pytest.approx(f1_score(targets, predicted, average="macro", zero_division=0))
    assert micro_f1(targets, predicted) == pytest.approx(f1_score(targets, predicted, average="micro", zero_division=0))
    assert accuracy(targets, predicted) == pytest.approx(accuracy_score(targets, predicted))
    for name, theirs in (("precision", precision_score), ("recall", recall_score)):
        own = table_of(targets, predicted)[name]
        np.testing.assert_allclose(own, theirs(targets, predicted, average=None, zero_division=np.nan))


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
@pytest.mark.filterwarnings("ignore:A single label was found")
@settings(max_examples=60, deadline=None)
@given(class_numbers())
def test_one_label_equals_scikit_learn(numbers):
    classes, true, predicted = numbers
    hot = np.eye(classes, dtype=np.uint8)
    own = hot[true], hot[predicted].astype(bool)
    assert accuracy(*own) == pytest.approx(accuracy_score(true, predicted))
    assert mean_class_accuracy(*own) == pytest.approx(balanced_accuracy_score(true, predicted))


def test_hand_worked():
    targets = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 0]], np.uint8)
    predicted = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 0], [1, 0, 0]], bool)
    # class 0: 1 hit, 2 positives, 2 predictions; class 1: likewise; class 2: neither positives nor predictions
    np.testing.assert_array_equal(class_f1(targets, predicted), [0.5, 0.5, 0.0])
    table = table_of(targets, predicted)
    np.testing.assert_array_equal(table["recall"], [0.5, 0.5, np.nan])
    np.testing.assert_array_equal(table["precision"], [0.5, 0.5, np.nan])
    np.testing.assert_array_equal(table["f1"], [0.5, 0.5, 0.0])
    assert macro_f1(targets, predicted) == pytest.approx(1 / 3)
    assert mean_class_accuracy(targets, predicted) == 0.5
    assert accuracy(targets, predicted) == 0.0


def test_counts_over_the_whole_set_and_not_over_batches():
    targets = np.eye(4, dtype=np.uint8)
    assert macro_f1(targets, targets) == 1.0
    assert np.mean([macro_f1(targets[rows], targets[rows]) for rows in ([0, 1], [2, 3])]) == 0.5


def test_counts_do_not_overflow_the_type_of_the_targets():
    ones = np.ones((1000, 2), np.uint8)
    assert macro_f1(ones, ones) == micro_f1(ones, ones) == 1.0


@pytest.mark.parametrize("metric", [class_f1, mean_class_accuracy, accuracy, micro_f1], ids=lambda m: m.__name__)
@pytest.mark.parametrize("shape", [(3,), (3, 2), (2, 3, 1)])
def test_other_shapes_are_refused(metric, shape):
    with pytest.raises(ValueError, match=r"\[n, classes\]"):
        metric(np.zeros((2, 3)), np.zeros(shape))


def test_resampled_scores_are_those_of_the_resampled_rows():
    random = np.random.default_rng(0)
    targets = random.random((30, 3)) < [0.5, 0.3, 0.05]
    predicted = random.random((2, 30, 3)) < 0.3
    found = metrics.resampled_macro_f1(targets, predicted, 70, np.random.default_rng(5))
    assert found.shape == (2, 70)
    again = np.random.default_rng(5)
    rows = np.concatenate([again.integers(30, size=(50, 30)), again.integers(30, size=(20, 30))])
    expected = [[f1_score(targets[own], each[own], average="macro", zero_division=0) for own in rows] for each in predicted]
    np.testing.assert_allclose(found, expected)
