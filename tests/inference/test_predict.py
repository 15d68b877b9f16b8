import os
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.special import expit, logit

from hpa import ensemble
from hpa import predict as command
from hpa.data.images import read_channel, read_image, write_image
from hpa.data.layout import find_files, list_ids
from hpa.data.partition import make_partition, write_partition
from hpa.data.store import pack, store_folder
from hpa.data.tables import read_sample_submission
from hpa.files import file_digest, read_json, write_json
from hpa.inference import predict
from hpa.models.catalog import build
from hpa.runs.folder import run_config, write_history
from hpa.runs.monitor import multi_label_scores
from hpa.scoring.members import read_members
from hpa.scoring.predictions import Predictions, read_predictions, write_predictions
from hpa.settings import DEFAULTS, Settings
from hpa.stages import fold_name
from hpa.tasks import HEP2, HPA
from hpa.tta import TTA


def make_run(folder, variant, size=48, fold=0):
    """Write a run folder with a new model: predicting does not ask whether it has learned anything."""
    settings = Settings(variant=variant, size=size, folds=2, fold=fold)
    write_json(folder / "config.json", vars(settings) | {"task": vars(HPA)})
    keras.utils.set_random_seed(variant + fold)
    build("gapnet", size, 4, 28, variant=variant).save(folder / "model.keras")
    return settings


@pytest.fixture
def runs(tmp_path):
    for variant in (2, 3):
        make_run(tmp_path / "runs" / str(variant) / "base", variant)
    return tmp_path / "runs"


def run(data, runs, *options):
    return command.main(["--data", str(data), "--runs", str(runs), *options])


def test_the_predictions_are_the_models(drawn_data, runs):
    assert run(drawn_data, runs) == 0
    ids = read_sample_submission(drawn_data / "sample_submission.csv").ids
    store = pack(store_folder(runs, drawn_data / "test", HPA, 48), drawn_data / "test", ids, HPA, 48)
    for variant in ("2", "3"):
        folder = runs / variant / "base"
        found = read_predictions(folder / "test.npz")
        assert found.ids.tolist() == ids.tolist()
        assert found.classes == HPA.classes
        assert found.targets is None
        expected = keras.saving.load_model(folder / "model.keras", compile=False).predict(store.images, verbose=0)
        np.testing.assert_allclose(found.probabilities, expected, atol=1e-6)
    assert not list((runs / "stores").glob(".predictions*"))


@pytest.mark.parametrize("shards", [[], ["--shard=3/3"]])
def test_batches_have_one_shape(drawn_data, runs, monkeypatch, shards):
    monkeypatch.setattr(predict, "BATCH", 6)
    shapes = set()

    def predict_on_batch(self, images):
        shapes.add(images.shape)
        return own(self, images)

    own = keras.Model.predict_on_batch
    monkeypatch.setattr(keras.Model, "predict_on_batch", predict_on_batch)
    assert run(drawn_data, runs, *shards) == 0  # 20 rows, of which the third part has the last 8
    assert shapes == {(6, 48, 48, 4)}


def test_each_image_is_read_once_for_all_models(drawn_data, runs, monkeypatch):
    rows = []

    class Counted(np.ndarray):
        def __getitem__(self, index):
            rows.extend(np.arange(len(self))[index].tolist())
            return np.asarray(self)[index]

    def counted_pack(*arguments):
        store = pack(*arguments)
        return predict.ImageStore(store.folder, store.ids, np.asarray(store.images).view(Counted))

    monkeypatch.setattr(predict, "pack", counted_pack)
    monkeypatch.setattr(predict, "BATCH", 6)
    assert run(drawn_data, runs) == 0
    assert rows == list(range(20))


