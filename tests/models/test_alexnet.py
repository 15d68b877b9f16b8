import os
from collections import OrderedDict
from importlib.util import find_spec

import keras
import numpy as np
import pytest
from alexnet_weights import WEIGHTS
from numpy.lib.stride_tricks import sliding_window_view

from hpa.errors import BadInput
from hpa.models.alexnet import IMAGENET_DEVIATION, IMAGENET_MEAN, WHEEL, alexnet, load_weights
from hpa.models.catalog import build, load, save
from hpa.models.tensors import read_tensors, wheel_file
from hpa.registry import DENSE_PART
from hpa.training.transfer import freeze


@pytest.fixture(scope="module")
def network():
    """One for all tests: it has 61 million weights. Each test that needs some loads its own."""
    return alexnet(256, 3, 6, "softmax")


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (1, 256, 256, 3), np.uint8)


def thousand_outputs(network, images):
    """The activations that torchvision's last layer gives, behind the report's ReLU."""
    model = keras.Model(network.input, network.get_layer(f"{DENSE_PART}dense_3").output)
    return np.asarray(model(images, training=False))


def normalised(images):
    """What torchvision's transforms give: the central 224 pixels, [0, 1], ImageNet's mean and deviation, [B, C, H, W]."""
    pixels = images[:, 16:240, 16:240] / 255
    return ((pixels - IMAGENET_MEAN) / IMAGENET_DEVIATION).transpose(0, 3, 1, 2).astype(np.float32)


def convolution(x, weight, bias, stride=1, padding=0):
    """torch's Conv2d by its definition, [C, H, W] to [O, H, W]."""
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding)))
    windows = sliding_window_view(x, weight.shape[2:], axis=(1, 2))[:, ::stride, ::stride]
    return np.tensordot(weight, windows, axes=([1, 2, 3], [0, 3, 4])) + bias[:, None, None]


def pooling(x):
    return sliding_window_view(x, (3, 3), axis=(1, 2))[:, ::2, ::2].max(axis=(3, 4))


def forward(x, tensors):
    """torchvision's AlexNet on one image [3, 224, 224], in NumPy and in torch's layout."""

    def layer(name):
        return tensors[f"{name}.weight"], tensors[f"{name}.bias"]

    def relu(x):
        return np.maximum(x, 0)

    x = pooling(relu(convolution(x, *layer("features.0"), stride=4, padding=2)))
    x = pooling(relu(convolution(x, *layer("features.3"), padding=2)))
    for name in ("features.6", "features.8", "features.10"):
        x = relu(convolution(x, *layer(name), padding=1))
    x = pooling(x).reshape(-1)
    for name in ("classifier.1", "classifier.4", "classifier.6"):
        weight, bias = layer(name)
        x = relu(weight @ x + bias)
    return x


def test_the_reports_head_and_torchvisions_size(network):
    dense = [layer for layer in network.layers if isinstance(layer, keras.layers.Dense)]
    assert [tuple(layer.kernel.shape) for layer in dense] == [(9216, 4096), (4096, 4096), (4096, 1000), (1000, 6)]
    torchvision = sum(np.prod(shape) + shape[0] for shape in WEIGHTS.values())
    assert torchvision == 61_100_840  # as torchvision's documentation has it
    assert network.count_params() == torchvision + 1000 * 6 + 6


