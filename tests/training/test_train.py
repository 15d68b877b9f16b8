"""Runs in small: variant 2 (the smallest kernels) on drawn cells of 48 pixels, a few epochs a stage."""

import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from importlib.metadata import version

import cv2
import keras
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from hpa import evaluate, finetune, train
from hpa.data.store import pack, store_folder
from hpa.data.tables import read_training_table
from hpa.files import file_digest
from hpa.registry import AUGMENTATIONS, DENSE_PART
from hpa.runs.folder import TIMES
from hpa.scoring.predictions import read_predictions, write_predictions
from hpa.scoring.thresholds import find_thresholds
from hpa.tasks import HPA
from hpa.training import fit

# With all that has a memory, or weights that come from the training rows.
RECIPE = [
    "--optimizer", "adamw", "--schedule", "cosine", "--warm-up", "1", "--patience", "3", "--clip-norm", "1",
    "--loss", "binary-crossentropy+soft-f1", "--positive-weights", "square-root", "--oversampling", "0.3",
]  # fmt: skip
OPTIONS = ["--variant", "2", "--size", "48", "--batch-size", "16", *RECIPE, "--epochs", "3"]


def run(command, data, runs, *options):
    return command.main(["--data", str(data), "--runs", str(runs), *options])


def weights(folder):
    model = keras.saving.load_model(folder / "model.keras", compile=False)
    return {weight.path: keras.ops.convert_to_numpy(weight) for weight in model.weights}


@pytest.fixture(scope="module")
def runs(drawn_data, tmp_path_factory):
    """All stages of variant 2, never interrupted."""
    runs = tmp_path_factory.mktemp("runs")
    assert run(train, drawn_data, runs, *OPTIONS) == 0
    for stage in ("cnn", "dnn", "dnn2"):
        assert run(finetune, drawn_data, runs, "--variant", "2", "--stage", stage, "--epochs", "1") == 0
    return runs


def test_a_run_folder_is_complete(runs):
    base = runs / "2" / "base"
    assert {file.name for file in base.iterdir() if not file.name.startswith(".")} == {
        "config.json", "curves.png", "history.csv", "model.keras", "split.csv", "validation.npz",
    }  # fmt: skip
    config = json.loads((base / "config.json").read_text())
    assert {
        "seed": 0,
        "size": 48,
        "variant": 2,
        "fold": 0,
        "epochs": 3,
        "loss": "binary-crossentropy+soft-f1",
        "positive_weights": "square-root",
        "clip_norm": 1.0,
        "oversampling": 0.3,
    }.items() <= config.items()
    assert config["versions"]["keras"] == version("keras")
    history = pd.read_csv(base / "history.csv")
    assert history["epoch"].tolist() == [1, 2, 3]
    assert np.isfinite(history.to_numpy()).all()
    assert (history["images_per_second"] * history["seconds"] > 40).all()  # rows, some of them oversampled; validation, too


@pytest.mark.parametrize(
    ("backend", "used", "steps", "pixels", "at_once"),
    [
        ("tensorflow", 0, 195, 16 * 48**2, 15),
        ("tensorflow", 0, 195, 64 * 78**2, 1),  # 2 at most
        ("tensorflow", 0, 196, 64 * 78**2, 2),
        ("tensorflow", 0, 195, 128 * 256**2, 1),
        ("tensorflow", 1, 195, 128 * 256**2, 15),
        ("jax", 1, 197, 1, 1),
        ("torch", 1, 195, 1, 1),
    ],
)
def test_small_steps_are_taken_several_at_once(backend, used, steps, pixels, at_once, monkeypatch):
    monkeypatch.setattr(fit, "backend", lambda: backend)
    monkeypatch.setattr(fit, "accelerators", lambda: used)
    assert fit.steps_at_once(steps, pixels) == at_once


def test_steps_taken_at_once_learn_what_single_ones_do(runs, drawn_data, tmp_path, monkeypatch):
    whole = pd.read_csv(runs / "2" / "base" / "history.csv")
    monkeypatch.setattr(fit, "STEPS_AT_ONCE", 1)
    shutil.copytree(runs / "stores", tmp_path / "stores")
    assert run(train, drawn_data, tmp_path, *OPTIONS) == 0
    single = pd.read_csv(tmp_path / "2" / "base" / "history.csv")
    np.testing.assert_allclose(*(each.drop(columns=list(TIMES)) for each in (single, whole)), rtol=1e-4)