def test_each_image_is_decoded_once_for_all_models_and_views(drawn_data, tmp_path, monkeypatch):
    files = find_files(drawn_data / "test", read_sample_submission(drawn_data / "sample_submission.csv").ids[:5], HPA)
    sizes = {tmp_path / "runs" / name / "base": size for name, size in (("2", 48), ("3", 64), ("4", 48))}
    folders = list(sizes)
    for folder, size in sizes.items():
        write_json(folder / "config.json", DEFAULTS | {"size": size, "task": vars(HPA)})
        (folder / "model.keras").touch()
    decoded, seen = [], []
    model = SimpleNamespace(output=np.empty((0, 28)))
    model.predict_on_batch = lambda images: seen.append(images) or np.zeros((len(images), 28), np.float32)
    monkeypatch.setattr(predict, "load_run", lambda folder, engine: model)
    monkeypatch.setattr("hpa.data.images.read_channel", lambda file: decoded.append(file) or read_channel(file))
    assert predict.predict_files(folders, files, TTA(8)).shape == (3, 5, 28)
    assert sorted(decoded) == sorted(file for sample in files for file in sample)
    assert len(seen) == 24
    for first, size in ((0, 48), (1, 48), (16, 64)):
        np.testing.assert_array_equal(seen[first], [read_image(sample, HPA, size) for sample in files])
    assert all(one is other for one, other in zip(seen[0:16:2], seen[1:16:2], strict=True))  # each copy is made once


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_other_engines_give_keras_probabilities(drawn_data, runs, monkeypatch, engine):
    pytest.importorskip(engine)
    pytest.importorskip("tf2onnx")
    folders = [runs / variant / "base" for variant in ("2", "3")]
    files = find_files(drawn_data / "test", read_sample_submission(drawn_data / "sample_submission.csv").ids[:5], HPA)
    assert run(drawn_data, runs) == 0
    expected = [read_predictions(folder / "test.npz").probabilities for folder in folders]
    with_copies = predict.predict_files(folders, files, TTA(8, "logits"))
    batches = []
    asked = keras.Model.predict_on_batch
    monkeypatch.setattr(keras.Model, "predict_on_batch", lambda self, x: batches.append(len(x)) or asked(self, x))
    np.testing.assert_allclose(predict.predict_files(folders, files, TTA(8, "logits"), engine), with_copies, atol=1e-4)
    for folder in folders:
        (folder / "test.npz").unlink()
    assert run(drawn_data, runs, "--engine", engine) == 0
    for folder, own in zip(folders, expected, strict=True):
        np.testing.assert_allclose(read_predictions(folder / "test.npz").probabilities, own, atol=1e-4)
    assert set(batches) == {1}  # Keras only to convert the networks


def test_an_engine_that_is_not_installed(drawn_data, runs, monkeypatch, capsys):
    monkeypatch.setattr("hpa.inference.engines.find_spec", lambda name: None if name == "tf2onnx" else name)
    assert run(drawn_data, runs, "--engine", "onnxruntime") == 2
    assert "--engine: onnxruntime needs tf2onnx; pip install '.[export]'" in capsys.readouterr().err
    assert not list(runs.glob("*/base/test.npz"))


@pytest.fixture
def stand_ins(tmp_path, monkeypatch):
    """A function that writes the run folder of a task; its network is never loaded, nor asked."""

    def write(name, task):
        folder = tmp_path / "runs" / name / "base"
        write_json(folder / "config.json", DEFAULTS | {"size": 8, "task": vars(task)})
        (folder / "model.keras").touch()

    monkeypatch.setattr(predict, "load_run", lambda folder, engine: SimpleNamespace(output=np.empty((0, 6))))
    return write


def predict_folder(place, images="cells"):
    """Run the command on a folder of images, and return its exit code."""
    return command.main(["--runs", str(place / "runs"), "--images", str(place / images), "--out", str(place / "out.csv")])


def test_files_that_cannot_be_used_are_named_with_their_folders(tmp_path, stand_ins, capsys):
    stand_ins("0", HEP2)
    folder, colour = tmp_path / "cells", np.arange(300, dtype=np.uint8).reshape(10, 10, 3)
    for name, pixels in (("Centromere/1", colour[..., 0]), ("Golgi/7", colour), ("NuMem/8", colour), ("9", colour)):
        write_image(folder / f"{name}.png", pixels)
    fault = "is a colour image with 3 filled channels; save the one channel as grey"
    assert predict_folder(tmp_path) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"hpa.predict: {folder}: 3 faults",
        f"  9.png {fault}",
        f"  Golgi: 7.png {fault}",
        f"  NuMem: 8.png {fault}",
    ]
    assert predict_folder(tmp_path, "cells/Golgi") == 2
    assert capsys.readouterr().err == f"hpa.predict: {folder / 'Golgi'}: 7.png {fault}\n"
    assert not (tmp_path / "out.csv").exists()


