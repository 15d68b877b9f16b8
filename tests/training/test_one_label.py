"""Tasks with one label a sample, from training to evaluation: a tiny CellNet on drawn cells of 32 pixels."""

import json
import re
import shutil
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score

from hpa import ensemble, evaluate, predict, train
from hpa.data.images import read_image, write_image
from hpa.data.layout import find_files
from hpa.data.partition import make_partition, write_partition
from hpa.data.store import pack
from hpa.data.tables import read_labelled
from hpa.inference.predict import predict_files
from hpa.runs.folder import TIMES
from hpa.scoring.predictions import read_predictions
from hpa.tasks import HEP2, read_task
from hpa.training import fit
from hpa.training.presets import PRESETS, preset_settings
from hpa.tta import TTA, VIEWS, view

TINY = ["--task", "hep2", "--size", "32", "--filters", "4,8", "--blocks", "1,1", "--batch-size", "16", "--epochs", "2"]


def run(command, *options):
    return command.main([str(option) for option in options])


@pytest.fixture(scope="module")
def runs(drawn_cells, tmp_path_factory):
    """Two networks of other seeds."""
    runs = tmp_path_factory.mktemp("runs")
    for seed in ("0", "1"):
        assert run(train, "--data", drawn_cells, "--runs", runs, *TINY, "--seed", seed, "--name", f"seed{seed}") == 0
    return runs


def weights(folder):
    model = keras.saving.load_model(folder / "model.keras", compile=False)
    return {weight.path: keras.ops.convert_to_numpy(weight) for weight in model.weights}


def test_the_datas_own_validation_set_is_used_and_the_best_epoch_kept(runs, drawn_cells):
    folder = runs / "seed0" / "base"
    samples = read_labelled(drawn_cells / "validation", HEP2)
    predictions = read_predictions(folder / "validation.npz")
    assert predictions.ids.tolist() == samples.ids.tolist()
    assert (predictions.labels, predictions.tta) == ("one", TTA(1))
    np.testing.assert_allclose(predictions.probabilities.sum(axis=1), 1, atol=1e-5)
    history = pd.read_csv(folder / "history.csv")
    best = history.loc[history["validation_accuracy"].idxmax()]
    truth, predicted = samples.targets.argmax(axis=1), predictions.probabilities.argmax(axis=1)
    assert best["validation_accuracy"] == pytest.approx(accuracy_score(truth, predicted))
    assert best["validation_mean_class_accuracy"] == pytest.approx(balanced_accuracy_score(truth, predicted))
    config = json.loads((folder / "config.json").read_text())
    assert config["task"]["classes"] == list(HEP2.classes)
    assert {"folds": None, "optimizer": "adamw", "schedule": "cosine", "ema_momentum": 0.995}.items() <= config.items()
    assert len(pd.read_csv(folder / "split.csv")) == len(samples) + len(read_labelled(drawn_cells / "train", HEP2))


def test_what_is_saved_predicts_what_was_validated(drawn_cells, tmp_path):
    """With a step so long that the network answers differently to each image."""
    options = ["--activation", "mish", "--loss", "smooth-l1", "--mixing", "mosaic"]
    learning = ["--rows", "16", "--epochs", "1", "--schedule", "constant", "--warm-up", "0", "--learning-rate", "0.1"]
    exact = ["--precision", "float32"]  # bfloat16 rounds to 8 bits, and not alike in each kind of graph
    assert run(train, *TINY, *options, *learning, *exact, "--data", drawn_cells, "--runs", tmp_path, "--name", "any") == 0
    folder = tmp_path / "any" / "base"
    predictions = read_predictions(folder / "validation.npz")
    samples = read_labelled(drawn_cells / "validation", HEP2)
    np.testing.assert_array_equal(predictions.targets, samples.targets)
    images = np.stack([read_image(files, HEP2) for files in find_files(drawn_cells / "validation", samples.ids, HEP2)])
    model = keras.saving.load_model(folder / "model.keras", compile=False)
    model.compile(jit_compile=False)
    found = model.predict(images, verbose=0)
    np.testing.assert_allclose(found, predictions.probabilities, atol=1e-5)
    assert np.ptp(found, axis=0).max() > 1e-4  # ten times the tolerance


