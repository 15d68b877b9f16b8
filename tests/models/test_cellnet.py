import keras
import numpy as np
import pytest

from hpa.models.catalog import build
from hpa.registry import DENSE_PART


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(0)
    return build("cellnet", 24, 2, 5, "softmax", filters=(4, 8, 16), blocks=(1, 2, 1), kernel=3, dropout=0.2)


def test_its_layers_are_those_of_the_topology(network):
    sums = [layer.output for layer in network.layers if isinstance(layer, keras.layers.Add)]
    found = keras.Model(network.input, sums)(np.zeros((1, 24, 24, 2), np.uint8))
    assert [each.shape[1:] for each in found] == [(12, 12, 4), (6, 6, 8), (6, 6, 8), (3, 3, 16)]
    assert network.get_layer(f"{DENSE_PART}features").output.shape == (None, 4 + 8 + 16 + 16)
    # Stem, blocks of two convolutions with gate and, where the width changes, a convolution on the way past them; each
    # convolution without bias but with the scale and offset of its normalisation; the dense layer.
    convolutions = [2 * 9 * 2 + 2 * 2]
    for count, before in ((4, 2), (8, 4), (8, 8), (16, 8)):
        convolutions += [9 * before * count + 2 * count, 9 * count * count + 2 * count]
        convolutions += [count * (count // 4) + count // 4 + (count // 4) * count + count]
        convolutions += [before * count + 2 * count] * (count != before)
    trainable = sum(int(np.prod(weight.shape)) for weight in network.trainable_weights)
    assert trainable == sum(convolutions) + 44 * 5 + 5


def test_it_takes_images_of_any_side(network):
    for side in (8, 17, 40):
        images = np.random.default_rng(0).integers(0, 256, (2, side, side, 2), np.uint8)
        np.testing.assert_allclose(network.predict_on_batch(images).sum(axis=1), 1, rtol=1e-5)


def test_brightness_and_contrast_do_not_count(network):
    images = np.random.default_rng(0).integers(0, 64, (3, 24, 24, 2), np.uint8)
    expected = network.predict_on_batch(images)
    np.testing.assert_allclose(expected.sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_allclose(network.predict_on_batch(3 * images + 50), expected, atol=2e-4)
    assert np.ptp(expected, axis=0).max() > 1e-3  # the images differ, and so does what comes out