def test_channels_of_different_size_are_named_with_their_folder(tmp_path, stand_ins, capsys):
    task = replace(HEP2, channels=("nucleus", "protein"), suffixes=(".c0", ".c1"))
    stand_ins("0", task)
    for name, side in (("Centromere/1.c0", 8), ("Centromere/1.c1", 8), ("Golgi/7.c0", 8), ("Golgi/7.c1", 9)):
        write_image(tmp_path / "cells" / f"{name}.png", np.zeros((8, side), np.uint8))
    assert predict_folder(tmp_path) == 2
    fault = "Golgi: the channels differ in size: 7.c0.png 8x8, 7.c1.png 9x8"
    assert capsys.readouterr().err == f"hpa.predict: {tmp_path / 'cells'}: {fault}\n"


def test_a_table_that_is_a_folder_is_refused_before_anything_is_read(tmp_path, stand_ins, capsys):
    stand_ins("0", HEP2)
    (tmp_path / "out.csv").mkdir()
    assert predict_folder(tmp_path) == 2
    assert f"--out {tmp_path / 'out.csv'}: is a folder; name a file" in capsys.readouterr().err


@pytest.mark.parametrize(("out", "fault"), [("cells/Golgi/1.png", "lies in"), ("runs/0/base/history.csv", "holds a run")])
def test_a_table_over_what_is_read_is_refused(tmp_path, stand_ins, monkeypatch, capsys, out, fault):
    stand_ins("0", HEP2)
    monkeypatch.chdir(tmp_path)
    write_image(tmp_path / "cells" / "Golgi" / "1.png", np.zeros((8, 8), np.uint8))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert command.main(["--images", "cells", "--out", out]) == 2
    assert fault in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("option", [["--images", "cells"], ["--out", "out.csv"]])
def test_a_folder_without_a_table_to_write_or_the_other_way_round(tmp_path, stand_ins, capsys, option):
    stand_ins("0", HEP2)
    assert command.main(["--runs", str(tmp_path / "runs"), *option]) == 2
    assert "--images and --out go together: the images to predict, and the table to write" in capsys.readouterr().err


@pytest.mark.parametrize(("task", "ending"), [(HEP2, ".png"), (HPA, "_red.png")])
def test_a_folder_without_images(tmp_path, stand_ins, capsys, task, ending):
    stand_ins("0", task)
    (tmp_path / "cells").mkdir()
    assert predict_folder(tmp_path) == 2
    assert capsys.readouterr().err == f"hpa.predict: {tmp_path / 'cells'}: no image here that is named <id>{ending}\n"


def test_files_and_tables_of_paths_are_predicted_as_their_folder_is(drawn_data, tmp_path):
    place, ids = drawn_data / "test", list_ids(drawn_data / "test", HPA)[:3]
    folder = tmp_path / "runs" / "2" / "base"
    make_run(folder, 2)
    random = np.random.default_rng(0)
    targets, probabilities = random.integers(0, 2, (30, 28), np.uint8), random.random((30, 28), np.float32)
    made_by = {"model_sha256": file_digest(folder / "model.keras")}
    rows = Predictions(np.arange(30).astype(str), HPA.classes, probabilities, targets, **made_by)
    write_predictions(folder / "validation.npz", rows)
    (tmp_path / "lists").mkdir()
    paths = [place / f"{ids[1]}_blue.png", Path(os.path.relpath(place / f"{ids[1]}_red.png", tmp_path / "lists"))]
    pd.DataFrame({"note": ["a", "b"], "path": paths}).to_csv(tmp_path / "lists" / "some.csv")
    named = [str(place / f"{ids[0]}_green.png"), str(tmp_path / "lists" / "some.csv")]
    tables = {}
    for name, images in (("whole", [str(place)]), ("named", named)):
        out = tmp_path / f"{name}.csv"
        line = ["--run", str(folder), "--images", *images, "--out", str(out)]
        assert command.main(line) == 0
        tables[name] = pd.read_csv(out, index_col="Id")
        with Image.open(out.with_suffix(".png")) as picture:
            assert picture.width > 200
    assert tables["named"].index.tolist() == ids[:2]
    pd.testing.assert_frame_equal(tables["named"], tables["whole"].loc[ids[:2]], atol=2e-4)


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("file\na.png\n", "expected a column path and a row for each image, found file"),
        ("path\n", "expected a column path and a row for each image, found path"),
        ("path,b\na.png,1\n ,2\n", "row 2 has no path"),
        ("path\nabsent.png\n", "absent.png is absent"),
        ('path\n"a\n', "cannot be read as a CSV"),
    ],
)
def test_a_faulty_table_of_paths(tmp_path, stand_ins, capsys, content, fault):
    stand_ins("0", HEP2)
    (tmp_path / "list.csv").write_text(content)
    write_image(tmp_path / "a.png", np.zeros((8, 8), np.uint8))
    assert predict_folder(tmp_path, "list.csv") == 2
    assert fault in capsys.readouterr().err
    assert not (tmp_path / "out.csv").exists()


