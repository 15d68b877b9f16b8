import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.random import default_rng
from sklearn.utils.class_weight import compute_class_weight

from hpa.data.sampling import (
    LARGEST_WEIGHT,
    class_weights,
    epoch_items,
    epoch_size,
    positive_weights,
    repeat_factors,
)

FACTORS = arrays(np.float64, st.integers(1, 30), elements=st.floats(1, 6))


def test_a_row_is_repeated_as_its_rarest_class_asks():
    # Shares of the classes: 60, 20, 10 and 0 %; the last row has no class.
    targets = np.array([[1, 0, 0, 0]] * 5 + [[0, 1, 0, 0], [1, 1, 1, 0]] + [[0, 0, 0, 0]] * 3, np.uint8)
    expected = [1] * 5 + [np.sqrt(0.4 / 0.2), np.sqrt(0.4 / 0.1)] + [1] * 3
    assert repeat_factors(targets, 0.4) == pytest.approx(expected)
    assert repeat_factors(targets, 0.0) == pytest.approx(np.ones(10))


@given(factors=FACTORS, seed=st.integers(0, 99))
@settings(max_examples=200)
def test_every_epoch_has_the_same_size_and_the_factors_rounded(factors, seed):
    rows = np.arange(len(factors)) * 3 + 1
    items = epoch_items(rows, factors, 1000, default_rng(seed))
    assert len(items) == epoch_size(factors) == round(factors.sum())
    assert len(np.unique(items)) == len(items)
    found, times = np.unique(items % 1000, return_counts=True)
    assert found.tolist() == rows.tolist()
    assert (times >= np.floor(factors)).all()
    assert (times <= np.floor(factors) + 2).all()  # 2 only where rounding the sum makes more of a fraction than there is
    copies = [sorted(items[items % 1000 == row] // 1000) for row in rows]
    assert copies == [list(range(count)) for count in times]


def test_over_many_epochs_rows_come_as_often_as_their_factors_say():
    factors = np.array([1, 1.25, 2.5, 1, 3.9, 1.35])  # their sum is whole
    drawn = [epoch_items(np.arange(6), factors, 6, default_rng([0, epoch])) % 6 for epoch in range(3000)]
    means = np.mean([np.bincount(items, minlength=6) for items in drawn], axis=0)
    assert means == pytest.approx(factors, abs=0.04)  # the standard error is at most 0.01
    assert len({tuple(items) for items in drawn}) > 2900


def test_without_rare_classes_an_epoch_is_a_plain_permutation():
    rows = np.array([4, 8, 15, 16, 23, 42])
    assert np.array_equal(epoch_items(rows, np.ones(6), 50, default_rng(7)), default_rng(7).permutation(rows))


def test_positives_weigh_as_many_negatives_as_there_are_for_each():
    targets = np.array([[1, 0, 0], [1, 1, 0], [1, 0, 0], [0, 0, 0]], np.uint8)
    once = np.ones(4)
    assert positive_weights(targets, once, "inverse-frequency") == pytest.approx([1 / 3, 3, 4])
    assert positive_weights(targets, once, "square-root") == pytest.approx(np.sqrt([1 / 3, 3, 4]))
    repeated = np.repeat(targets, [1, 3, 1, 1], axis=0)
    assert positive_weights(targets, np.array([1, 3, 1, 1]), "inverse-frequency") == pytest.approx(
        positive_weights(repeated, np.ones(6), "inverse-frequency")
    )


def test_weights_are_limited_on_both_sides():
    targets = np.zeros((1000, 2), np.uint8)
    targets[:1, 0] = targets[:999, 1] = 1
    weights = positive_weights(targets, np.ones(1000), "inverse-frequency")
    assert weights == pytest.approx([LARGEST_WEIGHT, 1 / LARGEST_WEIGHT])


def test_class_weights_are_scikit_learns_balanced_ones():
    classes = np.repeat(np.arange(3), [10, 3, 1])
    weights = compute_class_weight("balanced", classes=np.arange(3), y=classes)
    targets = np.eye(3, dtype=np.uint8)[classes]
    assert class_weights(targets, np.ones(14), "inverse-frequency") == pytest.approx(weights)
    assert class_weights(targets, np.ones(14), "square-root") == pytest.approx(np.sqrt(weights))
    assert class_weights(targets, np.ones(14), "none") == pytest.approx(np.ones(3))
