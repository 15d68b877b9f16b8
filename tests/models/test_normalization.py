import keras
import numpy as np
import pytest

from hpa.models.normalization import BatchNormalization


def test_it_is_keras_layer():
    """Outputs, gradients and moving statistics of one training step, then the outputs of inference."""
    import tensorflow as tf

    generator = np.random.default_rng(0)
    images = generator.normal(3, 2, (4, 5, 6, 3)).astype(np.float32)
    weights = [generator.uniform(0.5, 2, 3), generator.normal(size=3), np.zeros(3), np.ones(3)]
    found = []
    for layer in (BatchNormalization(momentum=0.9), keras.layers.BatchNormalization(momentum=0.9)):
        layer.build(images.shape)
        layer.set_weights(weights)
        x = tf.constant(images)
        with tf.GradientTape() as tape:
            tape.watch(x)
            outputs = layer(x, training=True)
            loss = tf.reduce_sum(outputs**3)
        gradients = tape.gradient(loss, [x, *layer.trainable_variables])
        found.append([outputs, *gradients, layer.moving_mean, layer.moving_variance, layer(x, training=False)])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
    frozen = BatchNormalization()
    frozen.build(images.shape)
    frozen.trainable = False
    frozen.set_weights([*weights[:2], *found[1][-3:-1]])
    np.testing.assert_allclose(frozen(images, training=True), found[1][-1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("channels", [4, 16])
def test_bfloat16_has_statistics_in_float32(channels):
    """Such as Keras' layer finds in float32 for the same images, and gradients that differ by no more than rounding."""
    import tensorflow as tf

    generator = np.random.default_rng(channels)
    images = tf.cast(generator.normal(3, 2, (4, 5, 6, channels)), "bfloat16")
    pull = generator.normal(size=images.shape).astype(np.float32)
    found = []
    for layer, dtype in (
        (BatchNormalization(dtype="mixed_bfloat16"), "bfloat16"),
        (keras.layers.BatchNormalization(), "float32"),
    ):
        x = tf.cast(images, dtype)
        with tf.GradientTape() as tape:
            tape.watch(x)
            outputs = layer(x, training=True)
            loss = tf.reduce_sum(tf.cast(outputs, "float32") * pull)
        assert outputs.dtype == dtype
        gradients = tape.gradient(loss, [x, *layer.trainable_variables])
        found.append([tf.cast(each, "float32") for each in (outputs, *gradients, layer.moving_mean)])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=0.02, atol=0.02 * np.abs(other).max())
