import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from hpa import ensemble
from hpa.errors import BadInput
from hpa.files import read_json, write_json
from hpa.runs.folder import run_folders
from hpa.scoring.folds import join_folds, run_of
from hpa.scoring.members import read_members
from hpa.scoring.predictions import Predictions, write_predictions
from hpa.stages import fold_name
from hpa.tasks import HPA

FOLDS, ROWS, CLASSES = 3, 90, len(HPA.classes)
IDS = np.array([f"v{row:02d}" for row in range(ROWS)])
TEST_IDS = np.array([f"t{row:02d}" for row in range(30)])
TARGETS = (np.random.default_rng(0).random((ROWS, CLASSES)) < 0.3).astype(np.uint8)
CONFIG = {"model": "gapnet", "folds": FOLDS, "split_seed": 0, "groups": None, "table_sha256": "a" * 64, "epochs": 4}


def make_fold(folder, fold, seed, **changes):
    """Write what a run on one fold leaves: its settings and the predictions of its held-out rows and of the test set."""
    random = np.random.default_rng([seed, fold])
    config = CONFIG | {"variant": seed, "fold": fold, "start_sha256": f"{fold}", "versions": {"numpy": f"2.{fold}"}}
    write_json(folder / "config.json", config | changes)
    for name, ids in (("validation", IDS[fold::FOLDS]), ("test", TEST_IDS)):
        truth = TARGETS[fold::FOLDS] if name == "validation" else random.random((len(ids), CLASSES)) < 0.3
        values = 1 / (1 + np.exp(1.5 - 3 * truth + random.normal(size=truth.shape)))
        write_predictions(
            folder / f"{name}.npz", Predictions(ids, HPA.classes, values, truth if name == "validation" else None)
        )
    return folder


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Two runs of three folds each."""
    monkeypatch.chdir(tmp_path)
    for seed in (0, 1):
        for fold in range(FOLDS):
            make_fold(Path("runs", fold_name(str(seed), fold), "base"), fold, seed)
    Path("data").mkdir()
    pd.DataFrame({"Id": TEST_IDS[::-1], "Predicted": "0"}).to_csv("data/sample_submission.csv", index=False)
    return tmp_path


def arrays(pattern, name):
    return [np.load(folder / name) for folder in sorted(Path("runs").glob(pattern))]


@pytest.mark.parametrize(
    ("run", "fold", "kernel", "expected"),
    [
        ("0", 0, None, "0"), ("0", 2, None, "0-fold2"), ("0", 11, None, "0-fold11"), ("a-b", 3, None, "a-b-fold3"),
        ("0", 1, "rbf", "0-fold1-svm-rbf"), ("0", 0, "linear", "0-svm-linear"), ("0-svm", 1, None, "0-svm-fold1"),
        ("fold1", 2, None, "fold1-fold2"), ("a-folds", 0, None, "a-folds"),
    ],
)  # fmt: skip
def test_names_of_folds(place, run, fold, kernel, expected):
    assert fold_name(run, fold, kernel) == expected
    folder = make_fold(Path("runs", expected, "base"), fold, 0, **({"svm": {"kernel": kernel}} if kernel else {}))
    assert run_of(folder) == fold_name(run, 0, kernel)


@pytest.mark.parametrize(("name", "fold"), [("unet-fold2", 0), ("unet-fold2", 1), ("unet-fold02", 2), ("unet-svm-rbf", 0)])
def test_a_name_alone_makes_no_fold(place, name, fold):
    assert run_of(make_fold(Path("runs", name, "base"), fold, 0)) == name


def test_a_users_own_name_is_not_taken_for_a_fold(place):
    """Without folds, as where the data has a validation set of its own; its members are those of fold 0."""
    for name in ("unet", "unet-fold2"):
        make_fold(Path("runs", name, "base"), 0, 0, folds=None)
    assert run_folders(Path("runs"), ["unet"]) == [Path("runs/unet/base")]
    members = read_members([Path("runs/unet/base"), Path("runs/unet-fold2/base")], TEST_IDS)
    assert members.names == ["runs/unet/base", "runs/unet-fold2/base"]


def test_the_folds_of_a_run_are_one_member(place):
    folders = sorted(Path("runs").glob("*/base"), reverse=True)
    members = read_members(folders, TEST_IDS[::-1])
    assert members.names == ["runs/1/base (3 folds)", "runs/0/base (3 folds)"]
    row_of = {each: row for row, each in enumerate(IDS)}
    order = [row_of[each] for fold in range(FOLDS) for each in IDS[fold::FOLDS]]
    np.testing.assert_array_equal(members.targets, TARGETS[order])
    for own, own_test, pattern in zip(members.validation, members.test, ("1*/base", "0*/base"), strict=True):
        expected = np.concatenate([each["probabilities"] for each in arrays(pattern, "validation.npz")])
        np.testing.assert_array_equal(own, expected)
        tests = [each["probabilities"][::-1].astype(float) for each in arrays(pattern, "test.npz")]
        np.testing.assert_allclose(own_test, sum(tests) / FOLDS, rtol=1e-6)
        assert own_test.dtype == np.float32


def test_the_ensemble_takes_all_folds_of_a_variant(place, capsys):
    assert ensemble.main(["--variants", "0", "--threshold", "0.5", "--shift", "0.1"]) == 0
    assert "runs/0/base (3 folds)" in capsys.readouterr().out
    about = json.loads(Path("submissions/ensemble.json").read_text())
    assert [each["folder"] for each in about["members"]] == ["runs/0/base (3 folds)"]
    files = arrays("0*/base", "validation.npz")
    targets, probabilities = (np.concatenate([each[name] for each in files]) for name in ("targets", "probabilities"))
    above = probabilities > 0.5
    above[np.arange(ROWS), probabilities.argmax(axis=1)] |= ~above.any(axis=1)
    assert about["validation_f1"] == pytest.approx(f1_score(targets, above, average="macro", zero_division=0))


def test_folds_of_one_number_are_members_of_their_own(place):
    folders = [Path("runs/1-fold2/base"), Path("runs/0-fold2/base")]
    members = read_members(folders, TEST_IDS)
    assert members.names == ["runs/1-fold2/base", "runs/0-fold2/base"]
    assert len(members.targets) == ROWS // FOLDS
    for name in ("0-fold1", "0-fold2", "1", "1-fold1", "1-fold2"):
        shutil.rmtree(place / "runs" / name)
    assert ensemble.main(["--variants", "0", "--shift", "0.1"]) == 0  # only fold 0 was trained
    about = json.loads(Path("submissions/ensemble.json").read_text())
    assert [each["folder"] for each in about["members"]] == ["runs/0/base"]


def test_folders_of_another_origin_are_members_of_their_own(place):
    for folder in (Path("elsewhere/0"), Path("elsewhere/0-fold1")):
        folder.mkdir(parents=True)
    write_json(Path("elsewhere/0-fold1/config.json"), {"folds": None, "fold": 0})
    folders = [Path("elsewhere/0"), Path("runs/0/base"), Path("elsewhere/0-fold1"), Path("runs/0-fold1/base")]
    members = join_folds([*folders, Path("runs/0-fold2/base")])
    assert members == {
        "elsewhere/0": [Path("elsewhere/0")],
        "runs/0/base (3 folds)": [Path("runs/0/base"), Path("runs/0-fold1/base"), Path("runs/0-fold2/base")],
        "elsewhere/0-fold1": [Path("elsewhere/0-fold1")],
    }


def change(folder, **settings):
    write_json(Path(folder, "config.json"), read_json(Path(folder, "config.json")) | settings)


def finetune(name):
    """Give a run's fold a stage `cnn` too."""
    shutil.copytree(f"runs/{name}/base", f"runs/{name}/cnn")


