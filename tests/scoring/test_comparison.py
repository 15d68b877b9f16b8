from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score

from hpa.data.stratify import stratified_folds
from hpa.errors import BadInput
from hpa.scoring import comparison
from hpa.scoring.blend import blend_members
from hpa.scoring.comparison import compare_thresholds, compare_weights, sweep_shifts, write_table
from hpa.scoring.members import Members
from hpa.scoring.thresholds import find_thresholds, predict_classes
from hpa.scoring.weights import blend, member_weights

ROWS = 240
TARGETS = (np.random.default_rng(0).random((ROWS, 5)) < np.geomspace(0.4, 0.05, 5)).astype(np.uint8)


def seen(noise, seed, targets=TARGETS):
    """What a member thinks that sees the truth through some noise."""
    noise = noise * np.random.default_rng(seed).normal(size=targets.shape)
    return (1 / (1 + np.exp(1 - 2.0 * targets - noise))).astype(np.float32)


@pytest.fixture(scope="module")
def members():
    test = (np.random.default_rng(1).random((100, 5)) < 0.2).astype(np.uint8)
    noises = [0.6, 0.8, 1.0]
    both = ([seen(noise, seed, known) for seed, noise in enumerate(noises)] for known in (TARGETS, test))
    return Members(["a", "b", "c"], tuple("vwxyz"), TARGETS, *both)


def macro(predicted):
    return f1_score(TARGETS, predicted, average="macro", zero_division=0)


def cross_validated(members, rule, shift, threshold, seed):
    """The straightforward way: weights and thresholds from four folds, predictions of the fifth."""
    folds = stratified_folds(TARGETS, 5, seed)
    predicted = np.zeros(TARGETS.shape, bool)
    for fold in range(5):
        train, held_out = folds != fold, folds == fold
        own = [each[train] for each in members.validation]
        f1 = []
        for each in own:
            f1.append(
                f1_score(
                    TARGETS[train],
                    predict_classes(each, find_thresholds(threshold, TARGETS[train], each))[0],
                    average="macro",
                    zero_division=0,
                )
            )
        weights = member_weights(rule, np.array(f1), shift, TARGETS[train], own, threshold)
        thresholds = find_thresholds(threshold, TARGETS[train], blend(own, weights))
        values = blend([each[held_out] for each in members.validation], weights)
        predicted[held_out] = predict_classes(values, thresholds)[0]
    return macro(predicted)


def test_thresholds_are_cross_validated(members):
    rules = {"0.4": 0.4, "global": "global", "per-class": "per-class"}
    table = compare_thresholds(TARGETS, members.validation[0], rules, "global", 3)
    alone = Members(["a"], members.classes, TARGETS, members.validation[:1], [])
    for name, rule in rules.items():
        assert table["cross_validated"][name] == pytest.approx(cross_validated(alone, "equal", 0, rule, 3))
        thresholds = find_thresholds(rule, TARGETS, members.validation[0])
        assert table["resubstituted"][name] == pytest.approx(macro(predict_classes(members.validation[0], thresholds)[0]))
    assert table["cross_validated"]["0.4"] == table["resubstituted"]["0.4"]  # nothing is found, so nothing is too good
    assert table["resubstituted"]["per-class"] > table["cross_validated"]["per-class"]


def test_a_gain_is_the_difference_and_surer_than_the_scores(members):
    rules = {"global": "global", "per-class": "per-class"}
    table = compare_thresholds(TARGETS, members.validation[0], rules, "global", 0)
    np.testing.assert_allclose(table["gain"], table["cross_validated"] - table["cross_validated"]["global"])
    assert table.loc["global", ["gain", "gain_low", "gain_high"]].tolist() == [0, 0, 0]
    row = table.loc["per-class"]
    assert row["low"] < row["cross_validated"] < row["high"]
    assert row["gain_low"] < row["gain"] < row["gain_high"]
    assert row["gain_high"] - row["gain_low"] < 0.8 * (row["high"] - row["low"])


def test_the_same_seed_gives_the_same_table(members):
    tables = [compare_thresholds(TARGETS, members.validation[0], {"g": "global"}, "g", seed) for seed in (0, 0, 1)]
    pd.testing.assert_frame_equal(tables[0], tables[1])
    assert tables[0]["low"]["g"] != tables[2]["low"]["g"]


def test_thresholds_found_on_noise_are_seen_through():
    random = np.random.default_rng(0)
    noise = random.random(TARGETS.shape, dtype=np.float32)
    table = compare_thresholds(TARGETS, noise, {"global": "global", "per-class": "per-class"}, "global", 0)
    assert table["resubstituted"]["per-class"] > table["cross_validated"]["per-class"] + 0.02
    assert table["gain_low"]["per-class"] < 0


def test_weights_are_cross_validated(members):
    table = compare_weights(members, 0.5, "global", 0)
    assert table.index.tolist() == ["best member", "shifted", "equal", "greedy", "optimum"]
    for rule in table.index[1:]:
        assert table["cross_validated"][rule] == pytest.approx(cross_validated(members, rule, 0.5, "global", 0))
        assert table["resubstituted"][rule] == pytest.approx(blend_members(members, rule, 0.5, "global").f1)
    best = max(blend_members(members, "equal", 0, "global").member_f1)
    assert table["resubstituted"]["best member"] == pytest.approx(best)
    assert table["gain"]["equal"] == 0