def test_the_best_epochs_model_and_predictions_are_kept(runs, drawn_data):
    base = runs / "2" / "base"
    history = pd.read_csv(base / "history.csv", float_precision="round_trip")
    best = history.loc[history["validation_f1_best"].idxmax()]
    validation = read_predictions(base / "validation.npz")
    for threshold, column in ((0.5, "validation_f1"), (best["threshold"], "validation_f1_best")):
        predicted = validation.probabilities > threshold
        expected = f1_score(validation.targets, predicted, average="macro", zero_division=0)
        assert best[column] == pytest.approx(expected)

    table = read_training_table(drawn_data / "train.csv", HPA)
    store = pack(store_folder(runs, drawn_data / "train", HPA, 48), drawn_data / "train", table.ids, HPA, 48)
    held_out = (pd.read_csv(base / "split.csv")["fold"] == 0).to_numpy()
    assert validation.ids.tolist() == table.ids[held_out].tolist()
    np.testing.assert_array_equal(validation.targets, table.targets[held_out])
    model = keras.saving.load_model(base / "model.keras", compile=False)
    predicted = model.predict(store.images[held_out], verbose=0)  # the untouched pixels
    np.testing.assert_allclose(validation.probabilities, predicted, atol=1e-6)


@pytest.mark.parametrize(
    ("stage", "start", "learns"), [("cnn", "base", "convolutional"), ("dnn", "cnn", "dense"), ("dnn2", "dnn", "dense")]
)
def test_the_frozen_part_does_not_move_and_the_rest_does(runs, stage, start, learns):
    before, after = weights(runs / "2" / start), weights(runs / "2" / stage)
    assert before.keys() == after.keys()
    assert any("moving_mean" in path for path in before)
    for path, weight in before.items():
        if path.startswith(DENSE_PART) == (learns == "dense"):
            assert (weight != after[path]).any(), f"{path} has not moved"
        else:
            np.testing.assert_array_equal(weight, after[path], err_msg=path)


def test_stages_take_their_settings_from_the_run_they_start_from(runs):
    config = json.loads((runs / "2" / "dnn2" / "config.json").read_text())
    assert {
        "size": 48,
        "batch_size": 16,
        "loss": "soft-f1",
        "learning_rate": 1e-4,
        "stage": "dnn2",
    }.items() <= config.items()
    splits = {(runs / "2" / stage / "split.csv").read_text() for stage in ("base", "cnn", "dnn", "dnn2")}
    assert len(splits) == 1


def test_a_finished_run_is_left_alone(runs, drawn_data, capsys):
    base = runs / "2" / "base"
    times = {file: file.stat().st_mtime_ns for file in base.iterdir() if file.name != ".lock"}
    assert run(train, drawn_data, runs, *OPTIONS) == 0
    assert "finished already" in capsys.readouterr().out
    assert {file: file.stat().st_mtime_ns for file in times} == times


def test_other_settings_in_the_same_folder_are_refused(runs, drawn_data, capsys):
    assert run(train, drawn_data, runs, *OPTIONS, "--seed", "1") == 2
    assert "seed 0, now 1" in capsys.readouterr().err


def test_a_network_learns_in_half_precision_and_answers_in_single(runs, drawn_data, tmp_path):
    shutil.copytree(runs / "stores", tmp_path / "stores")
    options = [*OPTIONS[:-1], "1", "--rows", "16", "--precision", "mixed_bfloat16"]
    assert run(train, drawn_data, tmp_path, *options) == 0
    base = tmp_path / "2" / "base"
    assert np.isfinite(pd.read_csv(base / "history.csv").to_numpy()).all()
    model = keras.saving.load_model(base / "model.keras", compile=False)
    computing = {
        layer.compute_dtype for layer in model.layers if isinstance(layer, keras.layers.Conv2D | keras.layers.Dense)
    }
    assert computing == {"bfloat16"}
    assert {str(weight.dtype) for weight in model.weights} == {"float32"}
    assert read_predictions(base / "validation.npz").probabilities.dtype == np.float32


