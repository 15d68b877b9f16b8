"""Networks that start from weights learned elsewhere: a small one here, of two convolutions with batch normalisation."""

import json
import shutil

import keras
import numpy as np
import pandas as pd
import pytest
from keras import layers
from train_settings import train_settings

from hpa import predict, train
from hpa.errors import BadInput
from hpa.models.catalog import load
from hpa.registry import DENSE_PART, NETWORKS, Network
from hpa.runs.folder import TIMES, read_history, require_same_run, settings_config
from hpa.scoring.predictions import read_predictions
from hpa.settings import Settings
from hpa.tasks import HPA
from hpa.training import fit
from hpa.training.layerwise import layerwise
from hpa.training.on_device import OnDevice
from hpa.training.transfer import freeze, phases

SIDE = 16
COMMON = ["--task", "hep2", "--model", "small", "--size", str(SIDE), "--batch-size", "16", "--precision", "float32"]
TRANSFER = ["--epochs", "4", "--unfreezing", "2", "--first-layer-rate", "0.1", "--batch-statistics", "renewed"]


def small(size, channels, classes, output, weights=None):
    images = keras.Input((size, size, channels), dtype="uint8")
    x = layers.Rescaling(1 / 255)(images)
    for number in (1, 2):
        x = layers.Conv2D(6, 3, activation="relu", name=f"convolution_{number}")(x)
        x = layers.BatchNormalization(name=f"batch_{number}")(x)
    x = layers.GlobalAveragePooling2D(name=f"{DENSE_PART}features")(x)
    x = layers.Dropout(0.3, name=f"{DENSE_PART}dropout")(x)
    x = layers.Dense(classes, name=f"{DENSE_PART}dense")(x)
    network = keras.Model(images, layers.Activation(output, dtype="float32", name=f"{DENSE_PART}probabilities")(x))
    if weights:
        network.load_weights(weights)
    return network


