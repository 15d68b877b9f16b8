"""`python -m hpa.draw`."""

import re
import subprocess
import sys

import cv2
import pytest

from hpa.data.tables import read_labelled, read_training_table
from hpa.draw import main
from hpa.tasks import HEP2, HPA


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


def test_hep2_cells(tmp_path):
    options = ["--task", "hep2", "--out", tmp_path / "cells", "--train", 13, "--validation", 6, "--test", 7, "--size", 40]
    done = draw(*options, "--seed", 1)
    assert done.returncode == 0, done.stderr
    assert "13 training, 6 validation and 7 test cells of 40 pixels" in done.stdout
    counts = [len(read_labelled(tmp_path / "cells" / split, HEP2)) for split in ("train", "validation", "test")]
    assert counts == [13, 6, 7]
    assert cv2.imread(str(next(tmp_path.glob("cells/test/*/*.png"))), cv2.IMREAD_UNCHANGED).shape == (40, 40)


def test_hep2_contact_sheet_at_the_real_size(tmp_path, capsys):
    path = tmp_path / "classes.png"
    assert main(["--task", "hep2", "--contact-sheet", str(path)]) == 0
    assert "the 6 classes at 78 pixels" in capsys.readouterr().out
    height, width, _ = cv2.imread(str(path)).shape
    assert width == 6 * (78 + 4)
    assert height >= 4 * (78 + 4)


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (["--validation", "9"], "--validation is for --task hep2"),
        (["--task", "hep2", "--test", "5"], "5 test cells; each set needs at least 6"),
        (["--task", "hep2", "--size", "31"], "at least 32 pixels"),
    ],
)
def test_numbers_that_do_not_fit_the_task(tmp_path, capsys, options, fault):
    assert main(["--out", str(tmp_path / "data"), *options]) == 2
    error = capsys.readouterr().err
    assert fault in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("out", ["--out", "--contact-sheet"])
@pytest.mark.parametrize("task", ["hpa", "hep2"])
@pytest.mark.parametrize("size", [100_000, 999_999_999])
def test_sizes_beyond_the_memory_are_refused_with_the_numbers(tmp_path, capsys, out, task, size):
    assert main([out, str(tmp_path / "x.png"), "--task", task, "--size", str(size)]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert re.search(
        rf"images of {size} pixels would need [0-9,]+ GiB of memory, [0-9.,]+ GiB are free; choose a smaller", line
    )
    assert not list(tmp_path.iterdir())


def test_sizes_beyond_opencv_are_refused_on_the_largest_machine(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("hpa.resources.free_memory", lambda: 2**60)
    assert main(["--out", str(tmp_path / "data"), "--size", "32767"]) == 2
    assert "of 32767 pixels cannot be made; choose a size of at most 32766" in capsys.readouterr().err


def test_a_drawing_beyond_the_disk_is_refused_and_a_smaller_one_takes_its_place(tmp_path, capsys):
    data = tmp_path / "data"
    assert main(["--out", str(data), "--train", "2000000000"]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert re.search(
        r"8000000800 images of 512 pixels would need [0-9,]+ GiB of disk, [0-9.,]+ GiB are free; free some", line
    )
    assert not data.exists()
    assert main(["--out", str(data), "--train", "1", "--test", "1", "--size", "32"]) == 0


@pytest.mark.parametrize("number", ["2147483648", "9" * 5000])
def test_numbers_that_no_count_reaches(number, tmp_path, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["--out", str(tmp_path / "data"), "--size", number])
    assert caught.value.code == 2
    assert "expected a whole number from 1 to 2147483647" in capsys.readouterr().err


@pytest.mark.parametrize("out", ["--out", "--contact-sheet"])
@pytest.mark.parametrize("name", ["x" * 300, "/".join(["x" * 200] * 25)])
def test_names_that_no_file_system_takes(tmp_path, capsys, monkeypatch, out, name):
    monkeypatch.chdir(tmp_path)
    assert main([out, f"{name}.png", "--size", "32", "--train", "1", "--test", "1"]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "too long" in line
    assert not list(tmp_path.iterdir())


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
