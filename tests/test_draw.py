"""`python -m hpa.draw`."""

import subprocess
import sys

import cv2

from hpa.data.tables import read_training_table
from hpa.tasks import HPA


def draw(*options: object) -> subprocess.CompletedProcess:
    call = [sys.executable, "-m", "hpa.draw", *map(str, options)]
    return subprocess.run(call, capture_output=True, text=True, check=False)


def test_data_set(tmp_path):
    done = draw("--out", tmp_path / "data", "--train", 5, "--test", 2, "--size", 40, "--seed", 1)
    assert done.returncode == 0, done.stderr
    assert "5 training and 2 test" in done.stdout
    assert len(read_training_table(tmp_path / "data" / "train.csv", HPA)) == 5
    assert len(list((tmp_path / "data" / "test").glob("*.png"))) == 8


def test_contact_sheet(tmp_path):
    path = tmp_path / "classes.png"
    assert draw("--contact-sheet", path, "--size", 64).returncode == 0
    height, width, _ = cv2.imread(str(path)).shape
    assert width == 7 * (64 + 4)
    assert height >= 4 * (64 + 4)


def test_faults_are_one_line_and_exit_code_2(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    done = draw("--out", tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "not empty" in done.stderr
    assert draw("--contact-sheet", tmp_path / "x.png", "--seed", -1).returncode == 2
    assert draw("--contact-sheet", tmp_path / "x.abc").returncode == 2
    assert draw().returncode == 2
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
