import shutil

import keras
import numpy as np
import pytest

from hpa import predict as command
from hpa.data.store import pack
from hpa.data.tables import read_sample_submission
from hpa.files import write_json
from hpa.models.catalog import build
from hpa.scoring.predictions import read_predictions
from hpa.tasks import HPA
from hpa.training import predict
from hpa.training.presets import REPORT
from hpa.training.stages import Settings


def make_run(folder, variant, size=48):
    """Write a run folder with a new model: predicting does not ask whether it has learned anything."""
    settings = Settings(**REPORT | {"variant": variant, "size": size, "folds": 5})
    write_json(folder / "config.json", vars(settings) | {"task": vars(HPA)})
    keras.utils.set_random_seed(variant)
    build("gapnet", variant, size, 4, 28).save(folder / "model.keras")


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
    store = pack(runs / "stores" / "test-48", drawn_data / "test", ids, HPA, 48)
    for variant in ("2", "3"):
        folder = runs / variant / "base"
        found = read_predictions(folder / "test.npz")
        assert found.ids.tolist() == ids.tolist()
        assert found.classes == HPA.classes
        assert found.targets is None
        expected = keras.saving.load_model(folder / "model.keras", compile=False).predict(store.images, verbose=0)
        np.testing.assert_allclose(found.probabilities, expected, atol=1e-6)
    assert not list((runs / "stores").glob(".predictions*"))


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
    assert len(list((runs / "stores").glob(".predictions-*"))) == 1

    sizes.clear()
    monkeypatch.setattr(
        keras.Model, "predict_on_batch", lambda self, images: sizes.append(len(images)) or predict_on_batch(self, images)
    )
    assert run(drawn_data, runs) == 0
    assert sizes == [6, 6, 6, 6, 2, 2]  # 14 of the 20 images, with two models
    resumed = [read_predictions(runs / name / "base" / "test.npz").probabilities for name in ("2", "3")]
    for name in ("2", "3"):
        (runs / name / "base" / "test.npz").unlink()
    assert run(drawn_data, runs) == 0
    for name, probabilities in zip(("2", "3"), resumed, strict=True):
        np.testing.assert_array_equal(read_predictions(runs / name / "base" / "test.npz").probabilities, probabilities)


def test_only_what_is_missing_or_stale_is_predicted(drawn_data, runs, capsys):
    assert run(drawn_data, runs, "--variants", "2") == 0
    assert not (runs / "3" / "base" / "test.npz").exists()
    before = (runs / "2" / "base" / "test.npz").stat().st_mtime_ns
    assert run(drawn_data, runs) == 0
    assert (runs / "2" / "base" / "test.npz").stat().st_mtime_ns == before
    assert "2/base/test.npz is up to date" in capsys.readouterr().out
    make_run(runs / "2" / "base", 2)
    (runs / "3" / "base" / "test.npz").write_bytes(b"damaged")
    assert run(drawn_data, runs) == 0
    assert (runs / "2" / "base" / "test.npz").stat().st_mtime_ns > before
    assert len(read_predictions(runs / "3" / "base" / "test.npz").ids) == 20


def test_a_pass_that_was_given_up_leaves_nothing(drawn_data, runs):
    (runs / "stores").mkdir()
    (runs / "stores" / ".predictions-0123456789abcdef.npy").touch()
    assert run(drawn_data, runs) == 0
    assert not list((runs / "stores").glob(".predictions*"))


def test_models_of_different_image_sizes(drawn_data, runs):
    make_run(runs / "0" / "base", 0, size=80)
    assert run(drawn_data, runs) == 0
    assert len(read_predictions(runs / "0" / "base" / "test.npz").ids) == 20
    assert {folder.name for folder in (runs / "stores").iterdir() if folder.is_dir()} == {"test-48", "test-80"}


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
