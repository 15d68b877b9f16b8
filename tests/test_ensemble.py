import hashlib
import json
import os
import pickle
import subprocess
import sys
import warnings
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, f1_score

import hpa
from hpa import ensemble, thresholds
from hpa.scoring.predictions import Predictions, read_predictions, write_predictions
from hpa.scoring.thresholds import find_thresholds
from hpa.tasks import HEP2, HPA

ROOT = Path(__file__).resolve().parents[1]
CLASSES = len(HPA.classes)
VALIDATION_IDS = np.array([f"v{row}" for row in range(400)])
TEST_IDS = np.array([f"t{row}" for row in range(300)])
# 80 label sets of five rows each
TARGETS = np.tile(np.random.default_rng(1).random((80, CLASSES)) < np.geomspace(0.4, 0.02, CLASSES), (5, 1)).astype(np.uint8)


def make(folder, noise, seed):
    """Write a run folder whose probabilities are the truth and some noise."""
    random = np.random.default_rng(seed)
    truth = {"validation": TARGETS, "test": random.random((300, CLASSES)) < 0.1}
    for name, ids in (("validation", VALIDATION_IDS), ("test", TEST_IDS)):
        values = 1 / (1 + np.exp(3.0 - 4.0 * truth[name] + noise * random.normal(size=truth[name].shape)))
        write_predictions(
            folder / f"{name}.npz", Predictions(ids, HPA.classes, values, TARGETS if name == "validation" else None)
        )
    (folder / "config.json").write_text("{}")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with runs and a sample submission whose order is not the members'."""
    monkeypatch.chdir(tmp_path)
    for seed, (name, noise) in enumerate([("0/base", 3.0), ("0/cnn", 1.0), ("1/base", 1.2), ("7/base", 30.0)]):
        make(tmp_path / "runs" / name, noise, seed)
    (tmp_path / "data").mkdir()
    pd.DataFrame({"Id": TEST_IDS[::-1], "Predicted": "0"}).to_csv("data/sample_submission.csv", index=False)
    return tmp_path


def read_submission(path):
    """Return the ids and the predicted classes, bool [n, classes]."""
    frame = pd.read_csv(path)
    predicted = np.zeros((len(frame), CLASSES), bool)
    for row, text in enumerate(frame["Predicted"]):
        predicted[row, [int(each) for each in text.split()]] = True
    return frame["Id"].to_numpy(dtype=str), predicted


def test_the_command_in_a_process_of_its_own(place):
    code = (
        "import sys, runpy\n"
        "try:\n    runpy.run_module('hpa.ensemble', run_name='__main__', alter_sys=True)\n"
        "finally:\n    print('HEAVY', sorted({'tensorflow', 'keras', 'cv2', 'matplotlib'} & sys.modules.keys()))\n"
    )
    command = [sys.executable, "-c", code, "--variants", "0,1,7", "--shift", "0.3"]
    done = subprocess.run(command, cwd=place, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1] == "HEAVY []"
    about = json.loads((place / "submissions" / "ensemble.json").read_text())
    assert [each["folder"] for each in about["members"]] == ["runs/0/cnn", "runs/1/base", "runs/7/base"]
    for each, line in zip(about["members"], lines[1:], strict=False):
        assert line.split() == [each["folder"], f"{each['validation_f1']:.4f}", f"{each['weight']:.4f}"]
    f1 = np.array([each["validation_f1"] for each in about["members"]])
    weights = np.array([each["weight"] for each in about["members"]])
    assert f1[2] < 0.3 < f1[:2].min()
    np.testing.assert_allclose(weights, [(f1[0] - 0.3) / (f1[:2] - 0.3).sum(), (f1[1] - 0.3) / (f1[:2] - 0.3).sum(), 0])
    assert any(line.startswith("weight 0") and line.endswith("runs/7/base") for line in lines)

    ids, predicted = read_submission(place / "submissions" / "ensemble.csv")
    np.testing.assert_array_equal(ids, TEST_IDS[::-1])
    files = [
        [np.load(place / each["folder"] / f"{name}.npz")["probabilities"] for each in about["members"]]
        for name in ("validation", "test")
    ]
    validation, test = (np.average(np.array(each, float), axis=0, weights=weights) for each in files)
    thresholds = np.array([about["thresholds"][name] for name in HPA.classes])
    above = test[::-1] > thresholds
    empty = ~above.any(axis=1)
    above[empty, test[::-1][empty].argmax(axis=1)] = True
    np.testing.assert_array_equal(predicted, above)
    assert about["test_rows_given_their_strongest_class"] == empty.sum()
    assert f"; {empty.sum()} of 300 rows ({empty.mean():.1%})" in done.stdout
    assert f"test: {above.sum() / 300:.2f} classes a row" in done.stdout

    above = validation > thresholds
    empty = ~above.any(axis=1)
    above[empty, validation[empty].argmax(axis=1)] = True
    assert about["validation_f1"] == pytest.approx(f1_score(TARGETS, above, average="macro", zero_division=0))
    assert f"blend: validation macro F1 {about['validation_f1']:.4f}; best single member {f1.max():.4f}" in done.stdout