def test_a_run_keeps_its_precision_on_another_processor(runs, drawn_cells, monkeypatch, capsys):
    [other] = {"float32", "mixed_bfloat16"} - {preset_settings("cells")["precision"]}
    monkeypatch.setitem(PRESETS["cells"], "precision", other)
    options = ["--data", drawn_cells, "--runs", runs, *TINY, "--seed", "0", "--name", "seed0"]
    assert run(train, *options) == 0
    assert "is finished already" in capsys.readouterr().out
    assert run(train, *options, "--precision", other) == 2
    assert f"now {other}" in capsys.readouterr().err


def test_the_learning_rate_rises_and_falls(runs):
    rates = pd.read_csv(runs / "seed0" / "base" / "history.csv")["learning_rate"]
    assert rates[0] == pytest.approx(2e-3, rel=0.1)
    assert rates[1] == pytest.approx(2e-7, rel=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("resizing", [[], ["--progressive-resizing", "0.5"]])
def test_an_interrupted_run_ends_as_an_uninterrupted_one(runs, drawn_cells, tmp_path, monkeypatch, resizing):
    """With all that has a memory: moving averages, the schedule's step, mixed batches, the size of the images."""
    write_history = fit.write_history

    def interrupt_after_writing(folder, history):
        write_history(folder, history)
        raise KeyboardInterrupt

    shutil.copytree(runs / "stores", tmp_path / "stores")
    options = ["--data", drawn_cells, "--runs", tmp_path, *TINY, *resizing, "--name", "seed0"]
    if resizing:
        assert run(train, *options, "--runs", tmp_path / "whole") == 0
        runs = tmp_path / "whole"
    with monkeypatch.context() as patch:
        patch.setattr(fit, "write_history", interrupt_after_writing)
        assert run(train, *options) == 1
    assert run(train, *options) == 0
    whole, resumed = runs / "seed0" / "base", tmp_path / "seed0" / "base"
    first, second = (pd.read_csv(folder / "history.csv").drop(columns=list(TIMES)) for folder in (whole, resumed))
    pd.testing.assert_frame_equal(first, second, check_exact=True)
    found = weights(resumed)
    for path, weight in weights(whole).items():
        np.testing.assert_array_equal(weight, found[path], err_msg=path)


def test_smaller_images_come_first_and_validation_is_on_whole_ones(drawn_cells, tmp_path, monkeypatch):
    sides = []
    compile_model = fit.compile_model

    def watched(model, *arguments):
        compile_model(model, *arguments)
        model.run_eagerly = True
        call = model.call
        model.call = lambda images, *rest, **options: sides.append(images.shape[1]) or call(images, *rest, **options)

    monkeypatch.setattr(fit, "compile_model", watched)
    options = [*TINY, "--rows", "16", "--ema-momentum", "0", "--progressive-resizing", "0.5", "--name", "grown"]
    assert run(train, "--data", drawn_cells, "--runs", tmp_path, *options) == 0
    validated = [32] * -(-len(read_labelled(drawn_cells / "validation", HEP2)) // 16)
    assert sides == [23, *validated, 32, *validated]


def test_the_plateau_remembers_what_came_before_an_interruption(tmp_path, monkeypatch):
    """Keras' callback by itself starts counting anew."""
    losses = [1.0, 0.5, *[0.6] * 4]
    monkeypatch.setattr(
        fit, "read_history", lambda folder: pd.DataFrame({"epoch": np.arange(6) + 1, "validation_loss": losses})
    )
    settings = fit.Settings(**fit_settings(schedule="plateau", learning_rate=0.1))
    model = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    callback = fit.Epochs.__new__(fit.Epochs)
    keras.callbacks.Callback.__init__(callback)
    callback.folder, callback.settings = tmp_path, settings
    callback.set_model(model)
    callback.on_train_begin()
    assert float(model.optimizer.learning_rate) == pytest.approx(0.1)
    callback.plateau.on_epoch_end(6, {"validation_loss": 0.6})  # the fifth epoch without a gain
    assert float(model.optimizer.learning_rate) == pytest.approx(0.01)


def fit_settings(**changes):
    return preset_settings("alexnet") | changes


def test_views_are_the_symmetries_of_the_square():
    image = np.arange(18, dtype=np.uint8).reshape(1, 3, 3, 2)
    for count, views in VIEWS.items():
        assert len(views) == count
        assert len({view(image, *each).tobytes() for each in views}) == count
        np.testing.assert_array_equal(view(image, *views[0]), image)


def test_the_mean_over_all_views_does_not_change_when_an_image_is_turned(runs):
    model = keras.saving.load_model(runs / "seed0" / "base" / "model.keras", compile=False)
    model.compile(jit_compile=False)
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 1), np.uint8)
    plain = TTA(8).predict(model, images, "many")
    np.testing.assert_allclose(TTA(8).predict(model, np.rot90(images, 1, (1, 2))[:, :, ::-1], "many"), plain, atol=1e-5)
    assert np.abs(plain - TTA(1).predict(model, images, "many")).max() > 1e-4