SVM = {"svm": {"source": "0/base", "kernel": "rbf"}}


@pytest.mark.parametrize(
    ("damage", "options", "faults"),
    [
        (
            lambda: shutil.rmtree("runs/0-fold1"),
            [],
            ["runs/0-fold1/base: fold 1 of 3 is missing; hpa train --model gapnet --variant 0 --folds 3 --fold 1 "
             "--name 0-fold1 with the options of runs/0/base makes it"],
        ),
        (
            lambda: [shutil.rmtree(f"runs/{name}") for name in ("1-fold1", "1-fold2")],  # others have all their folds
            [],
            ["runs/1-fold1/base: fold 1 of 3 is missing; ", "runs/1-fold2/base: fold 2 of 3 is missing; "],
        ),
        (
            lambda: finetune("0-fold1"),
            ["--variants", "0"],
            ["runs/0-fold1/base: fold 1 of 3 is not named; ",
             "runs/0/cnn: fold 0 of 3 is missing; hpa finetune --stage cnn --name 0 with the options of ",
             "runs/0-fold2/cnn: fold 2 of 3 is missing; hpa finetune --stage cnn --name 0-fold2 with"],
        ),
        (
            lambda: [
                make_fold(Path(f"runs/{name}-svm-rbf/base"), fold, 0, **SVM) for fold, name in enumerate(("0", "0-fold1"))
            ],
            ["--variants", "0-svm-rbf"],
            [
                "runs/0-fold2-svm-rbf/base: fold 2 of 3 is missing; "
                "hpa svm --kernel rbf --run runs/0-fold2/base with the options of "
            ],
        ),
        (
            lambda: None,
            ["--run", "runs/0/base", "runs/0-fold2/base"],
            ["runs/0-fold1/base: fold 1 of 3 is not named; name all folds, or only those with one number"],
        ),
        (
            lambda: None,
            ["--run", "runs/0/base", "runs/1-fold1/base"],
            [f"runs/{name}/base: fold {name[-1]} of 3 is not named" for name in ("0-fold1", "0-fold2", "1-fold2")]
            + ["runs/1/base: fold 0 of 3 is not named"],
        ),
        (
            lambda: change("runs/0-fold2/base", split_seed=7),
            [],
            ["runs/0-fold2/base: other settings than runs/0/base (split_seed 7 instead of 0); delete it and train it"],
        ),
        (
            lambda: change("runs/0-fold2/base", table_sha256="b" * 64, groups="copies.csv"),
            [],
            ["runs/0-fold2/base: other settings than runs/0/base (groups copies.csv instead of None, "
             "table_sha256 bbbbbbbb... instead of aaaaaaaa...); "],
        ),
        (
            lambda: change("runs/0-fold2/base", folds=5),
            [],
            ["runs/0-fold2/base: other settings than runs/0/base (folds 5 instead of 3); "],
        ),
        (
            lambda: change("runs/0-fold2/base", fold=1),
            ["--variants", "0"],
            ["fold 2 of 3 is missing, and runs/0-fold2/base: holds out fold 1, but its name says another"],
        ),
        (
            lambda: make_fold(Path("runs/1-fold7/base"), 0, 1),  # as an earlier version let `--name 1-fold7` do
            [],
            ["runs/1-fold7/base: holds out fold 0, but its name says another; rename or delete runs/1-fold7"],
        ),
        (
            lambda: shutil.copy("runs/0-fold1/base/validation.npz", "runs/0-fold2/base/validation.npz"),
            ["--variants", "0"],
            ["runs/0/base (3 folds): 30 ids are validated more than once, first v01; "],
        ),
        (
            lambda: shutil.copy("runs/1/base/test.npz", "runs/1/base/validation.npz"),
            [],
            ["runs/1/base/validation.npz: no targets"],
        ),
    ],
)  # fmt: skip
def test_folds_that_do_not_make_a_member(place, capsys, damage, options, faults):
    damage()
    assert ensemble.main([*options, "--shift", "0.1"]) == 2
    text = capsys.readouterr().err
    for fault in faults:
        assert fault in text
    for kind in ("is missing", "is not named"):
        assert text.count(kind) == sum(kind in fault for fault in faults)
    assert not Path("submissions").exists()


def test_folds_of_an_earlier_version_and_of_another_machine_are_of_the_same_run(place):
    change("runs/0-fold1/base", folds_of="train", unfreezing=0, augment_on="device", ema_momentum=0.5)
    for name in ("0", "0-fold2"):
        change(f"runs/{name}/base", averaging=0.5)
    folders = [Path(f"runs/{name}/base") for name in ("0", "0-fold1", "0-fold2")]
    assert join_folds(folders) == {"runs/0/base (3 folds)": folders}


def test_folds_of_other_rows_than_another_member(place):
    for fold in range(FOLDS):
        file = Path("runs", fold_name("1", fold), "base", "validation.npz")
        kept = dict(np.load(file))
        rows = slice(None, 29 if fold == 2 else None)
        write_predictions(
            file, Predictions(kept["ids"][rows], HPA.classes, kept["probabilities"][rows], kept["targets"][rows])
        )
    with pytest.raises(BadInput, match=r"runs/1/base \(3 folds\): 1 ids of runs/0/base \(3 folds\) missing \(v89\)"):
        read_members(sorted(Path("runs").glob("*/base")), None)
