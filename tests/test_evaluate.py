import json
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from hpa import evaluate, predict, thresholds
from hpa.inference.images import SHOWN_SIDE
from hpa.runs.folder import read_task_of
from hpa.scoring.predictions import Predictions, read_predictions, write_predictions
from hpa.settings import Settings
from hpa.tasks import HEP2, HPA

ROOT = Path(__file__).resolve().parents[1]
TRUTH = [0, 0, 1, 2, 3, 3, 4, 5]  # classes of the cells 00..07; every cell is as bright as 30 times its number


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Two runs, and eight cells both in class folders and flat beside a table."""
    monkeypatch.chdir(tmp_path)
    for folder, task in (("a/base", HEP2), ("b/base", HEP2), ("other/base", HPA)):
        Path("runs", folder).mkdir(parents=True)
        Path("runs", folder, "config.json").write_text(json.dumps({"task": asdict(task)}))
    for number, true in enumerate(TRUTH):
        for folder in (Path("cells", HEP2.classes[true]), Path("flat")):
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((20, 20), 30 * number, np.uint8)).save(folder / f"{number:02d}.png")
    names = [HEP2.classes[true] for true in TRUTH]
    pd.DataFrame({"Image ID": range(8), "Image class": names}).to_csv("flat.csv", index=False)
    return tmp_path


@pytest.fixture
def networks(monkeypatch):
    """Stand-ins for the runs' networks: run a takes cell 0 for class 1, b takes cell 7 for class 0, more surely."""
    asked = []

    def predict_files(folders, files, tta):
        asked.append((list(map(str, folders)), tta.views, tta.average))
        brightness = np.array([np.asarray(Image.open(file))[0, 0] for (file,) in files])
        right = np.eye(6, dtype=np.float32)[np.array(TRUTH)[brightness // 30]] * np.float32(0.6)
        mistakes = {"runs/a/base": (0, 1, 0.7), "runs/b/base": (7, 0, 0.9)}
        probabilities = []
        for folder in map(str, folders):
            own, (number, to, sure) = right.copy(), mistakes[folder]
            own[brightness == 30 * number, to] = sure
            probabilities.append(own)
        return np.array(probabilities)

    monkeypatch.setattr("hpa.inference.evaluate.predict_files", predict_files)
    monkeypatch.setattr("hpa.inference.evaluate.common_task", lambda folders: read_task_of(folders[0]))
    return asked


@pytest.mark.parametrize("source", [["--data", "cells"], ["--data", "flat"], ["--data", "cells", "--table", "flat.csv"]])
def test_one_run_writes_into_its_own_folder(place, networks, capsys, source):
    assert evaluate.main(["--run", "runs/a/base", *source, "--tta", "4", "--tta-average", "logits"]) == 0
    assert networks == [(["runs/a/base"], 4, "logits")]
    folder = Path("runs/a/base", f"evaluation-{source[1]}")
    about = json.loads((folder / "scores.json").read_text())
    assert about["scores"]["accuracy"] == 7 / 8
    assert about["scores"]["mean class accuracy"] == pytest.approx(5.5 / 6)
    assert (about["rows"], about["views"], about["average"]) == (8, 4, "logits")
    assert list(about["models"]) == ["runs/a/base"]
    frame = pd.read_csv(folder / "predictions.csv", dtype=str)
    wrong = frame[frame["Predicted"] != frame["Target"]]
    assert [int(each) for each in wrong["Id"]] == [0]
    assert wrong[["Predicted", "Golgi"]].to_numpy().tolist() == [["Golgi", "0.7000"]]
    printed = capsys.readouterr().out
    assert "runs/a/base    0.8750               0.9167" in printed
    assert "blend" not in printed


def test_images_that_the_table_does_not_name_are_left_out(place, networks, capsys):
    table = pd.read_csv("flat.csv")
    table[table["Image ID"] != 3].to_csv("flat.csv", index=False)
    assert evaluate.main(["--run", "runs/a/base", "--data", str(place / "flat")]) == 0
    out, err = capsys.readouterr()
    assert err == f"{place / 'flat'}: samples without a row in the table are left out: 1 (03)\n"
    assert "7 images; wrote" in out


def test_scores_of_another_folder_of_the_same_name_are_not_replaced(place, networks, capsys):
    Path("a").mkdir()
    Path("cells").rename("a/cells")
    run = ["--run", "runs/a/base"]
    assert evaluate.main([*run, "--data", "a/cells"]) == 0
    scores = Path("runs/a/base/evaluation-cells/scores.json")
    before = json.loads(scores.read_text())
    assert (before["data"], before["table"]) == (str(place / "a/cells"), None)
    Path("b").symlink_to("a")
    assert evaluate.main([*run, "--data", "b/cells", "--table", "flat.csv"]) == 0  # the same images
    assert json.loads(scores.read_text())["table"] == str(place / "flat.csv")
    assert len(networks) == 2
    shutil.copytree("a/cells", "cells")
    assert evaluate.main([*run, "--data", "cells"]) == 2
    assert len(networks) == 2
    assert f"evaluation-cells: holds the scores of {place}/a/cells; say with --out where to write" in capsys.readouterr().err
    assert evaluate.main([*run, "--data", "cells", "--out", str(scores.parent)]) == 0
    assert json.loads(scores.read_text())["data"] == str(place / "cells")


def write_validation():
    """Let run a validate each class with a probability of 0.55, 0.65, ..., 0.95."""
    truth = np.repeat(np.arange(6), 5)
    probabilities = np.full((30, 6), 0.01, np.float32)
    probabilities[np.arange(30), truth] = np.tile(np.linspace(0.55, 0.95, 5), 6)
    ids = np.array([f"v{number}" for number in range(30)])
    targets = np.eye(6, dtype=np.uint8)[truth]
    own = Predictions(ids, HEP2.classes, probabilities, targets, "one")
    write_predictions(Path("runs/a/base/validation.npz"), own)


def test_label_sets_intervals_over_groups_and_votes(place, networks, capsys):
    write_validation()
    pd.DataFrame({"Id": ["00", "01", "04", "05", "v0"], "group": [0, 0, 1, 1, 2]}).to_csv("groups.csv", index=False)
    run = ["--run", "runs/a/base", "--data", "cells", "--coverage", "0.8"]
    assert evaluate.main([*run, "--groups", "groups.csv"]) == 0
    out = capsys.readouterr().out
    assert "accuracy of the surest part: 0.8750 of 100%" in out
    assert "low to high: 95 % interval over 6 groups" in out
    assert "votes of groups with one label: 6 of 6 right" in out  # cell 0 is outvoted by cell 1, its class is Centromere
    # Of five validation cells of a class one may lie below the level: it is 0.55; cell 0 has 0.6 and, of class 1, 0.7.
    table = pd.read_csv("runs/a/base/evaluation-cells/sets.csv", dtype=str)
    assert table["Set"].tolist() == ["Centromere | Golgi", *(HEP2.classes[true] for true in TRUTH[1:])]
    assert "coverage 1.0000, class coverage 1.0000, mean size 1.1250, single 0.8750, empty 0.0000" in out
    assert "also calibrated 0.0000" in out


def test_label_sets_for_new_groups_of_images_without_groups(place, networks, capsys):
    write_validation()
    pd.DataFrame({"Id": [f"v{number}" for number in range(30)], "group": 0}).to_csv("specimens.csv", index=False)
    options = ["--run", "runs/a/base", "--data", "cells", "--coverage", "0.8", "--groups", "specimens.csv"]
    assert evaluate.main(options) == 0
    out, err = capsys.readouterr()
    assert err == (
        "cells: its images have no groups (groups specimens.csv: names none of the ids, the first of which is 00), "
        "so there are no intervals over groups\n"
    )
    assert "interval over" not in out
    assert "votes" not in out
    table = pd.read_csv("runs/a/base/evaluation-cells/sets.csv", dtype=str)
    assert set(table["Set"]) == {" | ".join(HEP2.classes)}  # one group promises nothing of a new one


def test_label_sets_of_folds_are_told_not_to_be_guaranteed(place, networks, monkeypatch, capsys):
    write_validation()
    validation = read_predictions(Path("runs/a/base/validation.npz"))
    for fold, name in enumerate(("a", "a-fold1")):
        Path("runs", name, "base").mkdir(parents=True, exist_ok=True)
        config = {"task": asdict(HEP2), "folds": 2, "fold": fold}
        Path("runs", name, "base", "config.json").write_text(json.dumps(config))
        halves = {each: getattr(validation, each)[fold::2] for each in ("ids", "probabilities", "targets")}
        write_predictions(Path("runs", name, "base", "validation.npz"), replace(validation, **halves))
    even = np.full((2, 8, 6), 1 / 6, np.float32)
    monkeypatch.setattr("hpa.inference.evaluate.predict_files", lambda folders, files, tta: even[: len(folders)])
    run = ["--data", "cells", "--coverage", "0.5", "--out", "scores"]
    assert evaluate.main(["--run", "runs/a/base", "runs/a-fold1/base", *run]) == 0
    assert "the mean of all folds is predicted, so the coverage is not guaranteed" in capsys.readouterr().err
    assert evaluate.main(["--run", "runs/a-fold1/base", *run]) == 0
    assert "not guaranteed" not in capsys.readouterr().err


def test_label_sets_of_an_earlier_evaluation_are_gone(place, networks):
    write_validation()
    run = ["--run", "runs/a/base", "--data", "cells"]
    assert evaluate.main([*run, "--coverage", "0.8"]) == 0
    assert Path("runs/a/base/evaluation-cells/sets.csv").exists()
    assert evaluate.main(run) == 0
    assert Path("runs/a/base/evaluation-cells/scores.json").exists()
    assert not Path("runs/a/base/evaluation-cells/sets.csv").exists()


def test_scores_and_label_sets_are_written_before_intervals_are_computed(place, networks, monkeypatch):
    write_validation()
    monkeypatch.setattr("hpa.inference.evaluate.group_intervals", lambda *_: pytest.fail("the evaluation ends here"))
    pd.DataFrame({"Id": ["00", "01", "v0"], "group": [0, 0, 1]}).to_csv("groups.csv", index=False)
    options = ["--run", "runs/a/base", "--data", "cells", "--coverage", "0.8", "--groups", "groups.csv"]
    with pytest.raises(pytest.fail.Exception, match="ends here"):
        evaluate.main(options)
    written = {path.name for path in Path("runs/a/base/evaluation-cells").iterdir()}
    assert {"scores.json", "predictions.csv", "sets.csv"} <= written


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--run", "runs/a/base", "--coverage", "0.8", "--tta", "4"], "which gives no label sets for"),
        (["--run", "runs/b/base", "--coverage", "0.8"], "no validation.npz"),
        (["--run", "runs/a/base", "--groups", "none.csv"], "none.csv: cannot be read"),
        (["--run", "runs/a/base", "--groups", "of_others.csv"], "--groups of_others.csv: names none of the ids"),
        (["--run", "runs/a/base", "--groups", "neighbours-x", "--coverage", "0.8"], "--groups neighbours-x: "),
        (["--run", "runs/a/base", "--groups", "none.csv", "--coverage", "0.8"], "none.csv: cannot be read"),
        (["--run", "runs/a/base", "--groups", "of_cells.csv", "--coverage", "0.8"], "--groups of_cells.csv: names none"),
    ],
)
def test_what_intervals_and_label_sets_need_is_checked_before_anything_is_predicted(
    place, networks, capsys, options, message
):
    write_validation()
    for name, identifier in {"of_cells": "00", "of_others": "w0"}.items():
        pd.DataFrame({"Id": [identifier], "group": [0]}).to_csv(f"{name}.csv", index=False)
    before = set(place.rglob("*"))
    assert evaluate.main([*options, "--data", "cells"]) == 2
    assert message in capsys.readouterr().err
    assert networks == []
    assert set(place.rglob("*")) == before


