import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from scipy.special import expit
from test_predict import make_run

import hpa
from hpa import explain as command
from hpa import predict
from hpa.data.layout import list_ids
from hpa.errors import BadInput
from hpa.files import file_digest, write_json
from hpa.inference import explain as inference
from hpa.inference.explain import explain, overlay
from hpa.inference.parts import Place, cut, onto_image
from hpa.models.catalog import build
from hpa.scoring.predictions import Predictions, write_predictions
from hpa.settings import DEFAULTS
from hpa.tasks import HEP2, HPA
from hpa.tta import AVERAGES, TTA, view

ROOT = Path(__file__).resolve().parents[2]
SMALL = {"filters": (4, 8), "blocks": (1, 1), "kernel": 3, "dropout": 0.1}


def network(model, size, seed=0, classes=5, channels=4, output="sigmoid", **arguments):
    """Return a network whose batch normalisations have statistics and offsets of their own, as trained ones do."""
    keras.utils.set_random_seed(seed)
    made = build(model, size, channels, classes, output, **arguments)
    random = np.random.default_rng(seed)
    for layer in made.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            ranges = zip((0.5, -1, -1, 0.5), layer.weights, strict=True)
            layer.set_weights([random.uniform(low, 1.5, each.shape) for low, each in ranges])
    return made


def some_images(size, count=2):
    return np.random.default_rng(1).integers(0, 256, (count, size, size, 4), np.uint8)


def make_views_differ(made, images):
    """Change the last layer of a network: its logits are large, and their mean over some images is 0."""
    last = made.layers[-2]
    kernel, bias = last.get_weights()
    last.set_weights([32 * kernel, 0 * bias])
    logits = keras.Model(made.input, last.output).predict(images, verbose=0)
    last.set_weights([32 * kernel, -logits.mean(axis=0)])


def constants_of(dense, features):
    """Go through the dense layers by hand: what the biases and offsets alone make of the logits, by ReLU's pattern."""
    value, constant = features.astype(np.float64), np.zeros_like(features, np.float64)
    for layer in dense.layers[1:]:
        weights = [each.astype(np.float64) for each in layer.get_weights()]
        if isinstance(layer, keras.layers.Dense):
            value, constant = value @ weights[0] + weights[1], constant @ weights[0] + weights[1]
            if layer.activation.__name__ == "relu":
                constant = np.where(value > 0, constant, 0)
                value = np.maximum(value, 0)
        elif isinstance(layer, keras.layers.BatchNormalization):
            gamma, beta, mean, variance = weights
            scale = gamma / np.sqrt(variance + layer.epsilon)
            value, constant = (value - mean) * scale + beta, (constant - mean) * scale + beta
        else:
            assert isinstance(layer, keras.layers.Dropout)
    return constant


NETWORKS = [
    ("gapnet", 48, {"variant": 2}),
    ("gapnet-fcn", 48, {"variant": 2}),
    ("cellnet", 32, SMALL),
    ("cellnet", 32, SMALL | {"activation": "mish"}),
    ("mobilenet-v2", 32, {}),
]


def write_run(folder, model, size, task=HPA, seed=0, **arguments):
    write_json(folder / "config.json", DEFAULTS | {"model": model, "size": size, "task": vars(task)} | arguments)
    kind = {"channels": len(task.channels), "output": task.kind.activation}
    made = network(model, size, seed, len(task.classes), **kind, **arguments)
    made.save(folder / "model.keras")
    return made


