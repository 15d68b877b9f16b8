import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from sklearn.metrics import balanced_accuracy_score, f1_score, precision_recall_fscore_support

from hpa.data.tables import read_training_table
from hpa.errors import BadInput
from hpa.scoring import evaluation
from hpa.scoring.evaluation import class_table, describe, evaluate, worst_mistakes, write_evaluation, write_prediction_table
from hpa.scoring.predictions import Predictions
from hpa.tasks import HEP2, HPA, Task

ANIMALS = Task("animals", ("cat", "big dog", "fish"), ("grey",), ("",), "one")
ONE = Predictions(
    ids=np.array(["a", "b", "c", "d", "e"]),
    classes=ANIMALS.classes,
    probabilities=np.array(
        [[0.7, 0.2, 0.1], [0.25, 0.6, 0.15], [0.12346, 0.8, 0.07654], [0.9, 0.1, 0], [0, 1, 0]], np.float32
    ),
    targets=np.array([[1, 0, 0], [1, 0, 0], [0, 0, 1], [0, 1, 0], [0, 1, 0]], np.uint8),
    labels="one",
)
ONES = np.ones(3)
DATA = Path("cells")
MANY = Predictions(
    ids=np.array(["a", "b", "c", "d"]),
    classes=ANIMALS.classes,
    probabilities=np.array([[0.9, 0.4, 0.1], [0.2, 0.3, 0.1], [0.7, 0.35, 0.05], [0.1, 0.2, 0.6]], np.float32),
    targets=np.array([[1, 1, 0], [1, 0, 0], [0, 1, 1], [0, 0, 1]], np.uint8),
)
CUTS = np.array([0.5, 0.3, 0.2])  # the probability 0.3 of b is float32, just above 0.3


def grey_images(rows):
    return np.repeat(np.asarray(rows, np.uint8)[:, None, None, None] * 50, 8, axis=1).repeat(8, axis=2).repeat(3, axis=3)


@pytest.fixture
def drawn(monkeypatch):
    """What each picture was last drawn of; empty figures, which are fast, stand in for the pictures."""
    calls = {}
    for name in ("draw_sheet", "draw_confusion", "draw_class_f1"):
        monkeypatch.setattr(evaluation, name, lambda *of, name=name: calls.update({name: of}) or Figure(figsize=(1, 1)))
    return calls


def random_predictions(task, rows=300):
    """Probabilities that are often right."""
    random = np.random.default_rng(0)
    targets = np.eye(len(task.classes), dtype=np.uint8)[random.integers(0, len(task.classes), rows)]
    if task.labels == "many":
        targets |= random.random(targets.shape) < 0.1
    strength = np.exp(2 * random.normal(size=targets.shape) + 3 * targets)
    sums = strength.sum(axis=1, keepdims=True) if task.labels == "one" else strength + 10
    ids = np.array([f"{row:05d}" for row in range(rows)])
    return Predictions(ids, task.classes, (strength / sums).astype(np.float32), targets, task.labels)


def test_one_label_by_hand(tmp_path):
    own = evaluate(ONE, ONES)
    # cat: 1 of 2 found, 2 predicted; big dog: 1 of 2 found, 3 predicted; fish: 0 of 1
    f1 = (0.5 + 0.4 + 0) / 3
    scores = {"accuracy": 0.4, "mean class accuracy": pytest.approx(1 / 3), "macro F1": pytest.approx(f1)}
    assert own.scores == scores
    write_evaluation(tmp_path / "out", {"run": own}, grey_images, DATA)
    about = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert (about.pop("data"), about.pop("table")) == (str(DATA.resolve()), None)
    assert about == {"rows": 5, "views": 1, "average": "probabilities", "scores": scores, "models": {"run": scores}}
    assert (tmp_path / "out" / "classes.csv").read_text() == (
        "class,rows,precision,recall,f1\ncat,2,0.5000,0.5000,0.5000\nbig dog,2,0.3333,0.5000,0.4000\nfish,1,,0.0000,0.0000\n"
    )
    assert (tmp_path / "out" / "predictions.csv").read_text() == (
        "Id,Predicted,Target,cat,big dog,fish\n"
        "a,cat,cat,0.7000,0.2000,0.1000\n"
        "b,big dog,cat,0.2500,0.6000,0.1500\n"
        "c,big dog,fish,0.1235,0.8000,0.0765\n"
        "d,cat,big dog,0.9000,0.1000,0.0000\n"
        "e,big dog,big dog,0.0000,1.0000,0.0000\n"
    )
    files = {"scores.json", "classes.csv", "predictions.csv", "confusion.png", "mistakes.png"}
    assert {each.name for each in (tmp_path / "out").iterdir()} == files
    rows, classes = worst_mistakes(own)
    assert rows.tolist() == [3, 2, 1]  # by the probability of what was predicted: 0.9, 0.8, 0.6
    assert classes.tolist() == [0, 1, 1]