def test_the_coverage_is_a_share():
    with pytest.raises(SystemExit):
        evaluate.main(["--run", "runs/a/base", "--data", "cells", "--coverage", "1.5"])


def test_several_runs_are_blended_with_equal_weights(place, networks, capsys):
    assert evaluate.main(["--run", "runs/a/base", "runs/b/base", "--data", "cells", "--out", "out"]) == 0
    frame = pd.read_csv("out/predictions.csv", dtype={"Id": str})
    expected = np.eye(6)[TRUTH] * 0.6
    expected[0, 1], expected[7, 0] = 0.35, 0.45  # half of what the one run thinks; the right class keeps 0.6
    np.testing.assert_allclose(frame[list(HEP2.classes)], expected, atol=1e-4)
    about = json.loads(Path("out/scores.json").read_text())
    assert {name: scores["accuracy"] for name, scores in about["models"].items()} == {
        "runs/a/base": 7 / 8,
        "runs/b/base": 7 / 8,
        "blend of 2": 1.0,
    }
    assert about["scores"]["accuracy"] == 1.0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:4]] == ["runs/a/base", "runs/b/base", "blend"]
    assert not list(Path("runs/a/base").glob("evaluation*"))


def test_the_mistakes_are_shown_with_their_own_images(place, networks, monkeypatch):
    from hpa.scoring import evaluation

    shown = []
    draw_sheet = evaluation.draw_sheet
    monkeypatch.setattr(evaluation, "draw_sheet", lambda *drawn: shown.append(drawn) or draw_sheet(*drawn))
    assert evaluate.main(["--run", "runs/b/base", "--data", "cells"]) == 0
    (images, captions), *_ = shown
    assert captions == ["07\ntrue Speckled 0.600\npredicted Centromere 0.900"]
    assert images.shape == (1, SHOWN_SIDE, SHOWN_SIDE, 3)
    assert set(images.ravel()) == {210}
    assert Path("runs/b/base/evaluation-cells/mistakes.png").stat().st_size


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--run", "runs/a/base", "runs/b/base", "--data", "cells"], "names 2 folders; say with --out where to write"),
        (["--run", "runs/a/base", "runs/a/base/", "--data", "cells"], "runs/a/base is named twice"),
        (["--run", "runs/a/base", "--data", "cells", "--out", "flat.csv"], "--out flat.csv: is a file"),
        (["--run", "runs/a/base", "--data", "nowhere"], "nowhere: cannot be listed"),
        (["--run", "runs/a/base", "--data", "cells", "--table", "none.csv"], "none.csv: cannot be read"),
        (["--run", "runs/a/base", "--data", "cells/Golgi"], "cells/Golgi.csv: no such table, and no class folders"),
        (["--run", "runs/a/base", "--data", "cells/Golgi", "--table", "flat.csv"], "id 0: no 0.png"),
        (["--run", "nowhere", "--data", "cells"], "nowhere: no such run"),
        (["--run", "runs/a", "--data", "cells"], "runs/a: holds the stage base; name it, as runs/a/base"),
        (["--run", "runs/other/base", "--data", "flat"], "id 0: Image class holds 'Centromere'"),
    ],
)
def test_bad_input(place, networks, capsys, options, message):
    before = set(place.rglob("*"))
    assert evaluate.main(options) == 2
    assert message in capsys.readouterr().err
    assert set(place.rglob("*")) == before
    assert networks == []


