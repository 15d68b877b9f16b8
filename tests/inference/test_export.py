import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from test_explain import SMALL, write_run

from hpa import export as command
from hpa import predict
from hpa.data.images import read_image
from hpa.data.layout import find_files, list_ids
from hpa.files import file_digest, read_json, write_json
from hpa.inference.export import Chosen, as_one_network, chosen_ensemble, export
from hpa.models.catalog import load
from hpa.scoring.predictions import Predictions, write_predictions
from hpa.tasks import HEP2, HPA
from hpa.tta import NO_TTA, TTA

ROOT = Path(__file__).resolve().parents[2]


def finished_run(folder, task=HPA, tta=NO_TTA, seed=0):
    """Write a run of a network with new weights, and validation rows that give thresholds."""
    write_run(folder, "cellnet", 32, task, seed, **SMALL)
    random = np.random.default_rng(seed)
    probabilities = random.random((30, len(task.classes)), np.float32)
    probabilities /= probabilities.sum(axis=1, keepdims=True) if task.kind.exclusive else 1
    targets = np.eye(len(task.classes), dtype=np.uint8)[random.integers(0, len(task.classes), 30)]
    ids, digest = np.arange(30).astype(str), file_digest(folder / "model.keras")
    predictions = Predictions(ids, task.classes, probabilities, targets, task.labels, tta, model_sha256=digest)
    write_predictions(folder / "validation.npz", predictions)
    return folder


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    return finished_run(tmp_path_factory.mktemp("export") / "runs" / "a" / "base")


def test_started_processes_do_not_inherit_a_log_level(run_folder, tmp_path, monkeypatch):
    pytest.importorskip("tf2onnx")
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    export(Chosen({run_folder: 1.0}, np.full(28, 0.5), NO_TTA), "onnx", tmp_path / "cells.onnx")
    assert "TF_CPP_MIN_LOG_LEVEL" not in os.environ


def drawn_images(folder, size=32):
    return np.stack([read_image(each, HPA, size) for each in find_files(folder, list_ids(folder, HPA), HPA)])


def answers(path, images):
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    [given] = session.get_inputs()
    assert given.type == "tensor(uint8)"
    return session.run(None, {given.name: images})[0]


def test_onnx_gives_keras_probabilities_and_its_program_hpas_table(drawn_data, run_folder, tmp_path):
    pytest.importorskip("tf2onnx")
    out = tmp_path / "away" / "cells.onnx"
    line = [sys.executable, "-m", "hpa.export", "--run", str(run_folder), "--format", "onnx", "--out", str(out)]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{out}: 1 network, 28 classes, 32 pixels; python ")
    images = drawn_images(drawn_data / "test")
    expected = load(run_folder / "model.keras").predict(images, verbose=0)
    for count in (len(images), 1, 3):
        np.testing.assert_allclose(answers(out, images[:count]), expected[:count], atol=1e-4)

    table = tmp_path / "table.csv"
    runs, test = str(run_folder.parents[1]), str(drawn_data / "test")
    assert predict.main(["--runs", runs, "--images", test, "--out", str(table)]) == 0
    program = [sys.executable, "predict.py", "cells.onnx", test]
    found = subprocess.run(program, cwd=out.parent, capture_output=True, text=True, check=False, env={"PATH": ""})
    assert found.returncode == 0, found.stderr
    rows = list(csv.DictReader(found.stdout.splitlines()))
    ours = pd.read_csv(table, dtype=str)
    assert [row["Id"] for row in rows] == ours["Id"].tolist()
    values = np.array([[float(row[name]) for name in HPA.classes] for row in rows])
    np.testing.assert_allclose(values, ours[list(HPA.classes)].astype(float), atol=2e-4)
    assert [row["Predicted"] for row in rows] == ours["Predicted"].tolist()


@pytest.mark.parametrize("average", ["probabilities", "logits"])
@pytest.mark.parametrize("task", [HPA, HEP2], ids=lambda task: task.name)
def test_views_and_weights_become_part_of_the_model(tmp_path, average, task):
    tta = TTA(4, average)
    folders = {
        finished_run(tmp_path / "a" / "base", task, tta): 0.75,
        finished_run(tmp_path / "b" / "base", task, tta, seed=1): 0.25,
    }
    images = np.random.default_rng(2).integers(0, 256, (3, 32, 32, len(task.channels)), np.uint8)
    made = as_one_network(Chosen(folders, np.zeros(len(task.classes)), tta))
    expected = sum(
        weight * tta.predict(load(folder / "model.keras"), images, task.labels) for folder, weight in folders.items()
    )
    np.testing.assert_allclose(made.predict(images, verbose=0), expected, atol=1e-5)