def members_of(path="submissions/ensemble.json"):
    return [each["folder"] for each in json.loads(Path(path).read_text())["members"]]


@pytest.mark.parametrize(
    ("options", "members"),
    [
        ([], ["runs/0/cnn", "runs/1/base", "runs/7/base"]),
        (["--stage", "all"], ["runs/0/base", "runs/0/cnn", "runs/1/base", "runs/7/base"]),
        (["--stage", "base", "--variants", "1,0"], ["runs/1/base", "runs/0/base"]),
        (["--run", "runs/1/base", "runs/0/cnn"], ["runs/1/base", "runs/0/cnn"]),
        (["--run", "runs/0/cnn"], ["runs/0/cnn"]),
    ],
)
def test_which_members(place, options, members):
    assert ensemble.main([*options, "--shift", "0.1"]) == 0
    assert members_of() == members


def test_the_order_of_the_members_does_not_change_the_submission(place):
    folders = ["runs/0/cnn", "runs/1/base", "runs/0/base"]
    assert ensemble.main(["--shift", "0.1", "--run", *folders, "--out", "a.csv"]) == 0
    assert ensemble.main(["--shift", "0.1", "--run", *folders[::-1], "--out", "b.csv"]) == 0
    assert Path("a.csv").read_bytes() == Path("b.csv").read_bytes()


@pytest.mark.parametrize("rule", [0.2, "global", "per-class", "class-share"])
def test_threshold_rules(place, rule):
    assert ensemble.main(["--threshold", str(rule), "--weights", "equal"]) == 0
    about = json.loads(Path("submissions/ensemble.json").read_text())
    assert about["threshold"] == rule
    mean = np.mean([np.load(f"{each}/validation.npz")["probabilities"] for each in members_of()], axis=0)
    np.testing.assert_allclose(list(about["thresholds"].values()), find_thresholds(rule, TARGETS, mean), rtol=1e-6)
    assert about["shift"] is None
    np.testing.assert_allclose([each["weight"] for each in about["members"]], 1 / 3)


@pytest.mark.parametrize("threshold", [0.2, "0.2", np.float32(0.2)])
def test_a_threshold_may_be_any_kind_of_number(place, threshold):
    entry = hpa.blend(["runs/0/cnn", "runs/1/base"], threshold=threshold, shift=0, data="data")
    assert entry.rule_of_thresholds == pytest.approx(0.2)
    assert isinstance(entry.rule_of_thresholds, float)
    assert set(entry.thresholds.values()) == {entry.rule_of_thresholds}


@pytest.mark.parametrize("rule", ["greedy", "optimum"])
def test_weights_that_are_searched_for(place, capsys, rule):
    assert ensemble.main(["--weights", rule, "--stage", "all"]) == 0
    about = json.loads(Path("submissions/ensemble.json").read_text())
    weights = {each["folder"]: each["weight"] for each in about["members"]}
    assert sum(weights.values()) == pytest.approx(1)
    assert min(weights["runs/0/cnn"], weights["runs/1/base"]) > weights["runs/7/base"]
    assert about["validation_f1"] > max(each["validation_f1"] for each in about["members"])
    assert (about["weights"], about["shift"]) == (rule, None)
    printed = capsys.readouterr().out
    assert f"weights {rule}, thresholds per-class" in printed
    assert "not above the shift" not in printed


