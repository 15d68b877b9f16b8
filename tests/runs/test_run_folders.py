"""Run folders whose files were changed, swapped, deleted or made by an earlier version; what each command says of them."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hpa import ensemble, evaluate, finetune, predict, svm, thresholds, train
from hpa.data.images import read_image
from hpa.data.layout import find_files
from hpa.errors import BadInput, Failure
from hpa.files import file_digest, read_json, write_json
from hpa.scoring.predictions import read_predictions, write_predictions
from hpa.tasks import HEP2, HPA
from hpa.training import fit
from hpa.training.fit import settle, unsettled

ROOT = Path(__file__).resolve().parents[2]
TINY = ["--size", "32", "--filters", "4,8", "--blocks", "1,1", "--batch-size", "16", "--epochs", "1", "--folds", "3"]


def run(command, *options):
    return command.main([str(option) for option in options])


@pytest.fixture(scope="module")
def trained(drawn_cells, tmp_path_factory):
    """The runs `cells` and `other`, of one shape, a support vector machine of the first, and their predictions."""
    runs = tmp_path_factory.mktemp("trained")
    for seed, name in enumerate(("cells", "other")):
        where = ["--data", drawn_cells, "--runs", runs, "--name", name]
        assert run(train, "--task", "hep2", *where, *TINY, "--seed", seed) == 0
    assert run(svm, "--data", drawn_cells, "--run", runs / "cells" / "base") == 0
    assert run(predict, "--data", drawn_cells, "--runs", runs) == 0
    return runs


@pytest.fixture
def runs(trained, tmp_path):
    return Path(shutil.copytree(trained, tmp_path / "runs"))


COMMANDS = {
    "train": lambda data, runs: run(
        train, "--task", "hep2", "--data", data, "--runs", runs, "--name", "cells", *TINY
    ),
    "finetune": lambda data, runs: run(
        finetune, "--data", data, "--runs", runs, "--name", "cells", "--stage", "cnn", "--epochs", "1", "--loss", "smooth-l1"
    ),
    "svm": lambda data, runs: run(svm, "--data", data, "--run", runs / "cells" / "base", "--kernel", "linear"),
    "predict": lambda data, runs: run(predict, "--data", data, "--runs", runs, "--variants", "cells", "--tta", "2"),
    "evaluate": lambda data, runs: run(
        evaluate, "--run", runs / "cells" / "base", "--data", data / "test", "--out", runs / "out"
    ),
    "thresholds": lambda data, runs: run(thresholds, "--run", runs / "cells" / "base"),
    "ensemble": lambda data, runs: run(
        ensemble, "--task", "hep2", "--data", data, "--runs", runs, "--variants", "cells", "--weights", "equal",
        "--out", runs / "entry.csv",
    ),
}  # fmt: skip


def contents(runs):
    return {file: file.read_bytes() for file in runs.rglob("*") if file.is_file() and not file.name.startswith(".")}


def refused(command, data, runs, capsys):
    """Return the one line that a command says of damaged runs, in which it changes nothing."""
    before = contents(runs)
    capsys.readouterr()
    assert COMMANDS[command](data, runs) == 2
    error = capsys.readouterr().err
    assert len(error.splitlines()) == 1, error
    assert contents(runs) == before
    return error


def move_rows(base):
    """Move the validation rows but for one to the training side."""
    split = pd.read_csv(base / "split.csv", dtype=str)
    split.loc[split.index[split["fold"] == "0"][1:], "fold"] = "1"
    split.to_csv(base / "split.csv", index=False, lineterminator="\n")


def forget(base):
    """Leave out of a run folder what earlier versions did not write."""
    config = read_json(base / "config.json")
    config.pop("split_sha256", None)
    write_json(base / "config.json", config)
    if (base / "validation.npz").exists():
        write_predictions(base / "validation.npz", replace(read_predictions(base / "validation.npz"), model_sha256=None))


def move_rows_of_an_earlier_version(base):
    forget(base)
    move_rows(base)


def swap(base):
    shutil.copy(base.parents[1] / "other" / "base" / "model.keras", base)


def configured(**values):
    return lambda base: write_json(base / "config.json", read_json(base / "config.json") | values)


def tasked(**values):
    def change(base):
        config = read_json(base / "config.json")
        write_json(base / "config.json", config | {"task": config["task"] | values})

    return change


def history(text):
    return lambda base: (base / "history.csv").write_text(text)


def column(name, value):
    return lambda base: pd.read_csv(base / "history.csv").assign(**{name: value}).to_csv(base / "history.csv", index=False)


def sideless(number):
    """Leave no row with a number in split.csv, in a folder as of an earlier version."""

    def change(base):
        forget(base)
        (base / "validation.npz").unlink()
        split = pd.read_csv(base / "split.csv", dtype=str)
        split.loc[split["fold"] == number, "fold"] = "2"
        split.to_csv(base / "split.csv", index=False, lineterminator="\n")

    return change


USE_SPLIT = ("train", "finetune", "svm", "predict")
USE_MODEL = ("finetune", "svm", "predict", "evaluate")
DAMAGES = {
    "rows moved": (move_rows, USE_SPLIT, "split.csv: not the split that config.json names"),
    "rows moved, no digest": (move_rows_of_an_earlier_version, USE_SPLIT, "has other validation rows than validation.npz"),
    "split lost": (lambda base: (base / "split.csv").unlink(), USE_SPLIT[1:], "split.csv: missing; run the command"),
    "no validation row": (sideless("0"), USE_SPLIT[:3], "split.csv: no row to validate with"),
    "no training row": (sideless("1"), USE_SPLIT[:3], "split.csv: no row to learn from"),
    "model swapped": (swap, tuple(COMMANDS), "validation.npz: made by another model.keras"),
    "model lost": (lambda base: (base / "model.keras").unlink(), USE_MODEL, "no model.keras"),
    "finished without a model": (
        lambda base: (base / "model.keras").unlink(), ["train"], "is finished, but model.keras is missing; restore it, or",
    ),
    "finished without predictions": (
        lambda base: (base / "validation.npz").unlink(),
        ["train"],
        "is finished, but validation.npz is missing; hpa predict --run ",
    ),
    "size as a text": (configured(size="48"), USE_MODEL, "config.json: size is '48'; expected a whole number from 1"),
    "size -1": (configured(size=-1), USE_MODEL, "config.json: size is -1"),
    "epochs 1.5": (configured(epochs=1.5), USE_MODEL, "config.json: epochs is 1.5"),
    "fold true": (configured(fold=True), USE_MODEL, "config.json: fold is True"),
    "filters as a text": (configured(filters="4,8"), USE_MODEL, "config.json: filters is '4,8'; expected a list of whole"),
    "unknown model": (configured(model=["cellnet"]), USE_MODEL, "config.json: model is ['cellnet']; expected one of gapnet"),
    "no task": (configured(task=None), USE_MODEL, "config.json: holds no task"),
    "more classes": (
        tasked(classes=[*HEP2.classes, "Mitotic"]), ["evaluate"], "not the model of this run, which",
    ),
    "labels unknown": (tasked(labels="none"), USE_MODEL, "config.json: task: labels is 'none'"),
    "classes as a text": (tasked(classes="abc"), USE_MODEL, "config.json: task: classes must be a list of texts"),
    "a text as score": (column("validation_accuracy", "good"), ["train", "finetune", "svm"], "history.csv: damaged"),
    "an endless loss": (column("loss", np.inf), ["train", "finetune", "svm"], "history.csv: damaged"),
    "another task's history": (
        history("epoch,loss,validation_f1_best\n1,0.5,0.5\n"), ["train", "finetune", "svm"], "history.csv: damaged",
    ),
    "too many epochs": (
        history("epoch,validation_accuracy\n1,0.5\n2,0.5\n"), ["train", "finetune", "svm"], "2 epochs, and config.json 1",
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("damage", "command"), [(name, command) for name, (_, commands, _) in DAMAGES.items() for command in commands]
)
def test_a_damaged_run_is_refused(runs, drawn_cells, capsys, damage, command):
    change, _, message = DAMAGES[damage]
    change(runs / "cells" / "base")
    assert message in refused(command, drawn_cells, runs, capsys)


def test_a_split_that_was_lost_is_written_again(runs, drawn_cells, capsys):
    split = runs / "cells" / "base" / "split.csv"
    before = contents(runs)
    split.unlink()
    assert COMMANDS["train"](drawn_cells, runs) == 0
    assert contents(runs).keys() == before.keys()
    assert split.read_bytes() == before[split]


def test_a_lost_split_that_cannot_be_made_again_is_told(runs, drawn_cells, capsys):
    """As if an earlier version had shared out the rows otherwise."""
    base = runs / "cells" / "base"
    forget(base)
    (base / "split.csv").unlink()
    predictions = read_predictions(base / "validation.npz")
    write_predictions(base / "validation.npz", replace(predictions, ids=np.array([f"{each}0" for each in predictions.ids])))
    assert "a new one would have other validation rows than validation.npz" in refused("train", drawn_cells, runs, capsys)


def test_predictions_that_were_lost_are_made_again(runs, drawn_cells):
    file = runs / "cells" / "base" / "validation.npz"
    before = read_predictions(file)
    file.unlink()
    assert run(predict, "--data", drawn_cells, "--runs", runs, "--variants", "cells") == 0
    after = read_predictions(file)
    np.testing.assert_allclose(after.probabilities, before.probabilities, atol=1e-6)
    assert after.model_sha256 == before.model_sha256 == file_digest(file.with_name("model.keras"))


def test_an_svm_head_is_checked_as_well(runs, drawn_cells, capsys):
    base = runs / "cells-svm-rbf" / "base"
    again = ["--data", drawn_cells, "--run", runs / "cells" / "base"]
    whole = (base / "model.keras").read_bytes()
    (base / "model.keras").write_bytes(whole + b" ")
    assert run(svm, *again) == 2
    assert f"{base}: validation.npz: made by another model.keras" in capsys.readouterr().err
    (base / "model.keras").unlink()
    assert run(svm, *again) == 2
    assert f"{base}: is finished, but model.keras is missing" in capsys.readouterr().err
    (base / "model.keras").write_bytes(whole)
    move_rows(base)
    assert run(svm, *again) == 2
    assert f"{base / 'split.csv'}: not the split that config.json names" in capsys.readouterr().err


def test_run_folders_of_earlier_versions_are_used_as_before(runs, drawn_cells, capsys):
    for base in runs.glob("*/base"):
        forget(base)
    before = contents(runs)
    for command in ("train", "evaluate", "ensemble", "svm", "finetune", "predict"):
        assert COMMANDS[command](drawn_cells, runs) == 0, command
    assert "finished already" in capsys.readouterr().out
    changed = {file for file, content in contents(runs).items() if content != before.get(file, content)}
    assert {file.name for file in changed} <= {"validation.npz", "test.npz"}  # with two views


def test_what_a_kill_leaves_of_the_best_epoch_is_settled(tmp_path):
    """Epoch 2 was the best of the two finished ones, and 3 was in work."""
    (tmp_path / "history.csv").write_text("epoch,validation_accuracy\n1,0.25\n2,0.5\n")
    for name in ("model.keras", "validation.npz", "model-2.keras", "validation-2.npz", "model-3.keras", "validation-3.npz"):
        (tmp_path / name).write_text(name)
    (tmp_path / "model-2.keras").rename(tmp_path / "model.keras")  # the kill came between the two
    (tmp_path / "model.keras").write_text("model-2.keras")
    assert {file.name for file in unsettled(tmp_path)} == {"validation-2.npz", "model-3.keras", "validation-3.npz"}
    for _ in range(2):
        settle(tmp_path)
        assert {file.name for file in tmp_path.iterdir()} == {"history.csv", "model.keras", "validation.npz"}
        assert (tmp_path / "model.keras").read_text() == "model-2.keras"
        assert (tmp_path / "validation.npz").read_text() == "validation-2.npz"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda state: state.unlink(), "state-1.keras: missing, and history.csv says that it is the last"),
        (lambda state: state.write_bytes(state.read_bytes()[:1000]), "state-1.keras: damaged"),
        (lambda state: shutil.copy(state.with_name("model.keras"), state), "state-1.keras: holds no optimizer"),
    ],
)
def test_a_run_whose_state_is_lost_or_damaged_does_not_go_on(drawn_cells, tmp_path, monkeypatch, capsys, damage, message):
    options = ["--task", "hep2", "--data", drawn_cells, "--runs", tmp_path, "--name", "cells", *TINY, "--epochs", "2"]
    begin = fit.Epochs.on_epoch_begin

    def interrupted(self, epoch, logs=None):
        if epoch:
            raise KeyboardInterrupt
        begin(self, epoch, logs)

    with monkeypatch.context() as patch:
        patch.setattr(fit.Epochs, "on_epoch_begin", interrupted)
        assert run(train, *options) == 1
    damage(tmp_path / "cells" / "base" / "state-1.keras")
    before = contents(tmp_path)
    capsys.readouterr()
    assert run(train, *options) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
    assert contents(tmp_path).keys() == before.keys()


@pytest.mark.parametrize("failure", [BadInput("refused"), Failure("diverged"), MemoryError()])
def test_what_fails_before_its_first_epoch_does_not_block_a_corrected_command(
    drawn_cells, tmp_path, monkeypatch, capsys, failure
):
    def failing(*arguments):
        raise failure

    options = ["--task", "hep2", "--data", drawn_cells, "--runs", tmp_path, "--name", "cells", *TINY]
    with monkeypatch.context() as patch:
        patch.setattr("hpa.training.train.fit", failing)
        assert run(train, *options, "--batch-size", "60") in (1, 2)
    assert not list((tmp_path / "cells" / "base").glob("[!.]*"))
    assert run(train, *options, "--check-only") == 0
    assert "settings and tables fit" in capsys.readouterr().out


def faulty_preset(**values):
    return {"preset": "cells"} | values


@pytest.mark.parametrize(
    ("presets", "message"),
    [
        ({"a": faulty_preset(learning_rate=-1)}, "learning_rate is -1; expected a number above 0"),
        ({"a": faulty_preset(learning_rate="0.1")}, "learning_rate is '0.1'; expected a number above 0"),
        ({"a": faulty_preset(learning_rate=float("nan"))}, "learning_rate is nan"),
        ({"a": faulty_preset(epochs=2.5)}, "epochs is 2.5; expected a whole number from 1"),
        ({"a": faulty_preset(batch_size=None)}, "batch_size is None"),
        ({"a": faulty_preset(size=True)}, "size is True"),
        ({"a": faulty_preset(filters="4,8")}, "filters is '4,8'"),
        ({"a": faulty_preset(blocks=[1, 0])}, "blocks is [1, 0]"),
        ({"a": faulty_preset(filters=[])}, "filters is []"),
        ({"a": faulty_preset(mixing="mixup")}, "mixing is 'mixup'; expected one of none, mix-up"),
        ({"a": faulty_preset(loss="focal+f1")}, "loss is 'focal+f1'"),
        ({"a": faulty_preset(loss={"focal": 1})}, "loss is {'focal': 1}"),
        ({"a": faulty_preset(activation="os.system")}, "activation is 'os.system'; expected one of relu, mish"),
        ({"a": faulty_preset(seed=2**32)}, f"seed is {2**32}"),
        ({"a": faulty_preset(kernal=3)}, "no setting kernal"),
        ({"a": faulty_preset(fold=7)}, "--fold 7"),
        ({"a": {"preset": "b"}, "b": {"preset": "a"}}, "start from each other (a -> b -> a)"),
        ({"a": {"preset": "b"}, "b": {"preset": "c"}, "c": {"preset": "b"}}, "start from each other (b -> c -> b)"),
        ({"a": {"preset": "b"}, "b": faulty_preset(dropout=1)}, "b.json: dropout is 1; expected a number from 0 to below 1"),
        ({"a": {"preset": ["cells"]}}, "does not name the preset"),
    ],
)
def test_a_faulty_preset_is_refused_before_anything_is_written(drawn_cells, tmp_path, capsys, presets, message):
    for name, preset in presets.items():
        write_json(tmp_path / "presets" / f"{name}.json", preset)
    before = contents(tmp_path)
    options = ["--task", "hep2", "--data", drawn_cells, "--runs", tmp_path, "--name", "run", "--preset", "a"]
    assert run(train, *options) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
    assert contents(tmp_path) == before
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("command", "options", "message"),
    [
        (
            train,
            ["--name", "cells-fold2"],
            "--name cells-fold2: ends in -fold2, as the name of another fold does, but the fold",
        ),
        (train, ["--name", "cells-fold2", "--fold", "1"], "but the fold here is 1"),
        (train, ["--name", "cells-fold0"], "--name cells-fold0: ends in -fold0"),
        (train, ["--name", "cells-fold02", "--fold", "2"], "--name cells-fold02: ends in -fold02"),
        (train, ["--name", "new-svm-rbf"], "--name new-svm-rbf: only the runs that hpa.svm makes end in -svm-<kernel>"),
        (train, ["--name", "new-svm-linear", "--fold", "1"], "only the runs that hpa.svm makes"),
        (finetune, ["--name", "cells", "--model", "alexnet"], "was made with model cellnet, not alexnet"),
        (finetune, ["--name", "cells", "--variant", "3"], "was made with variant None, not 3"),
        (finetune, ["--name", "cells", "--model", "alexnet", "--variant", "3"], "2 faults"),
        (finetune, ["--name", "copied-fold2"], "--name copied-fold2: ends in -fold2"),
        (finetune, ["--name", "copied-fold2", "--fold", "0"], "--name copied-fold2: ends in -fold2"),
        (finetune, ["--name", "copied-fold2", "--fold", "2"], "was made with fold 0, not 2"),
        (finetune, ["--name", "copied-svm-rbf"], "--name copied-svm-rbf: only the runs that hpa.svm makes"),
        (svm, ["copied-fold2"], "name copied-fold2: ends in -fold2"),
        (svm, ["copied-svm-rbf"], "name copied-svm-rbf: only the runs that hpa.svm makes"),
    ],
)
def test_a_name_or_option_that_contradicts_the_run(runs, drawn_cells, capsys, command, options, message):
    for name in ("copied-fold2", "copied-svm-rbf"):
        shutil.copytree(runs / "cells", runs / name)
    before = contents(runs)
    where = ["--data", drawn_cells]
    where += ["--run", runs / options[0] / "base"] if command is svm else ["--runs", runs, *options]
    where += {train: ["--task", "hep2", *TINY], finetune: ["--stage", "cnn"], svm: []}[command]
    assert run(command, *where) == 2
    assert message in capsys.readouterr().err
    assert contents(runs) == before


def test_a_folder_that_is_named_as_a_fold_is_none(runs, drawn_cells, capsys):
    """As an earlier version let `--name cells-fold2` do."""
    shutil.copytree(runs / "other", runs / "cells-fold2")
    (runs / "cells" / "base" / "test.npz").unlink()
    (runs / "cells-fold2" / "base" / "test.npz").unlink()
    assert run(predict, "--data", drawn_cells, "--runs", runs, "--variants", "cells") == 0
    assert not (runs / "cells-fold2" / "base" / "test.npz").exists()
    assert COMMANDS["ensemble"](drawn_cells, runs) == 0
    about = read_json(runs / "entry.json")
    assert [each["folder"] for each in about["members"]] == [str(runs / "cells" / "base")]


def test_a_plan_is_checked_without_keras_and_writes_nothing(runs, drawn_cells):
    before = contents(runs)
    where = ["--data", drawn_cells, "--runs", runs, "--check-only"]
    commands = [
        ["train", "--task", "hep2", "--name", "new", "--fold", "1", *TINY, *where],
        ["finetune", "--name", "cells", "--stage", "cnn", *where],
    ]
    script = "import sys\nfor command in {!r}:\n    main = __import__('hpa.' + command[0], fromlist=['main']).main\n"
    script += "    assert main(command[1:]) == 0\nassert not {{'keras', 'tensorflow'}} & set(sys.modules)"
    script = script.format([[str(part) for part in command] for command in commands])
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        f"{runs / name / stage}: settings and tables fit" for name, stage in (("new-fold1", "base"), ("cells", "cnn"))
    ]
    assert contents(runs) == before


PLAIN_KERAS = """
import json, sys
import numpy as np
sys.modules["hpa"] = None  # as where this package is not installed
import keras
for model, images, predictions in json.loads(sys.argv[1]):
    loaded = keras.saving.load_model(model)
    assert not loaded.compiled
    found = loaded.predict(np.load(images), verbose=0)
    rounding = 1e-5 if "svm" in model else 1e-6  # what a support vector machine predicts is computed with 64 bits
    assert np.abs(found - np.load(predictions)["probabilities"]).max() < rounding, model
"""


def test_plain_keras_opens_what_is_saved(runs, drawn_cells, drawn_data, tmp_path):
    options = ["--variant", "2", "--size", "48", "--rows", "8", "--epochs", "1", "--batch-size", "8", "--loss", "soft-f1"]
    assert run(train, "--data", drawn_data, "--runs", runs, *options) == 0
    opened = []
    for name, task, data, size in (
        ("2", HPA, drawn_data, 48), ("cells", HEP2, drawn_cells, 32), ("cells-svm-rbf", HEP2, drawn_cells, 32),
    ):  # fmt: skip
        folder = runs / name / "base"
        files = find_files(data / "train", read_predictions(folder / "validation.npz").ids, task)
        np.save(tmp_path / f"{name}.npy", np.stack([read_image(each, task, size) for each in files]))
        opened.append([str(folder / "model.keras"), str(tmp_path / f"{name}.npy"), str(folder / "validation.npz")])
    done = subprocess.run(
        [sys.executable, "-c", PLAIN_KERAS, json.dumps(opened)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
