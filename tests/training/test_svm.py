"""Support vector machines on the features of tiny new networks, held against scikit-learn's own pipelines."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import cv2
import keras
import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax
from sklearn.calibration import CalibratedClassifierCV
from sklearn.metrics import log_loss
from sklearn.model_selection import PredefinedSplit, cross_val_predict
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC

from hpa import svm as command
from hpa.data.layout import find_files
from hpa.data.partition import make_partition, write_partition
from hpa.data.splits import make_folds
from hpa.errors import BadInput
from hpa.files import file_digest
from hpa.inference.predict import predict_files
from hpa.models.alexnet import STATE_DICT_LAYERS
from hpa.models.catalog import build
from hpa.registry import DENSE_PART, NETWORKS
from hpa.runs.folder import describe_best, is_finished, open_run, run_config, write_history
from hpa.scoring.members import read_members
from hpa.scoring.predictions import read_predictions
from hpa.settings import Settings
from hpa.stages import fold_name
from hpa.tasks import Task
from hpa.training import svm
from hpa.training.presets import preset_settings

ROOT = Path(__file__).resolve().parents[2]
CLASSES = ("lying", "standing", "dotted")
TASKS = {labels: Task(labels, CLASSES, ("grey",), ("",), labels) for labels in ("one", "many")}
KERNELS = ("linear", "rbf")
TOPOLOGY = {"filters": (4, 8), "blocks": (1, 1), "kernel": 3, "dropout": 0.3}
SETTINGS = {
    labels: Settings(**preset_settings("cells") | TOPOLOGY | {"size": 16, "epochs": 1, "folds": folds})
    for labels, folds in (("one", None), ("many", 3))
}


def textured(random, labels):
    """Noise that is smeared along the rows, along the columns, or has a dot; so faintly that no class is always found."""
    image = random.normal(size=(16, 16))
    for axis in (0, 1):
        if labels[axis]:
            image = 0.7 * image + 0.6 * np.roll(image, 1, axis=1 - axis)
    if labels[2]:
        image[6:9, 6:9] += 1.5
    return np.clip(128 + 40 * image, 0, 255).astype(np.uint8)


def write_data(folder, labels, rows):
    """Write class folders of both sets for one label, and a flat training set with its table for many."""
    random = np.random.default_rng(0)
    if labels == "one":
        for place, count in (("train", rows), ("validation", rows // 2)):
            for number in range(count):
                own = folder / place / CLASSES[number % 3]
                own.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(own / f"{place}{number:03d}.png"), textured(random, np.eye(3)[number % 3]))
        return
    (folder / "train").mkdir(parents=True)
    targets = random.integers(0, 2, (rows, 3))
    targets[targets.sum(axis=1) == 0, 0] = 1
    for number, own in enumerate(targets):
        cv2.imwrite(str(folder / "train" / f"{number:03d}.png"), textured(random, own))
    table = {
        "Id": [f"{number:03d}" for number in range(rows)],
        "Target": [" ".join(map(str, np.flatnonzero(own))) for own in targets],
    }
    pd.DataFrame(table).to_csv(folder / "train.csv", index=False)


def make_run(folder, network, labels, data):
    """Write the run folder of a network as if trained: the SVM does not ask how well."""
    partition = make_partition(SETTINGS[labels], TASKS[labels], data)
    open_run(folder, run_config(SETTINGS[labels], TASKS[labels], partition.table, None), data)
    write_partition(folder / "split.csv", SETTINGS[labels], partition)
    network.save(folder / "model.keras")
    write_history(folder, pd.DataFrame([{"epoch": 1, TASKS[labels].kind.monitor.best: 0.25}]))


def run(place, *options):
    return command.main(["--data", str(place / "data"), "--run", str(place / "runs" / "cells" / "base"), *options])


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(1)
    return build("cellnet", 16, 1, 3, "softmax", **TOPOLOGY)


@pytest.fixture(scope="module")
def places(network, tmp_path_factory):
    """For each kind of task: data, a run named cells, and a run with an SVM head of each kernel."""
    places = {labels: tmp_path_factory.mktemp(labels) for labels in TASKS}
    for labels, place in places.items():
        write_data(place / "data", labels, 300)
        make_run(place / "runs" / "cells" / "base", network, labels, place / "data")
    options = ["--data", "data", "--run", "runs/cells/base"]  # rbf is the default
    done = subprocess.run(
        [sys.executable, "-m", "hpa.svm", *options],
        cwd=places["one"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "cells/base has: best epoch 1 of 1, validation accuracy 0.2500\nruns/cells-svm-rbf/base is done" in done.stdout
    assert run(places["one"], "--kernel", "linear") == 0
    for kernel in KERNELS:
        assert run(places["many"], "--kernel", kernel) == 0
    return places


@dataclass
class Rows:
    """What is known of a set's rows: features, targets, and what the run of each kernel predicts."""

    features: np.ndarray
    targets: np.ndarray
    probabilities: dict[str, np.ndarray]


