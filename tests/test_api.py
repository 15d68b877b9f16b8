"""The library as a notebook uses it: variant 2 (the smallest kernels) on drawn cells of 48 pixels."""

import json
import random
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

import hpa
from hpa.data.layout import find_files, list_ids
from hpa.data.tables import read_sample_submission
from hpa.errors import BadInput
from hpa.scoring.predictions import read_predictions

ROOT = Path(__file__).resolve().parents[1]
SMALL = {"variant": 2, "size": 48, "batch_size": 16, "epochs": 2}


@pytest.fixture(scope="module")
def run(drawn_data, tmp_path_factory):
    return hpa.Run.train(hpa.HPA, str(drawn_data), str(tmp_path_factory.mktemp("runs")), **SMALL)


@pytest.fixture(scope="module")
def tuned(run):
    return run.finetune("cnn", epochs=1)


def states():
    policy = keras.config.dtype_policy().name
    numbers = keras.config.floatx(), keras.config.epsilon(), keras.config.image_data_format(), policy
    return numbers, random.getstate(), [np.asarray(part).tolist() for part in np.random.get_state()]  # noqa: NPY002


def test_importing_is_light():
    script = "import sys, hpa; print(sorted({'numpy', 'pandas', 'keras', 'pydantic'} & sys.modules.keys()), dir(hpa))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("[] ")
    assert set(hpa.__all__) <= set(dir(hpa))
    with pytest.raises(AttributeError, match="has no attribute 'Runs'"):
        _ = hpa.Runs


def test_a_run_knows_what_it_is(run, drawn_data):
    assert (run.name, run.folder.name, run.task, run.data) == ("2", "base", hpa.HPA, drawn_data)
    assert isinstance(run.settings, hpa.Settings)
    assert {name: getattr(run.settings, name) for name in SMALL} == SMALL
    assert run.history["epoch"].tolist() == [1, 2]
    assert run.score == run.history["validation_f1_best"].max()
    assert isinstance(run.plot(), Figure)
    assert hpa.Run.load(str(run.folder)) == run


def test_a_finished_run_is_found_and_not_trained_again(run, drawn_data, capsys):
    before = (run.folder / "model.keras").stat().st_mtime_ns
    again = hpa.Run.train(hpa.HPA, drawn_data, run.folder.parents[1], **SMALL)
    assert again == run
    assert (run.folder / "model.keras").stat().st_mtime_ns == before
    assert "is finished already" in capsys.readouterr().out


def test_stages_follow_each_other(run, tuned):
    assert (tuned.folder.parent, tuned.folder.name) == (run.folder.parent, "cnn")
    assert tuned.settings.part == "convolutional"
    with pytest.raises(BadInput, match="stage dnn: does not follow on base; expected cnn"):
        run.finetune("dnn")


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"epoch": 1}, "no setting epoch here; is epochs meant"),
        ({"epochs": 0}, "epochs is 0; expected a whole number"),
        ({"fold": 9}, "fold 9"),
    ],
)
def test_settings_are_checked_as_those_of_commands(drawn_data, tmp_path, settings, text):
    with pytest.raises(BadInput, match=text) as caught:
        hpa.Run.train(hpa.HPA, drawn_data, tmp_path, **settings)
    assert "--" not in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_images_are_arrays_files_or_a_folder(run, drawn_data):
    folder = drawn_data / "test"
    files = find_files(folder, list_ids(folder, hpa.HPA), hpa.HPA)
    of_folder = run.predict(str(folder))
    assert (of_folder.dtype, of_folder.shape) == (np.float32, (20, 28))
    images = np.stack([np.dstack([np.asarray(keras.utils.load_img(file, "grayscale")) for file in each]) for each in files])
    images = images.astype(np.uint8)
    for form in (images, list(images), files, [tuple(map(str, each)) for each in files]):
        np.testing.assert_allclose(run.predict(form), of_folder, atol=1e-6)
    np.testing.assert_allclose(
        run.model.predict(images[:2, :48, :48], verbose=0), run.predict(images[:2, :48, :48]), atol=1e-6
    )
    assert not np.allclose(run.predict(images[:2], tta=8), of_folder[:2], atol=1e-6)
    assert run.predict([]).shape == (0, 28)


