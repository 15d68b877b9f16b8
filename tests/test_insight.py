"""What looks into a network, report, explain, cells, embed and export, on HEp-2 cells and on a user's own task."""

import importlib
import json

import cv2
import numpy as np
import pandas as pd
import pytest

from hpa.drawn.hep2 import write_cells

NETWORK = ["--model", "cellnet", "--size", "32", "--filters", "4,8", "--blocks", "1,1", "--kernel", "3", "--dropout", "0.1"]
LEARNING = ["--epochs", "1", "--batch-size", "16", "--name", "one"]
OWN = """
labels = "many"
classes = ["spots", "ring"]
channels = ["DAPI", "GFP"]
suffixes = ["_w1", "_w2"]
"""


def run(name, *options):
    return importlib.import_module(f"hpa.{name}").main([*map(str, options)])


def write_fields(folder, rows):
    """Write fields of two nuclei on a dark ground, with spots, a ring or both in the other channel, and their table."""
    random = np.random.default_rng(0)
    folder.mkdir(parents=True)
    across, down = np.meshgrid(np.arange(48), np.arange(48))
    targets = []
    for number in range(rows):
        spots, ring = (number % 3 != 1), (number % 3 != 0)
        channels = np.zeros((2, 48, 48))
        for x, y in ((14, 14), (34, 34)):
            distance = np.hypot(across - x, down - y)
            channels[0] += 180 * (distance < 5)
            channels[1] += 40 * (distance < 10) + ring * 120 * (abs(distance - 9) < 1.2)
            channels[1] += spots * 200 * (np.hypot(across - x - 6, down - y) < 1.5)
        for suffix, channel in zip(("_w1", "_w2"), channels + random.normal(10, 3, channels.shape), strict=True):
            cv2.imwrite(str(folder / f"f{number:02d}{suffix}.png"), np.clip(channel, 0, 255).astype(np.uint8))
        targets.append(" ".join(str(place) for place, own in enumerate((spots, ring)) if own))
    table = pd.DataFrame({"Id": [f"f{number:02d}" for number in range(rows)], "Target": targets})
    table.to_csv(folder.with_suffix(".csv"), index=False)


@pytest.fixture(scope="module", params=["hep2", "own"])
def place(request, tmp_path_factory):
    """A folder with data and a run, and what names the channels of nuclei and bodies."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "hep2":
        write_cells(folder / "data", train=48, validation=18, test=6, size=32, seed=0)
        task, images, channels = "hep2", folder / "data" / "validation" / "Centromere", ("grey", "grey")
    else:
        (folder / "own.toml").write_text(OWN)
        write_fields(folder / "data" / "train", 36)
        task, images, channels = folder / "own.toml", folder / "data" / "train", ("DAPI", "GFP")
    assert run("train", "--task", task, "--data", folder / "data", "--runs", folder / "runs", *NETWORK, *LEARNING) == 0
    return folder / "runs" / "one" / "base", images, channels, json.loads((folder / "runs/one/base/config.json").read_text())


def ids_of(images, task):
    suffix = task["suffixes"][0]
    return sorted(path.stem.removesuffix(suffix) for path in images.glob(f"*{suffix}.png"))


def test_explain(place, tmp_path):
    folder, images, _, config = place
    assert run("explain", "--run", folder, "--images", images, "--out", tmp_path) == 0
    found = pd.read_csv(tmp_path / "explanations.csv", dtype={"Id": str})
    assert sorted(found["Id"].unique()) == ids_of(images, config["task"])
    assert set(found["class"]) <= set(config["task"]["classes"])
    for identifier, rows in found.groupby("Id"):
        assert cv2.imread(str(tmp_path / f"{identifier}.png")).std() > 0
        with np.load(tmp_path / f"{identifier}.npz") as maps:
            assert maps["classes"].tolist() == rows["class"].tolist()
            np.testing.assert_allclose(maps["maps"].sum(axis=(1, 2)) + maps["constants"], maps["logits"], atol=1e-3)


def test_embed(place, tmp_path):
    folder, images, _, config = place
    assert run("embed", "--run", folder, "--images", images, "--out", tmp_path / "f.npz", "--neighbours", 1) == 0
    with np.load(tmp_path / "f.npz") as found:
        assert found["ids"].tolist() == ids_of(images, config["task"])
        assert np.isfinite(found["features"]).all()
    assert len(pd.read_csv(tmp_path / "f-neighbours.csv")) == len(ids_of(images, config["task"]))


def test_cells(place, tmp_path, capsys):
    folder, images, channels, config = place
    options = ["--run", folder, "--images", images, "--out", tmp_path / "cells.csv"]
    assert run("cells", *options) == 2  # the competition's channels are not there
    assert f"the task {config['task']['name']} has no channel blue" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())
    named = ["--nucleus", channels[0], "--body", channels[1], "--overlays", tmp_path / "pictures"]
    assert run("cells", *options, *named) == 0
    table = pd.read_csv(tmp_path / "cells.csv", dtype={"Id": str})
    assert set(table["Id"]) == set(ids_of(images, config["task"]))
    if len(channels) == len(set(channels)):  # two nuclei in each field
        assert table.groupby("Id")["Cell"].count().eq(2).all()
    assert table[config["task"]["classes"]].to_numpy().min() >= 0
    assert len(list((tmp_path / "pictures").iterdir())) == table["Id"].nunique()


def test_report(place, tmp_path):
    folder, _, channels, config = place
    assert run("report", "--run", folder, "--heat-maps", 2, "--out", tmp_path / "page.html") == 0
    text = (tmp_path / "page.html").read_text()
    found = json.loads(text.split('<script type="application/json" id="data">')[1].split("</script>")[0])
    assert [each["class"] for each in found["classes"]] == config["task"]["classes"]
    assert found["channels"] == config["task"]["channels"]
    assert len(found["heat"]) == 2
    two = channels == ("DAPI", "GFP")  # one grey channel does not tell nuclei from bodies
    assert [len(cells) for cells in found["cells"]] == ([2, 2] if two else [])


def test_export(place, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("tf2onnx")
    folder, _, _, config = place
    assert run("export", "--run", folder, "--format", "onnx", "--out", tmp_path / "model.onnx") == 0
    session = runtime.InferenceSession(str(tmp_path / "model.onnx"))
    [entry] = session.get_inputs()
    pixels = np.random.default_rng(0).integers(0, 256, (3, 32, 32, len(config["task"]["channels"])), np.uint8)
    [probabilities] = session.run(None, {entry.name: pixels})
    assert probabilities.shape == (3, len(config["task"]["classes"]))