def test_runs_of_two_tasks(tmp_path, stand_ins, capsys):
    for name, task in (("0", HPA), ("1", HEP2), ("2", HPA), ("3", HEP2)):
        stand_ins(name, task)
    runs = tmp_path / "runs"
    lines = [
        "hpa.predict: runs: 2 faults",
        *(f"  {runs / name / 'base'} is of the task hep2, {runs / '0' / 'base'} of hpa" for name in "13"),
    ]
    assert predict_folder(tmp_path) == 2
    assert capsys.readouterr().err.splitlines() == lines
    assert run(tmp_path, runs) == 2
    assert capsys.readouterr().err.splitlines() == lines


def test_folds_and_views_from_the_models_to_the_blend(drawn_data, tmp_path, capsys):
    runs, held_out, scores = tmp_path / "runs", [], []
    for fold in (0, 1):
        folder = runs / fold_name("2", fold) / "base"
        settings = make_run(folder, 2, fold=fold)
        partition = make_partition(settings, HPA, drawn_data)
        write_json(folder / "config.json", run_config(settings, HPA, partition.table, None))
        write_partition(folder / "split.csv", settings, partition)
        samples = partition.table.at(partition.validation)
        images = np.stack([read_image(each, HPA, 48) for each in find_files(drawn_data / "train", samples.ids, HPA)])
        model = keras.saving.load_model(folder / "model.keras", compile=False)
        single, mirrored = (model.predict(each, verbose=0).astype(float) for each in (images, images[:, :, ::-1]))
        mean = expit((logit(single) + logit(mirrored)) / 2)
        scores.append([multi_label_scores(samples.targets, each)["validation_f1_best"] for each in (single, mean)])
        write_history(folder, pd.DataFrame([{"epoch": 1, "validation_f1_best": scores[-1][0]}]))
        held_out.append((samples.ids, mean))

    options = ["--variants", "2", "--tta", "2", "--tta-average", "logits"]
    assert run(drawn_data, runs, *options) == 0
    printed = capsys.readouterr().out
    for fold, (ids, mean) in enumerate(held_out):
        folder = runs / fold_name("2", fold) / "base"
        for name in ("validation.npz", "test.npz"):
            predictions = read_predictions(folder / name)
            assert predictions.tta == TTA(2, "logits")
        found = read_predictions(folder / "validation.npz")
        assert found.ids.tolist() == ids.tolist()
        np.testing.assert_allclose(found.probabilities, mean, atol=1e-5)
        one, two = scores[fold]
        assert (
            f"{folder}: validation macro F1 {one:.4f} with one view, {two:.4f} with the mean logits of 2 ({two - one:+.4f})"
            in printed
        )
    assert run(drawn_data, runs, *options) == 0
    assert "is written" not in capsys.readouterr().out

    both = ["--data", str(drawn_data), "--runs", str(runs), "--variants", "2", "--weights", "equal"]
    assert ensemble.main([*both, "--out", str(tmp_path / "entry.csv")]) == 0
    about = read_json(tmp_path / "entry.json")
    assert [each["folder"] for each in about["members"]] == [f"{runs}/2/base (2 folds)"]
    members = read_members([runs / "2-fold1" / "base", runs / "2" / "base"], None)
    np.testing.assert_allclose(members.validation[0], np.concatenate([mean for _, mean in held_out]), atol=1e-5)
    assert len(members.targets) == 60
    file = runs / "2-fold1" / "base" / "test.npz"
    write_predictions(file, replace(read_predictions(file), tta=TTA(2)))
    assert ensemble.main(both) == 2
    assert f"{file}: multi-label, test-time augmentation 2 (mean of probabilities); {runs}/2/base" in capsys.readouterr().err


