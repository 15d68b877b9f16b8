import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import f1_score

from hpa.scoring.metrics import class_f1, macro_f1


@st.composite
def tables(draw):
    shape = draw(st.tuples(st.integers(1, 12), st.integers(2, 5)))
    return draw(arrays(np.uint8, shape, elements=st.integers(0, 1))), draw(arrays(bool, shape))


@given(tables())
def test_equals_scikit_learn(table):
    targets, predicted = table
    np.testing.assert_allclose(class_f1(targets, predicted), f1_score(targets, predicted, average=None, zero_division=0))
    assert macro_f1(targets, predicted) == pytest.approx(f1_score(targets, predicted, average="macro", zero_division=0))


def test_hand_worked():
    targets = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 0]], np.uint8)
    predicted = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 0], [1, 0, 0]], bool)
    # class 0: 1 hit, 2 positives, 2 predictions; class 1: likewise; class 2: neither positives nor predictions
    np.testing.assert_array_equal(class_f1(targets, predicted), [0.5, 0.5, 0.0])
    assert macro_f1(targets, predicted) == pytest.approx(1 / 3)


def test_counts_over_the_whole_set_and_not_over_batches():
    targets = np.eye(4, dtype=np.uint8)
    assert macro_f1(targets, targets) == 1.0
    assert np.mean([macro_f1(targets[rows], targets[rows]) for rows in ([0, 1], [2, 3])]) == 0.5


def test_counts_do_not_overflow_the_type_of_the_targets():
    ones = np.ones((1000, 2), np.uint8)
    assert macro_f1(ones, ones) == 1.0


@pytest.mark.parametrize("shape", [(3,), (3, 2), (2, 3, 1)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=r"\[n, classes\]"):
        class_f1(np.zeros((2, 3)), np.zeros(shape))