def test_a_state_dict_gives_what_torchs_layout_gives_in_numpy(network, images, tmp_path):
    random = np.random.default_rng(1)
    tensors = {}
    for name, shape in WEIGHTS.items():
        bound = np.float32(np.sqrt(6 / np.prod(shape[1:])))  # keeps the activations' scale through the ReLUs
        tensors[f"{name}.weight"] = (2 * random.random(shape, np.float32) - 1) * bound
        tensors[f"{name}.bias"] = random.random(shape[0], np.float32) / 4
    path = tmp_path / "alexnet.npz"
    np.savez(path, **tensors)
    last = network.layers[-2].get_weights()
    load_weights(network, path)
    path.unlink()
    expected = forward(normalised(images)[0], tensors)[np.newaxis]
    np.testing.assert_allclose(thousand_outputs(network, images), expected, rtol=1e-3, atol=1e-4 * expected.max())
    assert expected.std() > 0.1
    for before, after in zip(last, network.layers[-2].get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


def test_a_state_dict_gives_what_torch_gives(network, images, tmp_path):
    torch = pytest.importorskip("torch")
    from torch import nn

    def block(inputs, outputs, kernel, padding, stride=1, pooled=False):
        pool = [nn.MaxPool2d(3, 2)] if pooled else []
        return [nn.Conv2d(inputs, outputs, kernel, stride, padding), nn.ReLU(), *pool]

    features = nn.Sequential(
        *block(3, 64, 11, 2, stride=4, pooled=True),
        *block(64, 192, 5, 2, pooled=True),
        *block(192, 384, 3, 1),
        *block(384, 256, 3, 1),
        *block(256, 256, 3, 1, pooled=True),
    )
    classifier = nn.Sequential(
        *(nn.Dropout(), nn.Linear(9216, 4096), nn.ReLU()),
        *(nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU()),
        nn.Linear(4096, 1000),
    )
    pooled = nn.Sequential(nn.AdaptiveAvgPool2d(6), nn.Flatten())
    torch.manual_seed(0)
    model = nn.Sequential(OrderedDict(features=features, pooled=pooled, classifier=classifier)).eval()
    path = tmp_path / "alexnet.pth"
    torch.save(model.state_dict(), path)
    load_weights(network, path)
    path.unlink()
    with torch.no_grad():
        expected = torch.relu(model(torch.from_numpy(normalised(images)))).numpy()
    np.testing.assert_allclose(thousand_outputs(network, images), expected, rtol=1e-3, atol=1e-4 * expected.max())
    assert (expected > 0).any()


def test_freezing_leaves_the_dense_part(network):
    freeze(network, "dense")
    names = {weight.path.split("/")[0] for weight in network.trainable_weights}
    freeze(network, "all")
    assert names == {f"{DENSE_PART}dense_{number}" for number in (1, 2, 3, 4)}


def test_a_small_grey_image_is_enlarged_repeated_and_normalised():
    network = alexnet(32, 1, 2, "sigmoid", "mish")
    model = keras.Model(network.input, network.get_layer("normalised").output)
    result = np.asarray(model(np.full((1, 32, 32, 1), 51, np.uint8)))
    assert result.shape == (1, 224, 224, 3)
    expected = np.broadcast_to((0.2 - np.array(IMAGENET_MEAN)) / IMAGENET_DEVIATION, result.shape)
    np.testing.assert_allclose(result, expected, rtol=1e-5)
    assert network.get_layer("convolution_1").activation is keras.activations.mish
    assert network.layers[-1].activation is keras.activations.sigmoid


def test_of_a_large_image_the_middle_is_cut_out_as_the_report_cuts_224_out_of_256():
    ramp = np.tile(np.arange(220, dtype=np.uint8)[None, :, None], (1, 220, 1, 1))
    network = alexnet(220, 1, 6, "softmax", antialiased=True)
    normalised = keras.Model(network.input, network.get_layer("normalised").output).predict(ramp, verbose=0)
    values = 255 * (normalised * IMAGENET_DEVIATION + IMAGENET_MEAN)
    expected = 2 * np.arange(7, 103) + 0.5  # 220 pixels become 110, of which 96 are left
    assert values.shape == (1, 96, 96, 3)
    np.testing.assert_allclose(values, np.broadcast_to(expected[:, None], values.shape), atol=0.6)


def test_other_channels_are_refused():
    with pytest.raises(BadInput, match="1 or 3 channels, not 4"):
        build("alexnet", 256, 4, 6, "softmax")


def test_faulty_tensors_are_all_named_and_nothing_changes(network, tmp_path):
    path = tmp_path / "alexnet.npz"
    sound = {f"{name}.bias": np.ones(shape[0], np.float32) for name, shape in WEIGHTS.items()}
    faulty = {
        "features.0.bias": np.full(64, np.nan, np.float32),
        "features.3.bias": np.ones(191, np.float32),
        "features.6.bias": np.array(["a"] * 384),
        "features.12.weight": np.ones(3, np.float32),
    }
    np.savez(path, **(sound | faulty))
    before = network.get_layer("convolution_4").get_weights()[1]
    with pytest.raises(BadInput) as refused:
        load_weights(network, path)
    text = str(refused.value)
    assert text.startswith(f"{path}: ")
    assert "12 faults" in text
    assert "features.0.weight is missing" in text
    after = network.get_layer("convolution_4").get_weights()[1]
    assert not np.array_equal(before, sound["features.8.bias"])
    np.testing.assert_array_equal(after, before)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("features.0.bias", np.full(64, np.nan, np.float32), "features.0.bias holds values that are not finite"),
        ("features.0.bias", np.array(["a"] * 64), "features.0.bias holds values that are not finite floating-point"),
        ("features.3.bias", np.ones(191, np.float32), r"features.3.bias has shape \(191,\), expected \(192,\)"),
        ("classifier.1.weight", np.ones((9216, 4), np.float32), r"shape \(9216, 4\), expected \(4096, 9216\)"),
        ("features.12.weight", np.ones(3, np.float32), "features.12.weight is not expected"),
    ],
)
def test_a_faulty_tensor_is_named(network, tmp_path, monkeypatch, name, value, expected):
    monkeypatch.setattr("hpa.errors.SHOWN", 20)
    path = tmp_path / "alexnet.npz"
    np.savez(path, **{name: value})
    with pytest.raises(BadInput, match=expected):
        load_weights(network, path)