def test_a_model_that_a_training_replaces_meanwhile_is_not_given_the_predictions_of_the_one_before(
    drawn_data, tmp_path, monkeypatch, capsys
):
    folder = tmp_path / "runs" / "2" / "base"
    settings = make_run(folder, 2)
    partition = make_partition(settings, HPA, drawn_data)
    write_json(folder / "config.json", run_config(settings, HPA, partition.table, None))
    write_partition(folder / "split.csv", settings, partition)
    write_history(folder, pd.DataFrame([{"epoch": 1, "validation_f1_best": 0.5}]))
    predict_rows = predict.predict_rows

    def replaced(*arguments):
        found = predict_rows(*arguments)
        build("gapnet", 48, 4, 28, variant=2).save(folder / "model.keras")
        return found

    monkeypatch.setattr(predict, "predict_rows", replaced)
    assert run(drawn_data, tmp_path / "runs", "--tta", "2") == 1
    told = f"{folder}: a training replaced its model meanwhile; run this again when that has ended"
    assert told in capsys.readouterr().err
    assert not (folder / "validation.npz").exists()


def test_a_run_of_another_table_cannot_be_predicted_with_other_views(drawn_data, tmp_path, capsys):
    """Its split would hold out other rows."""
    folder = tmp_path / "runs" / "2" / "base"
    settings = make_run(folder, 2)
    write_partition(folder / "split.csv", settings, make_partition(settings, HPA, drawn_data))
    shutil.copytree(drawn_data, tmp_path / "data")
    table = pd.read_csv(drawn_data / "train.csv")
    table[1:].to_csv(tmp_path / "data" / "train.csv", index=False)
    assert run(tmp_path / "data", tmp_path / "runs", "--tta", "2") == 2
    error = capsys.readouterr().err
    assert table["Id"][0] in error
    assert "the run was made on another table; name the data it was trained on" in error


def test_an_interrupted_pass_goes_on_where_it_stopped(drawn_data, runs, monkeypatch, capsys):
    monkeypatch.setattr(predict, "BATCH", 6)
    predict_on_batch = keras.Model.predict_on_batch
    sizes = []

    def interrupted(self, images):
        sizes.append(len(images))
        if len(sizes) == 4:  # the second batch, after the first of the two models
            raise KeyboardInterrupt
        return predict_on_batch(self, images)

    with monkeypatch.context() as patch:
        patch.setattr(keras.Model, "predict_on_batch", interrupted)
        assert run(drawn_data, runs) == 1
    assert "goes on where it stopped" in capsys.readouterr().err
    assert not list(runs.glob("*/base/test.npz"))
    assert len(list((runs / "stores").glob(".predictions-*"))) == 2

    sizes.clear()
    monkeypatch.setattr(
        keras.Model, "predict_on_batch", lambda self, images: sizes.append(len(images)) or predict_on_batch(self, images)
    )
    assert run(drawn_data, runs) == 0
    assert sizes == [6] * 6  # 14 of the 20 images, filled up to three batches, with two models
    resumed = [read_predictions(runs / name / "base" / "test.npz").probabilities for name in ("2", "3")]
    for name in ("2", "3"):
        (runs / name / "base" / "test.npz").unlink()
    assert run(drawn_data, runs) == 0
    for name, probabilities in zip(("2", "3"), resumed, strict=True):
        np.testing.assert_array_equal(read_predictions(runs / name / "base" / "test.npz").probabilities, probabilities)


