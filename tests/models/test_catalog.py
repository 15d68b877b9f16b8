import json
import os
import zipfile

import keras
import numpy as np
import pytest

from hpa.errors import BadInput
from hpa.models.catalog import build, load, save, to_train
from hpa.models.gapnet import VARIANTS
from hpa.registry import require_network


@pytest.mark.parametrize("variant", [None, *range(8)])
def test_the_smallest_size_is_just_large_enough(variant):
    model = "parallel-kernels" if variant is None else "gapnet"
    smallest = 94 if variant is None else VARIANTS[variant].smallest_size
    assert build(model, smallest, 4, 28, **({} if variant is None else {"variant": variant})).output.shape == (None, 28)
    with pytest.raises(BadInput, match=f"at least {smallest} pixels"):
        require_network(model, variant, smallest - 1)


def test_below_the_smallest_size_keras_itself_fails(monkeypatch):
    for variant, settings in enumerate(VARIANTS):
        monkeypatch.setattr("hpa.models.catalog.require_network", lambda *arguments: None)
        with pytest.raises(ValueError, match=r"zero or negative|negative dimension"):
            build("gapnet", settings.smallest_size - 1, 4, 28, variant=variant)


def test_a_damaged_model_file(tmp_path):
    path = tmp_path / "model.keras"
    with pytest.raises(BadInput) as caught:
        load(path)
    assert str(caught.value) == f"{path}: cannot be read (No such file or directory); train the run, or restore the file"
    build("gapnet", 48, 4, 28, variant=2).save(path)
    assert load(path).count_params() == build("gapnet", 48, 4, 28, variant=2).count_params()
    whole = path.read_bytes()
    for content in (b"", b"not a model", whole[:1000], whole[:-100]):
        path.write_bytes(content)
        with pytest.raises(BadInput, match=r"model\.keras: damaged \(File is not a zip file\); delete the run folder"):
            load(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "no model")
    with pytest.raises(BadInput, match=r"model\.keras: damaged \(.*config\.json"):
        load(path)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A saved CellNet for 16 pixels, one channel and three classes."""
    path = tmp_path_factory.mktemp("saved") / "model.keras"
    save(build("cellnet", 16, 1, 3, "softmax", filters=(4, 8), blocks=(1, 1), kernel=3, dropout=0.3), path)
    return path


def changed(change, file="config.json"):
    """Return a function that changes a part of a saved network."""

    def write(source, path):
        with zipfile.ZipFile(source) as archive:
            contents = {name: archive.read(name) for name in archive.namelist()}
        contents[file] = change(contents[file])
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in contents.items():
                archive.writestr(name, content)

    return write


def configured(change):
    """Return a function that changes the configuration of a saved network."""

    def of_bytes(content):
        config = json.loads(content)
        return json.dumps(change(config) or config).encode()

    return changed(of_bytes)


def first_convolution(config):
    return next(layer for layer in config["config"]["layers"] if layer["class_name"] == "Conv2D")


def lambda_layer(config):
    layer = config["config"]["layers"][-1]
    layer["class_name"] = "Lambda"
    layer["config"] = {"name": "evil", "function": {"class_name": "__lambda__", "config": {"code": "AAAA"}}}


HOSTILE = {
    "null": changed(lambda content: b"null"),
    "a list": changed(lambda content: b"[]"),
    "an empty object": changed(lambda content: b"{}"),
    "a number": changed(lambda content: b"7"),
    "no JSON": changed(lambda content: b"{"),
    "no UTF-8": changed(lambda content: b"\xff\xfe\xff"),
    "deeply nested": changed(lambda content: b"[" * 100_000),
    "layers null": configured(lambda config: config["config"].update(layers=None)),
    "layers of numbers": configured(lambda config: config["config"].update(layers=[1, 2])),
    "a process as class": configured(
        lambda config: config.update(module="subprocess", class_name="Popen", config={"args": ["touch", "stolen"]})
    ),
    "os.system as activation": configured(
        lambda config: first_convolution(config)["config"].update(
            activation={"module": "os", "class_name": "function", "config": "system", "registered_name": "function"}
        )
    ),
    "exec as activation": configured(lambda config: first_convolution(config)["config"].update(activation="exec")),
    "a lambda": configured(lambda_layer),
    "unknown class": configured(lambda config: first_convolution(config).update(class_name="Conv9D", registered_name=None)),
    "negative filters": configured(lambda config: first_convolution(config)["config"].update(filters=-4)),
    "filters as a text": configured(lambda config: first_convolution(config)["config"].update(filters="4")),
    "other filters": configured(lambda config: first_convolution(config)["config"].update(filters=5)),
    "no weights": changed(lambda content: b"", "model.weights.h5"),
    "half the weights": changed(lambda content: content[: len(content) // 2], "model.weights.h5"),
    "weights of noise": changed(lambda content: bytes(range(256)) * 64, "model.weights.h5"),
    "a folder": lambda source, path: path.mkdir(),
    "a pipe": lambda source, path: os.mkfifo(path),
    "no archive": lambda source, path: path.write_bytes(source.read_bytes()[:-100]),
    "damaged inside": lambda source, path: path.write_bytes(source.read_bytes().replace(b"config", b"c0nfig")),
    "a link to itself": lambda source, path: path.symlink_to(path),
}


@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_hostile_model_is_refused_in_one_line(saved, tmp_path, monkeypatch, hostile):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "hostile.keras"
    HOSTILE[hostile](saved, path)
    with pytest.raises(BadInput) as caught:
        load(path, shape=(16, 1, 3))
    assert str(caught.value).startswith(f"{path}: ")
    assert len(str(caught.value).splitlines()) == 1
    assert len(str(caught.value)) < 700
    assert [file.name for file in tmp_path.iterdir()] in ([], [path.name])


@pytest.mark.parametrize("shape", [(16, 1, 4), (16, 2, 3), (16, 4, 28)])
def test_a_model_for_other_images_or_classes_is_refused(saved, shape):
    assert load(saved, shape=(16, 1, 3)).count_params() == load(saved, shape=(32, 1, 3)).count_params()  # of any size
    with pytest.raises(
        BadInput, match=r"model\.keras: not the model of this run, which goes from \(None, \d+, \d+, \d\) to"
    ):
        load(saved, shape=shape)


def test_a_model_for_one_size_is_refused_for_another(tmp_path):
    save(build("gapnet", 48, 4, 28, variant=2), tmp_path / "model.keras")
    assert load(tmp_path / "model.keras", shape=(48, 4, 28)).output.shape == (None, 28)
    with pytest.raises(BadInput, match=r"this one goes from \(None, 48, 48, 4\) to \(None, 28\)"):
        load(tmp_path / "model.keras", shape=(64, 4, 28))


def test_what_is_no_network_is_refused(tmp_path):
    images = keras.Input((16, 16, 1))
    twice = keras.Model(images, [keras.layers.Flatten()(images), keras.layers.Flatten()(images)])
    for model in (twice, keras.Sequential([keras.Input((16, 16, 1)), keras.layers.Rescaling(2.0)])):
        model.save(tmp_path / "model.keras")
        with pytest.raises(BadInput, match="not the model of this run"):
            load(tmp_path / "model.keras", shape=(16, 1, 3))


def test_equal_networks_give_equal_bytes_without_what_training_needs(saved, tmp_path, monkeypatch):
    model = load(saved)
    model.compile("adamw", loss=lambda truth, found: 0.0, metrics=["accuracy"])
    monkeypatch.setattr("time.time", lambda: 2e9)
    save(model, tmp_path / "model.keras")
    assert (tmp_path / "model.keras").read_bytes() == saved.read_bytes()
    assert load(tmp_path / "model.keras", compile=True).compiled is False
    assert model.compiled


@pytest.mark.parametrize("model", ["gapnet", "gapnet-fcn", "parallel-kernels", "cellnet", "mobilenet-v2"])
def test_what_is_saved_in_keras_layers_is_trained_in_those_that_it_was_built_of(tmp_path, model):
    options = {"variant": 2} if model.startswith("gapnet") else {}
    if model == "cellnet":
        options = {"filters": (4, 8), "blocks": (1, 1), "kernel": 3, "dropout": 0.2}
    built = build(model, 96, 1, 3, **options)
    save(built, tmp_path / "model.keras")
    loaded = load(tmp_path / "model.keras")
    assert {type(layer).__module__.split(".")[0] for layer in loaded.layers} == {"keras"}
    trained = to_train(loaded, model)
    assert [(type(layer), layer.name) for layer in trained.layers] == [(type(layer), layer.name) for layer in built.layers]
    images = np.random.default_rng(0).integers(0, 256, (2, 96, 96, 1), np.uint8)
    expected = built.predict(images, verbose=0)
    for network in (loaded, trained):
        np.testing.assert_array_equal(network.predict(images, verbose=0), expected)
