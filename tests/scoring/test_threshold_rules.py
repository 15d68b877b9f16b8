import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import f1_score

from hpa.scoring.metrics import class_f1, macro_f1
from hpa.scoring.thresholds import (
    best_class_thresholds,
    best_global_threshold,
    find_thresholds,
    predict_classes,
    sorted_cuts,
)


def probabilities(shape):
    """Few distinct values, so that ties are common, and any float32 between."""
    few = st.sampled_from([0.0, 0.125, 0.5, 0.75, 1.0])
    return arrays(np.float32, shape, elements=few | st.floats(0, 1, width=32))


@st.composite
def samples(draw):
    shape = draw(st.tuples(st.integers(1, 10), st.integers(1, 4)))
    return draw(arrays(np.uint8, shape, elements=st.integers(0, 1))), draw(probabilities(shape))


def candidates(values):
    """A threshold for every way in which one can cut `values`: each value itself, and one below them all."""
    return [0.0, *np.unique(values).astype(float)]


@given(samples())
def test_class_thresholds_are_the_best_there_are(sample):
    targets, values = sample
    assume(targets.any(axis=0).all())
    thresholds = best_class_thresholds(sorted_cuts(targets, values))
    assert np.all((thresholds > 0) & (thresholds < 1))
    found = class_f1(targets, values > thresholds)
    best = [
        max(f1_score(own_targets, own_values > cut, zero_division=0) for cut in candidates(own_values))
        for own_targets, own_values in zip(targets.T, values.T, strict=True)
    ]
    np.testing.assert_allclose(found, best)


@given(samples())
def test_the_global_threshold_is_the_best_there_is(sample):
    targets, values = sample
    threshold = best_global_threshold(targets, values)
    assert 0 < threshold < 1
    best = max(macro_f1(targets, values > cut) for cut in candidates(values))
    assert macro_f1(targets, values > threshold) == pytest.approx(best)