def test_the_saved_threshold_rule_is_taken_by_itself(place, capsys):
    chosen = ["--weights", "equal", "--run", "runs/0/cnn", "runs/1/base"]
    assert thresholds.main(["--run", "runs/0/cnn", "runs/1/base", "--rule", "global"]) == 0
    saved = json.loads(Path("runs/0/cnn/thresholds.json").read_text())["thresholds"]
    assert ensemble.main(chosen) == 0
    about = json.loads(Path("submissions/ensemble.json").read_text())
    assert (about["threshold"], about["thresholds"]) == ("global", saved)
    assert ensemble.main([*chosen, "--threshold", "0.3"]) == 0
    assert json.loads(Path("submissions/ensemble.json").read_text())["threshold"] == 0.3
    assert capsys.readouterr().err == ""
    assert ensemble.main([*chosen, "runs/0/base"]) == 0
    assert "per-class is used; other or none: runs/0/base\n" in capsys.readouterr().err
    assert json.loads(Path("submissions/ensemble.json").read_text())["threshold"] == "per-class"


def test_weights_are_compared_without_a_submission(place, capsys):
    options = ["--run", "runs/0/cnn", "runs/7/base", "--shift", "0.1", "--out", "out/blend.csv"]
    assert ensemble.main(["--compare-weights", *options]) == 0
    table = pd.read_csv("out/blend-weights.csv", index_col="weights")
    assert table.index.tolist() == ["best member", "shifted", "equal", "greedy", "optimum"]
    assert np.all((table["low"] < table["cross_validated"]) & (table["cross_validated"] < table["high"]))
    assert table["gain_low"]["greedy"] > 0  # the one member is little else than noise
    printed = capsys.readouterr().out
    assert f"greedy                {table['cross_validated']['greedy']:.4f}" in printed
    assert printed.endswith("no submission; wrote out/blend-weights.csv\n")
    assert [path.name for path in Path("out").iterdir()] == ["blend-weights.csv"]


def test_weights_are_compared_without_a_shift_that_no_member_is_above(place, capsys):
    assert ensemble.main(["--compare-weights", "--shift", "0.999"]) == 0
    table = pd.read_csv("submissions/ensemble-weights.csv", index_col="weights")
    assert table.index.tolist() == ["best member", "equal", "greedy", "optimum"]
    assert "no member's F1 is above the shift 0.999, so shifted has no row\n" in capsys.readouterr().out


def test_one_validation_row_cannot_be_compared(place, capsys):
    path = place / "runs/0/cnn/validation.npz"
    own = read_predictions(path)
    one_row = {name: getattr(own, name)[:1] for name in ("ids", "probabilities", "targets")}
    write_predictions(path, replace(own, **one_row))
    for option in (["--compare-weights"], ["--sweep-shift", "0.1:0.2:0.1"]):
        assert ensemble.main(["--run", "runs/0/cnn", *option]) == 2
        error = capsys.readouterr().err
        assert error == "hpa.ensemble: validation.npz: 1 validation row; a comparison needs at least 2\n"


def test_the_shift_is_swept_without_a_submission(place, capsys):
    assert ensemble.main(["--sweep-shift", "0.20:1.00:0.1"]) == 0
    table = pd.read_csv("submissions/ensemble-shifts.csv", index_col="shift")
    assert ensemble.main(["--shift", "0.3"]) == 0
    about = json.loads(Path("submissions/ensemble.json").read_text())
    f1 = np.array([each["validation_f1"] for each in about["members"]])
    assert table.index.tolist() == [shift for shift in (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0) if shift < max(f1)]
    assert table["members"].tolist() == [np.count_nonzero(f1 > shift) for shift in table.index]
    assert table["resubstituted"][0.3] == pytest.approx(about["validation_f1"], abs=1e-6)
    _, at_03 = read_submission("submissions/ensemble.csv")
    assert ensemble.main(["--shift", "0.4"]) == 0
    assert table["changed"][0.4] == np.count_nonzero(at_03 != read_submission("submissions/ensemble.csv")[1])
    assert "no member's F1 is above the shift from " in capsys.readouterr().out
    assert Path("submissions/ensemble-shifts.png").read_bytes().startswith(b"\x89PNG")