def test_augmented_pixels_reach_the_network(runs, drawn_data, tmp_path):
    shutil.copytree(runs / "stores", tmp_path / "stores")
    assert run(train, drawn_data, tmp_path, *OPTIONS[:-1], "1", "--augmentation", "none") == 0
    plain, augmented = (pd.read_csv(folder / "2" / "base" / "history.csv") for folder in (tmp_path, runs))
    assert plain["loss"][0] != augmented["loss"][0]


def test_a_killed_run_goes_on_and_ends_as_an_uninterrupted_one(runs, drawn_data, tmp_path):
    command = [sys.executable, "-m", "hpa.train", "--data", str(drawn_data), "--runs", str(tmp_path), *OPTIONS]
    killed, whole = tmp_path / "2" / "base", runs / "2" / "base"
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(killed / "state-1.keras", process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (killed / "curves.png").exists()
    assert run(train, drawn_data, tmp_path, *OPTIONS) == 0
    first, second = (pd.read_csv(folder / "history.csv").drop(columns=list(TIMES)) for folder in (killed, whole))
    pd.testing.assert_frame_equal(first, second, check_exact=True)
    found = weights(killed)
    for path, weight in weights(whole).items():
        np.testing.assert_array_equal(weight, found[path], err_msg=path)
    np.testing.assert_array_equal(
        read_predictions(killed / "validation.npz").probabilities, read_predictions(whole / "validation.npz").probabilities
    )


def wait_for(file, process):
    deadline = time.monotonic() + 300
    while not file.exists():
        assert time.monotonic() < deadline
        assert process.poll() is None, "the process ended before it could be killed"
        time.sleep(0.02)


def test_a_half_trained_run_does_not_go_on_with_another_augmentation(runs, drawn_data, tmp_path, capsys):
    whole, half = runs / "2" / "base", tmp_path / "2" / "base"
    half.mkdir(parents=True)
    shutil.copy(whole / "split.csv", half)
    config = json.loads((whole / "config.json").read_text())
    assert config["versions"].pop("augmentation") == str(AUGMENTATIONS["report"].version) != "1"  # older ones recorded none
    for finished in (False, True):
        (half / "config.json").write_text(json.dumps(config))
        rows = (whole / "history.csv").read_text().splitlines(keepends=True)
        (half / "history.csv").write_text("".join(rows if finished else rows[:2]))
        before = {file: file.read_bytes() for file in half.iterdir()}
        assert run(train, drawn_data, tmp_path, *OPTIONS, "--check-only") == (0 if finished else 2)
        error = capsys.readouterr().err
        assert finished or f"begun by hpa {config['versions']['hpa']} with version 1 of augmentation report, now 2" in error
        assert len(error.splitlines()) == (not finished)
        assert {file: file.read_bytes() for file in half.iterdir()} == before


@pytest.mark.slow
@pytest.mark.parametrize(("name", "calls"), [("write_predictions", 1), ("_save", 2), ("write_history", 2)])
def test_an_interruption_between_any_two_files(drawn_data, runs, tmp_path, monkeypatch, name, calls):
    shutil.copytree(runs / "2" / "base", tmp_path / "2" / "base")
    shutil.copytree(runs / "stores", tmp_path / "stores")
    write, written = getattr(fit, name), []

    def interrupt_after_writing(*arguments):
        write(*arguments)
        written.append(arguments)
        if len(written) == calls:
            raise KeyboardInterrupt

    options = ["--variant", "2", "--stage", "cnn", "--epochs", "2"]
    with monkeypatch.context() as patch:
        patch.setattr(fit, name, interrupt_after_writing)
        assert run(finetune, drawn_data, tmp_path, *options) == 1
    assert run(finetune, drawn_data, tmp_path, *options) == 0
    folder, whole = tmp_path / "2" / "cnn", runs / "2" / "cnn"
    first, second = (pd.read_csv(each / "history.csv").drop(columns=list(TIMES)) for each in (whole, folder))
    pd.testing.assert_frame_equal(second[:1], first, check_exact=True)  # the uninterrupted run has but one epoch
    assert len(second) == 2
    assert not list(folder.glob("state-*"))
    history = pd.read_csv(folder / "history.csv")
    best = history.loc[history["validation_f1_best"].idxmax()]
    validation = read_predictions(folder / "validation.npz")
    f1 = f1_score(validation.targets, validation.probabilities > best["threshold"], average="macro", zero_division=0)
    assert f1 == pytest.approx(best["validation_f1_best"])


@pytest.mark.slow
def test_the_best_score_so_far_comes_back_with_the_weights(drawn_data, runs, tmp_path, monkeypatch):
    folder = tmp_path / "2" / "cnn"
    shutil.copytree(runs / "2" / "base", tmp_path / "2" / "base")
    shutil.copytree(runs / "stores", tmp_path / "stores")
    write_history = fit.write_history

    def interrupt_after_writing(folder, history):
        earlier = history.drop(columns=list(TIMES))  # as a version that wrote no times
        write_history(folder, earlier.assign(validation_f1_best=0.99))  # no later epoch is that good
        raise KeyboardInterrupt

    options = ["--variant", "2", "--stage", "cnn", "--epochs", "2"]
    with monkeypatch.context() as patch:
        patch.setattr(fit, "write_history", interrupt_after_writing)
        assert run(finetune, drawn_data, tmp_path, *options) == 1
    best = (folder / "model.keras").read_bytes()
    assert run(finetune, drawn_data, tmp_path, *options) == 0
    history = pd.read_csv(folder / "history.csv")
    assert len(history) == 2
    assert not set(TIMES) & set(history)
    assert (folder / "model.keras").read_bytes() == best


def test_a_loss_that_is_not_finite_stops_the_run(drawn_data, runs, tmp_path, capsys, monkeypatch):
    shutil.copytree(runs / "2" / "base", tmp_path / "2" / "base")
    shutil.copytree(runs / "stores", tmp_path / "stores")
    on_epoch_begin = fit.Epochs.on_epoch_begin

    def poison(self, epoch, logs=None):
        on_epoch_begin(self, epoch, logs)
        if epoch == 1:
            bias = self.model.get_layer(f"{DENSE_PART}dense_3").bias
            bias.assign(np.full(bias.shape, np.nan))

    monkeypatch.setattr(fit.Epochs, "on_epoch_begin", poison)
    assert run(finetune, drawn_data, tmp_path, "--variant", "2", "--stage", "cnn", "--epochs", "3") == 1
    error = capsys.readouterr().err
    assert "the loss is nan" in error
    assert "Traceback" not in error
    folder = tmp_path / "2" / "cnn"
    assert len(pd.read_csv(folder / "history.csv")) == 1
    assert all(np.isfinite(weight).all() for weight in weights(folder).values())
    assert (folder / "curves.png").exists()


@pytest.mark.parametrize(
    ("command", "options", "message"),
    [
        (train, ["--variant", "1", "--size", "48"], "at least 146 pixels"),
        (train, ["--model", "parallel-kernels", "--variant", "1"], "no variants"),
        (train, ["--fold", "5"], "--fold 5: there are 5 folds, counted from 0"),
        (finetune, ["--variant", "3", "--stage", "cnn"], "no such run"),
        (finetune, ["--variant", "2", "--stage", "cnn", "--fold", "1"], "no such run"),
    ],
)
def test_bad_options_write_nothing(drawn_data, tmp_path, capsys, command, options, message):
    assert run(command, drawn_data, tmp_path / "runs", *options) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_bad_images_leave_no_run_behind(drawn_data, tmp_path, capsys):
    shutil.copytree(drawn_data, tmp_path / "data")
    first, second, *_ = sorted((tmp_path / "data" / "train").glob("*_red.png"))
    first.unlink()
    assert run(train, tmp_path / "data", tmp_path / "runs", *OPTIONS) == 2
    assert first.name in capsys.readouterr().err
    shutil.copy(second, first)
    second.write_bytes(second.read_bytes()[:200])
    assert run(train, tmp_path / "data", tmp_path / "runs", *OPTIONS) == 2
    assert "truncated" in capsys.readouterr().err
    assert not (tmp_path / "runs" / "2").exists()


def test_a_stage_of_a_base_that_was_trained_again_is_refused(runs, drawn_data, tmp_path, capsys):
    shutil.copytree(runs / "2", tmp_path / "2")
    base = tmp_path / "2" / "base"
    keras.saving.load_model(base / "model.keras", compile=False).save(base / "model.keras")
    predictions = read_predictions(base / "validation.npz")
    digest = file_digest(base / "model.keras")
    write_predictions(base / "validation.npz", replace(predictions, model_sha256=digest))
    assert run(finetune, drawn_data, tmp_path, "--variant", "2", "--stage", "cnn", "--epochs", "1") == 2
    assert "start_sha256" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options",
    [["--seed", "4294967296"], ["--variant", "8"], ["--epochs", "0"], ["--learning-rate", "nan"], ["--size", "-1"]],
)
def test_unknown_variants_and_numbers_out_of_range(options, capsys):
    with pytest.raises(SystemExit) as caught:
        train.main(options)
    assert caught.value.code == 2
    assert options[0] in capsys.readouterr().err


