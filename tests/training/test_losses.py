import keras
import numpy as np
import pytest
from sklearn.metrics import f1_score

from hpa.training.losses import LOSS_FUNCTIONS, soft_f1_loss
from hpa.training.stages import LOSSES


def test_the_options_name_the_loss_functions():
    assert set(LOSSES) == set(LOSS_FUNCTIONS)


def test_on_hard_predictions_it_is_one_minus_macro_f1():
    generator = np.random.default_rng(0)
    targets = generator.integers(0, 2, (50, 6)).astype(np.float32)
    predicted = generator.integers(0, 2, (50, 6)).astype(np.float32)
    assert float(soft_f1_loss(targets, predicted)) == pytest.approx(1 - f1_score(targets, predicted, average="macro"))


def test_a_case_worked_by_hand():
    targets = np.array([[1, 0], [1, 1]], np.float32)
    probabilities = np.array([[0.5, 0.25], [1.0, 0.75]], np.float32)
    # Class 0: 2 * 1.5 / (1.5 + 2); class 1: 2 * 0.75 / (1 + 1).
    assert float(soft_f1_loss(targets, probabilities)) == pytest.approx(1 - (3 / 3.5 + 0.75) / 2)


def test_perfect_predictions_reach_zero_though_classes_are_absent():
    targets = np.zeros((4, 28), np.float32)
    targets[:, :3] = 1
    assert float(soft_f1_loss(targets, targets)) == pytest.approx(0, abs=1e-6)
    assert float(soft_f1_loss(np.zeros_like(targets), targets)) == 0


def test_binary_crossentropy_is_the_mean_over_rows_and_classes():
    generator = np.random.default_rng(1)
    targets = generator.integers(0, 2, (20, 5)).astype(np.float32)
    probabilities = generator.uniform(0.05, 0.95, (20, 5)).astype(np.float32)
    expected = -(targets * np.log(probabilities) + (1 - targets) * np.log(1 - probabilities)).mean()
    found = keras.ops.mean(LOSS_FUNCTIONS["binary-crossentropy"](0.0)(targets, probabilities))
    assert float(found) == pytest.approx(expected, rel=1e-5)
