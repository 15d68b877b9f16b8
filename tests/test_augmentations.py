"""`python -m hpa.augmentations`."""

import importlib
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from hpa.augmentations import main
from hpa.data.overview import GAP, LABEL_WIDTH

WIDTH = LABEL_WIDTH + 9 * (32 + GAP)


def shape_of(path):
    return np.array(Image.open(path).convert("RGB")).shape


def test_four_channels(drawn_data, tmp_path):
    call = [sys.executable, "-m", "hpa.augmentations", "--data", drawn_data, "--size", "32", "--out", tmp_path / "all.png"]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    first = pd.read_csv(drawn_data / "train.csv")["Id"][0]
    assert done.stdout.splitlines() == [
        f"{tmp_path / 'all.png'}: sample {first} and 8 variations of it by each augmentation",
        "left out: hue, saturation; they need three colour channels, this task has 4",
    ]
    assert shape_of(tmp_path / "all.png") == (14 * (32 + GAP), WIDTH, 3)


def test_three_channels_in_a_task_of_ones_own_with_two_samples(drawn_data, tmp_path, capsys):
    task = tmp_path / "mine.toml"
    classes = ", ".join(f'"{number}"' for number in range(28))
    task.write_text(f'classes = [{classes}]\nchannels = ["red", "green", "blue"]\nlabels = "many"\n')
    (tmp_path / "train").symlink_to(drawn_data / "train")
    table = (drawn_data / "train.csv").read_text().splitlines()
    (tmp_path / "train.csv").write_text("\n".join(table[:3]) + "\n")
    arguments = ["--task", str(task), "--data", str(tmp_path), "--size", "32"]
    assert main([*arguments, "--out", str(tmp_path / "first.png")]) == 0
    assert "left out" not in capsys.readouterr().out
    assert shape_of(tmp_path / "first.png") == (16 * (32 + GAP), WIDTH, 3)
    assert main([*arguments, "--out", str(tmp_path / "again.png")]) == 0
    assert main([*arguments, "--out", str(tmp_path / "other.png"), "--seed", "1"]) == 0
    first, again, other = ((tmp_path / f"{name}.png").read_bytes() for name in ("first", "again", "other"))
    assert first == again != other


def test_one_channel_in_class_folders(tmp_path):
    random = np.random.default_rng(0)
    for number, name in enumerate(("Golgi", "NuMem", "Golgi")):
        (tmp_path / "data" / "train" / name).mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 256, (20 + number, 30), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "data" / "train" / name / f"{number:05d}.png")
    out = tmp_path / "all.png"
    assert main(["--task", "hep2", "--data", str(tmp_path / "data"), "--size", "32", "--out", str(out)]) == 0
    assert shape_of(out) == (14 * (32 + GAP), WIDTH, 3)


@pytest.mark.parametrize("size", ["100000", "999999999", "32767"])
@pytest.mark.parametrize("command", ["augmentations", "train"])
def test_sizes_beyond_memory_or_opencv(drawn_data, tmp_path, capsys, monkeypatch, command, size):
    out = tmp_path / "all.png"
    options = ["--out", str(out)] if command == "augmentations" else ["--show-augmentation", str(out)]
    if size == "32767":
        monkeypatch.setattr("hpa.resources.free_memory", lambda: 2**60)
    command = importlib.import_module(f"hpa.{command}")
    assert command.main(["--data", str(drawn_data), "--size", size, *options]) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert f"of {size} pixels " in line
    assert ("size of at most 32766" if size == "32767" else " are free; choose a smaller size") in line
    assert not out.exists()


def test_faults_are_one_line_and_exit_code_2(drawn_data, tmp_path, capsys):
    assert main(["--data", str(drawn_data), "--size", "8", "--out", str(tmp_path / "all.abc")]) == 2
    assert main(["--data", str(tmp_path / "nowhere"), "--out", str(tmp_path / "all.png")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2
    assert not list(tmp_path.iterdir())
