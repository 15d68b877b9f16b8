import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import f1_score

from hpa.errors import BadInput
from hpa.scoring.blend import blend, blend_members, member_weights, validation_f1
from hpa.scoring.members import Members

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
    # test rows: (0.5, 0.375) has nothing above 0.5 and takes its strongest; (0.625, 0.4375); (0.3125, 0.625)
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


def test_one_member_only_is_its_own_blend():
    alone = Members(["right"], ("x", "y"), TARGETS, [RIGHT], [RIGHT_TEST])
    ensemble = blend_members(alone, "shifted", 0.34, "global")
    np.testing.assert_array_equal(ensemble.weights, [1.0])
    assert ensemble.f1 == ensemble.member_f1[0] == 1.0


def test_a_members_f1_counts_the_strongest_class_of_an_empty_row():
    weak = np.array([[0.4, 0.1], [0.3, 0.2], [0.1, 0.4], [0.2, 0.3]], np.float32)
    assert validation_f1(TARGETS, weak, 0.5)[0] == 1.0
    assert f1_score(TARGETS, weak > 0.5, average="macro", zero_division=0) == 0.0


def test_the_reports_weights():
    f1 = np.array([0.42, 0.47, 0.44])
    np.testing.assert_allclose(member_weights(f1, "shifted", 0.34, list("abc")), np.array([8, 13, 10]) / 31)


def test_at_or_below_the_shift_is_weight_0():
    f1 = np.array([0.5, 0.25, 0.125, 0.375])
    np.testing.assert_allclose(member_weights(f1, "shifted", 0.25, list("abcd")), [2 / 3, 0, 0, 1 / 3])


@pytest.mark.parametrize(
    ("f1", "shift", "mended"),
    [([0.3, 0.2951], 0.34, "0.29"), ([0.3, 0.34], 0.34, "0.29"), ([0.07, 0.3], 0.5, "0.06"), ([0.5, 0.0], 0.5, "-0.01")],
)
def test_none_left_names_every_f1_and_a_shift_that_works(f1, shift, mended):
    with pytest.raises(BadInput, match="no member's F1 is above the shift") as caught:
        member_weights(np.array(f1), "shifted", shift, ["runs/0/base", "runs/1/base"])
    text = str(caught.value)
    for name, score in zip(["runs/0/base", "runs/1/base"], f1, strict=True):
        assert f"{name} {score:.4f}" in text
    assert f"--shift {mended} " in text
    assert np.all(member_weights(np.array(f1), "shifted", float(mended), ["", ""]) > 0)


@pytest.mark.parametrize("shift", [np.nan, np.inf, -np.inf])
def test_a_shift_that_is_no_number(shift):
    with pytest.raises(BadInput, match="shift"):
        member_weights(np.array([0.5, 0.6]), "shifted", shift, ["a", "b"])


@given(arrays(float, st.integers(1, 8), elements=st.sampled_from(np.linspace(0, 1, 101))), st.floats(0, 1))
def test_weights_are_never_negative_and_of_sum_1(f1, shift):
    try:
        weights = member_weights(f1, "shifted", shift, [str(each) for each in range(len(f1))])
    except BadInput:
        assert np.all(f1 <= shift)
        return
    assert np.all(weights >= 0)
    assert weights.sum() == pytest.approx(1)
    np.testing.assert_array_equal(weights > 0, f1 > shift)


@given(st.lists(arrays(np.float32, (3, 2), elements=st.floats(0, 1, width=32)), min_size=1, max_size=5))
def test_a_blend_lies_between_its_members(probabilities):
    weights = np.arange(1, len(probabilities) + 1) / sum(range(1, len(probabilities) + 1))
    blended = blend(probabilities, weights)
    assert blended.dtype == np.float32
    np.testing.assert_allclose(blended, np.average(probabilities, axis=0, weights=weights), rtol=1e-6, atol=1e-7)
    assert np.all(blended <= np.nextafter(np.max(probabilities, axis=0), np.float32(2)))