@pytest.mark.parametrize(("model", "size", "arguments"), NETWORKS)
def test_the_maps_add_up_to_the_logit_minus_what_the_biases_make(tmp_path, model, size, arguments):
    made = write_run(tmp_path / "r" / "base", model, size, **arguments)
    images = some_images(size)
    parts = cut(made, model, size, tmp_path)
    assert parts.exact
    features = keras.Model(made.input, made.get_layer("dense_part_features").output).predict(images, verbose=0)
    constants = constants_of(parts.dense, features)
    logits = keras.Model(made.input, made.layers[-1].input).predict(images, verbose=0)
    found = list(explain([tmp_path / "r" / "base"], list(images)))
    assert [each.method for each in found] == ["exact", "exact"]
    for each, logit, constant in zip(found, logits, constants, strict=True):
        size_of_terms = np.abs(each.maps).sum(axis=(1, 2)) + np.abs(logit) + np.abs(constant)
        assert (np.abs(each.logits - logit) <= 1e-4 * size_of_terms).all()
        assert (np.abs(each.constants - constant) <= 1e-4 * size_of_terms).all()
        total = each.maps.astype(np.float64).sum(axis=(1, 2))
        assert (np.abs(total - (logit - constant)) <= 1e-4 * size_of_terms).all()
        assert (each.maps < 0).any()
        assert (each.maps > 0).any()


@pytest.mark.parametrize(
    ("model", "size", "arguments", "exact"),
    [
        ("gapnet", 48, {"variant": 2, "activation": "mish"}, False),
        ("parallel-kernels", 94, {}, True),
        ("parallel-kernels", 94, {"activation": "mish"}, False),
    ],
)
def test_other_networks_have_grad_cam(tmp_path, model, size, arguments, exact):
    made = write_run(tmp_path / "r" / "base", model, size, **arguments)
    assert cut(made, model, size, tmp_path).exact is exact
    [found] = explain([tmp_path / "r" / "base"], list(some_images(size, 1)))
    assert found.method == ("exact" if exact else "grad-cam")
    assert np.isfinite(found.maps).all()
    assert np.isfinite(found.constants).all() == exact
    if not exact:
        with pytest.raises(BadInput, match="has no exact maps; take grad-cam"):
            list(explain([tmp_path / "r" / "base"], list(some_images(size, 1)), method="exact"))