@pytest.fixture(scope="module")
def partition(network, places):
    """For each kind of task: the training rows, the validation rows, and the folds of the cross-validation."""
    extractor = keras.Model(network.input, network.get_layer(f"{DENSE_PART}features").output)
    found = {}
    for labels, place in places.items():
        both = make_partition(
            SETTINGS[labels], TASKS[labels], place / "data", place / "runs" / "cells" / "base" / "split.csv"
        )
        of_both = both.training, both.validation
        samples = [both.table.at(rows) for rows in of_both]
        folders = [place / "data" / both.set_of_row[rows[0]] for rows in of_both]
        files = [find_files(folder, own.ids, TASKS[labels]) for folder, own in zip(folders, samples, strict=True)]
        images = [np.stack([cv2.imread(str(file), cv2.IMREAD_GRAYSCALE) for (file,) in own])[..., None] for own in files]
        features = [keras.ops.convert_to_numpy(extractor(own, training=False)) for own in images]
        predicted = predict_files([svm_of(place, kernel) for kernel in KERNELS], [*files[0], *files[1]])
        parts = [np.split(each, [len(files[0])]) for each in predicted]
        probabilities = [dict(zip(KERNELS, own, strict=True)) for own in zip(*parts, strict=True)]
        targets = [each.targets for each in samples]
        folds = make_folds(samples[0], svm.FOLDS, 0, None)
        found[labels] = (*map(Rows, features, targets, probabilities), folds)
    return found


def svm_of(place, kernel):
    return place / "runs" / f"cells-svm-{kernel}" / "base"


def history(place, kernel):
    return pd.read_csv(svm_of(place, kernel) / "history.csv").iloc[0]


def reference(kernel, regularisation):
    linear = LinearSVC(C=regularisation, dual=False, tol=0.01)
    return make_pipeline(StandardScaler(), linear if kernel == "linear" else OneVsRestClassifier(SVC(C=regularisation)))


@pytest.mark.parametrize("kernel", KERNELS)
def test_one_label_is_what_scikit_learn_predicts(places, partition, kernel):
    training, validation, _ = partition["one"]
    fitted = reference(kernel, history(places["one"], kernel)["regularisation"])
    fitted.fit(training.features, training.targets.argmax(axis=1))
    probabilities = validation.probabilities[kernel]
    np.testing.assert_array_equal(probabilities.argmax(axis=1), fitted.predict(validation.features))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    decisions, logits = fitted.decision_function(validation.features), np.log(probabilities)
    decisions, logits = (each - each.mean(axis=1, keepdims=True) for each in (decisions, logits))
    scale = np.sum(decisions * logits) / np.sum(decisions**2)
    np.testing.assert_allclose(logits, scale * decisions, atol=1e-3)


def calibrated(kernel, regularisation, training, folds):
    """Return scikit-learn's own, fitted to all."""
    pipeline = reference(kernel, regularisation)
    expected = CalibratedClassifierCV(pipeline, method="temperature", cv=PredefinedSplit(folds), ensemble=False)
    return expected.fit(training.features, training.targets.argmax(axis=1))