@pytest.fixture(scope="module", autouse=True)
def registered():
    NETWORKS.register("small", Network(small, ("weights",), 8, fused=False))
    yield
    del NETWORKS["small"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "small.weights.h5"
    small(SIDE, 1, 6, "softmax").save_weights(path)
    return str(path)


@pytest.fixture(scope="module")
def whole(drawn_cells, weights, tmp_path_factory):
    """A run that unfreezes its layers in three parts, never interrupted."""
    runs = tmp_path_factory.mktemp("runs")
    assert transfer(drawn_cells, runs, weights) == 0
    return runs


def transfer(data, runs, weights, *options):
    return train.main(["--data", str(data), "--runs", str(runs), *COMMON, "--weights", weights, *TRANSFER, *options])


def test_layers_unfreeze_on_a_device_as_on_the_host(whole, drawn_cells, weights, tmp_path, monkeypatch):
    made, init = [], OnDevice.__init__
    monkeypatch.setattr(OnDevice, "__init__", lambda self, *arguments: made.append(self) or init(self, *arguments))
    assert transfer(drawn_cells, tmp_path, weights, "--augment-on", "device") == 0
    host, device = (read_history(runs / "small" / "base")["loss"] for runs in (whole, tmp_path))
    np.testing.assert_allclose(device, host, rtol=2e-3)
    assert len(made) == 1  # it copies all pixels to the device


def test_layers_begin_to_learn_one_after_the_other():
    settings = Settings(unfreezing=3, epochs=10, schedule="cosine", warm_up=2)
    found = [
        (first, end, share, own and (own.schedule, own.warm_up, own.epochs))
        for first, end, share, own in phases(settings, 0)
    ]
    assert found == [
        (0, 1, 0, ("constant", 0, 10)),
        (1, 2, 1 / 3, ("constant", 0, 10)),
        (2, 3, 2 / 3, ("constant", 0, 10)),
        (3, 10, 1, ("cosine", 2, 7)),
    ]
    assert [(first, bool(own)) for first, _, _, own in phases(settings, 2)] == [(2, True), (3, True)]
    assert [(first, bool(own)) for first, _, _, own in phases(settings, 3)] == [(3, True)]
    assert [(first, bool(own)) for first, _, _, own in phases(settings, 4)] == [(4, False)]
    assert next(phases(Settings(unfreezing=1, epochs=3, schedule="plateau"), 0))[3].schedule == "plateau"


@pytest.mark.parametrize(
    ("share", "keep", "learning"),
    [
        (0, False, set()),
        (0.5, False, {"convolution_2", "batch_2"}),
        (0.5, True, {"convolution_2"}),
        (1, True, {"convolution_1", "convolution_2"}),
    ],
)
def test_the_last_layers_learn_first_and_kept_statistics_never(share, keep, learning):
    network = small(SIDE, 1, 6, "softmax")
    freeze(network, "all", share, keep)
    assert {weight.path.split("/")[0] for weight in network.trainable_weights} == learning | {f"{DENSE_PART}dense"}


class OfABackend(keras.optimizers.Adam):
    """An optimizer as Keras makes it under PyTorch."""


@pytest.mark.parametrize(
    "optimizer", [keras.optimizers.SGD(0.1, momentum=0.9), keras.optimizers.Adam(0.01), OfABackend(0.01)]
)
def test_each_layer_moves_at_its_own_rate(optimizer):
    """The first step of both optimizers is proportional to the rate, with the same gradients."""
    random = np.random.default_rng(0)
    images, targets = random.integers(0, 256, (8, SIDE, SIDE, 1), np.uint8), np.eye(6)[random.integers(0, 6, 8)]
    moved = []
    before = small(SIDE, 1, 6, "softmax").get_weights()
    for first in (1.0, 0.01):
        keras.utils.set_random_seed(0)
        network = small(SIDE, 1, 6, "softmax")
        network.set_weights(before)
        own = type(optimizer).from_config(optimizer.get_config())
        network.compile(layerwise(own, network, first), "categorical_crossentropy", jit_compile=False)
        network.train_on_batch(images, targets)
        moved.append({w.path: np.abs(w - b).mean() for w, b in zip(network.weights, before, strict=True) if w.trainable})
    for path, expected in (
        ("convolution_1/kernel", 0.01),
        ("batch_1/gamma", 0.01**0.75),
        ("convolution_2/kernel", 0.1),
        (f"{DENSE_PART}dense/kernel", 1.0),
    ):
        assert moved[1][path] / moved[0][path] == pytest.approx(expected, rel=2e-3)


def test_an_optimizer_without_rates_of_layers_is_refused():
    with pytest.raises(BadInput, match="is for adam, adamw and sgd"):
        layerwise(keras.optimizers.Lion(), small(SIDE, 1, 6, "softmax"), 0.5)


def test_only_what_is_unfrozen_moves_and_renewed_statistics_stay(drawn_cells, whole, weights, tmp_path, monkeypatch):
    seen = {}

    def look(folder, history):
        model = load(folder / f"state-{len(history)}.keras", compile=True)
        seen[len(history)] = {weight.path: np.asarray(weight) for weight in model.weights}
        write(folder, history)

    write = fit.write_history
    monkeypatch.setattr(fit, "write_history", look)
    shutil.copytree(whole / "stores", tmp_path / "stores")
    assert transfer(drawn_cells, tmp_path, weights) == 0
    network = small(SIDE, 1, 6, "softmax", weights)
    start = {weight.path: np.asarray(weight) for weight in network.weights}

    def moved(path, before, after):
        return (before[path] != after[path]).any()

    for path in ("batch_1/moving_mean", "batch_2/moving_variance"):
        assert moved(path, start, seen[1])
        assert not moved(path, seen[1], seen[4])
    assert not moved("batch_1/gamma", start, seen[4])
    kernels = "convolution_1/kernel", "convolution_2/kernel", f"{DENSE_PART}dense/kernel"
    for epoch, expected in ((1, (False, False, True)), (2, (False, True, True)), (3, (True, True, True))):
        before = seen[epoch - 1] if epoch > 1 else start
        if epoch == 1:
            assert [moved(path, before, seen[1]) for path in kernels[:2]] == [False, False]
        else:
            assert tuple(moved(path, before, seen[epoch]) for path in kernels) == expected


@pytest.mark.slow
@pytest.mark.parametrize("epochs", [1, 3])
def test_an_interrupted_run_ends_as_an_uninterrupted_one(drawn_cells, whole, weights, tmp_path, monkeypatch, epochs):
    def interrupt(folder, history):
        write(folder, history)
        if len(history) == epochs:
            raise KeyboardInterrupt

    write = fit.write_history
    shutil.copytree(whole / "stores", tmp_path / "stores")
    with monkeypatch.context() as patch:
        patch.setattr(fit, "write_history", interrupt)
        assert transfer(drawn_cells, tmp_path, weights) == 1
    assert transfer(drawn_cells, tmp_path, weights) == 0
    files = [folder / "small" / "base" / "history.csv" for folder in (tmp_path, whole)]
    histories = [pd.read_csv(file).drop(columns=list(TIMES)) for file in files]
    np.testing.assert_allclose(histories[0], histories[1], rtol=1e-5)


@pytest.mark.slow
def test_the_average_of_the_weights_begins_anew_with_each_part(drawn_cells, whole, weights, tmp_path):
    shutil.copytree(whole / "stores", tmp_path / "stores")
    assert transfer(drawn_cells, tmp_path, weights, "--ema-momentum", "0.9", "--optimizer", "adamw") == 0
    history = pd.read_csv(tmp_path / "small" / "base" / "history.csv")
    assert len(history) == 4
    assert history["validation_loss"].max() < 3  # an average that begins at zero gives 1.79 or diverges


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--unfreezing", "2"], "is for runs that start from weights"),
        (["--batch-statistics", "kept"], "is for networks with batch normalisation that start from weights"),
        (["--model", "vgg16", "--weights", "imagenet", "--batch-statistics", "kept"], "is for networks with batch normal"),
        (["--model", "vgg16", "--weights", "imagenet", "--unfreezing", "3", "--epochs", "3"], "for more epochs than that"),
        (["--part", "dense", "--first-layer-rate", "0.5"], "learn more than the dense part"),
    ],
)
def test_settings_that_do_not_go_together(options, message, capsys, tmp_path):
    assert train.main(["--data", str(tmp_path), "--runs", str(tmp_path), *options]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_every_part_of_the_large_preset_runs_in_small(drawn_data, tmp_path):
    """ImageNet's weights and DenseNet are another network's here; the rest is the preset's own."""
    path = tmp_path / "small.weights.h5"
    small(SIDE, 4, 28, "sigmoid").save_weights(path)
    where = ["--data", str(drawn_data), "--runs", str(tmp_path)]
    changed = ["--model", "small", "--weights", str(path), "--size", str(SIDE), "--batch-size", "8", "--epochs", "2"]
    assert train.main([*where, "--preset", "winner-512", *changed, "--rows", "16"]) == 0
    config = json.loads((tmp_path / "small" / "base" / "config.json").read_text())
    parts = ("augmentation", "loss", "precision", "first_layer_rate", "schedule")
    assert [config[part] for part in parts] == ["heavy", "focal+lovasz", "mixed_bfloat16", 0.3, "cosine"]
    assert predict.main([*where, "--variants", "small", "--tta", "8"]) == 0
    assert np.isfinite(read_predictions(tmp_path / "small" / "base" / "test.npz").probabilities).all()


def test_runs_of_earlier_versions_go_on(tmp_path):
    config = settings_config(Settings(), HPA)
    new = ("batch_statistics", "unfreezing", "first_layer_rate")
    earlier = {key: value for key, value in config.items() if key not in new}
    (tmp_path / "config.json").write_text(json.dumps(earlier))
    require_same_run(tmp_path, config)
    with pytest.raises(BadInput, match="unfreezing 0, now 1"):
        require_same_run(tmp_path, settings_config(Settings(unfreezing=1), HPA))


def test_the_presets_for_transfer():
    cells = train_settings("--task", "hep2", "--preset", "transfer")
    assert (cells.model, cells.weights, cells.first_layer_rate, cells.unfreezing) == (
        "efficientnet-lite0",
        "imagenet",
        0.1,
        1,
    )
    assert cells.filters is None
    large = train_settings("--preset", "winner-512")
    assert (large.model, large.size, large.loss, large.precision) == ("densenet121", 512, "focal+lovasz", "mixed_bfloat16")