@pytest.mark.parametrize(
    ("images", "text"),
    [
        (np.zeros((2, 8, 8, 3), np.uint8), r"image 0: expected uint8 or uint16 \[H, W, 4\]"),
        (np.zeros((2, 8, 8, 4), np.float32), "received float32"),
        (np.zeros((2, 8, 8, 4), np.uint16), "image 0 has 16 bits"),
        (["a.png"], "expected 4 files, one for each of red, green, blue, yellow; received 1"),
        ("nowhere", "nowhere: cannot be listed"),
    ],
)
def test_images_that_cannot_be_used_are_named(run, images, text):
    with pytest.raises(BadInput, match=text):
        run.predict(images)


def test_evaluate_scores_labelled_images(run, drawn_data):
    found = run.evaluate(drawn_data / "train")
    assert len(found.predictions.ids) == 60
    assert found.scores.keys() == {"macro F1", "micro F1", "exact match"}


def test_a_blend_is_what_the_command_writes(run, tuned, drawn_data, tmp_path):
    entry = hpa.blend([run, str(tuned.folder)], shift=0)
    assert (run.folder / "test.npz").exists()
    ids = read_sample_submission(drawn_data / "sample_submission.csv").ids
    assert entry.probabilities.index.tolist() == ids.tolist()
    test = [read_predictions(each.folder / "test.npz").probabilities for each in (run, tuned)]
    expected = np.average(test, axis=0, weights=list(entry.weights.values()))
    np.testing.assert_allclose(entry.probabilities, expected, atol=1e-6)
    assert entry.weights.keys() == entry.scores.keys() == {str(run.folder), str(tuned.folder)}
    assert entry.thresholds.keys() == set(hpa.HPA.classes)
    assert f"{entry.score:.4f}" in str(entry)
    written = entry.submission(str(tmp_path / "new" / "entry.csv"))
    assert pd.read_csv(written)["Id"].tolist() == ids.tolist()
    about = json.loads(written.with_suffix(".json").read_text())
    assert about["validation_f1"] == entry.score

    from hpa import ensemble

    members = ["--run", str(run.folder), str(tuned.folder), "--shift", "0"]
    assert ensemble.main([*members, "--data", str(drawn_data), "--out", str(tmp_path / "command.csv")]) == 0
    assert (tmp_path / "command.csv").read_bytes() == written.read_bytes()


def test_an_entry_is_a_csv(run):
    with pytest.raises(BadInput, match=r"ends in \.csv"):
        hpa.blend([run], shift=0).submission("entry.json")
    with pytest.raises(BadInput, match="name at least one"):
        hpa.blend([])


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"weights": "optimal"}, "weights optimal: expected one of shifted, equal, greedy, optimum"),
        ({"weights": None}, "weights None: expected one of"),
        ({"threshold": "best"}, "threshold best: expected per-class, global, class-share or a number between 0 and 1"),
        *(({"threshold": value}, f"threshold {value}: expected") for value in (1.5, 1, 0, -0.5, float("nan"), "1.5", True)),
        ({"threshold": np.array([0.2, 0.3])}, r"threshold \[0.2 0.3\]: expected"),
    ],
)
def test_rules_of_a_blend_are_checked_before_anything_is_read(rule, message):
    with pytest.raises(BadInput, match=message) as caught:
        hpa.blend(["nowhere"], **rule)
    assert [caught.value.setting] == list(rule)


def test_nothing_global_is_changed(drawn_data, tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    keras.config.set_epsilon(1e-5)
    try:
        before = states()
        run = hpa.Run.train(hpa.HPA, drawn_data, tmp_path, **SMALL | {"epochs": 1})
        run.predict(drawn_data / "test")
        hpa.blend([run], shift=0)
        assert states() == before
    finally:
        keras.config.set_dtype_policy("float32")
        keras.config.set_epsilon(1e-7)
    assert run.model.layers[-1].compute_dtype == "float32"


def test_a_saved_model_opens_where_only_hpa_was_imported(run):
    script = (
        "import sys, hpa\n"
        "assert 'keras' not in sys.modules\n"
        f"model = hpa.load_model({str(run.folder)!r})\n"
        "print(model.output_shape)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "(None, 28)\n"
    with pytest.raises(BadInput, match="cannot be read"):
        hpa.load_model("nowhere.keras")