@pytest.mark.parametrize("shift", [0.999, np.nan, np.inf, -np.inf])
def test_a_shift_that_no_member_is_above_has_no_row(members, shift):
    table = compare_weights(members, shift, 0.5, 0)
    assert table.index.tolist() == ["best member", "equal", "greedy", "optimum"]
    pd.testing.assert_frame_equal(table, compare_weights(members, 0.1, 0.5, 0).drop(index="shifted"))


def test_fewer_than_two_rows_cannot_be_compared(members):
    def first(rows):
        validation = [own[:rows] for own in members.validation]
        return replace(members, targets=TARGETS[:rows], validation=validation)

    message = "^validation.npz: 1 validation row; a comparison needs at least 2$"
    for compare in (
        lambda own: compare_thresholds(own.targets, own.validation[0], {"g": "global"}, "g", 0),
        lambda own: compare_weights(own, 0.1, "per-class", 0),
        lambda own: sweep_shifts(own, [0.999], "global", 0),
    ):
        with pytest.raises(BadInput, match=message):
            compare(first(1))
    assert compare_thresholds(TARGETS[:2], members.validation[0][:2], {"g": "global"}, "g", 0).notna().all(axis=None)
    assert len(compare_weights(first(2), -0.1, "per-class", 0)) == 5
    assert len(sweep_shifts(first(2), [-0.2, -0.1], "class-share", 0)) == 2


def test_one_member_only_is_the_same_under_every_rule(members):
    alone = Members(["a"], members.classes, TARGETS, members.validation[:1], members.test[:1])
    scores = compare_weights(alone, 0.1, "global", 0)["cross_validated"]
    assert scores.tolist() == [scores["equal"]] * 5


def test_samples_of_one_label(members):
    targets = np.eye(5, dtype=np.uint8)[np.arange(ROWS) % 5]
    validation = [seen(1.0, seed, targets) for seed in range(2)]
    table = compare_weights(Members(["a", "b"], members.classes, targets, validation, [], "one"), 0.1, "strongest", 0)
    assert table["cross_validated"]["equal"] == table["resubstituted"]["equal"]
    right = np.eye(5, dtype=bool)[blend(validation).argmax(axis=1)]
    assert table["cross_validated"]["equal"] == pytest.approx(f1_score(targets, right, average="macro"))


def test_a_sweep_repeats_the_blend_shift_by_shift(members):
    f1 = np.sort(blend_members(members, "equal", 0, "global").member_f1)
    shifts = [0.0, 0.3, (f1[0] + f1[1]) / 2, (f1[1] + f1[2]) / 2, 0.999]
    table = sweep_shifts(members, shifts, "global", 0)
    assert table.index.tolist() == shifts[:-1]
    assert table["members"].tolist() == [3, 3, 2, 1]
    blends = [blend_members(members, "shifted", shift, "global") for shift in shifts[:-1]]
    np.testing.assert_allclose(table["resubstituted"], [each.f1 for each in blends])
    np.testing.assert_allclose(
        table["cross_validated"], [cross_validated(members, "shifted", each, "global", 0) for each in shifts[:-1]]
    )
    changed = [np.sum(one.predicted ^ other.predicted) for one, other in pairwise(blends)]
    assert np.isnan(table["changed"].iloc[0])
    assert table["changed"].iloc[1:].tolist() == changed
    assert max(changed) > 0
    with pytest.raises(BadInput, match=r"no member's F1 is above the shift 0\.99"):
        sweep_shifts(members, [0.99, 1.0], "global", 0)


def test_a_sweep_without_a_test_set(members):
    table = sweep_shifts(Members(["a"], members.classes, TARGETS, members.validation[:1], []), [0.0, 0.1], "global", 0)
    assert table["changed"].isna().all()


def test_a_table_is_written_and_shown(members, tmp_path):
    table = sweep_shifts(members, [0.0, 0.1], "global", 0)
    text = write_table(tmp_path / "table.csv", table).splitlines()
    assert text[0].split() == ["shift", "cross_validated", "low", "high", "resubstituted", "members", "changed"]
    assert text[1].split()[-2:] == ["3", "-"]
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "table.csv", index_col="shift"), table, rtol=1e-5)


def test_an_interval_covers_what_it_says():
    """A fixed rule on drawn rows: the macro F1 of very many rows is within the interval about 19 times in 20."""
    random = np.random.default_rng(0)

    def draw(rows):
        targets = random.random((rows, 5)) < 0.2
        return targets.astype(np.uint8), np.where(targets, 0.7, 0.3) > random.random((rows, 5))

    truth = f1_score(*draw(100_000), average="macro")
    covered = 0
    for _ in range(100):
        targets, predicted = draw(200)
        resampled = comparison.resampled_macro_f1(targets, predicted[np.newaxis], 200, random)
        interval = comparison._interval("", np.array([f1_score(targets, predicted, average="macro")]), resampled, 0)
        covered += interval["low"][0] <= truth <= interval["high"][0]
    assert 88 <= covered <= 100