def test_a_pass_interrupted_after_its_last_batch_only_has_its_files_to_write(drawn_data, runs, monkeypatch):
    assert run(drawn_data, runs) == 0
    files = [runs / name / "base" / "test.npz" for name in ("2", "3")]
    whole = [read_predictions(file).probabilities for file in files]
    for file in files:
        file.unlink()

    def interrupted(path, predictions):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(predict, "write_predictions", interrupted)
        assert run(drawn_data, runs) == 1
    assert not any(file.exists() for file in files)
    monkeypatch.setattr(TTA, "predict_all", None)  # nothing is left to predict
    assert run(drawn_data, runs) == 0
    for file, probabilities in zip(files, whole, strict=True):
        np.testing.assert_array_equal(read_predictions(file).probabilities, probabilities)


def test_what_a_pass_left_goes_even_if_it_is_killed_once_its_files_are_written(drawn_data, runs, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(predict, "_remove_unfinished", interrupted)
        assert run(drawn_data, runs) == 1
    assert len(list(runs.glob("*/base/test.npz"))) == len(list((runs / "stores").glob(".predictions-*"))) == 2
    first, _ = sorted((runs / "stores").glob(".predictions-*"))
    eight_views = first.with_name(f"{first.stem.rpartition('-')[0]}-{'0' * 16}.npy")
    shutil.copyfile(first, eight_views)
    assert run(drawn_data, runs) == 0  # nothing is left to predict
    assert list((runs / "stores").glob(".predictions-*")) == [eight_views]  # which may go on


def test_only_what_is_missing_or_stale_is_predicted(drawn_data, runs, capsys):
    assert run(drawn_data, runs, "--variants", "2") == 0
    assert not (runs / "3" / "base" / "test.npz").exists()
    before = (runs / "2" / "base" / "test.npz").stat().st_mtime_ns
    assert run(drawn_data, runs) == 0
    assert (runs / "2" / "base" / "test.npz").stat().st_mtime_ns == before
    assert "2/base/test.npz is up to date" in capsys.readouterr().out
    make_run(runs / "2" / "base", 2, fold=1)
    (runs / "3" / "base" / "test.npz").write_bytes(b"damaged")
    assert run(drawn_data, runs) == 0
    assert (runs / "2" / "base" / "test.npz").stat().st_mtime_ns > before
    assert len(read_predictions(runs / "3" / "base" / "test.npz").ids) == 20


def test_what_is_up_to_date_stays_so_in_a_copy(drawn_data, runs, tmp_path, capsys):
    assert run(drawn_data, runs) == 0
    copied = tmp_path / "copied"
    shutil.copytree(runs, copied, copy_function=shutil.copyfile)  # the times are those of the copying
    files = [copied / name / "base" / "test.npz" for name in "23"]
    for file in files:
        os.utime(file, (100, 100))
    assert run(drawn_data, copied) == 0
    assert {file.stat().st_mtime for file in files} == {100}
    assert capsys.readouterr().out.count("is up to date") == 2
    stamps = store_folder(copied, drawn_data / "test", HPA, 48) / "stamps.npy"
    np.save(stamps, np.load(stamps) ^ 2)  # as of other images, which are packed anew
    assert run(drawn_data, copied, "--variants", "2") == 0
    assert files[0].stat().st_mtime == 100
    shutil.copytree(drawn_data, tmp_path / "data")
    image = next((tmp_path / "data" / "test").glob("*_green.png"))
    write_image(image, 255 - read_channel(image))
    assert run(tmp_path / "data", copied, "--variants", "2") == 0
    assert files[0].stat().st_mtime > 100
    assert read_predictions(files[0]).stamps_sha256 != read_predictions(files[1]).stamps_sha256


def test_files_that_do_not_name_their_model_are_told_by_their_times(drawn_data, runs):
    assert run(drawn_data, runs, "--variants", "2") == 0
    file = runs / "2" / "base" / "test.npz"
    write_predictions(file, replace(read_predictions(file), model_sha256=None, stamps_sha256=None))
    before = file.stat().st_mtime_ns
    assert run(drawn_data, runs, "--variants", "2") == 0
    assert file.stat().st_mtime_ns == before
    (runs / "2" / "base" / "model.keras").touch()
    assert run(drawn_data, runs, "--variants", "2") == 0
    assert read_predictions(file).model_sha256 == file_digest(runs / "2" / "base" / "model.keras")


def interrupt(monkeypatch, data, runs, *options):
    """Interrupt a pass before its second batch."""
    predict_on_batch, calls = keras.Model.predict_on_batch, []

    def interrupted(self, images):
        calls.append(len(images))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return predict_on_batch(self, images)

    with monkeypatch.context() as patch:
        patch.setattr(keras.Model, "predict_on_batch", interrupted)
        assert run(data, runs, *options) == 1


def test_a_pass_that_was_given_up_leaves_nothing(drawn_data, runs, monkeypatch):
    monkeypatch.setattr(predict, "BATCH", 6)
    interrupt(monkeypatch, drawn_data, runs, "--variants", "2")
    make_run(runs / "2" / "base", 2)
    assert run(drawn_data, runs) == 0
    assert not list((runs / "stores").glob(".predictions*"))


@pytest.mark.parametrize("shard", [[], ["--shard", "2/2"]])
def test_a_pass_of_other_runs_leaves_what_is_unfinished(drawn_data, runs, monkeypatch, shard):
    monkeypatch.setattr(predict, "BATCH", 6)
    interrupt(monkeypatch, drawn_data, runs, "--variants", "2", *shard)
    assert run(drawn_data, runs, "--variants", "3") == 0
    predict_on_batch, sizes = keras.Model.predict_on_batch, []
    monkeypatch.setattr(
        keras.Model, "predict_on_batch", lambda self, images: sizes.append(len(images)) or predict_on_batch(self, images)
    )
    make_run(runs / "5" / "base", 3)
    assert run(drawn_data, runs, "--variants", "2,5") == 0  # in another company it goes on as well
    assert sum(sizes) == 4 * 6 + 3 * 6  # all four batches of run 5, three of run 2
    assert not list((runs / "stores").glob(".predictions*"))


def test_models_of_different_image_sizes(drawn_data, runs):
    make_run(runs / "0" / "base", 0, size=80)
    assert run(drawn_data, runs) == 0
    assert len(read_predictions(runs / "0" / "base" / "test.npz").ids) == 20
    assert {folder.name for folder in (runs / "stores").iterdir() if folder.is_dir()} == {
        store_folder(runs, drawn_data / "test", HPA, size).name for size in (48, 80)
    }


def test_what_cannot_be_predicted(drawn_data, runs, tmp_path, capsys):
    (runs / "3" / "base" / "model.keras").unlink()
    assert run(drawn_data, runs) == 2
    assert "3/base: no model.keras" in capsys.readouterr().err
    assert run(drawn_data, tmp_path / "nothing") == 2
    assert "no run folders here" in capsys.readouterr().err
    shutil.copytree(drawn_data, tmp_path / "data")
    next((tmp_path / "data" / "test").glob("*_green.png")).unlink()
    assert run(tmp_path / "data", runs, "--variants", "2") == 2
    assert "_green.png" in capsys.readouterr().err


@pytest.mark.parametrize("done", [[1, 2, 3], [3], []])
def test_predictions_in_parts_are_those_of_one_process(drawn_data, runs, monkeypatch, done):
    monkeypatch.setattr(predict, "BATCH", 6)
    files = [runs / variant / "base" / "test.npz" for variant in ("2", "3")]
    assert run(drawn_data, runs) == 0
    expected = [file.read_bytes() for file in files]
    for file in files:
        file.unlink()
    rows = []

    def counting(self, models, images, labels, batch):
        rows.append(len(models) * len(images))
        return own(self, models, images, labels, batch)

    own = TTA.predict_all
    monkeypatch.setattr(TTA, "predict_all", counting)
    for number in done:
        assert run(drawn_data, runs, "--shard", f"{number}/3") == 0
        assert not any(file.exists() for file in files)
    assert run(drawn_data, runs) == 0
    assert [file.read_bytes() for file in files] == expected
    assert sum(rows) == 2 * 20  # each row once for each model
    assert not list((runs / "stores").glob(".predictions*"))


def test_a_part_of_a_folder_is_refused(drawn_data, runs, capsys):
    assert run(drawn_data, runs, "--images", str(drawn_data / "test"), "--out", "table.csv", "--shard", "1/2") == 2
    assert "--shard is for the test set of --data; leave it out" in capsys.readouterr().err
