import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import f1_score, jaccard_score

from hpa.errors import BadInput
from hpa.registry import LOSSES
from hpa.settings import parse_loss
from hpa.training.losses import lovasz, soft_f1
from hpa.training.objective import NamedLoss

POSITIVE_WEIGHTS = [0.5, 1.0, 3.0, 20.0, 7.0]


def crossentropy(t, p, smoothing=0.0, weights=1.0):
    t = t * (1 - smoothing) + smoothing / 2
    return -(weights * t * np.log(p) + (1 - t) * np.log(1 - p)).mean()


def categorical(t, p, smoothing=0.0):
    t = t * (1 - smoothing) + smoothing / t.shape[1]
    return -(t * np.log(p / p.sum(axis=1, keepdims=True))).sum(axis=1).mean()


def focal(t, p, smoothing=0.0):
    t = t * (1 - smoothing) + smoothing / 2
    return -((t * (1 - p) + (1 - t) * p) ** 2 * (t * np.log(p) + (1 - t) * np.log(1 - p))).mean()


def asymmetric(t, p):
    q = np.maximum(p - 0.05, 0)
    return -(t * np.log(p) + (1 - t) * q**4 * np.log(1 - q)).mean()


def one_minus_soft_f1(t, p):
    return 1 - np.mean(
        [2 * (t[:, c] @ p[:, c]) / (t[:, c].sum() + p[:, c].sum()) for c in range(t.shape[1]) if t[:, c].any()]
    )


def lovasz_by_subsets(t, p):
    """The Lovász extension by its definition: the integral over thresholds of the loss of the rows with larger errors."""
    losses = []
    for truth, errors in zip(t.T, np.abs(t - p).T, strict=True):
        edges = np.sort(np.append(errors, 0))
        total = 0.0
        for low, high in itertools.pairwise(edges):
            predicted = np.where(errors > low, 1 - truth, truth)  # those rows are wrong
            total += (high - low) * (1 - jaccard_score(truth, predicted))
        if truth.any():
            losses.append(total)
    return np.mean(losses)


REFERENCES = {
    ("binary-crossentropy", 0.0, None): crossentropy,
    ("binary-crossentropy", 0.2, None): lambda t, p: crossentropy(t, p, 0.2),
    ("binary-crossentropy", 0.0, (1.0,) * 5): crossentropy,
    ("binary-crossentropy", 0.2, tuple(POSITIVE_WEIGHTS)): lambda t, p: crossentropy(t, p, 0.2, POSITIVE_WEIGHTS),
    ("categorical-crossentropy", 0.0, None): categorical,
    ("categorical-crossentropy", 0.2, None): lambda t, p: categorical(t, p, 0.2),
    ("focal", 0.0, None): focal,
    ("focal", 0.2, None): lambda t, p: focal(t, p, 0.2),
    ("asymmetric", 0.0, None): asymmetric,
    ("soft-f1", 0.0, None): one_minus_soft_f1,
    ("lovasz", 0.0, None): lovasz_by_subsets,
    ("smooth-l1", 0.0, None): lambda t, p: ((t - p) ** 2 / 2).mean(),
    ("binary-crossentropy+soft-f1", 0.0, None): lambda t, p: (crossentropy(t, p) + one_minus_soft_f1(t, p)) / 2,
    ("focal+asymmetric:0.3", 0.0, None): lambda t, p: 0.7 * focal(t, p) + 0.3 * asymmetric(t, p),
}


def batch(rows=12, classes=5, seed=0):
    """Targets, of which one class is absent, and probabilities on both sides of the asymmetric loss' margin."""
    generator = np.random.default_rng(seed)
    targets = generator.integers(0, 2, (rows, classes)).astype(np.float32)
    targets[:, 1] = 0
    probabilities = generator.uniform(0.06, 0.97, (rows, classes))
    probabilities[::4] = generator.uniform(0.01, 0.04, probabilities[::4].shape)
    return targets, probabilities.astype(np.float32)


