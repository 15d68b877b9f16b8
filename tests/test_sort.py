import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hpa import sort
from hpa.data.tables import read_labelled
from hpa.tasks import HEP2

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def cells(tmp_path):
    """A flat folder of 2001 files of 4 kB, 667 a class, their table, and the options that name them."""
    (tmp_path / "cells").mkdir()
    content = os.urandom(4000)
    names = ("Centromere", "Golgi", "Speckled")
    for number in range(2001):
        (tmp_path / "cells" / f"{number:05}.png").write_bytes(content + str(number).encode())
    rows = [f"{number},{names[number % 3]}\n" for number in range(2001)]
    (tmp_path / "cells.csv").write_text("Image ID,Image class\n" + "".join(rows))
    return ["--images", tmp_path / "cells", "--table", tmp_path / "cells.csv", "--out", tmp_path / "out"]


@pytest.fixture
def few(tmp_path):
    """A flat folder of two files, as `cells`."""
    (tmp_path / "cells").mkdir()
    for name in ("1.png", "00002.png"):
        (tmp_path / "cells" / name).write_text(name)
    (tmp_path / "cells.csv").write_text("Id,Target\n00001,0\n2,1\n")
    return ["--images", tmp_path / "cells", "--table", tmp_path / "cells.csv", "--out", tmp_path / "out"]


def main(options):
    return sort.main([str(option) for option in options])


def test_a_killed_sort_goes_on_where_it_stopped(tmp_path, cells, capsys):
    command_line = [sys.executable, "-m", "hpa.sort", *map(str, cells)]
    process = subprocess.Popen(command_line, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list((tmp_path / "out").glob("Golgi/*.png")) and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    done = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "out").glob("*/[!.]*")}
    assert 0 < len(done) < 2001
    for file in (tmp_path / "out").glob("*/[!.]*"):  # each one whole
        assert file.read_bytes() == (tmp_path / "cells" / file.name).read_bytes()

    assert main(cells) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"{tmp_path}/out: 2001 samples, {2001 - len(done)} files copied now"
    assert {file.name: file.stat().st_mtime_ns for file in (tmp_path / "out").glob("*/*")}.items() >= done.items()
    table = read_labelled(tmp_path / "out", HEP2)
    assert table.targets.sum(axis=0).tolist() == [667, 667, 0, 0, 0, 667]
    assert not list((tmp_path / "out").glob("*/.*"))  # nothing is left of the file that was being written


def test_the_classes_are_counted(tmp_path, few, capsys):
    assert main([*few, "--link"]) == 0
    assert capsys.readouterr().out.split("\n") == [
        "Centromere       1",
        "Golgi            1",
        "Homogeneous      0",
        "NuMem            0",
        "Nucleolar        0",
        "Speckled         0",
        f"{tmp_path}/out: 2 samples, 2 files linked now",
        "",
    ]
    assert (tmp_path / "out" / "Golgi" / "00002.png").samefile(tmp_path / "cells" / "00002.png")


def test_a_task_of_ones_own(tmp_path, few, capsys):
    lines = ['classes = ["light", "dark"]', 'channels = ["grey"]', f"suffixes = {json.dumps([''])}", 'labels = "one"']
    (tmp_path / "shades.toml").write_text("\n".join(lines))
    assert main([*few, "--task", tmp_path / "shades.toml"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "light      1"
    assert (tmp_path / "out" / "dark" / "00002.png").read_text() == "00002.png"


def test_bad_input_is_2_and_writes_nothing(tmp_path, few, capsys):
    for options, text in (
        ([*few, "--task", "hpa"], "task hpa is multi-label"),
        ([*few, "--table", tmp_path / "none.csv"], "none.csv: cannot be read (No such file or directory)"),
        ([*few, "--images", tmp_path / "none"], "none: cannot be listed (No such file or directory)"),
        ([*few, "--out", tmp_path / "cells.csv"], "cells.csv: cannot be listed (Not a directory)"),
    ):
        assert main(options) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert text in err
        assert len(err.splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cells", "cells.csv"]


@pytest.mark.parametrize("missing", range(3))
def test_each_of_the_three_is_needed(few, missing, capsys):
    with pytest.raises(SystemExit) as caught:
        main(few[: 2 * missing] + few[2 * missing + 2 :])
    assert caught.value.code == 2
    assert f"required: {few[2 * missing]}" in capsys.readouterr().err
