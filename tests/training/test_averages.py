"""Averaged weights and their batch statistics, held against what NumPy gives."""

import keras
import numpy as np
import pytest

from hpa.models.normalization import BatchNormalization
from hpa.training.averages import averaged


def compiled(*layers, **options):
    model = keras.Sequential(layers)
    model.compile(keras.optimizers.SGD(1.0, **options), "mse", jit_compile=False)
    return model


def test_the_averaged_weights_are_validated_and_training_goes_on_from_its_own():
    model = compiled(keras.Input((1,)), keras.layers.Dense(1, use_bias=False), use_ema=True, ema_momentum=0.5)
    kernel = model.layers[0].kernel
    kernel.assign([[1.0]])
    for _ in range(2):
        model.train_on_batch(np.array([[0.5]]), np.array([[0.0]]))  # the gradient of (k / 2)^2 is k / 2
    # 1 -> 0.5 -> 0.25; the average starts at the first step's result and ends half way to the second's.
    assert float(kernel[0, 0]) == pytest.approx(0.25)
    with averaged(model, ()):
        assert float(kernel[0, 0]) == pytest.approx(0.375)
    assert float(kernel[0, 0]) == pytest.approx(0.25)


def test_batch_statistics_are_those_of_the_averaged_network():
    random = np.random.default_rng(0)
    first, second = (layer(momentum=0.9) for layer in (BatchNormalization, keras.layers.BatchNormalization))
    middle = keras.layers.Conv2D(2, 1, use_bias=False)
    model = compiled(keras.Input((4, 4, 2)), first, middle, second, use_ema=True, ema_momentum=0.5)
    images = random.normal(3, 2, (2, 8, 4, 4, 2)).astype(np.float32)
    for _ in range(3):
        model.train_on_batch(images[0], random.normal(size=(8, 4, 4, 2)))
    before = model.get_weights()
    pixels = images.reshape(2, -1, 2).astype(np.float64)
    with averaged(model, images):
        np.testing.assert_allclose(first.moving_mean, pixels.mean(axis=1).mean(axis=0), rtol=1e-5)
        np.testing.assert_allclose(first.moving_variance, pixels.var(axis=1).mean(axis=0), rtol=1e-4)
        mixed = np.stack([keras.ops.convert_to_numpy(middle(first(batch, training=True))) for batch in images]).reshape(
            2, -1, 2
        )
        np.testing.assert_allclose(second.moving_mean, mixed.mean(axis=1).mean(axis=0), atol=1e-5)
        np.testing.assert_allclose(second.moving_variance, mixed.var(axis=1).mean(axis=0), rtol=1e-4)
        assert any((now != then).any() for now, then in zip(model.get_weights(), before, strict=True))
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)
    assert (first.momentum, second.momentum) == (0.9, 0.9)


def test_without_an_average_nothing_changes_and_no_image_is_read():
    model = compiled(keras.Input((1,)), keras.layers.BatchNormalization())
    before = model.get_weights()
    with averaged(model, iter(lambda: pytest.fail("an image is read"), None)):
        for now, then in zip(model.get_weights(), before, strict=True):
            np.testing.assert_array_equal(now, then)


def test_what_is_frozen_keeps_its_statistics():
    frozen, free = keras.layers.BatchNormalization(), keras.layers.BatchNormalization()
    frozen.trainable = False
    model = compiled(keras.Input((2,)), frozen, free, use_ema=True)
    model.optimizer.build(model.trainable_variables)
    with averaged(model, [np.array([[1.0, 2.0], [3.0, 6.0]], np.float32)]):
        np.testing.assert_array_equal(frozen.moving_mean, [0, 0])
        np.testing.assert_allclose(free.moving_mean, [2, 4], rtol=1e-3)