def value_and_gradient(loss, targets, inputs, activation=tf.identity):
    inputs = tf.constant(inputs, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        value = loss(targets, activation(inputs))
    return float(value), tape.gradient(value, inputs).numpy()


def test_every_loss_has_a_reference_here():
    assert set(LOSSES) == {name for loss, *_ in REFERENCES for name in parse_loss(loss)}


@pytest.mark.parametrize("loss", REFERENCES, ids=str)
def test_values_and_gradients(loss):
    """The gradient is checked against central differences of the reference."""
    reference, (targets, probabilities) = REFERENCES[loss], batch()
    value, gradient = value_and_gradient(NamedLoss(*loss), targets, probabilities)
    exact = probabilities.astype(np.float64)
    assert value == pytest.approx(reference(targets, exact), rel=1e-5)
    expected = np.empty_like(exact)
    for place in np.ndindex(exact.shape):
        step = np.zeros_like(exact)
        step[place] = 1e-6
        expected[place] = (reference(targets, exact + step) - reference(targets, exact - step)) / 2e-6
    np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("loss", REFERENCES, ids=str)
def test_probabilities_of_0_and_1_give_finite_losses_and_gradients(loss):
    targets = np.array([[0, 0, 1, 1, 0], [1, 0, 0, 1, 1]], np.float32)
    value, gradient = value_and_gradient(NamedLoss(*loss), targets, [[0, 1, 0, 1, 1], [0, 1, 1, 1, 0]])
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize(
    ("loss", "weight"), [(("binary-crossentropy",), 1), (("binary-crossentropy", 0.0, [3.0]), 3), (("asymmetric",), 1)]
)
def test_a_positive_that_is_missed_by_far_still_teaches(loss, weight):
    value, gradient = value_and_gradient(NamedLoss(*loss), np.ones((1, 1)), [[-50.0]], keras.activations.sigmoid)
    assert value == pytest.approx(50 * weight)
    assert gradient == pytest.approx(-weight)


@pytest.mark.parametrize("loss", REFERENCES, ids=str)
def test_a_row_of_weight_two_counts_as_two_rows(loss):
    targets, probabilities = batch()
    weights = np.array([0, 1, 2] * 4, np.float32)
    repeated = np.repeat(np.arange(12), weights.astype(int))
    found = float(NamedLoss(*loss)(targets, probabilities, weights))
    assert found == pytest.approx(float(NamedLoss(*loss)(targets[repeated], probabilities[repeated])), rel=1e-5)


def test_on_hard_predictions_soft_f1_is_one_minus_macro_f1():
    generator = np.random.default_rng(0)
    targets = generator.integers(0, 2, (50, 6)).astype(np.float32)
    predicted = generator.integers(0, 2, (50, 6)).astype(np.float32)
    assert float(soft_f1(targets, predicted)) == pytest.approx(1 - f1_score(targets, predicted, average="macro"))


def test_a_soft_f1_worked_by_hand():
    targets = np.array([[1, 0], [1, 1]], np.float32)
    probabilities = np.array([[0.5, 0.25], [1.0, 0.75]], np.float32)
    # Class 0: 2 * 1.5 / (1.5 + 2); class 1: 2 * 0.75 / (1 + 1).
    assert float(soft_f1(targets, probabilities)) == pytest.approx(1 - (3 / 3.5 + 0.75) / 2)


def test_perfect_predictions_reach_zero_though_classes_are_absent():
    targets = np.zeros((4, 28), np.float32)
    targets[:, :3] = 1
    assert float(soft_f1(targets, targets)) == pytest.approx(0, abs=1e-6)
    assert float(soft_f1(np.zeros_like(targets), targets)) == 0


def test_a_model_is_trained_with_weights_and_saved_with_its_loss(tmp_path):
    targets, rows = batch()
    weights = np.linspace(0.1, 2, len(rows), dtype=np.float32)
    loss = NamedLoss("binary-crossentropy+soft-f1:0.3", 0.1, POSITIVE_WEIGHTS)
    model = keras.Sequential([keras.layers.Input((5,)), keras.layers.Dense(5, activation="sigmoid")])
    model.compile("sgd", loss)
    expected = float(loss(targets, model(rows), weights))
    assert model.test_on_batch(rows, targets, sample_weight=weights) == pytest.approx(expected, rel=1e-5)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.test_on_batch(rows, targets, sample_weight=weights) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("text", "shares"),
    [
        ("soft-f1", {"soft-f1": 1}),
        ("focal+soft-f1", {"focal": 0.5, "soft-f1": 0.5}),
        ("binary-crossentropy+soft-f1:.25", {"binary-crossentropy": 0.75, "soft-f1": 0.25}),
    ],
)
def test_names_of_losses(text, shares):
    assert parse_loss(text) == pytest.approx(shares)
    assert list(parse_loss(text)) == list(shares)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "f1",
        "focal+",
        "focal+focal",
        "focal:0.5",
        "focal+f1",
        "focal+soft-f1:0",
        "focal+soft-f1:1",
        "focal+soft-f1+focal",
    ],
)
def test_what_is_no_loss(text):
    with pytest.raises(BadInput, match=r"expected one of binary-crossentropy"):
        parse_loss(text)


def test_lovasz_of_hard_predictions_is_one_minus_the_jaccard_index_and_weights_repeat_rows():
    random = np.random.default_rng(3)
    targets, predicted = (random.integers(0, 2, (40, 3)).astype(np.float32) for _ in range(2))
    expected = 1 - jaccard_score(targets, predicted, average="macro")
    assert float(lovasz(targets, predicted)) == pytest.approx(expected, abs=1e-6)
    probabilities = random.random((40, 3), np.float32)
    weights = random.integers(1, 4, 40)
    repeated = lovasz(np.repeat(targets, weights, axis=0), np.repeat(probabilities, weights, axis=0))
    weighted = lovasz(targets, probabilities, weights.astype(np.float32))
    assert float(weighted) == pytest.approx(float(repeated), rel=1e-4)
