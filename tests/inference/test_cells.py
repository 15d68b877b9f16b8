import base64
import io
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import keras
import numpy as np
import pandas as pd
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from test_explain import SMALL, make_views_differ, network, some_images, write_run
from test_predict import make_run

from hpa import cells as command
from hpa.data.layout import list_ids
from hpa.data.segmentation import segment
from hpa.drawn.fields import draw_field, write_dataset
from hpa.files import file_digest
from hpa.inference import cells as inference
from hpa.inference.cells import SINGLE_CELL_CLASSES, Cells, cell_features, cell_probabilities, encode_mask, weights_of
from hpa.inference.parts import Place, cut
from hpa.scoring.predictions import Predictions, write_predictions
from hpa.tasks import HPA
from hpa.tta import AVERAGES, TTA, view

ROOT = Path(__file__).resolve().parents[2]


def decoded(text, shape):
    """Decode a mask by what COCO's decoder does, letter by letter."""
    letters, counts = zlib.decompress(base64.b64decode(text)), []
    place = 0
    while place < len(letters):
        value = group = 0
        more = True
        while more:
            letter = letters[place] - 48
            value |= (letter & 31) << 5 * group
            more, place, group = bool(letter & 32), place + 1, group + 1
            if not more and letter & 16:
                value |= -1 << 5 * group
        counts.append(value + counts[-2] if len(counts) > 2 else value)
    pixels = np.concatenate([np.full(count, number % 2, bool) for number, count in enumerate(counts)])
    return pixels.reshape(shape, order="F")


@given(arrays(bool, st.tuples(st.integers(1, 40), st.integers(1, 40))))
def test_a_mask_can_be_read_again(mask):
    np.testing.assert_array_equal(decoded(encode_mask(mask), mask.shape), mask)


def test_a_mask_is_encoded_as_coco_does():
    mask = np.zeros((100, 80), bool)
    mask[20:70, 30:33], mask[99, 79], mask[0, 0] = True, True, True
    coco = pytest.importorskip("pycocotools.mask")
    for own in (mask, ~mask, np.zeros((3, 3), bool), np.ones((3, 3), bool)):
        expected = coco.encode(np.asfortranarray(own.astype(np.uint8)))["counts"]
        assert zlib.decompress(base64.b64decode(encode_mask(own))) == expected


def test_a_mask_worked_by_hand():
    # Down the columns: 3 of 0, 2 of 1, 1 of 0: "3", "2", "1".
    assert zlib.decompress(base64.b64decode(encode_mask(np.array([[0, 1], [0, 1], [0, 0]], bool)))) == b"321"
    # 40 of 0 are more than 15: the low five bits, 8, with the mark that more follow, then 1.
    assert zlib.decompress(base64.b64decode(encode_mask(np.zeros((40, 1), bool)))) == b"X1"


@pytest.mark.parametrize(("model", "size", "arguments"), [("gapnet", 48, {"variant": 2}), ("cellnet", 32, SMALL)])
def test_one_cell_that_fills_the_field_has_the_fields_probabilities(tmp_path, model, size, arguments):
    made = network(model, size, classes=28, **arguments)
    [image] = some_images(size, 1)
    parts = cut(made, model, size, tmp_path)
    found = cell_probabilities(parts, image, np.full((70, 70), 3, np.int32), HPA)
    expected = made.predict(image[None], verbose=0)
    # The field is a plain mean; the cell's has lower weights at the border, where part of a position lies outside.
    np.testing.assert_allclose(found[-1], expected[0], atol=1e-4)
    np.testing.assert_allclose(found[0], expected[0], atol=0.02)


