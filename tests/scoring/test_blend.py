from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import f1_score

from hpa.errors import BadInput
from hpa.scoring.blend import blend_members, thresholds_and_rows, validation_f1
from hpa.scoring.members import Members
from hpa.scoring.predictions import Predictions, read_predictions, write_predictions
from hpa.scoring.rules import WEIGHTS
from hpa.scoring.saved_thresholds import write_thresholds
from hpa.scoring.thresholds import find_thresholds
from hpa.scoring.weights import blend
from hpa.tta import TTA


def validation_thresholds(*arguments):
    return thresholds_and_rows(*arguments)[0]


TARGETS = np.array([[1, 0], [1, 0], [0, 1], [0, 1]], np.uint8)
# at threshold 0.5: all right, F1 1; in each class one hit of two positives and two predictions, F1 0.5
RIGHT = np.array([[0.75, 0.25], [1.0, 0.0], [0.25, 1.0], [0.0, 0.75]], np.float32)
HALF_RIGHT = np.array([[0.75, 0.25], [0.25, 0.75], [0.25, 0.75], [0.75, 0.25]], np.float32)
RIGHT_TEST = np.array([[0.625, 0.25], [0.5, 0.25], [0.25, 0.75]], np.float32)
HALF_RIGHT_TEST = np.array([[0.125, 0.75], [1.0, 1.0], [0.5, 0.25]], np.float32)
MEMBERS = Members(["right", "half"], ("x", "y"), TARGETS, [RIGHT, HALF_RIGHT], [RIGHT_TEST, HALF_RIGHT_TEST])


def test_hand_worked():
    ensemble = blend_members(MEMBERS, "shifted", 0.25, 0.5)
    np.testing.assert_array_equal(ensemble.member_f1, [1.0, 0.5])
    np.testing.assert_array_equal(ensemble.weights, [0.75, 0.25])  # 0.75 and 0.25, of sum 1
    # test rows: (0.5, 0.375) has nothing above 0.5 and gets its most probable class; (0.625, 0.4375); (0.3125, 0.625)
    np.testing.assert_array_equal(
        blend(MEMBERS.test, ensemble.weights), np.array([[0.5, 0.375], [0.625, 0.4375], [0.3125, 0.625]], np.float32)
    )
    np.testing.assert_array_equal(ensemble.predicted, [[1, 0], [1, 0], [0, 1]])
    assert ensemble.fallbacks == 1
    # validation rows: (0.75, 0.25), (0.8125, 0.1875), (0.25, 0.9375), (0.1875, 0.625)
    assert ensemble.f1 == 1.0
    np.testing.assert_array_equal(ensemble.thresholds, [0.5, 0.5])


def test_equal_weights_are_the_plain_mean_and_know_no_shift():
    ensemble = blend_members(MEMBERS, "equal", 2.0, 0.5)
    np.testing.assert_array_equal(ensemble.weights, [0.5, 0.5])
    np.testing.assert_array_equal(ensemble.predicted, [[0, 1], [1, 1], [0, 0]] | np.array([[0], [0], [1]]) * [0, 1])
    assert ensemble.fallbacks == 2  # (0.375, 0.5) and (0.375, 0.5): 0.5 is not above 0.5


def test_the_order_of_the_members_does_not_matter():
    random = np.random.default_rng(0)
    targets = (random.random((300, 4)) < 0.3).astype(np.uint8)
    validation = [np.clip(0.3 * targets + 0.7 * random.random(targets.shape), 0, 1).astype(np.float32) for _ in range(5)]
    test = [random.random((200, 4), dtype=np.float32) for _ in range(5)]
    order = [3, 0, 4, 2, 1]
    one = blend_members(Members(list("abcde"), tuple("wxyz"), targets, validation, test), "shifted", 0.1, "per-class")
    shuffled = Members(
        ["abcde"[each] for each in order],
        tuple("wxyz"),
        targets,
        [validation[each] for each in order],
        [test[each] for each in order],
    )
    other = blend_members(shuffled, "shifted", 0.1, "per-class")
    np.testing.assert_array_equal(other.member_f1, one.member_f1[order])
    np.testing.assert_allclose(other.weights, one.weights[order])
    np.testing.assert_array_equal(other.predicted, one.predicted)
    assert other.f1 == one.f1
    assert one.f1 > one.member_f1.max()  # the members' errors are independent


@pytest.mark.parametrize("rule", WEIGHTS)
def test_one_member_only_is_its_own_blend(rule):
    alone = Members(["right"], ("x", "y"), TARGETS, [RIGHT], [RIGHT_TEST])
    ensemble = blend_members(alone, rule, 0.34, "global")
    np.testing.assert_array_equal(ensemble.weights, [1.0])
    assert ensemble.f1 == ensemble.member_f1[0] == 1.0


def test_a_members_f1_counts_the_most_probable_class_of_an_empty_row():
    weak = np.array([[0.4, 0.1], [0.3, 0.2], [0.1, 0.4], [0.2, 0.3]], np.float32)
    assert validation_f1(TARGETS, weak, 0.5)[0] == 1.0
    assert f1_score(TARGETS, weak > 0.5, average="macro", zero_division=0) == 0.0


