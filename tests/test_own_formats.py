"""A task whose samples are stacks of microscopes: each command that reads images reads them by the task's own choices."""

import importlib
import json

import numpy as np
import pandas as pd
import pytest
import tifffile

import hpa
from hpa.data.images import read_image
from hpa.data.layout import find_files
from hpa.errors import BadInput
from hpa.inference.export import chosen_run, metadata
from hpa.runs.folder import read_settings, read_task_of
from hpa.scoring.predictions import read_predictions

TASK = """
classes = ["round", "flat"]
channels = ["dapi", "actin"]
labels = "one"
files = "{plate}_{well}_s{site}_*.ome.tif"
plane = "maximum"
fit = "crop"
colours = ["#0000ff", "#ff8000"]
"""
METADATA = {"axes": "ZCYX", "PhysicalSizeX": 0.325, "PhysicalSizeY": 0.325, "Channel": {"Name": ["Actin", "DAPI"]}}


def write_stack(path, number, seed, bright=4095):
    """Write a stack of 12 bits whose cells, brighter in one of three planes, are round or flat."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:40, :64]
    shape = ((rows - 20) / (12 if number % 2 else 6)) ** 2 + ((columns - 32) / (6 if number % 2 else 12)) ** 2 < 1
    pixels = random.integers(100, 200, (3, 2, 40, 64))
    pixels[number % 3, :, shape] += np.array([bright // 20, bright - 300])  # actin is dim, DAPI bright
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, pixels.astype(np.uint16), ome=True, metadata=METADATA, photometric="minisblack")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with data and a trained run."""
    folder = tmp_path_factory.mktemp("own")
    for part in ("train", "validation", "test"):
        for number in range(12):
            name = f"P1_{'AB'[number % 2]}{part[0]}{number // 2}_s{number}_x.ome.tif"
            below = "" if part == "test" else ("flat", "round")[number % 2]
            write_stack(folder / "data" / part / below / name, number, 100 * len(part) + number)
    (folder / "own.toml").write_text(TASK, encoding="utf-8")
    small = ["--epochs", "1", "--batch-size", "6", "--size", "32", "--filters", "4,8", "--blocks", "1,1"]
    run(folder, "train", "--task", folder / "own.toml", "--data", folder / "data", "--name", "r", *small)
    return folder


def run(folder, name, *options):
    """Run a command; its runs are in the folder."""
    runs = ["--runs", folder / "runs"] if name in ("train", "predict", "pack") else []
    assert importlib.import_module(f"hpa.{name}").main([*map(str, (*options, *runs))]) == 0


def test_a_run_keeps_how_its_files_are_read_and_scaled(place):
    folder = place / "runs" / "r" / "base"
    task, ranges = read_task_of(folder), read_settings(folder).intensity_range
    assert task == hpa.Task.read(place / "own.toml")
    assert task.reading == {"files": "{plate}_{well}_s{site}_*.ome.tif", "plane": "maximum", "fit": "crop"}
    (low, bright), (_, dim) = ranges  # each channel has its own: DAPI, which is the second in the files, comes first
    assert low < 200
    assert bright > 3800
    assert dim < 420
    [store] = (place / "runs" / "stores").glob("train-32-*")
    about = json.loads((store / "store.json").read_text())
    assert about["intensity_range"] == [list(each) for each in ranges]
    assert about["reading"] == task.reading
    files = find_files(place / "data" / "train", about["ids"], task)
    expected = np.stack([tifffile.imread(sample[0]).max(axis=0)[::-1, :, 12:52] for sample in files])
    images = np.load(store / "images.npy")
    assert np.array_equal(images, [read_image(sample, task, 32, ranges) for sample in files])
    for channel, (black, white) in enumerate(ranges):  # as much light as the middle square has, scaled by its own range
        light = np.clip((expected[:, channel].astype(float) - black) / (white - black), 0, 1).mean(axis=(1, 2)) * 255
        assert np.abs(images[..., channel].mean(axis=(1, 2)) - light).max() < 1


def test_new_images_are_scaled_as_those_that_were_learned_from(place, tmp_path):
    for number in range(4):
        write_stack(tmp_path / "new" / f"P2_C1_s{number}_y.ome.tif", number, number, bright=1000)
    run(place, "predict", "--images", tmp_path / "new", "--out", tmp_path / "new.csv")
    table = pd.read_csv(tmp_path / "new.csv")
    assert table["Id"].tolist() == [f"P2_C1_{number}" for number in range(4)]
    task, ranges = read_task_of(place / "runs/r/base"), read_settings(place / "runs/r/base").intensity_range
    files = find_files(tmp_path / "new", table["Id"], task)
    images = np.stack([read_image(each, task, 32, ranges) for each in files])
    assert images[..., 0].max() < 80  # dim, as they are
    own = hpa.Run(place / "runs/r/base").predict([str(sample[0]) for sample in files])
    np.testing.assert_allclose(table[list(task.classes)], own, atol=1e-4)
    model = hpa.load_model(place / "runs/r/base/model.keras")
    np.testing.assert_allclose(model.predict(images, verbose=0), own, atol=1e-5)
    with pytest.raises(BadInput, match=r"image 0: expected one file with dapi, actin; received 2"):
        hpa.Run(place / "runs/r/base").predict([[files[0][0], files[1][0]]])


@pytest.mark.slow
def test_each_command_reads_such_images(place, tmp_path, capsys):
    own, images = ["--run", place / "runs/r/base"], place / "data" / "test"
    run(place, "predict", "--data", place / "data")
    assert len(read_predictions(place / "runs/r/base/test.npz").ids) == 12
    run(place, "evaluate", *own, "--data", place / "data/validation", "--out", tmp_path / "evaluation")
    run(place, "embed", *own, "--images", images, "--out", tmp_path / "features.npz")
    run(place, "explain", *own, "--images", images / "P1_At0_s0_x.ome.tif", "--out", tmp_path / "maps")
    assert (tmp_path / "maps" / "P1_At0_0.png").exists()
    run(place, "duplicates", "--task", place / "own.toml", "--data", place / "data", "--out", tmp_path / "copies.csv",
        "--contact-sheet", tmp_path / "copies.png")  # fmt: skip
    run(place, "augmentations", "--task", place / "own.toml", "--data", place / "data", "--out", tmp_path / "a.png")
    run(place, "report", *own, "--data", place / "data/validation", "--out", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "#ff8000" in page
    labels = np.zeros((40, 64), np.uint8)
    labels[:, :9], labels[10:30, 20:44] = 1, 2  # what the middle square lacks, and what it holds
    (tmp_path / "masks").mkdir()
    for number in range(12):
        tifffile.imwrite(tmp_path / "masks" / f"P1_{'AB'[number % 2]}t{number // 2}_s{number}_x.ome_cp_masks.tif", labels)
    run(place, "cells", *own, "--images", images, "--masks", tmp_path / "masks", "--out", tmp_path / "cells.csv")
    assert "cells.csv: 12 cells of 12 fields; outside of what the network sees: 12 more\n" in capsys.readouterr().out
    cells = pd.read_csv(tmp_path / "cells.csv")
    assert set(cells["Cell"]) == {2}  # what is cut off is not seen
    assert (cells["x"] == 20).all()


def test_what_an_exported_model_must_be_given_is_said(place, caplog):
    about = metadata(chosen_run(place / "runs/r/base"))
    assert about["reading"] == {"files": "{plate}_{well}_s{site}_*.ome.tif", "plane": "maximum", "fit": "crop"}
    assert "the task own states files, plane, fit: give the model images that are read so" in caplog.text
