"""No command writes over what it reads."""

import importlib
import re
import shutil

import numpy as np
import pytest

from hpa.data.tables import read_ids, read_labelled
from hpa.files import write_json
from hpa.scoring.predictions import Predictions, write_predictions
from hpa.tasks import HEP2, HPA


@pytest.fixture(scope="module")
def folder(drawn_data, drawn_cells, tmp_path_factory):
    """Data of both tasks and a member of an ensemble, which no test changes."""
    folder = tmp_path_factory.mktemp("outputs")
    shutil.copytree(drawn_data, folder / "fields")
    shutil.copytree(drawn_cells, folder / "cells")
    table, ids = read_labelled(folder / "fields" / "train", HPA), read_ids(folder / "fields", HPA)
    random = np.random.default_rng(0)
    member = folder / "runs" / "0" / "base"
    member.mkdir(parents=True)
    first = table.at(np.arange(20))
    probabilities = random.random(first.targets.shape, np.float32)
    write_predictions(member / "validation.npz", Predictions(first.ids, HPA.classes, probabilities, first.targets))
    write_predictions(member / "test.npz", Predictions(ids, HPA.classes, random.random((len(ids), 28), np.float32)))
    write_json(member / "config.json", {"fold": 0})
    write_json(folder / "runs" / "1" / "base" / "config.json", {"task": vars(HEP2)})
    (folder / "groups.csv").write_text("Id,group\n" + "".join(f"{each},0\n" for each in table.ids[:2]))
    (folder / "shares.csv").write_text("class,share\n" + "".join(f"{name},0.1\n" for name in HPA.classes))
    (folder / "task.toml").write_text(
        f'classes = {list(HEP2.classes)}\nchannels = ["grey"]\nsuffixes = [""]\nlabels = "one"\n'
    )
    (folder / "link.csv").symlink_to(folder / "fields" / "train.csv")
    cell = min((folder / "cells" / "test").rglob("*.png"))
    shutil.copyfile(cell, folder / "00123.png")
    (folder / "paths.csv").write_text("path\n00123.png\n")
    (folder / "linked").mkdir()
    (folder / "linked" / "00123.png").symlink_to(folder / "00123.png")
    (folder / "masks").mkdir()
    shutil.copyfile(cell, folder / "masks" / "00123.png")
    write_json(folder / "entry.json", {})
    write_json(folder / "model.tflite.json", {})
    for name in ("learned", "usual"):
        np.savez(folder / f"{name}.npz", ids=np.array(["a"]), features=np.ones((1, 2)))
    return folder


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


SPLIT = "split --data fields"
CELLS = "--task hep2 --data cells"
EXPLAIN = "explain --run runs/1/base"
SINGLE_CELLS = "cells --run runs/1/base --masks masks"
EMBED = "embed --run runs/1/base --images cells/test --reference learned.npz --known usual.npz"
ENSEMBLE = "ensemble --data fields --run runs/0/base --shift 0"
CASES = [
    f"{SPLIT} --out fields/train.csv",
    f"{SPLIT} --out fields/sample_submission.csv",
    f"{SPLIT} --out fields/train/folds.csv",
    f"{SPLIT} --out link.csv",
    f"{SPLIT} --table fields/test_key.csv --out fields/test_key.csv",
    f"{SPLIT} --groups groups.csv --out groups.csv",
    f"{SPLIT} --out runs/0/base/folds.csv",
    f"{SPLIT} --out runs",
    f"{SPLIT} --out shares.csv/folds.csv",
    f"{ENSEMBLE} --out fields/train.csv",
    f"{ENSEMBLE} --out fields/sample_submission.csv",
    f"{ENSEMBLE} --out runs/0/base/config.csv",  # its JSON would be config.json
    f"{ENSEMBLE} --sample-submission fields/test_key.csv --out fields/test_key.csv",
    f"duplicates {CELLS} --out cells/train.csv",
    f"duplicates {CELLS} --contact-sheet cells/train/Golgi/sheet.png",
    f"specimens {CELLS} --out cells/train.csv",
    f"specimens {CELLS} --cuts cells/validation.csv",
    "duplicates --task task.toml --data cells --out task.toml",
    f"augmentations {CELLS} --out cells/validation/Golgi/sheet.png",
    "augmentations --data fields --out fields/train/{image}",
    "train --data fields --show-augmentation fields/train/{image}",
    "predict --run runs/1/base --images paths.csv --out 00123.csv",  # its picture would be 00123.png
    f"{EXPLAIN} --images 00123.png --out .",
    f"{EXPLAIN} --images 00123.png --out linked",
    f"{EXPLAIN} --images paths.csv --out .",
    f"{SINGLE_CELLS} --images 00123.png --out cells.csv --overlays .",
    f"{SINGLE_CELLS} --images paths.csv --out cells.csv --overlays linked",
    "export --ensemble entry.json --format saved-model --out entry",
    "export --ensemble model.tflite.json --format litert --out model.tflite",
    f"{EMBED} --out usual.npz",
]


@pytest.mark.parametrize("case", CASES)
def test_an_output_that_is_an_input_is_refused(folder, monkeypatch, capsys, case):
    monkeypatch.chdir(folder)
    before = contents(folder)
    name, *arguments = case.format(image=next((folder / "fields" / "train").iterdir()).name).split()
    assert importlib.import_module(f"hpa.{name}").main(arguments) == 2
    assert re.search("name (another|a file|a folder)", capsys.readouterr().err)
    assert contents(folder) == before


def test_what_lies_next_to_the_data_can_be_written_again(folder, monkeypatch, tmp_path):
    shutil.copytree(folder, tmp_path / "all")
    monkeypatch.chdir(tmp_path / "all" / "fields")
    for _ in range(2):
        assert importlib.import_module("hpa.split").main(["--data", ".", "--out", "folds.csv"]) == 0
        arguments = ["--data", ".", "--run", "../runs/0/base", "--shift", "0", "--out", "entry.csv"]
        assert importlib.import_module("hpa.ensemble").main(arguments) == 0