def test_features_are_those_of_a_field_whose_cells_are_all_alike(tmp_path):
    """The maps of a network that only takes means of pixels: what is pooled can be worked out by hand."""
    inputs = keras.Input((16, 16, 4), dtype="uint8")
    x = keras.layers.Rescaling(1.0)(inputs)
    pooled = [keras.layers.GlobalAveragePooling2D()(x), keras.layers.GlobalMaxPooling2D()(x)]
    x = keras.layers.Concatenate(name="dense_part_features")(pooled)
    x = keras.layers.Activation("sigmoid")(keras.layers.Dense(28)(x))
    parts = cut(keras.Model(inputs, x), "gapnet", 16, tmp_path)
    assert parts.pools == ((0, "average"), (0, "maximum"))
    image, labels = np.full((16, 16, 4), 10, np.uint8), np.zeros((16, 16), np.int32)
    labels[2:6, 2:6], labels[8:16, 8:16] = 4, 9
    image[2:6, 2:6, 0], image[8:16, 8:16, 0] = 50, 200
    found = cell_features(parts, parts.maps(image[None]), labels, 16)
    dark = 1 - (16 + 64) / 256
    np.testing.assert_allclose(
        found[:, 0], [dark * 10 + (1 - dark) * 50, dark * 10 + (1 - dark) * 200, image[..., 0].mean()]
    )
    np.testing.assert_allclose(found[:, 4], [50, 200, 200])
    np.testing.assert_allclose(found[:, 1:4], 10)


def test_weights_follow_the_places_of_a_map():
    mask = np.zeros((64, 64), bool)
    mask[16:32, 32:48] = True
    weights = weights_of(mask, Place(start=7.5, step=16, count=4), 64)
    expected = np.zeros((4, 4))
    expected[1, 2] = 1
    np.testing.assert_allclose(weights, expected, atol=0.07)
    np.testing.assert_allclose(weights_of(np.kron(mask, np.ones((2, 2), bool)), Place(7.5, 16, 4), 64), weights, atol=1e-6)
    tiny = np.zeros((64, 64), bool)
    tiny[63, 0] = True  # beyond the outermost position
    assert np.argwhere(weights_of(tiny, Place(12, 8, 5), 64)).tolist() == [[4, 0]]


@pytest.mark.parametrize("average", ["probabilities", "logits"])
def test_views_of_a_cell_are_averaged_as_those_of_a_prediction(tmp_path, average):
    made = network("cellnet", 32, classes=28, **SMALL)
    [image] = images = some_images(32, 1)
    image[8:] //= 16
    make_views_differ(made, images)
    expected = {each: TTA(8, each).predict(made, images, HPA.labels)[0] for each in AVERAGES}
    assert np.abs(expected["logits"] - expected["probabilities"]).max() > 0.01
    found = cell_probabilities(cut(made, "cellnet", 32, tmp_path), image, np.ones((32, 32), int), HPA, TTA(8, average))
    np.testing.assert_allclose(found[-1], expected[average], atol=1e-3)


def test_views_of_a_field_turn_its_cells_too(tmp_path):
    made = network("cellnet", 32, classes=28, **SMALL)
    parts = cut(made, "cellnet", 32, tmp_path)
    [image] = some_images(32, 1)
    labels = np.zeros((32, 32), np.int32)
    labels[:16, :16], labels[20:, 5:30] = 1, 2
    found = cell_probabilities(parts, image, labels, HPA, TTA(8))
    turned, own = view(image[None], 1, True)[0], view(labels[None, ..., None], 1, True)[0, ..., 0]
    np.testing.assert_allclose(cell_probabilities(parts, turned, own, HPA, TTA(8)), found, rtol=1e-3, atol=1e-4)


def test_a_row_of_a_table_says_where_a_cell_is():
    labels = np.zeros((20, 30), np.int32)
    labels[3:8, 4:10], labels[15:, 20:25] = 2, 7
    found = Cells("a", labels, np.zeros((20, 30, 4), np.uint8), np.array([[0.25, 0.5], [0.125, 0.75]]), 0)
    table = found.table(("Golgi", "ER"), np.array([[False, True], [True, True]]))
    assert table.to_dict("records") == [
        {"Id": "a", "Cell": 2, "x": 4, "y": 3, "width": 6, "height": 5, "area": 30, "border": 0, "Golgi": 0.25, "ER": 0.5,
         "Predicted": "ER"},
        {"Id": "a", "Cell": 7, "x": 20, "y": 15, "width": 5, "height": 5, "area": 25, "border": 1, "Golgi": 0.125,
         "ER": 0.75, "Predicted": "Golgi | ER"},
    ]  # fmt: skip


