"""Drawn cells: where each class's protein lies, how the labels are shared out, and what lies on disk."""

import itertools
import json
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from numpy.random import default_rng
from sklearn.ensemble import RandomForestClassifier

from hpa.data.tables import read_sample_submission, read_training_table
from hpa.drawn import fields as drawn
from hpa.drawn.patterns import PATTERNS
from hpa.errors import BadInput
from hpa.tasks import HPA

SIZE = 128
FIELDS = 14
RED, GREEN, BLUE, YELLOW = range(4)


@pytest.fixture(scope="module")
def fields() -> np.ndarray:
    """Fields that show one class each, uint8 [28, FIELDS, SIZE, SIZE, 4]."""

    def draw(number: int, index: int) -> np.ndarray:
        return drawn.draw_field([number], SIZE, default_rng([5, number, index])).image

    return np.array([[draw(number, index) for index in range(FIELDS)] for number in range(28)])


def light(fields: np.ndarray) -> np.ndarray:
    """The green light above the background, float [..., SIZE, SIZE]."""
    green = fields[..., GREEN].astype(float)
    return np.clip(green - np.percentile(green, 10, axis=(-2, -1), keepdims=True) - 12, 0, None)


def nuclei(field: np.ndarray) -> np.ndarray:
    """The nuclei as Otsu's threshold finds them in the blue channel, bool [SIZE, SIZE]."""
    return cv2.threshold(np.ascontiguousarray(field[..., BLUE]), 0, 1, cv2.THRESH_BINARY + cv2.THRESH_OTSU)[1] > 0


def share_in_nuclei(fields: np.ndarray) -> float:
    inside = np.array([nuclei(field) for field in fields])
    green = light(fields)
    return (green * inside).sum() / green.sum()


def bright_area(fields: np.ndarray) -> float:
    green = light(fields)
    return np.mean(green > 0.3 * green.max(axis=(-2, -1), keepdims=True))


def mean_distance_from_nuclei(fields: np.ndarray) -> float:
    distance = np.array([cv2.distanceTransform((~nuclei(field)).astype(np.uint8), cv2.DIST_L2, 3) for field in fields])
    green = light(fields)
    return (green * distance).sum() / green.sum()


def bright_spots(field: np.ndarray) -> int:
    green = cv2.GaussianBlur(light(field), (0, 0), 0.8)
    return cv2.connectedComponents((green > 0.35 * green.max()).astype(np.uint8))[0] - 1


def test_there_is_a_pattern_for_every_class():
    assert len(PATTERNS) == len(HPA.classes) == len(drawn.CLASS_COUNTS) == 28
    for name, pattern in zip(HPA.classes, PATTERNS, strict=True):
        assert pattern.__name__.split("_")[0][:4] in name.lower()


@pytest.mark.parametrize("number", range(6))
def test_nuclear_classes_lie_in_the_nuclei(fields, number):
    assert share_in_nuclei(fields[number]) > 0.65


@pytest.mark.parametrize("number", [6, 7, 8, 9, 10, 11, 13, 14, 15, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27])
def test_other_classes_lie_outside_of_the_nuclei(fields, number):
    assert share_in_nuclei(fields[number]) < 0.25


def test_proteins_fill_as_much_of_the_field_as_they_should(fields):
    area = [bright_area(each) for each in fields]
    assert area[19] < area[18] < area[25] / 10
    assert area[2] < area[0] / 2  # nucleoli against all of the nucleus but them
    assert area[5] < area[4]  # nuclear bodies against speckles
    assert area[26] < area[9] < area[23] < area[25]


def test_classes_of_the_cell_edge_are_far_from_the_nucleus(fields):
    distance = [mean_distance_from_nuclei(each) for each in fields]
    assert min(distance[21], distance[22], distance[13]) > 1.4 * max(distance[6], distance[7], distance[10], distance[11])


def test_numbers_of_spots(fields):
    spots = np.array([[bright_spots(field) for field in each] for each in fields]).mean(axis=1)
    assert spots[18] < 6  # one a cell
    assert spots[26] < spots[9] < spots[8]