@pytest.mark.parametrize(
    "command",
    [
        (evaluate, ["--run", "runs/other/base", "--data", "fields"]),
        (predict, ["--runs", "runs", "--variants", "other", "--images", "fields", "--out", "fields-predicted.csv"]),
    ],
)
def test_thresholds_of_other_views_are_refused_before_anything_is_predicted(place, networks, capsys, write_samples, command):
    ids = write_samples(place / "fields", 2)
    pd.DataFrame({"Id": ids, "Target": ["0", "1 2"]}).to_csv("fields.csv", index=False)
    targets = np.eye(2, 28, dtype=np.uint8)
    predictions = Predictions(ids, HPA.classes, targets.astype(np.float32), targets)
    write_predictions(Path("runs/other/base/validation.npz"), predictions)
    before = set(place.rglob("*"))
    module, options = command
    assert module.main([*options, "--tta", "8"]) == 2
    assert "runs/other/base/validation.npz: made with no test-time augmentation" in capsys.readouterr().err
    assert set(place.rglob("*")) == before
    assert networks == []


def test_in_a_process_of_its_own(place):
    command = [sys.executable, "-m", "hpa.evaluate", "--run", "runs/a/base", "runs/a/base", "--data", "cells"]
    done = subprocess.run(command, cwd=place, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr == "hpa.evaluate: --run: runs/a/base is named twice; once is enough\n"


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (["--data", "cells", "--out", "cells/Golgi"], "lies in cells"),
        (["--data", "flat", "--table", "scored/classes.csv", "--out", "scored"], "is scored/classes.csv"),
        (["--data", "flat", "--out", "runs/a/base"], "runs/a/base holds a run"),
    ],
)
def test_nothing_that_is_read_is_written_over(place, networks, capsys, options, fault):
    Path("scored").mkdir()
    shutil.copy("flat.csv", "scored/classes.csv")
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}
    assert evaluate.main(["--run", "runs/a/base", *options]) == 2
    assert fault in capsys.readouterr().err
    assert {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()} == before


