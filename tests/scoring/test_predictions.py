from dataclasses import replace

import numpy as np
import pytest

from hpa.errors import BadInput
from hpa.scoring.predictions import Predictions, Shared, read_predictions, write_predictions
from hpa.tta import TTA

GOOD = {
    "ids": np.array(["a", "bb", "c"]),
    "classes": np.array(["Nucleoli", "Rods & rings"]),
    "probabilities": np.array([[0, 1], [0.25, 0.5], [0.125, 0.75]], np.float32),
    "targets": np.array([[0, 1], [1, 1], [1, 0]], np.uint8),
}


@pytest.mark.parametrize("targets", [GOOD["targets"], None])
def test_what_is_written_is_read(tmp_path, targets):
    path = tmp_path / "new" / "validation.npz"
    write_predictions(path, Predictions(GOOD["ids"], tuple(GOOD["classes"]), GOOD["probabilities"].astype(float), targets))
    found = read_predictions(path)
    np.testing.assert_array_equal(found.ids, GOOD["ids"])
    np.testing.assert_array_equal(found.probabilities, GOOD["probabilities"])
    assert found.classes == ("Nucleoli", "Rods & rings")
    assert found.probabilities.dtype == np.float32
    assert (found.targets is None) == (targets is None)
    if targets is not None:
        np.testing.assert_array_equal(found.targets, targets)
        assert found.targets.dtype == np.uint8
    assert [each.name for each in path.parent.iterdir()] == ["validation.npz"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ids": None}, "no array ids"),
        ({"classes": None, "probabilities": None}, "no array classes, probabilities"),
        ({"ids": np.array(["a", "b"])}, r"probabilities has shape \(3, 2\).*\(2, 2\)"),
        ({"classes": np.array(["x"])}, r"probabilities has shape \(3, 2\).*\(3, 1\)"),
        ({"targets": np.zeros((3, 3), np.uint8)}, r"targets has shape \(3, 3\)"),
        ({name: GOOD[name][:0] for name in ("ids", "probabilities", "targets")}, "holds no rows"),
        (
            {"classes": GOOD["classes"][:0]} | {name: GOOD[name][:, :0] for name in ("probabilities", "targets")},
            "no classes",
        ),
        ({"classes": np.array(["x", "x"])}, "class x is here 2 times"),
        ({"labels": np.array("two")}, "labels is 'two'; expected one of one, many"),
        ({"views": np.array("x")}, "views is 'x'; expected one of 1, 2, 4, 8"),
        ({"views": np.array(3)}, "views is 3;"),
        ({"views": np.array(0.5)}, "views is 0.5;"),
        ({"views": np.array([1, 2])}, r"views is \[1, 2\];"),
        ({"average": np.array("median")}, "average is 'median'; expected one of probabilities, logits"),
        ({"ids": np.array(["a", "bb", None], object)}, "not a readable prediction file"),
        ({"probabilities": np.array([[0, 1], [np.nan, 0], [0, 1]], np.float32)}, r"row 1 \(id bb\).*not in \[0, 1\]"),
        ({"probabilities": np.array([[0, 1], [0, 0], [0, 1.01]], np.float32)}, r"row 2 \(id c\)"),
        ({"probabilities": np.array([[-0.1, 1], [0, 0], [np.inf, 1]], np.float32)}, r"2 faults\n.*id a.*\n.*id c"),
    ],
)
@pytest.mark.parametrize("shared", [False, True])
def test_faulty_files_are_refused(tmp_path, shared, changes, message):
    path = tmp_path / "test.npz"
    np.savez(path, **{name: array for name, array in (GOOD | changes).items() if array is not None})
    with pytest.raises(BadInput, match=message) as caught:
        read_predictions(path, Shared() if shared else None)
    assert str(caught.value).startswith(str(path))


def test_how_it_was_made_is_read_and_may_be_absent(tmp_path):
    path = tmp_path / "test.npz"
    np.savez(path, **GOOD)
    found = read_predictions(path)
    assert (found.labels, found.tta.views, found.tta.average) == ("many", 1, "probabilities")
    assert (found.model_sha256, found.stamps_sha256) == (None, None)
    made = {"labels": "one", "tta": TTA(8, "logits"), "model_sha256": "ab", "stamps_sha256": "cd"}
    write_predictions(path, replace(found, **made))
    found = read_predictions(path)
    assert {name: getattr(found, name) for name in made} == made
    np.savez(path, **GOOD, views=8.0)
    assert str(read_predictions(path).tta.views) == "8"


def test_an_absent_file_and_a_truncated_one(tmp_path):
    path = tmp_path / "test.npz"
    with pytest.raises(BadInput, match="no such prediction file"):
        read_predictions(path)
    np.savez(path, **GOOD)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BadInput, match="not a readable prediction file"):
        read_predictions(path)


def test_ids_and_targets_that_files_share_are_read_once(tmp_path):
    first = Predictions(GOOD["ids"], tuple(GOOD["classes"]), GOOD["probabilities"], GOOD["targets"])
    others = {
        "same": replace(first, probabilities=first.probabilities / 2),
        "other": replace(first, ids=np.array(["a", "bb", "d"]), targets=1 - first.targets),
        "again": replace(first, ids=np.array(["a", "bb", "d"])),
    }
    known, shared = first.ids.copy(), Shared()
    shared.same(known)
    for name, own in {"first": first, **others}.items():
        write_predictions(tmp_path / f"{name}.npz", own)
        alone, found = read_predictions(tmp_path / f"{name}.npz"), read_predictions(tmp_path / f"{name}.npz", shared)
        for each in ("ids", "probabilities", "targets"):
            np.testing.assert_array_equal(getattr(found, each), getattr(own, each))
            assert getattr(found, each).dtype == getattr(alone, each).dtype
    kept = {name: read_predictions(tmp_path / f"{name}.npz", shared) for name in ("first", *others)}
    assert kept["first"].ids is kept["same"].ids is known
    assert kept["other"].ids is kept["again"].ids is not known
    assert kept["first"].targets is kept["same"].targets is kept["again"].targets
    write_predictions(tmp_path / "fourth.npz", first)
    content = (tmp_path / "fourth.npz").read_bytes()
    place = content.index("bb".encode("utf-32-le"))
    (tmp_path / "fourth.npz").write_bytes(content[:place] + b"x" + content[place + 1 :])
    assert read_predictions(tmp_path / "fourth.npz", shared).ids is known  # what is damaged is not read
    with pytest.raises(BadInput, match="not a readable prediction file"):
        read_predictions(tmp_path / "fourth.npz", Shared())