def test_nucleoplasm_spares_what_nucleoli_fill():
    """The same generator grows the same cells, so the two patterns can be laid over each other."""
    for index in range(5):
        inside = nuclei(drawn.draw_field([0], 256, default_rng(index)).image)
        plasm, spots = (light(drawn.draw_field([number], 256, default_rng(index)).image)[inside] for number in (0, 2))
        assert np.corrcoef(plasm, spots)[0, 1] < -0.3


def test_a_dividing_cell_has_a_chromosome_plate_across_its_spindle():
    for index in range(8):
        field = drawn.draw_field([17], 256, default_rng(index)).image
        green = cv2.GaussianBlur(light(field), (0, 0), 3)
        y, x = np.argwhere(green > 0.35 * green.max()).mean(axis=0).round().astype(int)
        assert field[y - 4 : y + 5, x - 4 : x + 5, BLUE].mean() > 0.5 * np.percentile(field[..., BLUE], 99)


def test_junctions_show_only_where_two_cells_touch():
    for index in range(10):
        generator = default_rng(index)
        field = drawn.grow_field(256, generator, crowded=True)
        junctions = PATTERNS[22](field, generator)
        others = [cv2.dilate(((field.labels > 0) & (field.labels != n)).astype(np.uint8), np.ones((9, 9))) for n in range(7)]
        touching = np.take_along_axis(np.array(others), field.labels[None].astype(int), axis=0)[0] > 0
        edge = (field.labels > 0) & (field.rim < 0.05)
        assert junctions[edge & touching].mean() > 5 * junctions[edge & ~touching].mean()


def test_a_bridge_joins_two_daughter_cells():
    for index in range(10):
        generator = default_rng(index)
        field = drawn.grow_field(256, generator, daughters=True)
        bar = PATTERNS[16](field, generator)
        reach = cv2.dilate((bar > 0.4).astype(np.uint8), np.ones((13, 13)))
        assert {1, 2} <= set(np.unique(field.labels[reach > 0]).tolist())
        assert np.mean(field.labels[bar > 0.4] == 0) > 0.4


def test_reference_channels_show_the_cell(fields):
    inside = np.array([nuclei(field) for field in fields[25]])
    red, yellow = fields[25][..., RED], fields[25][..., YELLOW]
    near = np.array([cv2.dilate(each.astype(np.uint8), np.ones((9, 9))) > 0 for each in inside]) & ~inside
    assert yellow[near].mean() > 1.5 * yellow[~near & ~inside].mean()
    assert red[near].mean() > 1.5 * red[inside].mean()


def test_the_classes_can_be_told_apart(fields):
    """A forest on a few plain features of the green light; chance is 1 in 28."""

    def features(field: np.ndarray) -> list[float]:
        green, inside = light(field), nuclei(field)
        green = green / green.max()
        distance = cv2.distanceTransform((~inside).astype(np.uint8), cv2.DIST_L2, 3)
        scales = [cv2.GaussianBlur(green, (0, 0), sigma) for sigma in (0.7, 1.4, 2.8, 5.6, 11.2)]
        grain = [np.std(fine - coarse) for fine, coarse in itertools.pairwise(scales)]
        areas = [np.mean(green > level) for level in (0.15, 0.3, 0.6)]
        rings = [green[(distance > low) & (distance <= low + 3)].mean() for low in (0, 3, 6, 9, 15)]
        return [green.mean(), green[inside].mean(), green[inside].std(), bright_spots(field), *grain, *areas, *rings]

    described = np.array([[features(field) for field in each] for each in fields])  # [28, FIELDS, features]
    learn = FIELDS * 2 // 3
    truth = np.arange(28)[:, None]
    forest = RandomForestClassifier(150, random_state=0)
    forest.fit(described[:, :learn].reshape(28 * learn, -1), np.broadcast_to(truth, (28, learn)).ravel())
    found = forest.predict(described[:, learn:].reshape(28 * (FIELDS - learn), -1)).reshape(28, -1)
    assert np.mean(found == truth) > 0.75


