import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))

from alexnet import BATCH, Head, plateau


def test_many_steps_at_once_are_keras_sgd_step_by_step():
    random = np.random.default_rng(0)
    keras.utils.set_random_seed(0)
    hidden = [keras.layers.Dense(units, "relu") for units in (20, 16, 12)]
    network = keras.Sequential([keras.Input((30,)), *hidden, keras.layers.Dense(6, "softmax")])
    network.compile(keras.optimizers.SGD(0.01, momentum=0.9), "categorical_crossentropy")
    features = random.random((902, 30), np.float32)  # the last batch has two rows
    targets = np.eye(6, dtype=np.float32)[features[:, :6].argmax(axis=1)]
    head = Head(network.layers, 0, dropout=0.0)
    padded = [np.pad(each, ((0, -len(each) % BATCH), (0, 0))) for each in (features, targets)]
    before = network.evaluate(features, targets, verbose=0)
    for epoch in range(5):
        rate = 0.01 if epoch < 3 else 0.001
        network.optimizer.learning_rate = rate
        network.fit(features, targets, batch_size=BATCH, shuffle=False, verbose=0)
        results = sum(
            head.learn(*(each[first : first + 256] for each in padded), tf.constant(rate)).numpy()
            for first in range(0, len(padded[0]), 256)
        )
    np.testing.assert_allclose(head.predict(features), network.predict(features, verbose=0), atol=1e-4)
    assert network.evaluate(features, targets, verbose=0) < 0.8 * before
    assert results[1] / len(features) > 0.4


def test_dropout_is_on_only_where_it_is_asked_for():
    network = keras.Sequential([keras.Input((30,)), keras.layers.Dense(6, "softmax")])
    features = np.random.default_rng(0).random((8, 30), np.float32)
    head = Head(network.layers, 0)
    np.testing.assert_allclose(head.predict(features), network.predict(features, verbose=0), atol=1e-6)
    dropped = [np.asarray(head.predict(features, tf.constant(True))) for _ in range(2)]
    assert np.abs(dropped[0] - dropped[1]).max() > 0.01


def test_the_rate_falls_as_keras_has_it_fall():
    losses = [1.0, 0.9, 0.95, 0.95, 0.95, 0.95, 0.95, 0.9, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.4]
    callback = keras.callbacks.ReduceLROnPlateau("loss", factor=0.1, patience=5)
    network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    network.compile(keras.optimizers.SGD(1e-3), "mse")
    callback.set_model(network)
    callback.on_train_begin()
    rate, best, waited = 1e-3, np.inf, 0
    for epoch, loss in enumerate(losses):
        callback.on_epoch_end(epoch, {"loss": loss})
        rate, best, waited = plateau(loss, rate, best, waited)
        np.testing.assert_allclose(rate, float(network.optimizer.learning_rate), rtol=1e-5)
    assert rate < 1e-4
