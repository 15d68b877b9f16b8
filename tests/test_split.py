import subprocess
import sys

import numpy as np
import pytest

from hpa.data.splits import read_split
from hpa.data.tables import read_training_table
from hpa.tasks import HPA


@pytest.fixture
def data(tmp_path):
    """A folder with a table of 60 rows and no image; class 27 has one row, class 5 three, most have none."""
    rows = [f"id{number},{number % 2} {2 + number % 3}" for number in range(56)] + ["p,5", "q,5 0", "r,0 5", "s,27"]
    (tmp_path / "train.csv").write_text("\n".join(["Id,Target", *rows]) + "\n")
    return tmp_path


def split(data, *options):
    command = [sys.executable, "-m", "hpa.split", "--data", str(data), *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_prints_the_shares_and_writes_the_folds(data):
    done = split(data, "--out", data / "split.csv", "--folds", 4)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    table = read_training_table(data / "train.csv", HPA)
    fold_of_row = read_split(data / "split.csv", table.ids)
    assert np.bincount(fold_of_row).tolist() == [15, 15, 15, 15]
    of_class_0 = [table.targets[fold_of_row == fold, 0].sum() for fold in range(4)]
    line = next(line for line in done.stdout.splitlines() if line.startswith("Nucleoplasm"))
    assert [float(number) for number in line.split()[1:6]] == [*of_class_0, 7.5]
    assert "rows per fold: 15 15 15 15" in done.stdout
    held_out = fold_of_row[table.ids == "s"][0]
    assert held_out > 0
    assert f"fold {held_out} held out: nothing to train on for Rods & rings\n" in done.stdout
    assert done.stdout.count("nothing to train on") == 1
    no_row = next(line for line in done.stdout.splitlines() if line.startswith("no row at all: "))
    assert len(no_row.split(", ")) == (table.targets.sum(axis=0) == 0).sum()


def test_the_seed_decides(data):
    files = [data / f"{number}.csv" for number in range(3)]
    for file, seed in zip(files, (0, 0, 1), strict=True):
        assert split(data, "--out", file, "--split-seed", seed).returncode == 0
    first, again, other = (file.read_text() for file in files)
    assert first == again != other


@pytest.mark.parametrize("options", [("--folds", 1), ("--folds", 61), ("--folds", "x"), ("--split-seed", -1)])
def test_bad_options_write_nothing(data, options):
    done = split(data, "--out", data / "split.csv", *options)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert not (data / "split.csv").exists()


def test_a_missing_table_is_one_line(tmp_path):
    done = split(tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "train.csv" in done.stderr


def test_a_table_by_itself_in_whole_antibodies(tmp_path):
    table = tmp_path / "external.csv"
    rows = [f"{number // 4}_1_A1_{number % 4},{number // 4 % 3}" for number in range(96)]
    table.write_text("\n".join(["Id,Target", *rows]) + "\n")
    done = split(
        tmp_path / "nowhere", "--table", table, "--groups", "antibodies", "--folds", 4, "--out", tmp_path / "split.csv"
    )
    assert done.returncode == 0, done.stderr
    assert "rows per fold: 24 24 24 24" in done.stdout
    line = next(line for line in done.stdout.splitlines() if line.startswith("Nucleoplasm"))
    assert line.split()[1:] == ["8", "8", "8", "8", "8.0", "0.0"]
    fold_of_row = read_split(tmp_path / "split.csv", np.array([row.split(",")[0] for row in rows]))
    assert (fold_of_row.reshape(24, 4) == fold_of_row[::4, None]).all()