def test_a_stage_waits_for_the_one_before(runs, drawn_data, tmp_path, capsys):
    shutil.copytree(runs / "2" / "base", tmp_path / "2" / "base")
    history = tmp_path / "2" / "base" / "history.csv"
    history.write_text("\n".join(history.read_text().splitlines()[:2]) + "\n")
    assert run(finetune, drawn_data, tmp_path, "--variant", "2", "--stage", "cnn") == 2
    assert "has not all of its 3 epochs" in capsys.readouterr().err
    assert not (tmp_path / "2" / "cnn").exists()


def test_a_stage_on_another_table_is_refused(runs, drawn_data, tmp_path, capsys):
    table = pd.read_csv(drawn_data / "train.csv", dtype=str)
    (tmp_path / "train").symlink_to(drawn_data / "train")
    table[1:].to_csv(tmp_path / "train.csv", index=False)
    shutil.copytree(runs / "2" / "base", tmp_path / "runs" / "2" / "base")
    assert run(finetune, tmp_path, tmp_path / "runs", "--variant", "2", "--stage", "cnn") == 2
    assert "another table" in capsys.readouterr().err


def test_a_run_is_evaluated_at_the_thresholds_of_its_validation_rows(runs, drawn_data, tmp_path):
    base = runs / "2" / "base"
    command = ["--run", base, "--data", drawn_data / "test", "--table", drawn_data / "test_key.csv", "--out", tmp_path]
    assert evaluate.main([str(each) for each in command]) == 0
    scores = json.loads((tmp_path / "scores.json").read_text())
    validation = read_predictions(base / "validation.npz")
    thresholds = find_thresholds("per-class", validation.targets, validation.probabilities)
    assert list(scores["thresholds"].values()) == pytest.approx(thresholds)
    key = read_training_table(drawn_data / "test_key.csv", HPA)
    store = pack(tmp_path / "store", drawn_data / "test", key.ids, HPA, 48)
    probabilities = keras.saving.load_model(base / "model.keras", compile=False).predict(store.images, verbose=0)
    predicted = probabilities > thresholds
    empty = ~predicted.any(axis=1)
    predicted[empty, probabilities[empty].argmax(axis=1)] = True
    assert scores["scores"]["macro F1"] == pytest.approx(f1_score(key.targets, predicted, average="macro", zero_division=0))
    table = pd.read_csv(tmp_path / "predictions.csv", dtype={"Id": str})
    assert table["Predicted"][0].split(" | ") == [name for name, own in zip(HPA.classes, predicted[0], strict=True) if own]
    assert (tmp_path / "classes.png").exists()


def test_the_picture_of_the_augmentation(drawn_data, tmp_path):
    picture = tmp_path / "augmentation.png"
    assert run(train, drawn_data, tmp_path / "runs", "--size", "64", "--show-augmentation", str(picture)) == 0
    tiles = cv2.imread(str(picture)).reshape(4, 64, 5, 64, 3).swapaxes(1, 2)
    variations = [tiles[row, column] for row in range(4) for column in range(1, 5)]
    assert len({tile.tobytes() for tile in [tiles[0, 0], *variations]}) == 17
    assert not (tmp_path / "runs").exists()
