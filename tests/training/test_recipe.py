"""What can be added to training: a tiny CellNet on drawn cells of 32 pixels."""

import json

import keras
import numpy as np
import pandas as pd
import pytest

from hpa import train
from hpa.data.tables import read_labelled
from hpa.runs.folder import is_finished
from hpa.runs.monitor import has_stalled
from hpa.settings import Settings
from hpa.tasks import HEP2
from hpa.training import fit
from hpa.training.presets import preset_settings

OPTIONS = [
    "--task", "hep2", "--size", "32", "--filters", "4", "--blocks", "1", "--batch-size", "30", "--epochs", "9",
    "--patience", "1", "--warm-up", "0", "--schedule", "plateau-score", "--oversampling", "0.3",
    "--class-weights", "inverse-frequency", "--loss", "categorical-crossentropy+soft-f1",
]  # fmt: skip


def test_a_run_ends_when_it_stalls_and_rare_classes_are_repeated_and_weighed(drawn_cells, tmp_path, monkeypatch, capsys):
    scores = {"validation_accuracy": 0.5, "validation_mean_class_accuracy": 0.5}
    monkeypatch.setattr("hpa.runs.monitor.single_label_scores", lambda *arguments: scores)
    fed = []
    batches = fit.training_batches
    monkeypatch.setattr(fit, "training_batches", lambda *arguments: fed.append(arguments) or batches(*arguments))
    command = ["--data", str(drawn_cells), "--runs", str(tmp_path), "--name", "stalls", *OPTIONS]
    assert train.main(command) == 0
    folder = tmp_path / "stalls" / "base"
    assert "no better accuracy for 1 epochs" in capsys.readouterr().out
    assert pd.read_csv(folder / "history.csv")["epoch"].tolist() == [1, 2]
    assert is_finished(folder)
    assert train.main(command) == 0
    assert "finished already: best epoch 1 of 2" in capsys.readouterr().out
    config = json.loads((folder / "config.json").read_text())
    options = {"patience": 1, "oversampling": 0.3, "loss": "categorical-crossentropy+soft-f1"}
    assert (
        options | {"preset": "cells", "weight_decay": preset_settings("cells")["weight_decay"]}
    ).items() <= config.items()

    [(feed, *_)] = fed
    assert feed.small_epochs == 0
    classes = read_labelled(drawn_cells / "train", HEP2).targets.argmax(axis=1)
    shares = np.bincount(classes, minlength=6) / len(classes)
    assert feed.factors == pytest.approx(np.sqrt(0.3 / shares)[classes].clip(1))
    counts = np.bincount(classes, feed.factors)
    validated = read_labelled(drawn_cells / "validation", HEP2).targets.argmax(axis=1)
    assert feed.weights == pytest.approx((counts.mean() / counts)[[*classes, *validated]])


@pytest.mark.parametrize(
    ("scores", "patience", "stalled"),
    [
        ([0.1], 1, False),
        ([0.1, 0.1], 1, True),
        ([0.1, 0.2], 1, False),
        ([0.3, 0.1, 0.2], 2, True),
        ([0.3, 0.1, 0.2], 3, False),
        ([0.3] * 50, 0, False),
    ],
)
def test_a_run_has_stalled_when_its_best_epoch_is_old(scores, patience, stalled):
    assert has_stalled(pd.Series(scores), patience) == stalled


def test_the_plateau_of_the_score_is_one_where_it_no_longer_rises(tmp_path, monkeypatch):
    scores = [0.2, 0.5, *[0.4] * 4]
    history = pd.DataFrame(
        {"epoch": np.arange(6) + 1, "validation_loss": np.linspace(1, 0, 6), "validation_accuracy": scores}
    )
    monkeypatch.setattr(fit, "read_history", lambda folder: history)
    model = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    callback = fit.Epochs.__new__(fit.Epochs)
    keras.callbacks.Callback.__init__(callback)
    callback.folder, callback.task = tmp_path, HEP2
    callback.settings = Settings(schedule="plateau-score", learning_rate=0.1)
    callback.set_model(model)
    callback.on_train_begin()
    assert float(model.optimizer.learning_rate) == pytest.approx(0.1)
    callback.plateau.on_epoch_end(6, {"validation_accuracy": 0.4})  # the fifth epoch without a gain
    assert float(model.optimizer.learning_rate) == pytest.approx(0.01)
