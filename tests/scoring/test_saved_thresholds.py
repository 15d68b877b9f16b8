import json

import numpy as np
import pytest

from hpa.errors import BadInput
from hpa.scoring.saved_thresholds import read_shares, saved_choice, write_thresholds

CLASSES = ("Nucleoli", "Rods & rings")


@pytest.fixture
def run(tmp_path):
    (tmp_path / "validation.npz").write_bytes(b"as it was")
    write_thresholds([tmp_path], 0.25, CLASSES, np.array([0.25, 0.25]), {"cross_validated": 0.5})
    return tmp_path


def test_what_is_written_is_read(run):
    rule, thresholds = saved_choice([run], CLASSES)
    assert rule == 0.25
    np.testing.assert_array_equal(thresholds, [0.25, 0.25])
    about = json.loads((run / "thresholds.json").read_text())
    assert about["cross_validated"] == 0.5
    assert about["runs"] == [str(run)]


def test_classes_in_another_order_are_the_same_classes(run):
    write_thresholds([run], "global", CLASSES, np.array([0.1, 0.2]), {})
    np.testing.assert_array_equal(saved_choice([run], CLASSES[::-1])[1], [0.2, 0.1])


def test_predictions_that_have_changed_leave_only_the_rule(run):
    (run / "validation.npz").write_bytes(b"as it is")
    assert saved_choice([run], CLASSES) == (0.25, None)
    (run / "thresholds.json").unlink()
    assert saved_choice([run], CLASSES) == ("per-class", None)


def test_a_rule_that_not_all_runs_have_is_not_used_and_said(tmp_path, capsys):
    folders = [tmp_path / name for name in "abcde"]
    for folder in folders:
        folder.mkdir()
        (folder / "validation.npz").touch()
    assert saved_choice(folders, CLASSES) == ("per-class", None)
    assert capsys.readouterr().err == ""
    write_thresholds(folders[1:2], "global", CLASSES, np.array([0.1, 0.2]), {})
    write_thresholds(folders[2:3], np.array([0.1, 0.2]), CLASSES, np.array([0.1, 0.2]), {})
    a, b, c, d, _ = folders
    assert saved_choice(folders, CLASSES) == ("per-class", None)
    said = f"{b / 'thresholds.json'}: not all have this rule, so per-class is used; other or none: "
    assert capsys.readouterr().err == f"{said}{a}, {c}, {d}, ...\n"
    assert saved_choice([b, c], CLASSES) == ("per-class", None)
    assert capsys.readouterr().err == f"{said}{c}\n"
    assert saved_choice([b], CLASSES)[0] == "global"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rule": "best"}, "not what hpa thresholds writes"),
        ({"rule": 0}, "not what hpa thresholds writes"),
        ({"thresholds": [0.1, 0.2]}, "not what hpa thresholds writes"),
        ({"found_on": None}, "not what hpa thresholds writes"),
        ({"thresholds": {"Nucleoli": 0, "Rods & rings": 0.5}}, "the threshold of class Nucleoli is 0, not above 0"),
        ({"thresholds": {"Nucleoli": "x", "Rods & rings": 2}}, "2 faults"),
        ({"thresholds": {"Nucleoli": 0.5}}, "no threshold for class Rods & rings"),
        ({"rule": "class-share", "shares": {"Nucleoli": 0.5}}, "no share for class Rods & rings"),
    ],
)
def test_damaged_files_are_refused(run, changes, message):
    path = run / "thresholds.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(BadInput, match=message) as caught:
        saved_choice([run], CLASSES)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("shares.csv", "class,share\nRods & rings,0.001\nNucleoli,0.5\n"),
        ("shares.json", '{"Rods & rings": 0.001, "Nucleoli": 0.5}'),
    ],
)
def test_shares_come_from_a_table_or_a_json(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    np.testing.assert_array_equal(read_shares(tmp_path / name, CLASSES), [0.5, 0.001])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("class,share\nNucleoli,0.5\n", "no share for class Rods & rings"),
        ("class,share\nNucleoli,0.5\nRods & rings,0\n", "the share of class Rods & rings is 0, not above 0"),
        ("class,share\nNucleoli,nan\nRods & rings,1.5\n", "2 faults"),
        ("class,share\nNucleoli,\nRods & rings,0.5\n", "the share of class Nucleoli is , not above 0"),
        ("class,share\nNucleoli,0.5\nRods & rings,0.5\nRods,0.5\n", "class Rods is not one of this task's 2"),
        ("class,share\nNucleoli,0.5\nNucleoli,0.4\nRods & rings,0.5\n", "class Nucleoli is here twice"),
        ("class\nNucleoli\n", "no column"),
    ],
)
def test_faulty_shares_are_refused(tmp_path, text, message):
    (tmp_path / "shares.csv").write_text(text)
    with pytest.raises(BadInput, match=message):
        read_shares(tmp_path / "shares.csv", CLASSES)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"Nucleoli": 0.5, "Rods & rings": 0.5, "Nucleoli": 0.1}', 'key "Nucleoli" is there twice'),
        ('{"Nucleoli": {"share": 0.5}, "Rods & rings": [0.5]}', "2 faults"),
        ('{"Nucleoli": true, "Rods & rings": 0.5}', "the share of class Nucleoli is True"),
        (f'{{"Nucleoli": 1{"0" * 400}, "Rods & rings": 0.5}}', "the share of class Nucleoli is 1000"),
        ('[["Nucleoli", 0.5]]', "expected a JSON object, found a list"),
        ("[" * 10**6, "not valid JSON"),
        ('{"Nucleoli": 0.5', "not valid JSON"),
    ],
)
def test_faulty_shares_in_json_are_refused(tmp_path, text, message):
    (tmp_path / "shares.json").write_text(text)
    with pytest.raises(BadInput, match=message) as caught:
        read_shares(tmp_path / "shares.json", CLASSES)
    assert len(str(caught.value)) < 1000