@pytest.fixture
def fields(place, monkeypatch, write_samples):
    """Six fields with a table, four of which the run was validated with, one of these with other classes; its network."""
    ids = write_samples(place / "fields", 6)
    targets = np.eye(6, 28, dtype=np.uint8)
    pd.DataFrame({"Id": ids, "Target": range(6)}).to_csv("fields.csv", index=False)
    targets[3] = np.roll(targets[3], 1)
    values = np.full((4, 28), 0.1, np.float32)
    write_predictions(Path("runs/other/base/validation.npz"), Predictions(ids[:4], HPA.classes, values, targets[:4]))
    monkeypatch.setattr(
        "hpa.inference.evaluate.predict_files",
        lambda folders, files, tta: np.full((len(folders), len(files), 28), 0.1, np.float32),
    )
    return ids


EVALUATE = ["--run", "runs/other/base", "--data", "fields"]
SCORES = "runs/other/base/evaluation-fields/scores.json"


def test_groups_of_multi_label_samples_do_not_vote(fields, capsys):
    pd.DataFrame({"Id": fields, "group": [0, 1, 2, 3, 4, 4]}).to_csv("groups.csv", index=False)
    assert evaluate.main([*EVALUATE, "--groups", "groups.csv"]) == 0
    out = capsys.readouterr().out
    assert "95 % interval over 5 groups" in out
    assert "votes" not in out