def test_predictions_ensemble_and_evaluation(runs, drawn_cells, tmp_path, capsys):
    both = ["--data", drawn_cells, "--runs", runs]
    assert run(predict, *both, "--tta", "2") == 0
    assert {read_predictions(file).tta.views for file in runs.glob("seed*/base/*.npz")} == {2}
    out = tmp_path / "cells.csv"
    assert run(ensemble, "--task", "hep2", *both, "--shift", "0", "--out", out) == 0
    table = pd.read_csv(out, dtype={"Id": str})
    test = read_labelled(drawn_cells / "test", HEP2)
    assert table["Id"].tolist() == test.ids.tolist()
    assert table[list(HEP2.classes)].to_numpy().sum(axis=1) == pytest.approx(1, abs=1e-3)

    folders = [runs / f"seed{seed}" / "base" for seed in (0, 1)]
    capsys.readouterr()
    code = run(evaluate, "--run", *folders, "--data", drawn_cells / "test", "--tta", "2", "--out", tmp_path / "scores")
    assert code == 0
    assert "blend of 2" in capsys.readouterr().out
    assert {file.name for file in (tmp_path / "scores").iterdir()} == {
        "classes.csv", "confusion.png", "mistakes.png", "predictions.csv", "scores.json",
    }  # fmt: skip
    scores = json.loads((tmp_path / "scores" / "scores.json").read_text())
    store = pack(tmp_path / "store", drawn_cells / "test", test.ids, HEP2, 32)
    mean = 0
    for folder in folders:
        model = keras.saving.load_model(folder / "model.keras", compile=False)
        mean = mean + (model.predict(store.images, verbose=0) + model.predict(store.images[:, :, ::-1], verbose=0)) / 4
    truth = test.targets.argmax(axis=1)
    assert scores["scores"]["accuracy"] == pytest.approx(accuracy_score(truth, mean.argmax(axis=1)))
    assert scores["scores"]["mean class accuracy"] == pytest.approx(balanced_accuracy_score(truth, mean.argmax(axis=1)))


def test_a_folder_without_labels_becomes_a_readable_table(runs, drawn_cells, tmp_path):
    (tmp_path / "images").mkdir()
    for file in (drawn_cells / "test").glob("*/*.png"):
        shutil.copy(file, tmp_path / "images")
    assert run(predict, "--runs", runs, "--images", tmp_path / "images", "--out", tmp_path / "out.csv") == 0
    table = pd.read_csv(tmp_path / "out.csv", dtype={"Id": str})
    assert list(table) == ["Id", "Predicted", *HEP2.classes]
    files = [[tmp_path / "images" / f"{identifier}.png"] for identifier in table["Id"]]
    mean = predict_files([runs / "seed0" / "base", runs / "seed1" / "base"], files).mean(axis=0)
    assert table["Predicted"].tolist() == [HEP2.classes[number] for number in mean.argmax(axis=1)]


