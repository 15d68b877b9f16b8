"""Specimens that are found along the ids: exact cuts, what shuffled ids give, drawn specimens, and what is refused."""

import itertools
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.random import default_rng
from PIL import Image

from hpa.data.groups import read_groups
from hpa.data.specimens import FEATURES, best_cuts, describe, find_cuts, find_specimens, matches, whiten
from hpa.drawn.hep2 import draw_specimen
from hpa.errors import BadInput
from hpa.specimens import main
from hpa.tasks import HEP2

EACH, SIZE = 40, 32  # cells of each drawn specimen
SPECIMENS = {"Golgi": 2, "Homogeneous": 3}


def squares(features, cuts):
    return sum(((part - part.mean(axis=0)) ** 2).sum() for part in np.split(features, cuts))


@given(st.integers(0, 2**32 - 1), st.integers(1, 11), st.integers(1, 3), st.integers(1, 3))
@settings(deadline=None, max_examples=40)
def test_cuts_are_those_of_the_least_squares(seed, rows, columns, smallest):
    features = default_rng(seed).normal(size=(rows, columns))
    found = best_cuts(features, 3, smallest)
    assert [len(cuts) for cuts in found] == list(range(min(3, max(rows // smallest - 1, 0)) + 1))
    for number, cuts in enumerate(found):
        allowed = [
            each
            for each in itertools.combinations(range(1, rows), number)
            if not each or min(np.diff([0, *each, rows])) >= smallest
        ]
        best = min((squares(features, each) for each in allowed), default=squares(features, cuts))
        assert squares(features, cuts) == pytest.approx(best, abs=1e-9)
        assert not number or min(np.diff([0, *cuts, rows])) >= smallest


def test_whitened_neighbours_differ_alike_in_all_directions():
    steps = default_rng(0).normal(size=(500, 3)) @ [[1, 2, 0], [0, 1, 0.5], [0, 0, 3]]
    whitened = whiten(np.column_stack([steps, np.ones(500)]))  # of the feature that never changes nothing is left
    assert np.cov(np.diff(whitened, axis=0).T) == pytest.approx(2 * np.eye(3), abs=0.02)
    assert whiten(np.ones((5, 2))).shape == (5, 0)


@pytest.mark.parametrize(
    ("one", "other", "count"),
    [([], [5], 0), ([10, 50], [18, 59], 1), ([10, 14], [12], 1), ([10, 14], [12, 20], 2), ([100], [92], 1), ([5], [14], 0)],
)
def test_a_cut_is_matched_once(one, other, count):
    assert matches(np.array(one, int), np.array(other, int)) == count


def test_texture_does_not_change_with_brightness():
    channel = default_rng(0).integers(60, 200, (40, 40)).astype(np.float32)
    darker = describe(channel / 2)
    assert darker["texture"] == pytest.approx(describe(channel)["texture"], abs=0.05)
    assert np.array(darker["intensity"]) == pytest.approx(np.array(describe(channel)["intensity"]) / 2)


def batches(generator, sizes):
    """Return features of batches whose means differ by five deviations in each set, and by nothing else."""
    means = np.repeat(generator.permutation(len(sizes)), sizes)[:, np.newaxis] * [5.0]
    return {name: generator.normal(size=(sum(sizes), 2)) + means for name in FEATURES}


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(40, 90), min_size=1, max_size=4))
@settings(deadline=None, max_examples=10)
def test_batches_are_found_by_both_sets_of_features(seed, sizes):
    generator = default_rng(seed)
    features = batches(generator, sizes)
    cuts, _ = find_cuts(features, smallest=20)
    assert len(cuts) == len(sizes) - 1
    assert np.abs(cuts - np.cumsum(sizes)[:-1]).max(initial=0) <= 2


@given(st.integers(0, 2**32 - 1), st.integers(1, 150))
@settings(deadline=None, max_examples=10)
def test_features_that_do_not_change_have_no_cut(seed, rows):
    cuts, _ = find_cuts(batches(default_rng(seed), [rows]), smallest=20)
    assert len(cuts) == 0
    cuts, _ = find_cuts({name: np.ones((rows, 2)) for name in FEATURES}, smallest=20)
    assert len(cuts) == 0


def test_a_change_in_one_set_of_features_alone_is_no_cut():
    features = batches(default_rng(0), [60, 60, 60])
    cuts, _ = find_cuts(features | {"texture": default_rng(1).normal(size=(180, 2))}, smallest=20)
    assert len(cuts) == 0


def save(folder, number, image):
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(folder / f"{number}.png")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Cells of drawn specimens, one class after the other; every third is in `validation/`."""
    folder, number = tmp_path_factory.mktemp("specimens"), 0
    for name, specimens in SPECIMENS.items():
        for specimen in range(specimens):
            for image in draw_specimen(HEP2.classes.index(name), EACH, SIZE, default_rng([7, specimen])):
                number += 1
                save(folder / ("train" if number % 3 else "validation") / name, number, image)
    return folder


def test_the_command_finds_drawn_specimens(data, tmp_path):
    out, cuts = tmp_path / "specimens.csv", tmp_path / "cuts.csv"
    arguments = ["--task", "hep2", "--data", data, "--out", out, "--cuts", cuts]
    done = subprocess.run([sys.executable, "-m", "hpa.specimens", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [line[:3] for line in lines[:3]] == [
        ["class", "samples", "specimens"],
        ["Golgi", "80", "2"],
        ["Homogeneous", "120", "3"],
    ]
    table = pd.read_csv(out, dtype={"Id": str})
    assert sorted(table["Id"].astype(int)) == list(range(1, 201))
    assert (table["set"] == np.where(table["Id"].astype(int) % 3, "train", "validation")).all()
    truth = (table["Id"].astype(int) - 1) // EACH
    assert np.mean(table["group"] == truth) > 0.97
    evidence = pd.read_csv(cuts)
    assert evidence["class"].tolist() == ["Golgi", "Homogeneous", "Homogeneous"]
    assert np.abs(evidence["Id"] - [41, 121, 161]).max() <= 2
    assert (evidence["jump"] > 2).all()
    assert (evidence[["even", "odd", "intensity", "texture"]] <= 8).all(axis=None)
    groups = read_groups(str(out), np.array(["1", "2", "100", "200"]))
    assert groups[0] == groups[1]
    assert len(set(groups)) == 3


def test_shuffled_ids_have_no_specimens(data, tmp_path):
    files = sorted(data.glob("*/Homogeneous/*.png"), key=lambda path: int(path.stem))
    for number, place in enumerate(default_rng(0).permutation(len(files))):
        (tmp_path / "train/Homogeneous").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"train/Homogeneous/{number}.png").symlink_to(files[place])
    found = find_specimens(tmp_path, HEP2, smallest=20)
    assert found.series["specimens"].tolist() == [1]
    assert found.cuts.empty
    assert set(found.samples["group"]) == {0}


def test_classes_that_alternate_along_the_ids_are_one_series(tmp_path):
    for number in range(6):
        save(
            tmp_path / "train" / ("Golgi", "NuMem")[number % 2],
            number,
            default_rng(number).integers(0, 255, (20, 20), np.uint8),
        )
    series = find_specimens(tmp_path, HEP2, smallest=2).series
    assert series[["class", "samples"]].to_numpy().tolist() == [["all", 6]]


def test_ids_that_are_no_numbers_are_refused(tmp_path, capsys):
    save(tmp_path / "train/Golgi", "cell_1", np.zeros((20, 20), np.uint8))
    assert main(["--task", "hep2", "--data", str(tmp_path), "--out", str(tmp_path / "s.csv")]) == 2
    assert "train: id cell_1 is not a number" in capsys.readouterr().err
    assert not (tmp_path / "s.csv").exists()
    save(tmp_path / "train/Golgi", "1", np.zeros((20, 20), np.uint8))
    (tmp_path / "train/Golgi/cell_1.png").unlink()
    (tmp_path / "train/Golgi/2.png").write_bytes(b"no image")
    with pytest.raises(BadInput, match=r"2\.png"):
        find_specimens(tmp_path, HEP2, smallest=20)