def test_members_that_are_the_same_are_named(place, capsys):
    make(place / "runs/8/base", 1.0, 1)  # as runs/0/cnn
    assert ensemble.main(["--run", "runs/0/cnn", "runs/1/base", "runs/8/base", "--weights", "greedy"]) == 0
    assert "runs/8/base and runs/0/cnn are the same model and count twice" in capsys.readouterr().err
    assert ensemble.main(["--run", "runs/0/cnn", "runs/1/base"]) == 0
    assert capsys.readouterr().err == ""


def test_a_sample_submission_elsewhere(place):
    Path("data/sample_submission.csv").rename("ids.csv")
    assert ensemble.main(["--shift", "0.1", "--sample-submission", "ids.csv"]) == 0
    assert ensemble.main(["--shift", "0.1"]) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--shift", "0.999"], "no member's F1 is above the shift 0.999: runs/0/cnn 0."),
        (["--shift", "nan"], "no member's F1 is above the shift nan"),
        (["--run", "runs/0/cnn", "--variants", "0"], "leave out --variants and --stage"),
        (["--run", "runs/0/cnn", "--stage", "all"], "leave out --variants and --stage"),
        (["--run", "nowhere"], "nowhere: 2 faults\n  no validation.npz"),
        (["--variants", "5"], "no run named 5"),
        (["--variants", "1", "--stage", "cnn"], "no stage cnn"),
        (["--runs", "nowhere"], "no run folders here"),
        (["--out", "submissions/ensemble.json"], "ends in .csv"),
        (["--sweep-shift", "0.98:0.99:0.01"], "no member's F1 is above the shift 0.98"),
    ],
)
def test_bad_options(place, capsys, options, message):
    assert ensemble.main(options) == 2
    assert message in capsys.readouterr().err
    assert not Path("submissions").exists()


BAD_SWEEPS = (
    "0.3",
    "0.3:0.4",
    "0.4:0.3:0.01",
    "0.3:0.4:0",
    "0.3:0.4:-0.01",
    "0.3:0.31:0.1",
    "0:1:1e-9",
    "nan:1:0.1",
    "a:b:c",
)


@pytest.mark.parametrize(
    "options",
    [["--threshold", each] for each in ("0", "1", "nan", "best")]
    + [["--weights", "f1"]]
    + [["--sweep-shift", each] for each in BAD_SWEEPS],
)
def test_bad_values(options, capsys):
    with pytest.raises(SystemExit) as caught:
        ensemble.main(options)
    assert caught.value.code == 2
    assert options[0] in capsys.readouterr().err


def damage_nan(place):
    path = place / "runs/1/base/test.npz"
    arrays = dict(np.load(path))
    arrays["probabilities"][5, 3] = np.nan
    np.savez(path, **arrays)


def damage_absent(place):
    (place / "runs/1/base/test.npz").unlink()


def damage_sample(place):
    with open(place / "data/sample_submission.csv", "a") as file:
        file.write("another,0\n")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_nan, "runs/1/base/test.npz: row 5 (id t5) holds a probability that is not in [0, 1]"),
        (damage_absent, "runs/1/base: no test.npz; hpa predict writes it"),
        (damage_sample, "runs/1/base/test.npz: 1 ids of the test set missing (another)"),
    ],
)
def test_damaged_input_is_named_and_nothing_is_written(place, capsys, damage, message):
    damage(place)
    assert ensemble.main(["--shift", "0.1"]) == 2
    assert message in capsys.readouterr().err
    assert not Path("submissions").exists()


YEAST = 'classes = ["budding", "resting"]\nchannels = ["dapi"]\nlabels = "one"\n'