@pytest.mark.parametrize("digits", [1, 3, 9])
@pytest.mark.parametrize("seed", range(5))
def test_in_many_rows_the_best_cut_is_the_median_of_all_that_are_as_good(seed, digits):
    """Against the F1 of every cut; most cuts of so many rows are left out of the search."""
    random = np.random.default_rng(seed)
    values = random.random((700, 4)) ** [1, 2, 4, 8]
    targets = (values * [1.5, 1, 0.3, 0.1] > random.random(values.shape)).astype(np.uint8)
    values = values.round(digits).astype(np.float32)
    found = [best_global_threshold(targets, values), *best_class_thresholds(sorted_cuts(targets, values))]
    for columns, threshold in zip((slice(None), *([each] for each in range(4))), found, strict=True):
        levels = np.unique(np.append(values[:, columns], [0, 1])).astype(float)
        scores = np.array([macro_f1(targets[:, columns], values[:, columns] > level) for level in levels[:-1]])
        best = np.flatnonzero(scores >= scores.max() - 1e-12)[::-1]
        cut = best[len(best) // 2]
        assert threshold == (levels[cut] + levels[cut + 1]) / 2


@pytest.mark.parametrize("steps", [0, 1])
def test_a_cut_between_two_neighbouring_floats_parts_them(steps):
    """Rounded to float32, the middle of the two is one of them: the lower one in one case, the upper one in the other."""
    lower = np.float32(0.5) + steps * np.spacing(np.float32(0.5))
    values = np.array([[lower], [np.nextafter(lower, np.float32(1))]])
    targets = np.array([[0], [1]], np.uint8)
    threshold = best_global_threshold(targets, values)
    assert (values > threshold).tolist() == [[False], [True]]
    for thresholds in (np.array([threshold]), [float(threshold)], float(threshold)):
        assert predict_classes(np.hstack([values, np.ones_like(values)]), thresholds)[0][:, 0].tolist() == [False, True]


def test_hand_worked():
    values = np.array([[0.9, 0.2], [0.6, 0.4], [0.4, 0.8], [0.1, 0.6]], np.float32)
    targets = np.array([[1, 0], [1, 0], [0, 1], [0, 0]], np.uint8)
    np.testing.assert_allclose(best_class_thresholds(sorted_cuts(targets, values)), [0.5, 0.7])
    # at 0.5: F1 1 and 2/3; at 0.7: 2/3 and 1; anything else is worse
    assert best_global_threshold(targets, values) in (pytest.approx(0.5), pytest.approx(0.7))


def test_of_equally_good_cuts_the_median_one():
    targets = np.array([1, 0, 1, 1, 0, 0, 0, 1])[:, np.newaxis]  # 4 positives; F1 2k/(predicted + 4)
    values = np.array([0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1], np.float32)[:, np.newaxis]
    # 3 of 4 predicted: F1 6/8; 4 of 8 predicted: 8/12; so there is one best cut, between 0.5 and 0.4
    assert best_class_thresholds(sorted_cuts(targets, values))[0] == pytest.approx(0.45)
    # without any positives every cut scores 0
    assert best_class_thresholds(sorted_cuts(0 * targets, values))[0] == pytest.approx(0.45)


def logit(probability):
    return np.log(probability / (1 - probability))


@pytest.mark.parametrize("positives", [0, 1, 5, 45])
def test_the_fewer_positives_the_nearer_to_the_global_threshold(positives):
    random = np.random.default_rng(0)
    values = random.random((200, 3), dtype=np.float32)
    targets = (values + random.normal(0, 0.2, values.shape) > [0.6, 0.8, 2]).astype(np.uint8)
    targets[:positives, 2] = 1
    own, common = best_class_thresholds(sorted_cuts(targets, values))[2], best_global_threshold(targets, values)
    found = find_thresholds("per-class", targets, values)[2]
    assert logit(found) == pytest.approx((positives * logit(own) + 5 * logit(common)) / (positives + 5))
    assert (found == common) == (positives == 0)


def test_a_class_that_nothing_tells_apart_is_not_predicted_for_every_row():
    values = np.full((1000, 2), 1e-6, np.float32)
    values[:500, 0] = 0.9
    targets = np.zeros(values.shape, np.uint8)
    targets[:500, 0] = targets[::2, 1] = 1
    assert best_class_thresholds(sorted_cuts(targets, values))[1] < 1e-6  # predicting all is the best that there is
    assert find_thresholds("per-class", targets, values)[1] >= 0.001


@given(samples())
def test_no_rule_finds_0(sample):
    for rule in ("per-class", "global", "class-share", np.full(sample[0].shape[1], 1.0)):
        thresholds = find_thresholds(rule, *sample)
        assert np.all((thresholds > 0) & (thresholds < 1))


@given(samples())
def test_class_shares_are_met_as_nearly_as_ties_allow(sample):
    targets, values = sample
    shares = np.linspace(0.1, 1, targets.shape[1])
    for wanted, rule in ((targets.sum(axis=0), "class-share"), (shares * len(targets), shares)):
        counts = np.count_nonzero(values > find_thresholds(rule, targets, values), axis=0)
        for own, count, number in zip(values.T, counts, wanted, strict=True):
            possible = [np.count_nonzero(own > cut) for cut in (0.0, *np.unique(own[own < 1]), np.nextafter(1, 0))]
            if number or isinstance(rule, np.ndarray):
                assert abs(count - number) == min(abs(each - number) for each in possible)


def test_a_class_that_does_not_occur_has_no_share_to_meet():
    random = np.random.default_rng(0)
    values = random.random((100, 2), dtype=np.float32)
    targets = (values > 0.6) * np.array([1, 0])
    found = find_thresholds("class-share", targets, values)
    assert found[1] == best_global_threshold(targets, values)
    assert np.count_nonzero(values[:, 0] > found[0]) == targets[:, 0].sum()


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_probabilities_that_are_all_the_same(value):
    targets, values = np.array([[1], [0]]), np.full((2, 1), value, np.float32)
    threshold = best_class_thresholds(sorted_cuts(targets, values))[0]
    assert 0 < threshold < 1
    assert (values > threshold).all() == bool(value)


def test_rules():
    random = np.random.default_rng(0)
    values = random.random((100, 3), dtype=np.float32)
    targets = (values > random.random((100, 3))).astype(np.uint8)
    np.testing.assert_array_equal(find_thresholds("strongest", targets, values), np.ones(3))
    np.testing.assert_array_equal(find_thresholds("global", targets, values), [best_global_threshold(targets, values)] * 3)
    np.testing.assert_array_equal(find_thresholds(0.3, targets, values), [0.3] * 3)
    with pytest.raises(ValueError, match="per-clas"):
        find_thresholds("per-clas", targets, values)


def test_above_and_not_at_the_threshold_and_the_most_probable_class_of_an_empty_row():
    values = np.array([[0.5, 0.51, 0.1], [0.5, 0.2, 0.3], [0.0, 0.0, 0.0], [0.9, 0.1, 0.9]], np.float32)
    predicted, fallbacks = predict_classes(values, np.array([0.5, 0.5, 0.5]))
    np.testing.assert_array_equal(predicted, [[0, 1, 0], [1, 0, 0], [1, 0, 0], [1, 0, 1]])
    assert predicted.dtype == bool
    assert fallbacks == 2