@pytest.mark.parametrize(
    ("model", "size", "arguments"), [("gapnet", 48, {"variant": 2}), ("gapnet-fcn", 80, {"variant": 0}),
                                     ("gapnet", 112, {"variant": 5}), ("cellnet", 40, SMALL)]
)  # fmt: skip
def test_positions_lie_in_the_middle_of_what_they_see(tmp_path, model, size, arguments):
    """Where the gradient of one position's activation with respect to the image is centred, over random images."""
    import tensorflow as tf

    made = build(model, size, 4, 3, **arguments)
    parts = cut(made, model, size, tmp_path)
    first = next(layer for layer in made.layers if isinstance(layer, keras.layers.Rescaling))
    to_maps = keras.Model(first.output, list(parts.to_maps.outputs))
    values = tf.constant(np.random.default_rng(0).random((4, size, size, 4), np.float32))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(values)
        outputs = to_maps(values, training=False)
        rows = [place.count // 2 for place in parts.places]
        results = [tf.reduce_sum(tf.square(each[:, row, row])) for each, row in zip(outputs, rows, strict=True)]
    for place, output, row, result in zip(parts.places, outputs, rows, results, strict=True):
        assert int(output.shape[1]) == place.count
        seen = np.square(tape.gradient(result, values).numpy()).sum(axis=(0, 2, 3))
        middle = (seen * np.arange(size)).sum() / seen.sum()
        assert abs(middle - (place.start + row * place.step)) < max(0.75, 0.35 * place.step)


def test_a_map_keeps_its_sum_signs_and_place_on_the_image():
    values = np.zeros((5, 5))
    values[1, 3], values[4, 4] = 2, -1
    spread = onto_image(values, Place(start=5.5, step=8, count=5), 48)
    assert spread.sum() == pytest.approx(1)
    assert spread[spread > 0].sum() == pytest.approx(2)
    rows, columns = np.indices(spread.shape)
    positive = np.maximum(spread, 0) / 2
    assert (positive * rows).sum() == pytest.approx(13.5, abs=0.1)
    assert (positive * columns).sum() == pytest.approx(29.5, abs=0.1)


def test_maps_of_turned_images_are_turned_back_and_ensembles_averaged(tmp_path):
    folders = [tmp_path / name / "base" for name in ("a", "b")]
    write_run(folders[0], "cellnet", 32, **SMALL)
    write_run(folders[1], "gapnet", 48, variant=2)
    image = some_images(48, 1)
    [single] = explain(folders[:1], list(image), TTA(8))
    turned = view(image, 3, True)
    [other] = explain(folders[:1], list(turned), TTA(8))  # the same eight views in another order
    np.testing.assert_allclose(other.logits, single.logits, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(
        other.maps, view(single.maps[..., None], 3, True)[..., 0], atol=1e-3 * np.abs(single.maps).max()
    )
    [single], [second], [both] = (list(explain(each, list(image))) for each in (folders[:1], folders[1:], folders))
    assert both.maps.shape[1:] == (48, 48)
    np.testing.assert_allclose(both.logits, (single.logits + second.logits) / 2, rtol=1e-6)
    total = both.maps.sum(axis=(1, 2), dtype=np.float64)
    size_of_terms = np.abs(both.maps).sum(axis=(1, 2)) + np.abs(both.logits)
    assert (np.abs(total - (both.logits - both.constants)) <= 1e-4 * size_of_terms).all()


@pytest.mark.parametrize("average", ["probabilities", "logits"])
@pytest.mark.parametrize("task", [HPA, HEP2], ids=lambda task: task.name)
def test_probabilities_are_those_of_a_prediction(tmp_path, task, average):
    folders = [tmp_path / name / "base" for name in ("a", "b")]
    images = np.random.default_rng(1).integers(0, 256, (2, 32, 32, len(task.channels)), np.uint8)
    images[:, 8:] //= 16
    networks = [write_run(folder, "cellnet", 32, task, seed, **SMALL) for seed, folder in enumerate(folders)]
    for folder, each in zip(folders, networks, strict=True):
        make_views_differ(each, images)
        each.save(folder / "model.keras")
    expected = {
        each: np.mean([TTA(4, each).predict(network, images, task.labels) for network in networks], axis=0)
        for each in AVERAGES
    }
    found = list(explain(folders, list(images), TTA(4, average)))
    of_mean_logits = task.kind.from_logits(np.stack([each.logits for each in found]))
    for other in (of_mean_logits, *(expected[each] for each in AVERAGES if each != average)):
        assert np.abs(expected[average] - other).max() > 0.01
    np.testing.assert_allclose([each.probabilities for each in found], expected[average], atol=1e-3)


def test_the_predicted_classes_are_explained(drawn_data, tmp_path):
    """By two runs of which one is rather for all classes, and the other one wholly against them."""
    random = np.random.default_rng(0)
    probabilities = random.random((40, 28), np.float32)
    for name, bias in (("a", 1.4), ("b", -8.0)):
        folder = tmp_path / name / "base"
        made = write_run(folder, "cellnet", 32, **SMALL)
        last = made.layers[-2]
        last.set_weights([0.1 * last.get_weights()[0], np.full(28, bias)])
        made.save(folder / "model.keras")
        targets, ids = (probabilities > 0.3).astype(np.uint8), np.arange(40).astype(str)
        digest = file_digest(folder / "model.keras")
        predictions = Predictions(ids, HPA.classes, probabilities, targets, model_sha256=digest)
        write_predictions(folder / "validation.npz", predictions)
    arguments = ["--run", str(tmp_path / "a" / "base"), str(tmp_path / "b" / "base"), "--images", str(drawn_data / "test")]
    assert predict.main([*arguments, "--out", str(tmp_path / "table.csv")]) == 0
    assert command.main([*arguments, "--out", str(tmp_path / "out")]) == 0
    predicted = pd.read_csv(tmp_path / "table.csv", index_col="Id")
    found = pd.read_csv(tmp_path / "out" / "explanations.csv")
    for identifier, own in found.groupby("Id"):
        assert set(own["class"]) == set(predicted.loc[identifier, "Predicted"].split(" | "))
        np.testing.assert_allclose(own["probability"], predicted.loc[identifier, own["class"]].astype(float), atol=1e-3)
    assert sorted(found["Id"].unique()) == sorted(predicted.index)


def test_a_picture_shows_what_speaks_for_and_against(tmp_path):
    values = np.zeros((64, 64))
    values[10:20, 10:20], values[40:50, 40:50] = 1, -1
    shown = overlay(np.full((64, 64, 3), 100, np.uint8), values).astype(int)
    assert shown[15, 15, 0] > shown[15, 15, 2] + 50
    assert shown[45, 45, 2] > shown[45, 45, 0] + 50
    assert (shown[30, 5] == 100).all()


def test_the_command_and_the_library_say_the_same(drawn_data, tmp_path):
    folder = tmp_path / "runs" / "2" / "base"
    make_run(folder, 2)
    ids = list_ids(drawn_data / "test", HPA)[:2]
    files = [str(drawn_data / "test" / f"{each}_blue.png") for each in ids]
    arguments = [
        "--run",
        str(folder),
        "--images",
        *files,
        "--out",
        str(tmp_path / "out"),
        "--classes",
        "Golgi apparatus,Cytosol",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "hpa.explain", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, f"{tmp_path / 'out'}: 4 maps of 2 images, exact\n"), done.stderr
    table = pd.read_csv(tmp_path / "out" / "explanations.csv")
    assert table["Id"].tolist() == [ids[0], ids[0], ids[1], ids[1]]
    assert table["class"].tolist() == ["Golgi apparatus", "Cytosol"] * 2
    samples = [[drawn_data / "test" / f"{each}{suffix}.png" for suffix in HPA.suffixes] for each in ids]
    found = hpa.Run.load(folder).explain(samples)
    for own, identifier, logits in zip(found, ids, table["logit"].to_numpy().reshape(2, 2), strict=True):
        assert own.id == identifier
        np.testing.assert_allclose(own.logits[[7, 25]], logits, atol=1e-3)
        with np.load(tmp_path / "out" / f"{identifier}.npz") as arrays:
            np.testing.assert_allclose(arrays["maps"], own.maps[[7, 25]], atol=1e-6)
        assert own.overlay("Cytosol").shape == (48, 48, 3)
        assert (tmp_path / "out" / f"{identifier}.png").stat().st_size > 1000
    np.testing.assert_allclose(table["probability"], expit(table["logit"]), atol=1e-3)


def test_an_interrupted_call_goes_on(drawn_data, tmp_path, monkeypatch):
    folder = tmp_path / "runs" / "2" / "base"
    make_run(folder, 2)
    arguments = ["--run", str(folder), "--images", str(drawn_data / "test"), "--classes", "Cytosol", "--out"]
    assert command.main([*arguments, str(tmp_path / "whole")]) == 0
    write, written = inference._write, []

    def interrupted(out, identifier, *rest):
        if len(written) == 5:
            raise KeyboardInterrupt
        written.append(identifier)
        write(out, identifier, *rest)

    out = tmp_path / "out"
    monkeypatch.setattr(inference, "_write", interrupted)
    assert command.main([*arguments, str(out)]) == 1
    assert not (out / "explanations.csv").exists()
    partial = out / ".explanations.partial"
    partial.write_bytes(partial.read_bytes()[:-3])  # a line that was cut off
    again = []
    monkeypatch.setattr(inference, "_write", lambda out, identifier, *rest: again.append(identifier))
    assert command.main([*arguments, str(out)]) == 0
    assert sorted({*written, *again}) == list_ids(drawn_data / "test", HPA)
    assert set(written) & set(again) == {written[-1]}
    assert (out / "explanations.csv").read_bytes() == (tmp_path / "whole" / "explanations.csv").read_bytes()
    assert b"\r" not in (out / "explanations.csv").read_bytes()
    assert not partial.exists()


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (["--classes", "Golgi,Cytosol"], "--classes: Golgi is none of Nucleoplasm, "),
        ([], "validation.npz"),  # thresholds say which classes are predicted
    ],
)
def test_what_cannot_be_explained(drawn_data, tmp_path, capsys, options, fault):
    folder = tmp_path / "runs" / "2" / "base"
    make_run(folder, 2)
    images = ["--images", str(drawn_data / "test")]
    assert command.main(["--run", str(folder), *images, "--out", str(tmp_path / "out"), *options]) == 2
    assert fault in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
