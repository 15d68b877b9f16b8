import os
from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest

from hpa.errors import BadInput
from hpa.scoring.members import read_members
from hpa.scoring.predictions import Predictions, read_predictions, write_predictions

CLASSES = ("x", "y")
VALIDATION_IDS = np.array(["v1", "v2", "v3"])
TEST_IDS = np.array(["t1", "t2", "t3", "t4"])
TARGETS = np.array([[1, 0], [0, 1], [1, 1]], np.uint8)


def make(folder, validation_ids=VALIDATION_IDS, test_ids=TEST_IDS, classes=CLASSES, targets=TARGETS, seed=0):
    random = np.random.default_rng(seed)
    for name, ids, known in (("validation", validation_ids, targets), ("test", test_ids, None)):
        values = random.random((len(ids), len(classes)), dtype=np.float32)
        write_predictions(folder / f"{name}.npz", Predictions(ids, classes, values, known))
    return folder


def test_rows_are_matched_by_id(tmp_path):
    one = make(tmp_path / "one")
    other = make(tmp_path / "other")
    with np.load(one / "validation.npz") as file:
        values = file["probabilities"]
    with np.load(one / "test.npz") as file:
        test_values = file["probabilities"]
    order, test_order = [2, 0, 1], [3, 1, 0, 2]
    write_predictions(other / "validation.npz", Predictions(VALIDATION_IDS[order], CLASSES, values[order], TARGETS[order]))
    write_predictions(other / "test.npz", Predictions(TEST_IDS[test_order], CLASSES, test_values[test_order]))
    wanted = TEST_IDS[[1, 3, 2, 0]]
    members = read_members([one, other], wanted)
    assert members.names == [str(one), str(other)]
    assert members.classes == CLASSES
    np.testing.assert_array_equal(members.targets, TARGETS)
    for own, own_test in zip(members.validation, members.test, strict=True):
        np.testing.assert_array_equal(own, values)
        np.testing.assert_array_equal(own_test, test_values[[1, 3, 2, 0]])


@pytest.mark.parametrize(
    ("changes", "faults"),
    [
        (
            {"classes": ("x", "z")},
            [
                "other/validation.npz: class 1 is 'z', in {one}/validation.npz 'y'",
                "other/test.npz: class 1 is 'z', in {one}/validation.npz 'y'",
            ],
        ),
        ({"classes": ("y", "x")}, ["other/validation.npz: class 0 is 'y', in {one}/validation.npz 'x'"]),
        (
            {"classes": ("x", "y", "z"), "targets": np.zeros((3, 3), np.uint8)},
            ["other/test.npz: 3 classes; {one}/validation.npz has 2"],
        ),
        (
            {"validation_ids": np.array(["v1", "v9", "v3"])},
            [
                "other/validation.npz: 2 faults\n",
                "1 ids of {one}/validation.npz missing (v2)",
                "1 ids that {one}/validation.npz does not have (v9)",
            ],
        ),
        (
            {"validation_ids": VALIDATION_IDS[:2], "targets": TARGETS[:2]},
            ["other/validation.npz: 1 ids of {one}/validation.npz missing (v3)"],
        ),
        ({"targets": TARGETS ^ [[0, 0], [1, 0], [0, 1]]}, ["other/validation.npz: 2 rows have other targets", "first v2"]),
        ({"targets": None}, ["other/validation.npz: no targets"]),
        (
            {"test_ids": np.array(["t1", "t2", "t3", "t4", "t5"])},
            ["other/test.npz: 1 ids that the test set does not have (t5)"],
        ),
        (
            {"test_ids": np.array(["a", "b", "c", "d", "t4"])},
            [
                "other/test.npz: 2 faults\n",
                "3 ids of the test set missing (t1, t2, t3)",
                "4 ids that the test set does not have (a, b, c, ...)",
            ],
        ),
        ({"test_ids": np.array([*TEST_IDS, "t2"])}, ["other/test.npz: 1 ids in more than one row (t2)"]),
        ({"test_ids": np.array([1, 2, 3, 4])}, ["other/test.npz: 2 faults\n", "4 ids of the test set missing"]),
    ],
)
def test_a_member_that_does_not_match_is_named_with_the_difference(tmp_path, changes, faults):
    one, other = make(tmp_path / "one"), make(tmp_path / "other", **changes)
    with pytest.raises(BadInput) as caught:
        read_members([one, make(tmp_path / "third"), other], TEST_IDS)
    for fault in faults:
        assert fault.format(one=one) in str(caught.value)
    assert "third" not in str(caught.value)


def test_absent_files_are_named_with_the_command_that_writes_them(tmp_path):
    folders = [make(tmp_path / name) for name in "ab"] + [tmp_path / "c"]
    (folders[0] / "test.npz").unlink()
    with pytest.raises(BadInput) as caught:
        read_members(folders, TEST_IDS)
    text = str(caught.value)
    assert f"{folders[0]}: no test.npz; hpa predict writes it" in text
    assert f"{folders[2]}: no validation.npz; hpa train or hpa finetune writes it" in text
    assert text.startswith(f"{folders[0]}, {folders[2]}: 3 faults\n")


def test_predictions_of_an_older_model_are_refused(tmp_path):
    one, other, bare = (make(tmp_path / name) for name in ("one", "other", "bare"))
    for folder in (one, other):
        (folder / "model.keras").touch()
        os.utime(folder / "model.keras", (100, 100))
        os.utime(folder / "test.npz", (101, 101))
    read_members([one, other, bare], TEST_IDS)
    os.utime(other / "model.keras", (102, 102))
    with pytest.raises(BadInput) as caught:
        read_members([one, other, bare], TEST_IDS)
    assert str(caught.value) == f"{other / 'test.npz'}: older than model.keras; run hpa predict again"


def test_predictions_that_name_their_model_are_told_by_it(tmp_path):
    one, other = (make(tmp_path / name) for name in ("one", "other"))
    for folder in (one, other):
        (folder / "model.keras").write_bytes(b"as it was")
        own = read_predictions(folder / "test.npz")
        write_predictions(folder / "test.npz", replace(own, model_sha256=sha256(b"as it was").hexdigest()))
        os.utime(folder / "test.npz", (100, 100))  # a copy may be older than the copy of its model
    read_members([one, other], TEST_IDS)
    (other / "model.keras").write_bytes(b"as it is")
    os.utime(other / "model.keras", (99, 99))
    with pytest.raises(BadInput) as caught:
        read_members([one, other], TEST_IDS)
    assert str(caught.value) == f"{other / 'test.npz'}: made by another model.keras; run hpa predict again"
    (other / "model.keras").unlink()
    read_members([one, other], TEST_IDS)


def test_the_test_set_is_read_when_it_is_asked_for(tmp_path):
    one, other = make(tmp_path / "one"), make(tmp_path / "other", seed=1)
    members = read_members([one, other], TEST_IDS)
    expected = members.test[1]
    write_predictions(other / "test.npz", Predictions(TEST_IDS[::-1], CLASSES, 1 - expected[::-1]))
    np.testing.assert_allclose(members.test[1], 1 - expected)
    write_predictions(other / "test.npz", Predictions(TEST_IDS[:3], CLASSES, expected[:3]))
    with pytest.raises(BadInput, match=r"test\.npz: has become another file while it was read"):
        members.test[1]


def test_a_folder_named_twice(tmp_path):
    folder = make(tmp_path / "one")
    with pytest.raises(BadInput, match="one: named 2 times"):
        read_members([folder, folder], TEST_IDS)