@pytest.mark.parametrize("kernel", KERNELS)
def test_one_label_is_calibrated_by_scikit_learns_temperature(places, partition, kernel):
    training, validation, folds = partition["one"]
    expected = calibrated(kernel, history(places["one"], kernel)["regularisation"], training, folds)
    probabilities = validation.probabilities[kernel]
    np.testing.assert_allclose(probabilities, expected.predict_proba(validation.features), atol=5e-3)  # libsvm's tolerance


def test_two_classes_with_one_label_are_calibrated_by_scikit_learns_temperature():
    random = np.random.default_rng(0)
    targets = np.eye(2, dtype=np.uint8)[np.arange(100) % 2]
    features = random.normal(size=(100, 3)) + targets[:, :1]
    head = svm.fit_head(features, targets, "one", np.arange(100) // 20, "linear", (features, targets))
    expected = calibrated("linear", head.regularisation, Rows(features, targets, {}), np.arange(100) // 20)
    np.testing.assert_allclose(softmax(head.logits(features), axis=1), expected.predict_proba(features), atol=1e-3)


@pytest.mark.parametrize("kernel", KERNELS)
def test_many_labels_are_calibrated_as_by_platt(places, partition, kernel):
    training, validation, folds = partition["many"]
    pipeline = reference(kernel, history(places["many"], kernel)["regularisation"])
    for number in range(3):
        expected = CalibratedClassifierCV(pipeline, method="sigmoid", cv=PredefinedSplit(folds), ensemble=False)
        expected = expected.fit(training.features, training.targets[:, number]).predict_proba(validation.features)[:, 1]
        np.testing.assert_allclose(validation.probabilities[kernel][:, number], expected, atol=1e-3)


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_regularisation_of_the_least_validation_loss_is_taken(places, partition, kernel):
    training, validation, folds = partition["one"]
    classes, split = training.targets.argmax(axis=1), PredefinedSplit(folds)
    of_training, of_validation = {}, {}
    for each in svm.REGULARISATIONS[kernel]:
        fitted = calibrated(kernel, each, training, folds)
        of_validation[each] = log_loss(validation.targets.argmax(axis=1), fitted.predict_proba(validation.features))
        held_out = cross_val_predict(
            reference(kernel, each), training.features, classes, cv=split, method="decision_function"
        )
        temperature = fitted.calibrated_classifiers_[0].calibrators[0].beta_
        of_training[each] = log_loss(classes, softmax(temperature * held_out, axis=1))
    found = history(places["one"], kernel)
    assert found["regularisation"] == min(of_validation, key=of_validation.get)
    assert found["validation_loss"] == pytest.approx(min(of_validation.values()), rel=1e-2)
    assert found["cross_validated_loss"] == pytest.approx(of_training[found["regularisation"]], rel=1e-3)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("labels", TASKS)
def test_the_run_folder_is_like_any_other(places, partition, labels, kernel):
    folder = svm_of(places[labels], kernel)
    assert {file.name for file in folder.iterdir() if not file.name.startswith(".")} == {
        "config.json", "history.csv", "model.keras", "split.csv", "validation.npz",
    }  # fmt: skip
    assert (folder / "split.csv").read_text() == (folder.parents[1] / "cells" / "base" / "split.csv").read_text()
    config = json.loads((folder / "config.json").read_text())
    assert (config["epochs"], config["augmentation"], config["mixing"]) == (1, "none", "none")
    assert (config["svm"]["source"], config["svm"]["kernel"]) == ("cells/base", kernel)
    assert config["versions"]["scikit-learn"] == version("scikit-learn")
    assert is_finished(folder)

    training, validation, _ = partition[labels]
    written = read_predictions(folder / "validation.npz")
    np.testing.assert_allclose(written.probabilities, validation.probabilities[kernel], atol=1e-5)
    np.testing.assert_array_equal(written.targets, validation.targets)
    row = history(places[labels], kernel)
    for column, rows in (("loss", training), ("validation_loss", validation)):
        probabilities = rows.probabilities[kernel]
        by_class = [log_loss(*each) for each in zip(rows.targets.T, probabilities.T, strict=True)]
        expected = log_loss(rows.targets, probabilities) if labels == "one" else np.mean(by_class)
        assert row[column] == pytest.approx(expected, abs=1e-4)
    if labels == "one":
        right = validation.probabilities[kernel].argmax(axis=1) == validation.targets.argmax(axis=1)
        assert 0.5 < row["validation_accuracy"] == pytest.approx(right.mean())
        assert f"accuracy {right.mean():.4f}" in describe_best(folder)


def test_a_process_that_knows_nothing_of_svms_predicts_with_them(places, partition):
    place, folder = places["one"], svm_of(places["one"], "rbf")
    options = ["--run", str(folder), "--data", str(place / "data" / "validation"), "--out", str(place / "evaluation")]
    done = subprocess.run(
        [sys.executable, "-m", "hpa.evaluate", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    accuracy = history(place, "rbf")["validation_accuracy"]
    assert json.loads((place / "evaluation" / "scores.json").read_text())["scores"]["accuracy"] == pytest.approx(accuracy)


def test_a_finished_one_is_left_alone_and_an_interrupted_one_is_made_again(places, capsys):
    folder = svm_of(places["many"], "rbf")
    before = {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}
    assert run(places["many"]) == 0
    assert f"{folder} is finished already: best epoch 1 of 1, validation macro F1" in capsys.readouterr().out
    assert {file.name: file.stat().st_mtime_ns for file in folder.iterdir()} == before

    made = {name: (folder / name).read_bytes() for name in ("history.csv", "validation.npz")}
    (folder / "history.csv").unlink()  # the last thing that is written
    assert not is_finished(folder)
    assert run(places["many"]) == 0
    assert {name: (folder / name).read_bytes() for name in made} == made


def write_features(place, partition, labels, path):
    """Write the features that the network has of all rows, in another order, and of rows that nobody asks for."""
    training, validation, _ = partition[labels]
    both = make_partition(SETTINGS[labels], TASKS[labels], place / "data", place / "runs" / "cells" / "base" / "split.csv")
    ids = both.table.ids[np.concatenate([both.training, both.validation])]
    values = np.concatenate([training.features, validation.features])
    frame = pd.DataFrame(values, columns=[f"f{number}" for number in range(values.shape[1])]).assign(Id=ids)
    extra = frame.iloc[:3].assign(Id=["other1", "other2", "other3"])
    frame = pd.concat([frame, extra]).sample(frac=1, random_state=0)
    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
    else:
        np.savez(path, ids=frame.pop("Id").to_numpy(str), features=frame.to_numpy(np.float32))
    return ids


@pytest.mark.parametrize(("labels", "kernel", "suffix"), [("one", "linear", ".csv"), ("many", "rbf", ".npz")])
def test_a_member_from_a_file_of_features_is_that_of_the_network(
    places, partition, tmp_path, labels, kernel, suffix, capsys
):
    place, file, out = places[labels], tmp_path / f"features{suffix}", tmp_path / "member"
    write_features(place, partition, labels, file)
    own = ["--kernel", kernel, "--features", str(file), "--out", str(out)]
    assert run(place, *own) == 0
    found, expected = (read_predictions(each / "validation.npz") for each in (out, svm_of(place, kernel)))
    assert found.ids.tolist() == expected.ids.tolist()
    np.testing.assert_array_equal(found.targets, expected.targets)
    np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=2e-3)
    assert not (out / "test.npz").exists()  # the data has no test set
    about = json.loads((out / "features.json").read_text())
    assert about["features_sha256"] == file_digest(file)
    assert f"{out}: " in capsys.readouterr().out
    members = read_members([out, svm_of(place, kernel)], None)
    assert members.names == [str(out), str(svm_of(place, kernel))]
    assert run(place, *own) == 0  # again


def test_a_member_of_several_folds_predicts_all_rows_and_the_test_set(network, tmp_path, capsys):
    write_data(tmp_path / "data", "many", 300)
    random = np.random.default_rng(0)
    table = pd.read_csv(tmp_path / "data" / "train.csv", dtype=str)
    targets = np.array([[str(number) in row.split() for number in range(3)] for row in table["Target"]])
    (tmp_path / "data" / "test").mkdir()
    tests = [f"t{number}" for number in range(12)]
    (tmp_path / "data" / "sample_submission.csv").write_text("".join(["Id,Predicted\n", *(f"{each},0\n" for each in tests)]))
    truth = np.concatenate([targets, random.integers(0, 2, (12, 3))])
    values = truth @ random.normal(size=(3, 5)) + random.normal(0, 0.1, (312, 5))
    np.savez(tmp_path / "features.npz", ids=[*table["Id"], *tests], features=values)
    for fold in range(3):
        settings = replace(SETTINGS["many"], fold=fold)
        folder = tmp_path / "runs" / fold_name("cells", fold) / "base"
        split = make_partition(settings, TASKS["many"], tmp_path / "data")
        open_run(folder, run_config(settings, TASKS["many"], split.table, None), tmp_path / "data")
        write_partition(folder / "split.csv", settings, split)
        write_history(folder, pd.DataFrame([{"epoch": 1, "validation_f1_best": 0.25}]))
    options = ["--kernel", "linear", "--features", str(tmp_path / "features.npz"), "--out", str(tmp_path / "member")]
    shutil.copytree(tmp_path / "runs" / "cells", tmp_path / "runs" / "other")
    pair = [str(tmp_path / "runs" / name / "base") for name in ("cells", "other")]
    assert run(tmp_path, "--run", *pair, *options) == 2
    assert "--run: names 2 folders that are not the folds of one run; name one run\n" in capsys.readouterr().err
    shutil.rmtree(tmp_path / "runs" / "other")
    assert run(tmp_path, "--run", *map(str, sorted((tmp_path / "runs").glob("*/base"))), *options) == 0
    validation, test = (read_predictions(tmp_path / "member" / f"{name}.npz") for name in ("validation", "test"))
    assert sorted(validation.ids.tolist()) == table["Id"].tolist()
    assert test.ids.tolist() == tests
    place = pd.Index(table["Id"]).get_indexer(validation.ids)
    assert (validation.targets == targets[place]).all()
    assert ((validation.probabilities > 0.5) == targets[place]).mean() > 0.97  # classes that features tell apart
    assert ((test.probabilities > 0.5) == truth[300:]).mean() > 0.97


def test_the_training_rows_may_have_none_of_the_copies(tmp_path):
    write_data(tmp_path / "data", "many", 60)
    ids = pd.read_csv(tmp_path / "data" / "train.csv", dtype=str)["Id"]
    copies = tmp_path / "copies.csv"
    pd.DataFrame({"Id": ids[:2], "group": 0, "set": "train"}).to_csv(copies, index=False)
    for fold in range(3):
        settings = replace(SETTINGS["many"], fold=fold, groups=str(copies))
        partition = make_partition(settings, TASKS["many"], tmp_path / "data")
        fold_of_row = svm.calibration_folds(partition, settings)
        assert np.unique(fold_of_row).tolist() == list(range(svm.FOLDS))
        learned = np.isin(partition.table.ids[partition.training], ids[:2])
        assert len(set(fold_of_row[learned])) == learned.any()


def test_ids_without_features_are_all_named(places, partition, tmp_path, capsys):
    place, file = places["one"], tmp_path / "features.csv"
    ids = write_features(place, partition, "one", file)
    frame = pd.read_csv(file, dtype={"Id": str})
    frame[~frame["Id"].isin(ids[[0, 5, -1]])].to_csv(file, index=False)
    before = sorted(tmp_path.iterdir())
    assert run(place, "--features", str(file), "--out", str(tmp_path / "member")) == 2
    error = capsys.readouterr().err
    assert all(f"id {each}: no features of this labelled sample" in error for each in ids[[0, 5, -1]])
    assert "3 faults" in error
    assert run(place, "--features", str(file)) == 2
    assert "--features and --out go together" in capsys.readouterr().err
    run_folder = place / "runs" / "cells" / "base"
    assert run(place, "--features", str(file), "--out", str(run_folder)) == 2
    assert f"--out {run_folder}: holds a run" in capsys.readouterr().err
    assert sorted(tmp_path.iterdir()) == before


def test_decision_values_have_the_scales_worked_out_by_hand():
    classes = np.arange(60) % 3
    targets, decided = np.eye(3, dtype=np.uint8)[classes], np.eye(3)[np.where(np.arange(60) < 6, classes + 1, classes) % 3]
    scale, offset = svm.scale_temperature(
        decided * 2.0 - 1, targets
    )  # 54 of 60 are right: softmax (1, -1, -1) -> 18 : 1 : 1
    np.testing.assert_allclose(scale, np.log(18) / 2, rtol=1e-6)
    np.testing.assert_array_equal(offset, 0)
    scale, offset = svm.fit_sigmoids(targets * 2.0 - 1, targets)  # Platt's targets for decisions without a mistake
    np.testing.assert_allclose(offset + scale, np.log(21), rtol=1e-3)  # 21 of 22 where it is 1
    np.testing.assert_allclose(offset - scale, -np.log(41), rtol=1e-3)  # 1 of 42 where it is -1


def test_classes_that_are_told_apart_without_a_mistake_have_finite_logits():
    targets = np.eye(3, dtype=np.uint8)[np.arange(60) % 3]
    scale, offset = svm.scale_temperature(targets * 2.0 - 1, targets)
    logits = (targets * 2.0 - 1) * scale + offset
    assert 1 < scale[0] < 1e5
    assert svm.single_label_log_loss(logits, targets) < 1e-6
    assert np.isfinite(svm.single_label_log_loss(logits, np.roll(targets, 1, axis=0)))


def test_what_differs_by_rounding_alone_is_not_learned_from():
    random = np.random.default_rng(0)
    targets = np.eye(2, dtype=np.uint8)[np.arange(100) % 2]
    features = random.normal(size=(100, 3)).astype(np.float32) + 2 * targets[:, :1]
    features[:, 1] = np.float32(5) + np.spacing(np.float32(5)) * targets[:, 0]  # tells the classes, by one bit
    features[:, 2] = 0
    head = svm.fit_head(features, targets, "one", np.arange(100) // 20, "linear", (features, targets))
    inputs = keras.Input((3,))
    network = svm.with_head(keras.Model(inputs, keras.layers.Identity()(inputs)), head, "one", "network")
    kernel, _ = network.get_layer(f"{DENSE_PART}svm").get_weights()
    assert np.all(kernel[0] != 0)
    assert np.all(kernel[1:] == 0)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_constant_feature_counts_nothing(kernel, precision):
    random = np.random.default_rng(0)
    targets = np.eye(2, dtype=np.uint8)[np.arange(100) % 2]
    features = random.normal(size=(100, 3)).astype(np.float32) + 2 * targets[:, :1]
    features[:, 1] = 5
    features = features.astype(keras.ops.convert_to_numpy(keras.ops.zeros(1, precision)).dtype)
    features[::2, 2] = 5  # one step apart in this precision, for the two classes
    features[1::2, 2] = features[0, 2] + np.spacing(features[0, 2])
    head = svm.fit_head(features, targets, "one", np.arange(100) // 20, kernel, (features, targets))
    if kernel == "linear":  # with radial basis functions gamma depends on the number of features
        single = features[:, :1]
        alone = svm.fit_head(single, targets, "one", np.arange(100) // 20, kernel, (single, targets))
        np.testing.assert_allclose(head.logits(features), alone.logits(features[:, :1]), atol=1e-6)
    single = features[:, :1].astype(np.float64)
    fitted = reference(kernel, head.regularisation)
    if kernel == "rbf":
        fitted.set_params(onevsrestclassifier__estimator__gamma=1 / 3)
    decisions = fitted.fit(single, targets[:, 1]).decision_function(single)
    logits = head.logits(features)
    margin = (logits[:, 1] - logits[:, 0]) / 2
    np.testing.assert_allclose(margin / margin.std(), decisions / decisions.std(), atol=1e-3)  # libsvm's own tolerance


def test_the_features_layers_exist():
    assert NETWORKS["alexnet"].feature_layer in STATE_DICT_LAYERS.values()
    network = build("parallel-kernels", 94, 1, 3)
    assert network.get_layer(NETWORKS["parallel-kernels"].feature_layer).output.shape == (None, 256)
    assert build("gapnet", 48, 1, 3, variant=2).get_layer(NETWORKS["gapnet"].feature_layer).output.shape == (None, 224)


def test_bad_input_is_refused_and_nothing_is_written(network, tmp_path, capsys):
    def refused(*names):
        folders = [str(tmp_path / "runs" / name) for name in names or ("cells/base",)]
        assert command.main(["--data", str(tmp_path / "data"), "--run", *folders]) == 2
        assert {path.name for path in (tmp_path / "runs").glob("*")} <= {"cells", "stores"}
        return capsys.readouterr().err

    assert "cells/base: no such run; train it first" in refused()
    write_data(tmp_path / "data", "one", 30)
    source = tmp_path / "runs" / "cells" / "base"
    make_run(source, network, "one", tmp_path / "data")
    assert "other/base: no such run; train it first" in refused("other/base")
    assert "cells: holds the stage base; name it, as" in refused("cells")
    assert "--run names 2 folders; name one" in refused("cells/base", "other/base")

    for image in list((tmp_path / "data" / "train" / "dotted").iterdir())[1:]:
        image.unlink()
    assert "made on another table" in refused()
    (source / "config.json").unlink()
    make_run(source, network, "one", tmp_path / "data")
    assert "data: class dotted: 1 of the 21 rows to learn from have it" in refused()
    (source / "model-1.keras").touch()
    assert "was stopped before its best epoch took the place of the one before; run its command again" in refused()
    (source / "history.csv").unlink()
    assert "has not all of its 1 epochs; run its command again first" in refused()


def test_an_unknown_kernel_is_refused(tmp_path):
    with pytest.raises(BadInput, match=r"^kernel poly: expected one of linear, rbf$"):
        svm.replace_head(tmp_path / "cells" / "base", tmp_path, tmp_path, "poly")


def test_another_network_under_the_same_name_is_refused(places, capsys):
    source = places["one"] / "runs" / "cells" / "base" / "model.keras"
    saved = source.read_bytes()
    source.write_bytes(saved + b" ")
    try:
        assert run(places["one"]) == 2
    finally:
        source.write_bytes(saved)
    assert "made with other settings (start_sha256" in capsys.readouterr().err


@pytest.mark.parametrize("kernel", KERNELS)
def test_external_rows_count_as_much_as_is_said(kernel):
    random = np.random.default_rng(0)
    number = np.arange(120) % 3
    features = np.eye(3, 8)[number] * 3 + random.normal(size=(120, 8))
    targets, wrong = (np.eye(3, dtype=np.uint8)[each] for each in (number, (number + 1) % 3))
    both, told = np.concatenate([features] * 2), np.concatenate([targets, wrong])  # the same rows again, with other labels
    folds = np.concatenate([np.arange(120) // 24] * 2)

    def decided(weight):
        weights = None if weight is None else np.repeat([1, weight], 120)
        head = svm.fit_head(both, told, "one", folds, kernel, (features, targets), weights)
        return head.logits(features).argmax(axis=1)

    alone = svm.fit_head(features, targets, "one", folds[:120], kernel, (features, targets))
    expected = alone.logits(features).argmax(axis=1)
    assert (decided(1e-6) == expected).mean() > 0.97  # another regularisation may be chosen
    assert (decided(None) == decided(1.0)).all()
    assert (decided(None) == expected).mean() < 0.9


def test_external_rows_of_a_run_have_its_weight(tmp_path):
    write_data(tmp_path, "many", 12)
    shutil.copytree(tmp_path / "train", tmp_path / "external")
    table = pd.read_csv(tmp_path / "train.csv", dtype=str)
    for identifier in table["Id"]:
        (tmp_path / "external" / f"{identifier}.png").rename(tmp_path / "external" / f"9{identifier}.png")
    table.assign(Id="9" + table["Id"]).to_csv(tmp_path / "external.csv", index=False)
    settings = replace(SETTINGS["many"], external_weight=0.25)
    partition = make_partition(settings, TASKS["many"], tmp_path)
    weights = svm._weights(partition, settings)
    assert weights.tolist() == np.where(partition.training < 12, 1, 0.25).tolist()
    assert svm._weights(make_partition(SETTINGS["many"], TASKS["many"], tmp_path), settings) is None
