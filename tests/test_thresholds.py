import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hpa import thresholds
from hpa.scoring.predictions import Predictions, write_predictions
from hpa.scoring.thresholds import find_thresholds

ROOT = Path(__file__).resolve().parents[1]
CLASSES = ("v", "w", "x", "y", "z")
TARGETS = (np.random.default_rng(1).random((300, 5)) < [0.4, 0.3, 0.2, 0.1, 0]).astype(np.uint8)  # none is of class z


def make(folder, seed, labels="many"):
    """Write a run folder whose probabilities are the truth, on another scale in every class, and some noise."""
    noise = 1.5 * np.random.default_rng(seed).normal(size=TARGETS.shape)
    values = 1 / (1 + np.exp(np.arange(5) - 3.0 * TARGETS + noise))
    ids = np.arange(300).astype(str)
    write_predictions(folder / "validation.npz", Predictions(ids, CLASSES, values, TARGETS, labels))
    (folder / "config.json").write_text("{}")


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("0/base", "1/base", "1/cnn")):
        make(tmp_path / "runs" / name, seed)
    return tmp_path


def saved(folder):
    return json.loads((Path(folder) / "thresholds.json").read_text())


def mean(*folders):
    return np.mean([np.load(f"{folder}/validation.npz")["probabilities"] for folder in folders], axis=0).astype(np.float32)


def test_the_command_in_a_process_of_its_own(place):
    code = (
        "import sys, runpy\n"
        "try:\n    runpy.run_module('hpa.thresholds', run_name='__main__', alter_sys=True)\n"
        "finally:\n    print('HEAVY', sorted({'tensorflow', 'keras', 'cv2', 'matplotlib'} & sys.modules.keys()))\n"
    )
    command = [sys.executable, "-c", code, "--run", "runs/0/base"]
    done = subprocess.run(command, cwd=place, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "HEAVY []"
    table = pd.read_csv(place / "runs/0/base/thresholds.csv", index_col="thresholds")
    assert table.index.tolist() == ["0.5", "per-class", "global", "class-share"]
    for name, row in table.iterrows():
        assert f"{row['cross_validated']:.4f}" in next(line for line in done.stdout.splitlines() if line.startswith(name))
    assert table["gain_low"]["per-class"] > 0  # no one threshold fits all scales
    about = saved(place / "runs/0/base")
    best = table["cross_validated"].idxmax()
    assert about["rule"] == best
    assert about["cross_validated"] == pytest.approx(table["cross_validated"][best], rel=1e-5)
    expected = find_thresholds(best, TARGETS, mean(place / "runs/0/base"))
    assert about["thresholds"] == pytest.approx(dict(zip(CLASSES, expected, strict=True)))
    assert f"saved {best}: runs/0/base/thresholds.json" in done.stdout


@pytest.mark.parametrize("rule", ["per-class", "global", "class-share", 0.3])
def test_the_rule_that_is_asked_for_is_saved_beside_all_runs(place, capsys, rule):
    assert thresholds.main(["--rule", str(rule)]) == 0
    about = saved("runs/0/base")
    assert about == saved("runs/1/cnn")
    assert not Path("runs/1/base/thresholds.json").exists()
    assert (about["rule"], about["runs"]) == (rule, ["runs/0/base", "runs/1/cnn"])
    found = np.array(list(about["thresholds"].values()))
    np.testing.assert_allclose(found, find_thresholds(rule, TARGETS, mean("runs/0/base", "runs/1/cnn")), rtol=1e-6)
    assert np.all(found > 0)  # of the class without positives, too
    printed = capsys.readouterr().out
    assert "no validation row has z; per-class and class-share give it the global threshold" in printed
    assert ("\n0.3 " in printed) == (rule == 0.3)


def test_a_gain_that_may_be_chance_is_said(place, capsys):
    said = "its gain over global may be chance"
    assert thresholds.main(["--run", "runs/0/base"]) == 0
    assert said not in capsys.readouterr().out  # as its lower bound is above 0
    path = place / "runs/1/base/validation.npz"
    arrays = dict(np.load(path))
    values = np.random.default_rng(4).random(TARGETS.shape, dtype=np.float32)
    np.savez(path, **arrays | {"probabilities": values})
    assert thresholds.main(["--run", "runs/1/base"]) == 0
    about = saved("runs/1/base")
    assert about["rule"] != "global"
    assert about["gain_low"] <= 0
    line = f"{about['rule']} is best in the table, but its gain over global may be chance: its interval begins at "
    assert f"{line}{about['gain_low']:+.4f}\n" in capsys.readouterr().out
    assert thresholds.main(["--run", "runs/1/base", "--rule", about["rule"]]) == 0
    assert said not in capsys.readouterr().out


def test_one_validation_row_cannot_be_compared(place, capsys):
    path = place / "runs/0/base/validation.npz"
    arrays = dict(np.load(path))
    for rows, code in ((1, 2), (2, 0)):
        own = {name: arrays[name][:rows] for name in ("ids", "probabilities", "targets")}
        np.savez(path, **arrays | own)
        assert thresholds.main(["--run", "runs/0/base"]) == code
    error = capsys.readouterr().err
    assert error == "hpa.thresholds: validation.npz: 1 validation row; a comparison needs at least 2\n"


def test_shares_from_a_file(place):
    shares = dict(zip(CLASSES, (0.5, 0.4, 0.1, 0.2, 0.01), strict=True))
    Path("shares.json").write_text(json.dumps(shares))
    assert thresholds.main(["--run", "runs/0/base", "--rule", "class-share", "--shares", "shares.json"]) == 0
    about = saved("runs/0/base")
    assert (about["rule"], about["shares"]) == ("class-share", shares)
    above = mean("runs/0/base") > np.array(list(about["thresholds"].values()))
    np.testing.assert_array_equal(above.sum(axis=0), [150, 120, 30, 60, 3])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--run", "runs/0/base", "--variants", "0"], "leave out --variants and --stage"),
        (["--run", "nowhere"], "nowhere: no validation.npz"),
        (["--run", "runs/0/base", "--shares", "none.csv"], "none.csv: cannot be read"),
        (["--variants", "5"], "no run named 5"),
        (["--run", "cells"], "cells: a sample has one label here"),
    ],
)
def test_bad_options(place, capsys, options, message):
    make(place / "cells", 0, "one")
    assert thresholds.main(options) == 2
    assert message in capsys.readouterr().err
    assert not list(place.rglob("thresholds.*"))


