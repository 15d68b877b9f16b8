import os
import zipfile
from dataclasses import replace
from types import SimpleNamespace
from urllib.error import URLError

import keras
import numpy as np
import pytest
from keras import applications, layers

from hpa.errors import BadInput
from hpa.models.backbones import Family, backbone, inflated
from hpa.models.catalog import build
from hpa.registry import DENSE_PART, NETWORKS
from hpa.training.transfer import freeze

# Keras' own preprocessing. Two families have theirs as layers, which leave it to a network without a choice of channels.
PREPROCESSING = {
    "mobilenet-v2": (applications.mobilenet_v2.preprocess_input, {}),
    "resnet50-v2": (applications.resnet_v2.preprocess_input, {}),
    "densenet121": (applications.densenet.preprocess_input, {}),
    "efficientnet-v2-b0": (applications.imagenet_utils.preprocess_input, {"mode": "torch"}),
    "inception-resnet-v2": (applications.inception_resnet_v2.preprocess_input, {}),
    "vgg16": (applications.vgg16.preprocess_input, {}),
    "convnext-tiny": (applications.imagenet_utils.preprocess_input, {"mode": "torch"}),
}


def pixels(side, channels):
    return np.random.default_rng(0).integers(0, 256, (2, side, side, channels), np.uint8)


def features(network, images):
    return np.asarray(keras.Model(network.input, network.get_layer(f"{DENSE_PART}features").output)(images, training=False))


def one_convolution(include_top, weights, input_tensor=None, input_shape=None):
    """A linear stand-in for a constructor of `keras.applications`."""
    assert not include_top
    assert weights is None
    images = layers.Input(input_shape) if input_tensor is None else input_tensor
    x = layers.Conv2D(5, 3, strides=2, padding="same", use_bias=False)(images)
    return keras.Model(keras.src.ops.operation_utils.get_source_inputs(images), x)


LINEAR = Family("linear", one_convolution)


@pytest.fixture
def stand_in(tmp_path):
    """The path of weights for the family of one convolution."""
    path = tmp_path / "linear.weights.h5"
    one_convolution(False, None, input_shape=(16, 16, 3)).save_weights(path)
    return path


@pytest.fixture(scope="module")
def vgg16(tmp_path_factory):
    """VGG16 as Keras has it, and a file of its weights. No other builds as fast, and its colours have unequal means."""
    path = tmp_path_factory.mktemp("vgg16") / "vgg16.h5"
    network = applications.VGG16(include_top=False, weights=None, input_shape=(32, 32, 3))
    network.save(path)
    yield SimpleNamespace(network=network, path=str(path))
    path.unlink()


@pytest.mark.parametrize("name", PREPROCESSING)
def test_pixels_are_normalised_as_keras_does(name):
    [family] = NETWORKS[name].build.args
    assert family.name == name
    network = backbone(replace(family, constructor=one_convolution), 8, 3, 6, "softmax")
    images = pixels(8, 3)
    normalised = np.asarray(keras.Model(network.input, network.get_layer("normalised").output)(images))
    preprocess, options = PREPROCESSING[name]
    expected = preprocess(images.astype(np.float32), **options)
    np.testing.assert_allclose(normalised[..., ::-1] if name == "vgg16" else normalised, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("channels", [1, 3])
def test_weights_give_what_keras_gives_on_colours_and_on_grey_repeated(vgg16, channels):
    images = pixels(32, channels)
    network = build("vgg16", 32, channels, 6, "softmax", weights=vgg16.path)
    colours = np.repeat(images, 3 // channels, axis=-1).astype(np.float32)
    expected = np.asarray(vgg16.network(applications.vgg16.preprocess_input(colours))).mean(axis=(1, 2))
    np.testing.assert_allclose(features(network, images), expected, rtol=1e-3, atol=1e-4 * expected.max())
    assert np.abs(expected[0] - expected[1]).max() > 0.01 * expected.max()  # it does see the images


def test_freezing_leaves_the_head():
    network = build("vgg16", 32, 4, 6, "softmax")
    freeze(network, "dense")
    head = [f"{DENSE_PART}dense/kernel", f"{DENSE_PART}dense/bias"]
    assert [weight.path for weight in network.trainable_weights] == head
    assert not any(isinstance(layer, keras.Model) for layer in network.layers)
    freeze(network, "convolutional")
    assert len(network.trainable_weights) == 26  # kernel and bias of 13 convolutions


@pytest.mark.parametrize("channels", [1, 4, 5])
def test_equal_channels_give_what_three_give(stand_in, channels):
    grey = pixels(16, 1)
    expected = features(backbone(LINEAR, 16, 3, 6, "softmax", str(stand_in)), np.repeat(grey, 3, axis=-1))
    result = features(backbone(LINEAR, 16, channels, 6, "softmax", str(stand_in)), np.repeat(grey, channels, axis=-1))
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)


def test_two_channels_keep_their_kernels_at_the_scale_of_three():
    kernel = np.random.default_rng(0).random((2, 2, 3, 4))
    np.testing.assert_allclose(inflated(kernel, 2), 1.5 * kernel[:, :, :2])


def test_an_empty_fourth_channel(stand_in):
    colours = pixels(16, 3)
    three = backbone(LINEAR, 16, 3, 6, "softmax", str(stand_in))
    four = backbone(LINEAR, 16, 4, 6, "softmax", str(stand_in))
    # The network is linear and black is -1 in each channel, so a third of a black image is one channel's mean share.
    expected = 3 / 4 * (features(three, colours) + features(three, np.zeros_like(colours)) / 3)
    result = features(four, np.concatenate([colours, np.zeros((2, 16, 16, 1), np.uint8)], axis=-1))
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)


