"""A network, a loss and an augmentation of one's own: a file each, and a line that registers it."""

import json
import sys
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from hpa import finetune, train
from hpa.registry import AUGMENTATIONS, LOSSES, NETWORKS

TOYS = {
    "toy_network": """
from hpa.registry import DENSE_PART, Network


def dots(size, channels, classes, output, activation="relu"):
    import keras
    from keras import layers

    images = layers.Input((size, size, channels), dtype="uint8")
    x = layers.Rescaling(1 / 255)(images)
    x = layers.Conv2D(4, 3, strides=2, activation=activation)(x)
    x = layers.GlobalAveragePooling2D(name=f"{DENSE_PART}features")(x)
    x = layers.Dense(classes, activation=output, name=f"{DENSE_PART}probabilities")(x)
    return keras.Model(images, x, name="dots")


DOTS = Network(dots, arguments=("activation",), smallest_size=16)
""",
    "toy_loss": """
from hpa.registry import Loss


def squared(targets, probabilities, sample_weight=None):
    from keras import ops

    rows = ops.mean(ops.square(targets - probabilities), axis=-1)
    return ops.mean(rows if sample_weight is None else rows * sample_weight)


SQUARED = Loss(squared)
""",
    "toy_augmentation": """
from hpa.registry import Augmentation

seen = []


def upside_down(image, sequence):
    seen.append(sequence.entropy)
    return image[::-1]


UPSIDE_DOWN = Augmentation(lambda: upside_down)
""",
}


@pytest.fixture
def toys(tmp_path, monkeypatch):
    for name, text in TOYS.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    for registry in (NETWORKS, LOSSES, AUGMENTATIONS):
        monkeypatch.setattr(registry, "data", dict(registry.data))
    NETWORKS.register("dots", "toy_network:DOTS")
    LOSSES.register("squared", "toy_loss:SQUARED")
    AUGMENTATIONS.register("upside-down", "toy_augmentation:UPSIDE_DOWN")
    yield SimpleNamespace(modules=sys.modules)
    for name in TOYS:
        sys.modules.pop(name, None)


OPTIONS = [
    "--model", "dots", "--activation", "mish", "--loss", "squared+soft-f1:0.25", "--augmentation", "upside-down",
    "--size", "32", "--batch-size", "16", "--epochs", "2",
]  # fmt: skip


def test_they_are_trained_with_fine_tuned_and_loaded_again(toys, drawn_data, tmp_path, capsys):
    place = ["--data", str(drawn_data), "--runs", str(tmp_path / "runs")]
    assert train.main([*place, *OPTIONS]) == 0
    assert len(toys.modules["toy_augmentation"].seen) == 2 * 48  # two epochs of four folds of the 60 fields
    assert finetune.main([*place, "--model", "dots", "--stage", "cnn", "--loss", "squared", "--epochs", "1"]) == 0
    base, tuned = (tmp_path / "runs" / "dots" / stage for stage in ("base", "cnn"))
    config = json.loads((base / "config.json").read_text())
    expected = {"model": "dots", "variant": None, "loss": "squared+soft-f1:0.25", "augmentation": "upside-down"}
    assert expected.items() <= config.items()
    assert train.main([*place, *OPTIONS]) == 0
    assert "is finished already" in capsys.readouterr().out
    before, after = (keras.saving.load_model(folder / "model.keras") for folder in (base, tuned))
    assert before.name == "dots"
    assert before.predict(np.zeros((1, 32, 32, 4), np.uint8), verbose=0).shape == (1, 28)
    kernels = [[layer.kernel for layer in each.layers if hasattr(layer, "kernel")] for each in (before, after)]
    assert [np.array_equal(one, other) for one, other in zip(*kernels, strict=True)] == [False, True]  # the dense part stays


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--size", "8"], "size 8 is too small for dots, whose convolutions need at least 16 pixels"),
        (["--variant", "2"], "model dots has no variants"),
        (["--label-smoothing", "0.1"], "squared"),
    ],
)
def test_what_they_do_not_take_is_refused(toys, drawn_data, tmp_path, capsys, options, expected):
    place = ["--data", str(drawn_data), "--runs", str(tmp_path / "runs")]
    assert train.main([*place, *OPTIONS, "--loss", "squared", *options]) == 2
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "runs" / "dots").exists()