@pytest.mark.parametrize("value", [np.nan, -0.01, 1.5])
def test_a_probability_out_of_range_is_named_by_file_and_row(place, capsys, value):
    path = place / "runs/0/base/validation.npz"
    arrays = dict(np.load(path))
    arrays["probabilities"][7, 2] = value
    np.savez(path, **arrays)
    assert thresholds.main(["--run", "runs/0/base"]) == 2
    assert "runs/0/base/validation.npz: row 7 (id 7) holds a probability that is not in [0, 1]" in capsys.readouterr().err
    assert not list(place.rglob("thresholds.*"))


@pytest.mark.parametrize("rule", ["0", "1", "nan", "worst"])
def test_bad_rules(capsys, rule):
    with pytest.raises(SystemExit) as caught:
        thresholds.main(["--rule", rule])
    assert caught.value.code == 2
    assert "--rule" in capsys.readouterr().err


def test_shares_that_the_table_would_replace(place, capsys):
    shares = Path("runs/0/base/thresholds.csv")
    shares.write_text("class,share\n" + "".join(f"{name},0.1\n" for name in CLASSES))
    before = shares.read_text()
    assert thresholds.main(["--run", "runs/0/base", "--rule", "class-share", "--shares", str(shares)]) == 2
    assert "which this command reads" in capsys.readouterr().err
    assert shares.read_text() == before