@pytest.fixture(scope="module")
def fields(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cells") / "data"
    write_dataset(folder, train=28, test=3, size=128, seed=0, single_cells=True)
    return folder


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    """A run of a network with new weights, and validation rows that give thresholds."""
    folder = tmp_path_factory.mktemp("cells") / "runs" / "2" / "base"
    make_run(folder, 2)
    random = np.random.default_rng(0)
    targets, probabilities = random.integers(0, 2, (30, 28), np.uint8), random.random((30, 28), np.float32)
    ids, digest = np.arange(30).astype(str), file_digest(folder / "model.keras")
    write_predictions(folder / "validation.npz", Predictions(ids, HPA.classes, probabilities, targets, model_sha256=digest))
    return folder


def test_an_interrupted_call_goes_on(fields, run_folder, tmp_path, monkeypatch):
    arguments = ["--run", str(run_folder), "--images", str(fields / "test"), "--masks", str(fields / "test_masks")]

    def run(name):
        place = tmp_path / name
        return command.main([*arguments, "--out", str(place / "cells.csv"), "--submission", str(place / "entry.csv")])

    assert run("whole") == 0
    find, found = inference.find_cells, []

    def interrupted(*given):
        for cells in find(*given):
            if len(found) == 2:
                raise KeyboardInterrupt
            yield cells
            found.append(cells.id)

    monkeypatch.setattr(inference, "find_cells", interrupted)
    assert run("out") == 1
    assert [each.name for each in (tmp_path / "out").iterdir()] == [".cells.csv.partial"]
    found[:], first = [], found[:]
    assert run("out") == 0
    assert sorted([*first, *found]) == list_ids(fields / "test", HPA)
    for name in ("cells.csv", "entry.csv"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize("own_masks", [True, False])
def test_the_command_writes_a_row_for_each_cell(fields, run_folder, tmp_path, own_masks):
    masks = ["--masks", str(fields / "test_masks")] if own_masks else []
    arguments = ["--run", str(run_folder), "--images", str(fields / "test"), *masks, "--out", str(tmp_path / "cells.csv")]
    arguments += ["--submission", str(tmp_path / "entry.csv"), "--overlays", str(tmp_path / "pictures")]
    if own_masks:
        line = [sys.executable, "-m", "hpa.cells", *arguments]
        done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.endswith(" cells of 3 fields\n")
    else:
        assert command.main(arguments) == 0
    table = pd.read_csv(tmp_path / "cells.csv")
    ids = list_ids(fields / "test", HPA)
    assert sorted(table["Id"].unique()) == ids
    entry = pd.read_csv(tmp_path / "entry.csv").set_index("ID")
    for identifier in ids:
        own = table[table["Id"] == identifier]
        words = entry.loc[identifier, "PredictionString"].split()
        assert len(words) == 3 * 19 * len(own)
        if own_masks:
            labels = cv2.imread(str(fields / "test_masks" / f"{identifier}.png"), cv2.IMREAD_UNCHANGED)
            assert own["Cell"].tolist() == [number for number in np.unique(labels) if number]
            assert own["area"].tolist() == [(labels == number).sum() for number in own["Cell"]]
            for number, text in zip(own["Cell"], words[2 :: 3 * 19], strict=True):
                np.testing.assert_array_equal(decoded(text, labels.shape), labels == number)
        actin = own[["Actin filaments", "Focal adhesion sites"]].max(axis=1)
        np.testing.assert_allclose([float(each) for each in words[1 + 3 * 9 :: 3 * 19]], actin, atol=1e-3)
        assert cv2.imread(str(tmp_path / "pictures" / f"{identifier}.png")).shape == (128, 128, 3)


def test_the_classes_of_the_single_cell_competition_are_ours():
    named = [name for names in SINGLE_CELL_CLASSES.values() for name in names]
    assert len(set(named)) == len(named)
    assert set(HPA.classes) - set(named) == {"Cytokinetic bridge", "Rods & rings"}
    assert set(named) <= set(HPA.classes)


@pytest.mark.parametrize("crowded", [False, True])
def test_our_watershed_finds_drawn_cells(crowded):
    overlaps = []
    for seed in range(6):
        drawn = draw_field([22] if crowded else [0], 160, np.random.default_rng(seed))
        red, _, blue, yellow = np.moveaxis(drawn.image.astype(np.float32), -1, 0)
        found = segment(blue, red + yellow)
        for cell in (drawn.cells == number for number in range(1, drawn.cells.max() + 1)):
            if cell.mean() > 0.01:
                others = [found == number for number in np.unique(found[cell]) if number]
                overlaps.append(max(((cell & other).sum() / (cell | other).sum() for other in others), default=0))
    assert np.mean(overlaps) > 0.8
    assert np.mean(np.array(overlaps) > 0.5) > 0.9
    assert segment(np.zeros((20, 20)), np.zeros((20, 20))).max() == 0


LABELS = np.arange(96 * 96, dtype=np.uint8).reshape(96, 96)


def tiff(photometric):
    """Return the bytes of a TIFF of `LABELS`."""
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, LABELS, photometric=photometric)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda masks, ids: (masks / f"{ids[0]}.png").unlink(), "no label image, such as"),
        (lambda masks, ids: cv2.imwrite(str(masks / f"{ids[0]}.png"), np.zeros((64, 64), np.uint16)), "has 64x64 pixels"),
        (
            lambda masks, ids: cv2.imwrite(str(masks / f"{ids[0]}_cp_masks.tif"), np.zeros((9, 9), np.uint16)),
            "keep one of them",
        ),
        (
            lambda masks, ids: (masks / f"{ids[0]}.png").rename(masks / f"{ids[0]}.tif").write_bytes(tiff("miniswhite")),
            "is an image whose 0 is white, which does not keep the numbers of cells",
        ),
        (
            lambda masks, ids: (masks / f"{ids[0]}.png").write_bytes(cv2.imencode(".jpg", LABELS)[1].tobytes()),
            "is a JPEG, which does not keep the numbers of cells",
        ),
        (
            lambda masks, ids: Image.fromarray(LABELS).convert("P").save(masks / f"{ids[0]}.png"),
            "is an image with a palette, which does not keep the numbers of cells",
        ),
    ],
)
def test_faulty_label_images_are_refused(fields, run_folder, tmp_path, capsys, change, fault):
    ids = list_ids(fields / "test", HPA)
    (tmp_path / "masks").mkdir()
    for each in ids:
        (tmp_path / "masks" / f"{each}.png").write_bytes((fields / "test_masks" / f"{each}.png").read_bytes())
    change(tmp_path / "masks", ids)
    options = ["--images", str(fields / "test"), "--masks", str(tmp_path / "masks"), "--out", str(tmp_path / "cells.csv")]
    assert command.main(["--run", str(run_folder), *options]) == 2
    assert fault in capsys.readouterr().err
    assert not (tmp_path / "cells.csv").exists()


def test_what_has_no_cells_is_said(fields, run_folder, tmp_path, capsys):
    options = ["--images", str(fields / "test"), "--out", str(tmp_path / "cells.csv")]
    assert command.main(["--run", str(run_folder), *options, "--nucleus", "dapi"]) == 2
    assert "--masks: the task hpa has no channel dapi; give label images" in capsys.readouterr().err
    write_run(tmp_path / "flat" / "base", "parallel-kernels", 94)
    write_predictions(tmp_path / "flat" / "base" / "validation.npz", read_all(run_folder))
    assert command.main(["--run", str(tmp_path / "flat" / "base"), *options]) == 2
    assert "its network flattens its maps" in capsys.readouterr().err


def read_all(folder):
    from dataclasses import replace

    from hpa.scoring.predictions import read_predictions

    return replace(read_predictions(folder / "validation.npz"), model_sha256=None)