def test_many_labels_by_hand(tmp_path):
    own = evaluate(MANY, CUTS)
    # predicted: a cat, dog; b dog; c cat, dog; d fish
    assert own.scores == {
        "macro F1": pytest.approx((2 / 4 + 4 / 5 + 2 / 3) / 3),
        "micro F1": pytest.approx(2 * 4 / (6 + 6)),
        "exact match": 0.5,
    }
    write_evaluation(tmp_path, {"one": evaluate(MANY, np.full(3, 0.01)), "blend": own}, grey_images, DATA)
    about = json.loads((tmp_path / "scores.json").read_text())
    assert about["thresholds"] == {"cat": 0.5, "big dog": 0.3, "fish": 0.2}
    assert about["scores"] == about["models"]["blend"] == own.scores
    assert about["models"]["one"]["micro F1"] == pytest.approx(2 * 6 / (6 + 12))  # every class for every row
    frame = pd.read_csv(tmp_path / "predictions.csv")
    assert frame["Predicted"].tolist() == ["cat | big dog", "big dog", "cat | big dog", "fish"]
    assert frame["Target"].tolist() == ["cat | big dog", "cat", "big dog | fish", "fish"]
    files = {"scores.json", "classes.csv", "predictions.csv", "classes.png", "mistakes.png"}
    assert {each.name for each in tmp_path.iterdir()} == files
    rows, classes = worst_mistakes(own)
    assert rows.tolist() == [2, 1]  # c misses fish by 0.95 and b cat by 0.8
    assert classes.tolist() == [2, 0]


@pytest.mark.parametrize("task", [HEP2, HPA], ids=lambda task: task.name)
def test_scores_and_classes_are_scikit_learn_s(task):
    predictions = random_predictions(task)
    own = evaluate(predictions, np.full(len(task.classes), 1.0 if task.labels == "one" else 0.3))
    expected = precision_recall_fscore_support(predictions.targets, own.predicted, zero_division=np.nan)
    table = class_table(own)
    for name, values in zip(("precision", "recall", "f1", "rows"), expected, strict=True):
        np.testing.assert_allclose(table[name], values)
    assert own.scores["macro F1"] == pytest.approx(f1_score(predictions.targets, own.predicted, average="macro"))
    if task.labels == "one":
        true, predicted = predictions.targets.argmax(axis=1), predictions.probabilities.argmax(axis=1)
        assert own.scores["mean class accuracy"] == pytest.approx(balanced_accuracy_score(true, predicted))
        assert own.scores["accuracy"] == (true == predicted).mean()


@pytest.mark.parametrize(("true", "predicted"), [([0, 0, 2], [0, 0, 2]), ([0, 0, 2], [0, 3, 2]), ([0, 4, 4], [0, 0, 0])])
def test_with_one_label_classes_that_do_not_occur_are_left_out_as_in_scikit_learn(true, predicted):
    classes = np.eye(6, dtype=np.uint8)
    own = evaluate(
        Predictions(np.arange(3).astype(str), HEP2.classes, classes[predicted].astype(np.float32), classes[true], "one"),
        np.ones(6),
    )
    assert own.scores["macro F1"] == pytest.approx(f1_score(true, predicted, average="macro"))
    assert own.scores["macro F1"] == pytest.approx(class_table(own)["f1"].mean())
    many = evaluate(replace(own.predictions, labels="many"), np.full(6, 0.5))
    expected = f1_score(classes[true], classes[predicted], average="macro", zero_division=0)
    assert many.scores["macro F1"] == pytest.approx(expected)
    assert class_table(many)["f1"].notna().all()