@pytest.fixture
def cells(tmp_path, monkeypatch):
    """A folder with two members of one label a sample, of no known origin, and two test images without a table."""
    monkeypatch.chdir(tmp_path)
    targets = np.tile(np.eye(6, dtype=np.uint8), (3, 1))
    for seed, name in enumerate("ab"):
        values = np.random.default_rng(seed).dirichlet(np.ones(6), 20)
        (tmp_path / name).mkdir()
        validation = Predictions(np.arange(18).astype(str), HEP2.classes, values[:18], targets, "one")
        write_predictions(tmp_path / name / "validation.npz", validation)
        write_predictions(
            tmp_path / name / "test.npz", Predictions(np.array(["s", "t"]), HEP2.classes, values[18:], None, "one")
        )
    (tmp_path / "data/test").mkdir(parents=True)
    for name in "st":
        (tmp_path / f"data/test/{name}.png").touch()
    (tmp_path / "yeast.toml").write_text(YEAST)
    return tmp_path


BLEND = ["--run", "a", "b", "--weights", "equal"]


@pytest.mark.parametrize("task", [[], ["--task", "hep2"]])
def test_one_label_a_sample_knows_no_fallback(cells, capsys, task):
    assert ensemble.main([*BLEND, *task]) == 0
    about = json.loads(Path("submissions/ensemble.json").read_text())
    assert about["test_rows"] == 2
    assert "test_rows_given_their_strongest_class" not in about
    assert pd.read_csv("submissions/ensemble.csv")["Id"].tolist() == ["s", "t"]
    told = capsys.readouterr()
    assert told.err == ""
    members = [read_predictions(Path(name, "validation.npz")) for name in "ab"]
    labels = members[0].targets.argmax(axis=1), np.mean([each.probabilities for each in members], axis=0).argmax(axis=1)
    mean = balanced_accuracy_score(*labels)
    assert about["validation_mean_class_accuracy"] == pytest.approx(mean)
    assert f"blend: validation accuracy {accuracy_score(*labels):.4f}, mean class accuracy {mean:.4f}\n" in told.out


def test_one_label_a_sample_has_no_threshold(cells, capsys):
    assert ensemble.main([*BLEND, "--threshold", "0.4"]) == 2
    told = "hpa.ensemble: --threshold: single-label tasks have no thresholds; leave it out\n"
    assert capsys.readouterr().err == told
    assert not Path("submissions").exists()


@pytest.mark.parametrize("task", ["hpa", "yeast.toml"])
@pytest.mark.parametrize("ask", [[], ["--compare-weights"], ["--sweep-shift", "0.1:0.2:0.1"]])
def test_another_task_than_the_members_is_refused(cells, capsys, task, ask):
    assert ensemble.main([*BLEND, *ask, "--task", task]) == 2
    error = capsys.readouterr().err
    assert error == (
        f"hpa.ensemble: --task {Path(task).stem}: a/validation.npz is of another task, "
        "single-label with 6 classes from 'Centromere' to 'Speckled'; leave it out, or name that one\n"
    )
    assert not Path("submissions").exists()


def test_a_task_of_the_same_classes_and_another_kind_of_labels_is_refused(place, capsys):
    text = f'classes = {json.dumps(HPA.classes)}\nchannels = ["red"]\nlabels = "one"\n'
    Path("single.toml").write_text(text)
    assert ensemble.main(["--shift", "0.1", "--task", "single.toml"]) == 2
    assert "multi-label with 28 classes" in capsys.readouterr().err
    assert ensemble.main(["--shift", "0.1", "--task", "hpa"]) == 0


def test_members_of_an_unknown_task_need_its_name_for_the_images_of_a_folder(cells, capsys):
    Path("cells.toml").write_text('classes = ["x", "y"]\nchannels = ["grey"]\nlabels = "one"\nsuffixes = [""]\n')
    for member in "ab":
        for file in ("validation", "test"):
            own = read_predictions(Path(member, f"{file}.npz"))
            targets = None if own.targets is None else np.tile(np.eye(2, dtype=np.uint8), (9, 1))
            values = own.probabilities[:, :2]
            write_predictions(
                Path(member, f"{file}.npz"), replace(own, classes=("x", "y"), probabilities=values, targets=targets)
            )
    assert ensemble.main(BLEND) == 2
    assert "name their task" in capsys.readouterr().err
    assert ensemble.main([*BLEND, "--task", "cells.toml"]) == 0
    Path("data/sample_submission.csv").write_text("Id,Predicted\nt,0\ns,0\n")
    assert ensemble.main(BLEND) == 0  # which says all that is needed