@pytest.mark.parametrize("suffix", [".npz", ".pth"])
@pytest.mark.parametrize("content", [b"", b"damaged", b"PK\x03\x04 damaged", None])
def test_a_damaged_or_absent_file(network, tmp_path, suffix, content):
    path = tmp_path / f"alexnet{suffix}"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadInput, match="absent, damaged or not a state dict") as refused:
        load_weights(network, path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["list.npz", "objects.npz", "pipe.npz", "pipe.pth", "folder.npz", "texts.npz"])
def test_a_hostile_file(network, tmp_path, name):
    path = tmp_path / name
    if name.startswith("pipe"):
        os.mkfifo(path)
    elif name == "folder.npz":
        path.mkdir()
    elif name == "list.npz":
        with open(path, "wb") as file:
            np.save(file, np.ones(3))
    else:
        value = np.array([{}], object) if name == "objects.npz" else np.array(["a"])
        np.savez(path, **{"features.0.weight": value})
    with pytest.raises(BadInput) as refused:
        load_weights(network, path)
    assert str(refused.value).startswith(f"{path}: ")


def test_an_unknown_kind_of_file(network, tmp_path):
    with pytest.raises(BadInput, match=r"expected a state dict as \.pth or \.pt, or arrays as \.npz"):
        load_weights(network, tmp_path / "alexnet.onnx")


def blurred(x):
    """The anti-aliased halving of [C, H, W] by its definition: two mirrored pixels, blur by 1, 2, 1, every second."""
    x = np.pad(x, ((0, 0), (2, 2), (2, 2)), mode="reflect")
    kernel = np.outer([1, 2, 1], [1, 2, 1]) / 16
    return (sliding_window_view(x, (3, 3), axis=(1, 2))[:, ::2, ::2] * kernel).sum(axis=(3, 4))


def test_antialiased_pooling_with_the_weights_that_were_tuned_with_it(caplog):
    if find_spec(WHEEL[0]) is None:
        pytest.skip("stlpips-pytorch is absent")
    network = build("alexnet-antialiased", 96, 3, 6, "softmax", weights="imagenet")
    assert "the dense part starts anew" in caplog.text
    tensors = read_tensors(wheel_file(*WHEEL))
    image = np.random.default_rng(0).integers(0, 256, (1, 96, 96, 3), np.uint8)

    def convolved(x, name, **options):
        return convolution(x, tensors[f"net.slice{name}.weight"], tensors[f"net.slice{name}.bias"], **options)

    def pooled(x):
        return blurred(sliding_window_view(x, (3, 3), axis=(1, 2)).max(axis=(3, 4)))

    x = ((image[0] / 255 - IMAGENET_MEAN) / IMAGENET_DEVIATION).transpose(2, 0, 1)
    x = pooled(np.maximum(blurred(convolved(x, "1.0", padding=2)), 0))
    x = pooled(np.maximum(convolved(x, "2.5", padding=2), 0))
    for name in ("3.9", "4.11", "5.13"):
        x = np.maximum(convolved(x, name, padding=1), 0)
    expected = pooled(x).transpose(1, 2, 0).reshape(1, -1)
    features = keras.Model(network.input, network.get_layer(f"{DENSE_PART}features").output)(image)
    assert features.shape == (1, 9216)
    np.testing.assert_allclose(features, expected, rtol=1e-3, atol=1e-4 * expected.max())
    assert expected.max() > 0.1


def test_antialiased_pooling_is_saved_and_loaded(tmp_path):
    network = build("alexnet-antialiased", 32, 1, 2)
    save(network, tmp_path / "model.keras")
    images = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 1), np.uint8)
    loaded = load(tmp_path / "model.keras", shape=(32, 1, 2))
    np.testing.assert_array_equal(np.asarray(loaded(images)), np.asarray(network(images)))