@pytest.mark.parametrize("task", [HEP2, HPA], ids=lambda task: task.name)
def test_the_worst_mistakes_are_those_of_a_plain_search(task):
    predictions = random_predictions(task)
    own = evaluate(predictions, np.full(len(task.classes), 1.0 if task.labels == "one" else 0.3))
    found = []
    for row, (truth, chosen, values) in enumerate(
        zip(predictions.targets, own.predicted, predictions.probabilities, strict=True)
    ):
        wrong = [k for k in range(len(truth)) if truth[k] != chosen[k] and (task.labels == "many" or chosen[k])]
        if wrong:
            worst = max(wrong, key=lambda k: abs(float(truth[k]) - float(values[k])))
            found.append((-abs(float(truth[worst]) - float(values[worst])), row, worst))
    found.sort()
    assert len(found) > 40
    rows, classes = worst_mistakes(own)
    assert list(zip(rows.tolist(), classes.tolist(), strict=True)) == [each[1:] for each in found[:40]]


@pytest.mark.parametrize("task", [HEP2, HPA], ids=lambda task: task.name)
def test_predictions_can_be_read_again(task, tmp_path):
    predictions = random_predictions(task)
    thresholds = np.full(len(task.classes), 1.0 if task.labels == "one" else 0.3)
    write_prediction_table(tmp_path / "predictions.csv", predictions, thresholds)
    table = read_training_table(tmp_path / "predictions.csv", task)
    np.testing.assert_array_equal(table.ids, predictions.ids)
    np.testing.assert_array_equal(table.targets, predictions.targets)
    frame = pd.read_csv(tmp_path / "predictions.csv", dtype={"Id": str})
    np.testing.assert_allclose(frame[list(task.classes)], predictions.probabilities, atol=0.5001e-4)
    frame.assign(Target=frame["Predicted"]).to_csv(tmp_path / "predicted.csv", index=False)
    predicted = read_training_table(tmp_path / "predicted.csv", task).targets
    np.testing.assert_array_equal(predicted, evaluate(predictions, thresholds).predicted)


def test_samples_without_a_known_truth_have_no_target_column(tmp_path):
    path = tmp_path / "predictions.csv"
    write_prediction_table(
        path, Predictions(ONE.ids[:1], ("Id", "x"), np.array([[0.25, 0.75]], np.float32)), np.array([0.2, 0.5])
    )
    assert path.read_text() == "Id,Predicted,Id,x\na,Id | x,0.2500,0.7500\n"


@pytest.mark.parametrize(
    ("predictions", "thresholds", "captions"),
    [
        (
            ONE,
            ONES,
            [
                "d\ntrue big dog 0.100\npredicted cat 0.900",
                "c\ntrue fish 0.077\npredicted big dog 0.800",
                "b\ntrue cat 0.250\npredicted big dog 0.600",
            ],
        ),
        (MANY, CUTS, ["c\nmissed\nfish 0.050", "b\nmissed\ncat 0.200"]),
        (
            MANY,
            np.full(3, 0.15),
            [
                "c\nmissed\nfish 0.050",
                "b\npredicted, but not true\nbig dog 0.300",
                "d\npredicted, but not true\nbig dog 0.200",
            ],
        ),
    ],
)
def test_the_sheet_shows_the_mistakes_and_says_what_they_are(tmp_path, drawn, predictions, thresholds, captions):
    write_evaluation(tmp_path, {"run": evaluate(predictions, thresholds)}, grey_images, DATA)
    images, texts = drawn["draw_sheet"]
    assert texts == captions
    names = predictions.ids.tolist()
    assert images[:, 0, 0, 0].tolist() == [50 * names.index(text[0]) for text in texts]