def test_the_made_up_task_of_the_documentation(tmp_path, monkeypatch):
    page = (Path(__file__).resolve().parents[2] / "docs" / "pages" / "own_images.md").read_text(encoding="utf-8")
    [block] = re.findall(r"```toml\n(# yeast.toml\n.*?)```", page, re.DOTALL)
    (tmp_path / "yeast.toml").write_text(block)
    task = read_task(tmp_path / "yeast.toml")
    assert (task.name, task.channels, task.suffixes, task.labels) == ("yeast", ("dapi", "actin"), ("_dapi", "_actin"), "one")
    random = np.random.default_rng(0)
    for number in range(24):
        for set in ("train", "validation"):
            for channel in task.channels:
                folder = tmp_path / "data" / "yeast" / set / task.classes[number % 3]
                write_image(folder / f"{set}{number}_{channel}.png", random.integers(0, 256, (20, 30), np.uint8))
    monkeypatch.chdir(tmp_path)
    command = ["--task", "yeast.toml", "--data", "data/yeast", "--name", "first", *TINY[2:], "--epochs", "1"]
    assert run(train, *command) == 0
    assert run(evaluate, "--run", "runs/first/base", "--data", "data/yeast/validation") == 0
    assert pd.read_csv("runs/first/base/evaluation-validation/classes.csv")["rows"].tolist() == [8, 8, 8]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--loss", "binary-crossentropy"], "not for single-label tasks"),
        (["--fold", "1"], "the data has a validation set; ask for folds"),
        (["--blocks", "1,1,1"], "same length"),
        (["--model", "mobilenet-v2"], "is for cellnet"),
        (["--preset", "nonsense"], "no preset nonsense; there are report, alexnet, cells"),
        (["--augmentation", "hue"], "three colour channels"),
        (["--groups", "neighbours-x"], "expected neighbours-"),
        (["--task", "hpa", "--preset", "cells"], "not for multi-label tasks"),
    ],
)
def test_options_that_do_not_go_together(drawn_cells, tmp_path, capsys, options, message):
    assert run(train, "--data", drawn_cells, "--runs", tmp_path / "runs", *TINY, *options) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_faulty_weights_leave_no_run_behind(drawn_cells, tmp_path, capsys):
    weights = tmp_path / "alexnet.npz"
    np.savez(weights, **{"features.0.weight": np.zeros((64, 3, 11, 11), np.float32)})
    options = ["--task", "hep2", "--preset", "alexnet", "--size", "64", "--weights", weights]
    assert run(train, "--data", drawn_cells, "--runs", tmp_path / "runs", *options) == 2
    assert "features.0.bias" in capsys.readouterr().err
    assert not list((tmp_path / "runs").glob("*/base/config.json"))


def test_validation_cells_of_other_data_are_not_predicted(runs, drawn_cells, tmp_path, capsys):
    shutil.copytree(runs / "seed0", tmp_path / "runs" / "seed0")
    before = (tmp_path / "runs" / "seed0" / "base" / "validation.npz").read_bytes()
    shutil.copytree(drawn_cells, tmp_path / "data")
    first, second, *_ = sorted((tmp_path / "data" / "validation").iterdir(), key=lambda folder: -len(list(folder.iterdir())))
    cell = next(first.iterdir())
    other = cell.rename(second / cell.name)
    tta = ["--tta", "4", "--tta-average", "logits"]
    assert run(predict, "--data", tmp_path / "data", "--runs", tmp_path / "runs", *tta) == 2
    assert "trained on another table" in capsys.readouterr().err
    other.unlink()
    assert run(predict, "--data", tmp_path / "data", "--runs", tmp_path / "runs", *tta) == 2
    assert "made on another table" in capsys.readouterr().err
    assert (tmp_path / "runs" / "seed0" / "base" / "validation.npz").read_bytes() == before


def test_copies_of_validation_cells_are_left_out(drawn_cells, tmp_path):
    train_ids, validation_ids = (read_labelled(drawn_cells / name, HEP2).ids for name in ("train", "validation"))
    groups = tmp_path / "copies.csv"
    groups.write_text(f"Id,group\n{train_ids[3]},7\n{validation_ids[0]},7\n{train_ids[4]},8\n{train_ids[5]},8\n")
    settings = fit.Settings(**fit_settings(groups=str(groups)))
    partition = make_partition(settings, HEP2, drawn_cells)
    assert sorted(set(train_ids) - set(partition.table.ids[partition.training])) == [train_ids[3]]
    assert len(partition.validation) == len(validation_ids)


def test_a_network_without_dropout_learns(drawn_cells, tmp_path):
    assert run(train, "--data", drawn_cells, "--runs", tmp_path, *TINY, "--dropout", "0", "--name", "none") == 0


def test_folds_leave_the_validation_set_alone(drawn_cells):
    partition = make_partition(fit.Settings(**fit_settings(folds=3)), HEP2, drawn_cells)
    assert partition.table.ids.tolist() == read_labelled(drawn_cells / "train", HEP2).ids.tolist()


def test_a_split_is_read_back_also_where_not_all_rows_are_learned_from(drawn_cells, tmp_path):
    settings = fit.Settings(**fit_settings(folds=3, fold=1, rows=20))
    partition = make_partition(settings, HEP2, drawn_cells)
    assert len(partition.training) == 20
    write_partition(tmp_path / "split.csv", settings, partition)
    again = make_partition(settings, HEP2, drawn_cells, tmp_path / "split.csv")
    assert again.training.tolist() == partition.training.tolist()
    assert again.validation.tolist() == partition.validation.tolist()
    given = make_partition(fit.Settings(**fit_settings()), HEP2, drawn_cells)
    write_partition(tmp_path / "given.csv", settings, given)
    assert (pd.read_csv(tmp_path / "given.csv")["fold"] == 1).sum() == len(given.validation)
