import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hpa.errors import BadInput
from hpa.scoring.binned import quick_macro_f1
from hpa.scoring.rules import WEIGHTS
from hpa.scoring.weights import SELECTIONS, blend, member_weights, require_above


def shifted(f1, shift):
    return member_weights("shifted", np.array(f1), shift, None, [None] * len(f1), "global")


def make_members(noises, rows=300, classes=4, seed=0):
    """Targets, and for each amount of noise the probabilities of a member that sees them through it."""
    random = np.random.default_rng(seed)
    targets = (random.random((rows, classes)) < 0.3).astype(np.uint8)
    seen = (targets + noise * random.normal(size=targets.shape) for noise in noises)
    return targets, [(1 / (1 + np.exp(1 - 2 * each))).astype(np.float32) for each in seen]


def test_the_reports_weights():
    np.testing.assert_allclose(shifted([0.42, 0.47, 0.44], 0.34), np.array([8, 13, 10]) / 31)


def test_at_or_below_the_shift_is_weight_0():
    np.testing.assert_allclose(shifted([0.5, 0.25, 0.125, 0.375], 0.25), [2 / 3, 0, 0, 1 / 3])


def test_the_best_member_is_left_last():
    np.testing.assert_array_equal(shifted([0.3, 0.5, 0.4], 0.499), [0, 1, 0])
    np.testing.assert_array_equal(shifted([0.3, 0.5, 0.4], 0.6), [0, 1, 0])


@pytest.mark.parametrize(
    ("f1", "shift", "keeps_all"),
    [([0.3, 0.2951], 0.34, "0.29"), ([0.3, 0.34], 0.34, "0.29"), ([0.07, 0.3], 0.5, "0.06"), ([0.5, 0.0], 0.5, "-0.01")],
)
def test_none_left_names_every_f1_and_a_shift_that_works(f1, shift, keeps_all):
    with pytest.raises(BadInput, match="no member's F1 is above the shift") as caught:
        require_above(shift, np.array(f1), ["runs/0/base", "runs/1/base"])
    text = str(caught.value)
    for name, score in zip(["runs/0/base", "runs/1/base"], f1, strict=True):
        assert f"{name} {score:.4f}" in text
    assert f"the shift {keeps_all} " in text
    assert np.all(shifted(f1, float(keeps_all)) > 0)


@pytest.mark.parametrize("shift", [np.nan, np.inf, -np.inf])
def test_a_shift_that_is_no_number(shift):
    with pytest.raises(BadInput, match="shift"):
        require_above(shift, np.array([0.5, 0.6]), ["a", "b"])


@given(arrays(float, st.integers(1, 8), elements=st.sampled_from(np.linspace(0, 1, 101))), st.floats(0, 1))
def test_shifted_weights_are_never_negative_and_of_sum_1(f1, shift):
    weights = shifted(f1, shift)
    assert np.all(weights >= 0)
    assert weights.sum() == pytest.approx(1)
    np.testing.assert_array_equal(weights > 0, f1 > shift if (f1 > shift).any() else f1 == f1.max())


@given(
    st.lists(st.floats(0, 3), min_size=1, max_size=4),
    st.sampled_from(WEIGHTS),
    st.sampled_from(["per-class", "global", "class-share", "strongest", 0.4]),
    st.integers(0, 99),
)
def test_all_weights_are_never_negative_and_of_sum_1(noises, rule, threshold, seed):
    targets, validation = make_members(noises, rows=20, seed=seed)
    weights = member_weights(rule, np.linspace(0.1, 0.5, len(noises)), 0.3, targets, validation, threshold)
    assert weights.shape == (len(noises),)
    assert np.all(weights >= 0)
    assert weights.sum() == pytest.approx(1)


@pytest.mark.parametrize("threshold", ["per-class", "global", "strongest"])
@pytest.mark.parametrize("rule", ["greedy", "optimum"])
def test_searched_weights_are_at_least_as_good_as_equal_ones_and_the_best_member(rule, threshold):
    targets, validation = make_members([0.6, 0.7, 0.8, 3.0])
    score = quick_macro_f1(threshold, targets)
    weights = member_weights(rule, np.zeros(4), 0, targets, validation, threshold)
    found = score(blend(validation, weights))
    assert found >= max(map(score, validation))
    if rule == "optimum":
        assert found >= score(blend(validation))


def test_greedy_selection_is_that_of_a_plain_loop():
    targets, validation = make_members([0.6, 0.7, 0.8])
    score = quick_macro_f1("global", targets)
    chosen, means = [], []
    for _ in range(SELECTIONS):
        chosen.append(max(range(3), key=lambda each: score(np.mean([validation[one] for one in [*chosen, each]], axis=0))))
        means.append(score(np.mean([validation[one] for one in chosen], axis=0)))
    best = chosen[: int(np.argmax(means)) + 1]
    weights = member_weights("greedy", np.zeros(3), 0, targets, validation, "global")
    np.testing.assert_allclose(weights, np.bincount(best, minlength=3) / len(best))


def test_a_member_that_only_harms_gets_no_weight_from_the_optimum():
    targets, (good, bad) = make_members([0.3, 0.0])
    weights = member_weights("optimum", np.zeros(2), 0, targets, [good, 1 - bad], "per-class")
    score = quick_macro_f1("per-class", targets)
    assert score(blend([good, 1 - bad], weights)) >= score(good) > score(1 - bad)
    grid = [score(blend([good, 1 - bad], np.array([share, 1 - share]))) for share in np.linspace(0, 1, 65)]
    assert score(blend([good, 1 - bad], weights)) >= max(grid) - 0.01


@given(st.lists(arrays(np.float32, (3, 2), elements=st.floats(0, 1, width=32)), min_size=1, max_size=5))
def test_a_blend_lies_between_its_members(probabilities):
    weights = np.arange(1, len(probabilities) + 1) / sum(range(1, len(probabilities) + 1))
    blended = blend(probabilities, weights)
    assert blended.dtype == np.float32
    np.testing.assert_allclose(blended, np.average(probabilities, axis=0, weights=weights), rtol=1e-6, atol=1e-7)
    assert np.all(blended <= np.nextafter(np.max(probabilities, axis=0), np.float32(2)))