def test_rows_that_the_thresholds_were_found_on_are_told(fields, capsys, monkeypatch):
    from hpa.scoring import evaluation

    titles = []
    draw = evaluation.draw_class_f1
    monkeypatch.setattr(evaluation, "draw_class_f1", lambda table, title: titles.append(title) or draw(table, title))
    assert evaluate.main(EVALUATE) == 0
    assert "the thresholds were found on 3 of these 6 rows, so these scores are too good" in capsys.readouterr().out
    assert json.loads(Path(SCORES).read_text())["thresholds_found_on_these_rows"] == 3
    assert titles[0].endswith("\nthresholds found on 3 of these 6 rows")


@pytest.mark.parametrize("why", ["a given threshold", "other rows"])
def test_rows_that_no_threshold_was_found_on(fields, capsys, why):
    if why == "other rows":
        table = pd.read_csv("fields.csv")
        table[3:].to_csv("fields.csv", index=False)
    else:
        assert thresholds.main(["--run", "runs/other/base", "--rule", "0.5"]) == 0
    assert evaluate.main(EVALUATE) == 0
    assert "were found on" not in capsys.readouterr().out
    assert json.loads(Path(SCORES).read_text())["thresholds_found_on_these_rows"] == 0


def test_images_that_a_run_learned_from_are_told(fields, capsys):
    split = Path("runs/other/base/split.csv")
    split.with_name("config.json").write_text(json.dumps(asdict(Settings(variant=0)) | {"task": asdict(HPA)}))
    split.write_text("Id,fold\n" + "".join(f"{each},{number}\n" for each, number in zip(fields, "0112", strict=False)))
    assert evaluate.main(EVALUATE) == 0
    told = f"fields: runs/other/base learned from 2 of these 6 ids ({fields[1]}, {fields[2]}); if they are the same images"
    assert told in capsys.readouterr().err
    split.write_text("Id,fold\nanother,1\n")
    assert evaluate.main(EVALUATE) == 0
    assert "learned from" not in capsys.readouterr().err


def test_validation_rows_of_another_number_of_classes_are_refused(fields, capsys):
    file = Path("runs/other/base/validation.npz")
    write_predictions(file, Predictions(fields[:4], ("x", "y"), np.zeros((4, 2)), np.ones((4, 2), np.uint8)))
    assert evaluate.main(EVALUATE) == 2
    assert f"{file}: has 2 classes, the task of the run 28; " in capsys.readouterr().err
    assert not Path(SCORES).exists()