def test_further_channels_are_normalised_by_the_mean_of_the_colours():
    family = Family("linear", one_convolution, (10.0, 20.0, 60.0), (1.0, 2.0, 3.0))
    network = backbone(family, 8, 5, 6, "sigmoid")
    normalised = keras.Model(network.input, network.get_layer("normalised").output)(np.full((1, 8, 8, 5), 40, np.uint8))
    np.testing.assert_allclose(normalised[0, 0, 0], [30, 10, -20 / 3, 5, 5], rtol=1e-5)


def test_the_head_without_weights():
    network = backbone(LINEAR, 16, 4, 6, "sigmoid")
    assert network.output.shape == (None, 6)
    assert network.layers[-1].activation is keras.activations.sigmoid


@pytest.mark.filterwarnings("ignore:Skipping nested container")  # Keras', on its way to the error
@pytest.mark.parametrize("name", ["weights.h5", "other.weights.h5"])
@pytest.mark.parametrize("content", ["absent", "damaged", "another network"])
def test_a_wrong_file(stand_in, tmp_path, name, content):
    path = tmp_path / name
    if content == "damaged":
        path.write_bytes(b"\x89HDF damaged")
    elif content == "another network":
        other = keras.Sequential([layers.Input((7,)), layers.Dense(3), layers.Dense(2)])
        if name == "weights.h5":
            other.save(path)
        else:
            other.save_weights(path)
    with pytest.raises(BadInput, match="absent, damaged or not the weights of linear") as refused:
        backbone(LINEAR, 16, 4, 6, "softmax", str(path))
    assert str(refused.value).startswith(f"{path}: ")
    assert "\n" not in str(refused.value)


HOSTILE = {
    "x.keras": lambda path: path.write_bytes(b"no archive"),
    "half.keras": lambda path: path.write_bytes(b"PK\x03\x04" + bytes(60)),
    "empty.keras": lambda path: zipfile.ZipFile(path, "w").close(),
    "null.keras": lambda path: write_archive(path, {"config.json": "null", "metadata.json": "{}", "model.weights.h5": ""}),
    "folder.h5": lambda path: path.mkdir(),
    "pipe.h5": lambda path: os.mkfifo(path),
    "text.txt": lambda path: path.write_text("weights"),
    "state.pth": lambda path: path.write_bytes(b"\x80\x02."),
    "arrays.npz": lambda path: np.savez(path, kernel=np.ones(3)),
    "x.weights.h5": lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(600)),
    "x.weights.json": lambda path: path.write_text("[null]"),
    "x.npz": lambda path: np.savez(path, objects=np.array([{}], object)),
}


def write_archive(path, contents):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in contents.items():
            archive.writestr(name, content)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_in_one_line(stand_in, tmp_path, name):
    path = tmp_path / name
    HOSTILE[name](path)
    with pytest.raises(BadInput) as refused:
        backbone(LINEAR, 16, 4, 6, "softmax", str(path))
    assert str(refused.value).startswith(f"{path}: ")
    assert "\n" not in str(refused.value)


def test_weights_that_are_not_finite(stand_in):
    network = one_convolution(False, None, input_shape=(16, 16, 3))
    network.set_weights([np.full((3, 3, 3, 5), np.nan)])
    network.save_weights(stand_in)
    with pytest.raises(BadInput, match="without a finite value"):
        backbone(LINEAR, 16, 3, 6, "softmax", str(stand_in))


def test_without_internet_the_mend_names_the_file(monkeypatch, tmp_path):
    def unreachable(*arguments):
        raise URLError("no route")

    monkeypatch.setattr("keras.src.utils.file_utils.urlretrieve", unreachable)
    monkeypatch.setattr("keras.src.backend.config._KERAS_DIR", str(tmp_path))
    with pytest.raises(BadInput, match=r"vgg16_weights_tf_dim_ordering_tf_kernels_notop\.h5.*give its path"):
        build("vgg16", 32, 1, 6, "softmax", weights="imagenet")