def test_an_ensemble_is_one_file(drawn_data, tmp_path):
    pytest.importorskip("tf2onnx")
    folders = [finished_run(tmp_path / name / "base", tta=TTA(2), seed=seed) for seed, name in enumerate("abc")]
    about = {
        "members": [{"folder": str(each), "weight": weight} for each, weight in zip(folders, (0.5, 0.5, 0), strict=True)],
        "thresholds": dict.fromkeys(HPA.classes, 0.3),
    }
    write_json(tmp_path / "entry.json", about)
    chosen = chosen_ensemble(tmp_path / "entry.json")
    assert chosen.members == {folders[0]: 0.5, folders[1]: 0.5}
    assert chosen.tta == TTA(2)
    out = tmp_path / "all.onnx"
    assert command.main(["--ensemble", str(tmp_path / "entry.json"), "--format", "onnx", "--out", str(out)]) == 0
    images = drawn_images(drawn_data / "test")
    expected = np.mean([TTA(2).predict(load(each / "model.keras"), images, "many") for each in folders[:2]], axis=0)
    np.testing.assert_allclose(answers(out, images), expected, atol=1e-4)
    import onnx

    props = {each.key: json.loads(each.value) for each in onnx.load(out).metadata_props}
    assert props["thresholds"] == [0.3] * 28
    assert (props["classes"], props["size"], props["tta"]) == (list(HPA.classes), 32, 2)


def test_a_run_in_bfloat16_is_exported_in_float32(tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        folder = finished_run(tmp_path / "a" / "base")
    finally:
        keras.config.set_dtype_policy("float32")
    own = load(folder / "model.keras")
    assert any(layer.compute_dtype == "bfloat16" for layer in own.layers)
    made = as_one_network(Chosen({folder: 1.0}, np.zeros(28), NO_TTA))
    assert all(layer.compute_dtype == "float32" for layer in made.get_layer("member_0").layers if layer.weights)
    images = np.random.default_rng(2).integers(0, 256, (3, 32, 32, 4), np.uint8)
    np.testing.assert_allclose(made.predict(images, verbose=0), own.predict(images, verbose=0), atol=0.02)


def test_tensorflow_and_litert_give_the_same(drawn_data, run_folder, tmp_path):
    import tensorflow as tf

    images = drawn_images(drawn_data / "test")[:3]
    expected = load(run_folder / "model.keras").predict(images, verbose=0)
    for kind, name in (("saved-model", "model"), ("litert", "model.tflite")):
        assert command.main(["--run", str(run_folder), "--format", kind, "--out", str(tmp_path / name)]) == 0
        assert read_json(tmp_path / f"{name}.json")["classes"] == list(HPA.classes)
    loaded = tf.saved_model.load(tmp_path / "model")  # its variables live as long as it does
    np.testing.assert_allclose(loaded.serve(images), expected, atol=1e-4)
    interpreter = tf.lite.Interpreter(str(tmp_path / "model.tflite"))
    [given] = interpreter.get_input_details()
    assert given["dtype"] == np.uint8
    interpreter.resize_tensor_input(given["index"], images.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(given["index"], images)
    interpreter.invoke()
    np.testing.assert_allclose(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (
            ["--run", "runs/a/base", "--format", "onnx", "--out", "a.bin"],
            "--out a.bin: the name of such a file ends in .onnx",
        ),
        (["--run", "runs/a/base", "--format", "saved-model", "--out", "."], "--out .: exists already; name a new folder"),
        (["--ensemble", "e.json", "--format", "litert", "--out", "a.tflite"], "e.json: not what hpa ensemble writes"),
        (
            ["--ensemble", "e.json", "--tta", "2", "--format", "litert", "--out", "a.tflite"],
            "an ensemble has that of its members",
        ),
        (["--ensemble", "f.json", "--format", "litert", "--out", "a.tflite"], "member elsewhere has no model.keras"),
    ],
)
def test_what_cannot_be_exported(tmp_path, monkeypatch, capsys, options, fault):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("hpa.inference.engines.find_spec", lambda name: True)
    write_json(Path("e.json"), {"members": 3})
    write_json(Path("f.json"), {"members": [{"folder": "elsewhere", "weight": 1}], "thresholds": {}})
    assert command.main(options) == 2
    assert fault in capsys.readouterr().err


def test_members_of_other_sizes_and_missing_packages_are_named(tmp_path, monkeypatch, capsys):
    first, second = finished_run(tmp_path / "a" / "base"), finished_run(tmp_path / "b" / "base")
    write_json(second / "config.json", read_json(second / "config.json") | {"size": 40})
    members = [{"folder": str(each), "weight": 0.5} for each in (first, second)]
    write_json(tmp_path / "e.json", {"members": members, "thresholds": dict.fromkeys(HPA.classes, 0.3)})
    options = ["--ensemble", str(tmp_path / "e.json"), "--format", "litert", "--out", str(tmp_path / "e.tflite")]
    assert command.main(options) == 2
    assert f"{second} has images of another size or intensity range than {first}" in capsys.readouterr().err
    monkeypatch.setattr("hpa.inference.engines.find_spec", lambda name: None)
    assert command.main(["--run", str(first), "--format", "onnx", "--out", str(tmp_path / "e.onnx")]) == 2
    assert "--format: 3 faults\n  onnx needs onnx; pip install '.[export]'" in capsys.readouterr().err
    assert not list(tmp_path.glob("e.*nnx")) + list(tmp_path.glob("e.tflite*"))


def test_a_program_of_the_users_own_is_not_replaced(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("hpa.inference.engines.find_spec", lambda name: True)
    run, script = finished_run(tmp_path / "runs" / "a" / "base"), tmp_path / "predict.py"
    script.write_text("print('mine')\n")
    assert command.main(["--run", str(run), "--format", "onnx", "--out", str(tmp_path / "e.onnx")]) == 2
    assert f"{script} next to it is not hpa's and would be replaced; name another folder" in capsys.readouterr().err
    assert script.read_text() == "print('mine')\n"
