import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from hpa import ensemble
from hpa.scoring.predictions import Predictions, write_predictions
from hpa.tasks import HPA

ROOT = Path(__file__).resolve().parents[1]
CLASSES = len(HPA.classes)
VALIDATION_IDS = np.array([f"v{row}" for row in range(400)])
TEST_IDS = np.array([f"t{row}" for row in range(300)])
TARGETS = (np.random.default_rng(1).random((400, CLASSES)) < np.geomspace(0.4, 0.02, CLASSES)).astype(np.uint8)


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
        (["--members", "runs/1/base", "runs/0/cnn"], ["runs/1/base", "runs/0/cnn"]),
        (["--members", "runs/0/cnn"], ["runs/0/cnn"]),
    ],
)
def test_which_members(place, options, members):
    assert ensemble.main([*options, "--shift", "0.1"]) == 0
    assert members_of() == members


def test_the_order_of_the_members_does_not_change_the_submission(place):
    folders = ["runs/0/cnn", "runs/1/base", "runs/0/base"]
    assert ensemble.main(["--shift", "0.1", "--members", *folders, "--out", "a.csv"]) == 0
    assert ensemble.main(["--shift", "0.1", "--members", *folders[::-1], "--out", "b.csv"]) == 0
    assert Path("a.csv").read_bytes() == Path("b.csv").read_bytes()


@pytest.mark.parametrize(
    ("rule", "different"), [("0.2", 1), ("global", 1), ("per-class", np.count_nonzero(TARGETS.sum(axis=0) >= 10) + 1)]
)
def test_threshold_rules(place, rule, different):
    assert ensemble.main(["--threshold", rule, "--weights", "equal"]) == 0
    about = json.loads(Path("submissions/ensemble.json").read_text())
    thresholds = set(about["thresholds"].values())
    assert len(thresholds) == different
    assert (thresholds == {0.2}) == (rule == "0.2")
    assert about["shift"] is None
    np.testing.assert_allclose([each["weight"] for each in about["members"]], 1 / 3)


def test_a_sample_submission_elsewhere(place):
    Path("data/sample_submission.csv").rename("ids.csv")
    assert ensemble.main(["--shift", "0.1", "--sample-submission", "ids.csv"]) == 0
    assert ensemble.main(["--shift", "0.1"]) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--shift", "0.999"], "no member's F1 is above the shift 0.999: runs/0/cnn 0."),
        (["--shift", "nan"], "no member's F1 is above the shift nan"),
        (["--members", "runs/0/cnn", "--variants", "0"], "leave out --variants and --stage"),
        (["--members", "runs/0/cnn", "--stage", "all"], "leave out --variants and --stage"),
        (["--members", "nowhere"], "nowhere: 2 faults\n  no validation.npz"),
        (["--variants", "5"], "no run named 5"),
        (["--variants", "1", "--stage", "cnn"], "no stage cnn"),
        (["--runs", "nowhere"], "no run folders here"),
        (["--out", "submissions/ensemble.json"], "ends in .csv"),
    ],
)
def test_bad_options(place, capsys, options, message):
    assert ensemble.main(options) == 2
    assert message in capsys.readouterr().err
    assert not Path("submissions").exists()


@pytest.mark.parametrize("options", [["--threshold", each] for each in ("0", "1", "nan", "best")] + [["--weights", "f1"]])
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
        (damage_absent, "runs/1/base: no test.npz; python -m hpa.predict writes it"),
        (damage_sample, "runs/1/base/test.npz: 1 ids of the sample submission missing (another)"),
    ],
)
def test_damaged_input_is_named_and_nothing_is_written(place, capsys, damage, message):
    damage(place)
    assert ensemble.main(["--shift", "0.1"]) == 2
    assert message in capsys.readouterr().err
    assert not Path("submissions").exists()