def test_a_submission_far_from_the_validation_shares_is_told(place, capsys):
    assert ensemble.main(["--shift", "0.1", "--threshold", "0.0001"]) == 0
    rows = f"28.00 classes a row, the validation rows have {TARGETS.sum() / len(TARGETS):.2f}; are the thresholds right?"
    assert f"submissions/ensemble.csv: {rows}\n" in capsys.readouterr().err
    assert ensemble.main(["--shift", "0.1"]) == 0
    assert capsys.readouterr().err == ""


def zip_bomb(path):
    """Claim 100 GB in a file of some kB: what an archive says of its sizes is believed before anything is unpacked."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("probabilities.npy", bytes(10**6))
        archive.infolist()[0].file_size = 10**11


def declare(path, shape):
    with zipfile.ZipFile(path, "w") as archive, archive.open("probabilities.npy", "w") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})


def write_archive(path, *names):
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as archive:
        warnings.simplefilter("ignore")  # of a name that is there twice
        for name in names:
            archive.writestr(name, "x" * 100)


HOSTILE = {
    "a zip bomb": zip_bomb,
    "an array of terabytes in its header": lambda path: declare(path, (10**12, 28)),
    "an array of a negative length": lambda path: declare(path, (-1, 28)),
    "an array of objects": lambda path: np.savez(path, ids=np.array([{}, []], object)),
    "the same array twice": lambda path: write_archive(path, "ids.npy", "ids.npy"),
    "an archive of something else": lambda path: write_archive(path, "readme.txt"),
    "arrays that are none": lambda path: write_archive(path, "ids.npy", "classes.npy", "probabilities.npy"),
    "a single array": lambda path: path.write_bytes(b"\x93NUMPY\x01\x00" + bytes(100)),
    "a pickle": lambda path: path.write_bytes(pickle.dumps({"ids": []})),
    "a pipe": os.mkfifo,
    "a folder": Path.mkdir,
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a device": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.mark.parametrize("file", ["validation.npz", "test.npz"])
@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE)
def test_hostile_prediction_files_end_in_one_line(place, capsys, make, file):
    path = Path("runs/1/base", file)
    path.unlink()
    make(path)
    commands = [(ensemble, "--run")] + [(thresholds, "--run")] * (file == "validation.npz")
    for command, option in commands:
        assert command.main([option, "runs/1/base"]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"{command.__name__}: runs/1/base")
        assert error.count("\n") == (4 if make is HOSTILE["arrays that are none"] else 1)
        assert len(error) < 500
    assert not Path("submissions").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["hpa.ensemble", "--variants", "0,1", "--out", "entry.csv"],
        ["hpa.thresholds", "--run", "runs/0/cnn"],
    ],
)
def test_six_at_once_into_the_same_files(place, arguments):
    command = [sys.executable, "-m", *arguments]
    options = [[f"--shift=0.{number}"] if "--out" in arguments else [f"--seed={number}"] for number in range(6)]
    how = {"cwd": place, "env": os.environ | {"PYTHONPATH": str(ROOT)}, "stdout": subprocess.DEVNULL, "text": True}
    running = [subprocess.Popen([*command, *own], stderr=subprocess.PIPE, **how) for own in options]
    assert [(each.communicate(timeout=120)[1], each.returncode) for each in running] == [("", 0)] * 6
    assert not list(place.rglob("*.partial*"))
    if "--out" in arguments:
        assert read_submission("entry.csv")[0].tolist() == TEST_IDS[::-1].tolist()
        assert json.loads(Path("entry.json").read_text())["weights"] == "shifted"
    else:
        assert json.loads(Path("runs/0/cnn/thresholds.json").read_text())["validation_rows"] == 400


def test_the_story_names_the_table_that_it_is_of(place):
    assert ensemble.main(["--variants", "0,1"]) == 0
    about = json.loads(Path("submissions/ensemble.json").read_text())
    assert about["sha256"] == hashlib.sha256(Path("submissions/ensemble.csv").read_bytes()).hexdigest()