def test_long_names_are_cut_in_captions(tmp_path, drawn):
    classes = ("Microtubule organizing center", "Nucleoli fibrillar center")
    values, targets = np.array([[0.9, 0.1]], np.float32), np.array([[0, 1]], np.uint8)
    own = evaluate(Predictions(np.array(["i" * 60]), classes, values, targets, "one"), np.ones(2))
    write_evaluation(tmp_path, {"run": own}, grey_images, DATA)
    caption = f"{'i' * 35}…\ntrue Nucleoli fibrillar ce… 0.100\npredicted Microtubule organizin… 0.900"
    assert drawn["draw_sheet"][1] == [caption]


def test_the_other_pictures_are_of_the_same_figures(tmp_path, drawn):
    write_evaluation(tmp_path, {"run": evaluate(ONE, ONES)}, grey_images, DATA)
    matrix, classes, title = drawn["draw_confusion"]
    assert matrix.tolist() == [[1, 1, 0], [1, 1, 0], [0, 1, 0]]
    assert (classes, title) == (ANIMALS.classes, "accuracy 0.4000, mean class accuracy 0.3333, macro F1 0.3000")
    own = evaluate(MANY, CUTS)
    write_evaluation(tmp_path, {"run": own}, grey_images, DATA)
    pd.testing.assert_frame_equal(drawn["draw_class_f1"][0], class_table(own))


def test_without_mistakes_there_is_no_sheet_and_no_old_one_stays(tmp_path, drawn):
    write_evaluation(tmp_path, {"run": evaluate(ONE, ONES)}, grey_images, DATA)
    write_evaluation(tmp_path, {"run": evaluate(MANY, CUTS)}, grey_images, DATA)
    assert (tmp_path / "mistakes.png").exists()
    assert not (tmp_path / "confusion.png").exists()
    right = Predictions(ONE.ids, ONE.classes, ONE.targets.astype(np.float32), ONE.targets, "one")
    write_evaluation(tmp_path, {"run": evaluate(right, ONES)}, None, DATA)
    assert {each.name for each in tmp_path.iterdir()} == {"scores.json", "classes.csv", "predictions.csv", "confusion.png"}
    assert json.loads((tmp_path / "scores.json").read_text())["scores"]["accuracy"] == 1.0


def test_an_image_that_cannot_be_read_leaves_the_old_files(tmp_path, drawn):
    write_evaluation(tmp_path, {"run": evaluate(ONE, ONES)}, grey_images, DATA)
    before = {each.name: each.read_bytes() for each in tmp_path.iterdir()}

    def gone(rows):
        raise BadInput("gone")

    with pytest.raises(BadInput):
        write_evaluation(tmp_path, {"run": evaluate(MANY, CUTS)}, gone, DATA)
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == before


@pytest.mark.parametrize("name", ["write_prediction_table", "write_figure", "write_json"])
def test_scores_are_there_only_when_all_else_is(tmp_path, monkeypatch, drawn, name):
    write_evaluation(tmp_path, {"run": evaluate(ONE, ONES)}, grey_images, DATA)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(evaluation, name, full)
    with pytest.raises(OSError, match="No space"):
        write_evaluation(tmp_path, {"run": evaluate(ONE, ONES)}, grey_images, DATA)
    assert not (tmp_path / "scores.json").exists()
    assert not [each for each in tmp_path.iterdir() if "partial" in each.name]


def test_what_is_printed():
    text = describe({"runs/0": evaluate(ONE, ONES), "blend of 2": evaluate(ONE, ONES)})
    lines = [line.split() for line in text.splitlines()]
    assert lines[0] == ["model", "accuracy", "mean", "class", "accuracy", "macro", "F1"]
    assert lines[1] == ["runs/0", "0.4000", "0.3333", "0.3000"]
    assert lines[2][-3:] == ["0.4000", "0.3333", "0.3000"]
    assert lines[3] == []
    assert lines[4] == ["class", "rows", "precision", "recall", "F1"]
    assert lines[6] == ["big", "dog", "2", "0.3333", "0.5000", "0.4000"]
    assert lines[7] == ["fish", "1", "-", "0.0000", "0.0000"]
    header = describe({"x": evaluate(MANY, CUTS)}).splitlines()[0]
    assert header.split() == ["model", "macro", "F1", "micro", "F1", "exact", "match"]