@pytest.mark.parametrize("rule", WEIGHTS)
def test_identical_members_blend_to_what_each_of_them_is(rule):
    same = Members(["one", "other"], ("x", "y"), TARGETS, [HALF_RIGHT] * 2, [HALF_RIGHT_TEST] * 2)
    ensemble = blend_members(same, rule, 0.34, 0.5)
    assert ensemble.weights.sum() == 1
    np.testing.assert_array_equal(ensemble.probabilities, HALF_RIGHT_TEST)
    assert ensemble.f1 == 0.5


def test_no_member_above_the_shift():
    message = r"no member's F1 is above the shift 1\.0: right 1\.0000, half 0\.5000; the shift 0\.49 keeps"
    with pytest.raises(BadInput, match=message):
        blend_members(MEMBERS, "shifted", 1.0, 0.5)


@pytest.fixture
def runs(tmp_path):
    """Two run folders with validation predictions."""
    random = np.random.default_rng(0)
    targets = (random.random((200, 3)) < 0.3).astype(np.uint8)
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        values = np.clip(0.3 * targets + 0.7 * random.random(targets.shape), 0, 1).astype(np.float32)
        ids = np.arange(200).astype(str)
        write_predictions(folder / "validation.npz", Predictions(ids, ("x", "y", "z"), values, targets))
    return folders


def found(rule, folders):
    """The thresholds that a rule finds on the mean of some runs."""
    values = np.mean([np.load(folder / "validation.npz")["probabilities"] for folder in folders], axis=0)
    return find_thresholds(rule, np.load(folders[0] / "validation.npz")["targets"], values)


def test_saved_thresholds_are_used_by_themselves(runs):
    np.testing.assert_allclose(validation_thresholds(runs, "many", 3, TTA()), found("per-class", runs))
    write_thresholds(runs, "global", ("x", "y", "z"), np.array([0.1, 0.2, 0.3]), {})
    np.testing.assert_array_equal(validation_thresholds(runs, "many", 3, TTA()), [0.1, 0.2, 0.3])
    np.testing.assert_array_equal(validation_thresholds(runs[::-1], "many", 3, TTA()), [0.1, 0.2, 0.3])
    # Those of the mean of both are not those of one of them, nor of predictions that are newer, but the rule is kept.
    np.testing.assert_array_equal(validation_thresholds(runs[:1], "many", 3, TTA()), found("global", runs[:1]))
    (runs[0] / "validation.npz").write_bytes((runs[1] / "validation.npz").read_bytes())
    np.testing.assert_array_equal(validation_thresholds(runs, "many", 3, TTA()), found("global", runs))


def test_runs_with_different_saved_rules_take_the_one_that_is_always_there(runs):
    write_thresholds(runs[:1], "global", ("x", "y", "z"), np.array([0.1, 0.2, 0.3]), {})
    np.testing.assert_allclose(validation_thresholds(runs, "many", 3, TTA()), found("per-class", runs))
    write_thresholds(runs[1:], "class-share", ("x", "y", "z"), np.array([0.1, 0.2, 0.3]), {})
    np.testing.assert_allclose(validation_thresholds(runs, "many", 3, TTA()), found("per-class", runs))


def test_given_shares_are_kept(runs):
    shares = np.array([0.1, 0.5, 1.0])
    write_thresholds(runs, shares, ("x", "y", "z"), np.array([0.1, 0.2, 0.3]), {})
    np.testing.assert_array_equal(validation_thresholds(runs[1:], "many", 3, TTA()), found(shares, runs[1:]))


def test_saved_thresholds_for_other_classes_are_refused(runs):
    write_thresholds(runs, "global", ("x", "y", "w"), np.array([0.1, 0.2, 0.3]), {})
    with pytest.raises(BadInput, match=r"thresholds.json: 2 faults\n.*no threshold for class z.*\n.*class w is not one of"):
        validation_thresholds(runs, "many", 3, TTA())
    write_thresholds(runs, "global", ("x", "y"), np.array([0.1, 0.2]), {})
    with pytest.raises(BadInput, match="no threshold for class z; run hpa thresholds"):
        validation_thresholds(runs, "many", 3, TTA())


@pytest.mark.parametrize("saved", [False, True])
def test_thresholds_of_other_views_are_refused(runs, saved):
    if saved:
        write_thresholds(runs, "global", ("x", "y", "z"), np.array([0.1, 0.2, 0.3]), {})
    message = (
        r"a/validation\.npz: made with no test-time augmentation, which gives no thresholds for test-time augmentation 8 "
        r"\(mean of logits\); predict the runs' own data with test-time augmentation 8 \(mean of logits\) first, or use "
        "that of the file"
    )
    with pytest.raises(BadInput, match=message):
        validation_thresholds(runs, "many", 3, TTA(8, "logits"))
    validation_thresholds(runs, "many", 3, TTA(1, "logits"))  # the mean of one copy is the same
    for folder in runs:
        file = folder / "validation.npz"
        write_predictions(file, replace(read_predictions(file), tta=TTA(8, "logits")))
    validation_thresholds(runs, "many", 3, TTA(8, "logits"))
    for views, average in ((8, "probabilities"), (4, "logits"), (1, "logits")):
        with pytest.raises(BadInput, match=r"made with test-time augmentation 8 \(mean of logits\)"):
            validation_thresholds(runs, "many", 3, TTA(views, average))


def test_one_label_needs_no_file(tmp_path):
    np.testing.assert_array_equal(validation_thresholds([tmp_path / "nowhere"], "one", 4, TTA(8, "logits")), np.ones(4))
