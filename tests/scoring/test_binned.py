import numpy as np
import pytest

from hpa.scoring.binned import quick_macro_f1
from hpa.scoring.metrics import macro_f1
from hpa.scoring.thresholds import find_thresholds, predict_classes

SHARES = np.geomspace(0.4, 0.005, 6)


def make(scale, rows=4000):
    random = np.random.default_rng(1)
    targets = (random.random((rows, 6)) < SHARES).astype(np.uint8)
    logits = np.log(SHARES / (1 - SHARES)) + 3 * targets - 1 + random.normal(size=targets.shape)
    return targets, (1 / (1 + np.exp(-scale * logits))).astype(np.float32)


@pytest.mark.parametrize("scale", [0.5, 1, 3])
@pytest.mark.parametrize("rule", ["per-class", "global", "class-share", SHARES], ids=str)
@pytest.mark.parametrize("absent", [[], [2, 5]])
def test_bins_are_as_good_as_a_sort_within_a_little(rule, scale, absent):
    targets, values = make(scale)
    targets[:, absent] = 0
    exact = macro_f1(targets, values > find_thresholds(rule, targets, values))
    assert quick_macro_f1(rule, targets)(values) == pytest.approx(exact, abs=0.01)


@pytest.mark.parametrize("rule", ["strongest", 0.2])
def test_rules_that_find_nothing_are_followed_exactly(rule):
    targets, values = make(1)
    predicted, fallbacks = predict_classes(values, find_thresholds(rule, targets, values))
    assert fallbacks
    assert quick_macro_f1(rule, targets)(values) == macro_f1(targets, predicted)


def test_values_in_the_middle_of_bins_are_exact():
    targets = np.array([[1, 0], [1, 1], [0, 1], [0, 0]])
    values = np.array([[0.9, 0.0], [0.6, 0.5], [0.3, 1.0], [1e-9, 0.1]], np.float32)
    assert quick_macro_f1("global", targets)(values) == 1.0
    values[3, 0] = 1.0  # class 0: hits 2 of 3 predicted, F1 0.8
    assert quick_macro_f1("global", targets)(values) == pytest.approx(0.9)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_probabilities_that_are_all_the_same(value):
    targets = np.array([[1], [0]])
    assert quick_macro_f1("per-class", targets)(np.full((2, 1), value, np.float32)) in (0.0, pytest.approx(2 / 3))
