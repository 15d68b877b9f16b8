"""Drawn HEp-2 cells: what lies on disk, how classes and specimens are shared out, and how hard the classes are to tell."""

import itertools

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.random import default_rng
from sklearn.ensemble import RandomForestClassifier

from hpa.data.tables import read_labelled, read_training_table
from hpa.drawn import hep2 as cells
from hpa.errors import BadInput
from hpa.tasks import HEP2

SIZE = 48
CENTROMERE, GOLGI, HOMOGENEOUS, MEMBRANE, NUCLEOLAR, SPECKLED = range(6)
SPECIMENS, CELLS = 16, 6


@pytest.fixture(scope="module")
def drawn():
    """Cells of several specimens of each class, float64 [6, SPECIMENS, CELLS, SIZE, SIZE] from 0 to 1."""
    specimens = itertools.product(range(6), range(SPECIMENS))
    images = [list(cells.draw_specimen(number, CELLS, SIZE, default_rng([5, number, each]))) for number, each in specimens]
    return np.array(images).reshape(6, SPECIMENS, CELLS, SIZE, SIZE) / 255


def distance_from_the_middle():
    y, x = np.indices((SIZE, SIZE)) / SIZE - 0.5
    return np.hypot(x, y)


def features(image):
    """Describe brightness, grain at several scales and light in rings around the middle."""
    scales = [cv2.GaussianBlur(image, (0, 0), sigma * SIZE / 78) for sigma in (1, 2, 4, 8)]
    grain = [np.std(fine - coarse) for fine, coarse in itertools.pairwise(scales)]
    distance = distance_from_the_middle()
    rings = [scales[0][(distance >= inner) & (distance < inner + 0.1)].mean() for inner in (0, 0.1, 0.2, 0.3, 0.4)]
    return [image.mean(), image.std(), *np.quantile(scales[0], (0.1, 0.25, 0.5, 0.75, 0.9)), *grain, *rings]


def test_layout(drawn_cells):
    assert {path.name for path in drawn_cells.iterdir()} == {
        "train", "validation", "test", "gt_training.csv", "drawn.json", ".lock"
    }  # fmt: skip
    tables = {split: read_labelled(drawn_cells / split, HEP2) for split in ("train", "validation", "test")}
    assert [len(table) for table in tables.values()] == [60, 24, 24]
    ids = np.concatenate([table.ids for table in tables.values()])
    assert sorted(ids) == [f"{number:05d}" for number in range(1, 109)]
    for table in tables.values():
        assert table.targets.sum(axis=0).min() >= 1
    for path in drawn_cells.glob("*/*/*.png"):
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert (image.shape, image.dtype, image.min(), image.max()) == ((32, 32), np.uint8, 0, 255)


def test_the_table_has_the_labels_of_the_class_folders(drawn_cells):
    path = drawn_cells / "gt_training.csv"
    assert path.read_text().startswith("Image ID,Image class\n0")
    table = read_training_table(path, HEP2)
    folders = [read_labelled(drawn_cells / split, HEP2) for split in ("train", "validation")]
    in_folders = {each: row.argmax() for folder in folders for each, row in zip(folder.ids, folder.targets, strict=True)}
    assert dict(zip(table.ids, table.targets.argmax(axis=1), strict=True)) == in_folders


@given(st.integers(6, 3000))
def test_classes_are_shared_out_as_in_the_real_data(count):
    counts, exact = cells.class_counts(count), count * np.array(cells.CLASS_COUNTS) / 10876
    assert counts.sum() == count
    assert counts.min() >= 1
    assert np.abs(counts - exact).max() < (1 if exact.min() >= 1 else 2)


def test_a_specimen_is_of_one_class_has_neighbouring_ids_and_is_parted_between_the_sets():
    table = cells.cell_table({"train": 600, "validation": 150, "test": 200}, seed=1)
    specimens = [rows for _, rows in table.groupby("specimen")]
    for rows in specimens:
        assert len(set(rows["Image class"])) == 1
        assert np.ptp(rows["Image ID"].astype(int)) == len(rows) - 1 < cells.CELLS_PER_SPECIMEN
    assert np.mean([len(set(rows["split"])) > 1 for rows in specimens]) > 0.8
    assert table["split"].value_counts().to_dict() == {"train": 600, "validation": 150, "test": 200}