@pytest.mark.parametrize("classes", [[0], [16, 17, 22, 24], [25, 0, 21, 7, 4]])
@pytest.mark.parametrize("size", [32, 129])
def test_same_generator_same_pixels(classes, size):
    first, again, other = (drawn.draw_field(classes, size, default_rng(seed)).image for seed in (3, 3, 4))
    assert first.shape == (size, size, 4)
    assert first.dtype == np.uint8
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_field_has_several_cells_and_nuclei_do_not_overlap():
    for index in range(30):
        field = drawn.grow_field(256, default_rng(index), crowded=index % 2 == 0)
        assert 2 <= len(field.cells) <= 6
        drawn_one_by_one = sum(cv2.fillPoly(np.zeros((256, 256), np.uint8), [np.int32(c.nucleus)], 1) for c in field.cells)
        assert drawn_one_by_one.max() == 1


@pytest.mark.parametrize("rows", [1, 27, 28, 59, 60, 240, 600])
def test_small_sets_hold_every_class(rows):
    targets = drawn.sample_targets(rows, default_rng(rows))
    assert targets.shape == (rows, 28)
    assert set(np.unique(targets.sum(axis=1))) <= {1, 2, 3, 4, 5}
    if rows >= 28:
        assert targets.sum(axis=0).min() >= min(8, 1 + rows // 60)


def test_large_sets_are_shared_out_like_the_competition():
    targets = drawn.sample_targets(31072, default_rng(0))
    counts, real = targets.sum(axis=0), np.array(drawn.CLASS_COUNTS)
    assert real.sum() == np.dot(drawn.LABELS_PER_ROW, range(1, 6)) == 50782
    assert np.corrcoef(np.argsort(np.argsort(counts)), np.argsort(np.argsort(real)))[0, 1] > 0.99
    assert np.all(np.abs(counts - real) < 0.15 * real + 4 * np.sqrt(real))
    lengths = np.bincount(targets.sum(axis=1), minlength=6)[1:]
    assert np.all(np.abs(lengths - drawn.LABELS_PER_ROW) < 5 * np.sqrt(drawn.LABELS_PER_ROW))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("drawn") / "data"
    drawn.write_dataset(folder, train=40, test=9, size=48, seed=7)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_layout(dataset):
    train = read_training_table(dataset / "train.csv", HPA)
    key = read_training_table(dataset / "test_key.csv", HPA)
    test = read_sample_submission(dataset / "sample_submission.csv")
    assert (len(train), len(test)) == (40, 9)
    assert np.array_equal(key.ids, test.ids)
    assert len({*train.ids, *test.ids}) == 49
    assert set(pd.read_csv(dataset / "sample_submission.csv", dtype=str)["Predicted"]) == {"0"}
    assert train.targets.sum(axis=0).min() >= 1
    for split, table in (("train", train), ("test", test)):
        names = {f"{identifier}_{channel}.png" for identifier in table.ids for channel in HPA.channels}
        assert {path.name for path in (dataset / split).iterdir()} == names
        for name in names:
            image = cv2.imread(str(dataset / split / name), cv2.IMREAD_UNCHANGED)
            assert image.shape == (48, 48)
            assert image.dtype == np.uint8
    targets = [text.split() for text in pd.read_csv(dataset / "train.csv", dtype=str)["Target"]]
    assert any(row != sorted(row, key=int) for row in targets)  # in no order, as in the competition


def test_same_seed_same_files_on_any_number_of_threads(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr("hpa.data.parallel.cores", lambda: 1)
    drawn.write_dataset(tmp_path / "again", train=40, test=9, size=48, seed=7)
    assert contents(tmp_path / "again") == contents(dataset)
    drawn.write_dataset(tmp_path / "other", train=40, test=9, size=48, seed=8)
    assert not set(contents(tmp_path / "other")) & {name for name in contents(dataset) if name.endswith(".png")}


def test_a_finished_drawing_is_left_alone(dataset):
    before = {path: path.stat().st_mtime_ns for path in dataset.rglob("*.[pc][ns][gv]")}
    assert len(before) == 49 * 4 + 3
    drawn.write_dataset(dataset, train=40, test=9, size=48, seed=7)
    assert {path: path.stat().st_mtime_ns for path in before} == before


DIES_AT_THE_30TH_FILE = """
import itertools, os, signal, sys
import cv2
from hpa.drawn.fields import write_dataset

calls, encode = itertools.count(1), cv2.imencode

def imencode(*arguments):
    if next(calls) == 30:
        os.kill(os.getpid(), signal.SIGKILL)
    return encode(*arguments)

cv2.imencode = imencode
write_dataset(sys.argv[1], train=40, test=9, size=48, seed=7)
"""


def test_a_killed_drawing_is_completed(dataset, tmp_path):
    folder = tmp_path / "killed"
    done = subprocess.run([sys.executable, "-c", DIES_AT_THE_30TH_FILE, folder], check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL
    assert 20 < len(list(folder.rglob("*.png"))) < 40
    assert not list(folder.glob("*.csv"))
    drawn.write_dataset(folder, train=40, test=9, size=48, seed=7)
    assert contents(folder) == contents(dataset)


def test_other_folders_are_refused_and_left_alone(dataset, tmp_path):
    (tmp_path / "train.csv").write_text("Id,Target\na,0\n")
    before = contents(tmp_path)
    with pytest.raises(BadInput, match="not empty"):
        drawn.write_dataset(tmp_path, train=2, test=1, size=32)
    assert contents(tmp_path) == before
    with pytest.raises(BadInput, match="is a file"):
        drawn.write_dataset(tmp_path / "train.csv", train=2, test=1, size=32)
    record = json.loads((dataset / "drawn.json").read_text())
    with pytest.raises(BadInput, match="another folder"):
        drawn.write_dataset(dataset, train=record["train"], test=9, size=48, seed=8)


@pytest.mark.parametrize("size", [32, 64, 100, 256])
def test_labels_of_the_contact_sheet_end_inside_their_tiles(tmp_path, size):
    drawn.contact_sheet(tmp_path / "sheet.png", size)
    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    tiles = sheet.reshape(4, sheet.shape[0] // 4, 7, size + 4, 3)
    labels = tiles[:, : -size - 2]
    assert (labels[:, :, :, :-2] > 100).any(axis=(1, 3, 4)).all()
    assert (labels[:, :, :, -2:] == 32).all()


@pytest.mark.parametrize("wrong", [{"train": 0}, {"test": 0}, {"size": 31}, {"seed": -1}])
def test_numbers_out_of_range_are_refused(wrong, tmp_path):
    with pytest.raises(BadInput, match="at least"):
        drawn.write_dataset(tmp_path / "data", **{"train": 2, "test": 1, "size": 32, **wrong})
    assert not (tmp_path / "data").exists()


def test_cells_of_a_field_differ_if_asked_for(tmp_path):
    folder = tmp_path / "data"
    drawn.write_dataset(folder, train=30, test=2, size=48, seed=3, single_cells=True)
    table = pd.read_csv(folder / "train.csv", dtype=str).set_index("Id")["Target"]
    cells = pd.read_csv(folder / "train_cells.csv", dtype=str, keep_default_na=False)
    assert len(pd.read_csv(folder / "test_cells.csv")["Id"].unique()) == 2
    differ = 0
    for identifier, own in cells.groupby("Id"):
        labels = cv2.imread(str(folder / "train_masks" / f"{identifier}.png"), cv2.IMREAD_UNCHANGED)
        assert own["Cell"].astype(int).tolist() == [number for number in np.unique(labels) if number]
        classes = set(" ".join(own["Target"]).split())
        assert classes == set(table[identifier].split())  # all of the field's, and none else
        differ += len(set(own["Target"])) > 1
    assert differ > 10
    (folder / "train_cells.csv").unlink()  # as if the drawing had been broken off just before
    drawn.write_dataset(folder, train=30, test=2, size=48, seed=3, single_cells=True)
    pd.testing.assert_frame_equal(pd.read_csv(folder / "train_cells.csv", dtype=str, keep_default_na=False), cells)


def test_the_key_says_where_a_class_shows():
    for seed in range(8):
        found = drawn.draw_field([2, 7, 25], 96, default_rng(seed))
        np.testing.assert_array_equal(found.image, drawn.draw_field([2, 7, 25], 96, default_rng(seed)).image)
        assert found.masks.any(axis=(1, 2)).all()
        alone = drawn.draw_field([21], 96, default_rng(seed), single_cells=True)
        light = alone.image[..., 1].astype(float)
        assert light[alone.masks[0]].mean() > 2 * light[~alone.masks[0]].mean()
        for cell in np.unique(alone.cells):
            assert alone.targets[cell, 0] == alone.masks[0][alone.cells == cell].any()