def test_each_class_has_its_light_where_it_should(drawn):
    mean = drawn.mean(axis=(1, 2))
    distance = distance_from_the_middle()
    inside, rim, outside = (
        np.array([image[(distance >= low) & (distance < high)].mean() for image in mean])
        for low, high in ((0, 0.2), (0.3, 0.38), (0.45, 0.8))
    )
    assert (outside / inside).argmax() == GOLGI
    assert (rim / inside)[MEMBRANE] > 1.2 * np.delete(rim / inside, [GOLGI, MEMBRANE]).max()
    assert set(np.argsort(inside)[-2:]) == {HOMOGENEOUS, SPECKLED}
    assert (rim / inside).argmin() == NUCLEOLAR
    assert set(np.argsort(np.mean(drawn > 0.5, axis=(1, 2, 3, 4)))[:2]) == {CENTROMERE, NUCLEOLAR}


def test_cells_of_a_specimen_are_alike_and_not_the_same(drawn):
    described = np.apply_along_axis(
        lambda image: features(image.reshape(SIZE, SIZE)), -1, drawn.reshape(*drawn.shape[:3], -1)
    )
    within, between = described.std(axis=2).mean(axis=(0, 1)), described.mean(axis=2).std(axis=1).mean(axis=0)
    assert np.mean(within < between) > 0.7
    assert within.min() > 0


def test_the_classes_can_be_told_apart_with_errors(drawn):
    """A forest on plain features, for specimens that it has not seen; chance is 1 in 6."""
    described = np.array([features(image) for image in drawn.reshape(-1, SIZE, SIZE)]).reshape(6, SPECIMENS, CELLS, -1)
    truth = np.broadcast_to(np.arange(6)[:, None, None], described.shape[:3])
    seen, unseen = np.s_[:, : SPECIMENS * 3 // 4], np.s_[:, SPECIMENS * 3 // 4 :]
    forest = RandomForestClassifier(100, random_state=0)
    forest.fit(described[seen].reshape(-1, described.shape[-1]), truth[seen].ravel())
    found = forest.predict(described[unseen].reshape(-1, described.shape[-1]))
    assert 0.5 < np.mean(found == truth[unseen].ravel()) < 0.95


@pytest.mark.parametrize("number", range(6))
def test_same_generator_same_pixels(number):
    first, again, other = (np.array(list(cells.draw_specimen(number, 3, 33, default_rng(seed)))) for seed in (3, 3, 4))
    assert first.shape == (3, 33, 33)
    assert first.dtype == np.uint8
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first[0], first[1])


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_same_seed_same_files_and_what_is_missing_is_completed(drawn_cells, tmp_path, monkeypatch):
    monkeypatch.setattr("hpa.data.parallel.cores", lambda: 1)
    folder = tmp_path / "again"
    cells.write_cells(folder, train=60, validation=24, test=24, size=32, seed=0)
    assert contents(folder) == contents(drawn_cells)
    drawn = sorted(folder.glob("*/*/*.png"))
    times = {path: path.stat().st_mtime_ns for path in drawn}
    lost = drawn[30]
    lost.unlink()
    (folder / "gt_training.csv").unlink()
    cells.write_cells(folder, train=60, validation=24, test=24, size=32, seed=0)
    assert contents(folder) == contents(drawn_cells)
    assert sum(path.stat().st_mtime_ns == time for path, time in times.items()) >= 108 - cells.CELLS_PER_SPECIMEN
    cells.write_cells(tmp_path / "other", train=60, validation=24, test=24, size=32, seed=1)
    assert not set(contents(tmp_path / "other").values()) & {path.read_bytes() for path in drawn}


def test_other_folders_and_numbers_out_of_range_are_refused(drawn_cells, tmp_path):
    before = contents(drawn_cells)
    with pytest.raises(BadInput, match="another folder"):
        cells.write_cells(drawn_cells, train=60, validation=24, test=24, size=33)
    assert contents(drawn_cells) == before
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(BadInput, match="not empty"):
        cells.write_cells(tmp_path, train=6, validation=6, test=6)
    for wrong in ({"train": 5}, {"validation": 5}, {"test": 5}, {"size": 31}, {"seed": -1}):
        with pytest.raises(BadInput, match="at least"):
            cells.write_cells(tmp_path / "cells", **{"train": 6, "validation": 6, "test": 6, "size": 32, **wrong})
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_the_smallest_set_has_one_cell_of_each_class(tmp_path):
    cells.write_cells(tmp_path / "cells", train=6, validation=6, test=6, size=32)
    for split in ("train", "validation", "test"):
        assert (read_labelled(tmp_path / "cells" / split, HEP2).targets.sum(axis=0) == 1).all()
    assert pd.read_csv(tmp_path / "cells" / "gt_training.csv")["Image class"].value_counts().to_dict() == dict.fromkeys(
        HEP2.classes, 2
    )
