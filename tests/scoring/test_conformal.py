"""Label sets: the coverage that is promised, for classes and new groups, against hand-worked cases and many draws."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.random import default_rng

from hpa.scoring.conformal import class_levels, describe_sets, label_sets, p_values

CLASSES = 3


def draw(generator, rows, groups=None):
    """Return targets and probabilities of single-label samples; samples of a group err alike."""
    truth = generator.integers(CLASSES, size=rows)
    logits = generator.normal(size=(rows, CLASSES)) + 1.5 * np.eye(CLASSES)[truth]
    if groups is not None:
        logits += generator.normal(0, 2, size=(groups.max() + 1, CLASSES))[groups]
    odds = np.exp(logits)
    return np.eye(CLASSES, dtype=np.uint8)[truth], odds / odds.sum(axis=1, keepdims=True)


def test_the_level_is_an_order_statistic():
    probabilities = np.array([[0.9], [0.1], [0.5], [0.3]])
    targets = np.ones((4, 1))
    for coverage, level in ((0.8, 0.1), (0.6, 0.3), (0.4, 0.5), (0.2, 0.9), (0.81, 0.0), (0.61, 0.1)):
        assert class_levels(targets, probabilities, coverage) == [level]


def test_each_group_counts_alike_and_a_new_one_as_one_more():
    probabilities = np.array([[0.1], [0.2], [0.3], [0.4], [0.8]])
    groups = np.array([0, 0, 0, 0, 1])  # masses 1/12 each, 1/3, and 1/3 for the new group
    levels = [class_levels(np.ones((5, 1)), probabilities, 1 - error, groups)[0] for error in (0.3, 0.34, 0.45, 0.6, 0.7)]
    assert levels == [0, 0.1, 0.2, 0.4, 0.8]


@pytest.mark.parametrize("coverage", [0.5, 0.9])
def test_the_promise_is_kept_for_each_class_on_average_over_draws(coverage):
    generator, found = default_rng(0), []
    for _ in range(200):
        targets, probabilities = draw(generator, 80)
        levels = class_levels(targets[:60], probabilities[:60], coverage)
        inside = (label_sets(probabilities[60:], levels) & (targets[60:] > 0)).sum(axis=0)
        found.append([inside, targets[60:].sum(axis=0)])
    inside, there = np.sum(found, axis=0)
    assert (inside / there > coverage - 0.02).all()
    assert (inside / there < coverage + 0.08).all()


def test_samples_of_a_new_group_are_covered_only_if_groups_are_told():
    generator, found = default_rng(0), []
    groups = np.repeat(np.arange(21), 15)
    old = groups < 20
    for _ in range(200):
        targets, probabilities = draw(generator, len(groups), groups)
        levels = [class_levels(targets[old], probabilities[old], 0.9, own) for own in (groups[old], None)]
        found.append([(label_sets(probabilities[~old], own) & (targets[~old] > 0)).any(axis=1).mean() for own in levels])
    told, untold = np.mean(found, axis=0)
    assert told > 0.87
    assert untold < told


@given(st.integers(0, 2**32 - 1), st.integers(0, 40), st.floats(0, 1), st.floats(0, 1))
@settings(deadline=None, max_examples=50)
def test_more_coverage_gives_larger_sets(seed, rows, one, other):
    targets, probabilities = draw(default_rng(seed), rows)
    groups = default_rng(seed).integers(5, size=rows)
    for own in (None, groups):
        low, high = (class_levels(targets, probabilities, each, own) for each in sorted((one, other)))
        assert (high <= low).all()
        assert ((low >= 0) & (low <= 1)).all()
    assert class_levels(targets, probabilities, 1.0).tolist() == [0] * CLASSES  # nothing less covers surely


def test_a_class_without_a_sample_is_in_every_set_and_labels_may_be_many():
    targets = np.array([[1, 1, 0], [1, 0, 0], [0, 1, 0]])
    probabilities = np.array([[0.9, 0.6, 0.1], [0.7, 0.2, 0.2], [0.1, 0.8, 0.1]])
    levels = class_levels(targets, probabilities, 0.5)
    assert levels.tolist() == [0.7, 0.6, 0]
    assert label_sets(probabilities, levels).tolist() == [[True, True, True], [True, False, True], [False, True, True]]


def test_sets_are_described():
    targets = np.eye(2, dtype=np.uint8)[[0, 0, 0, 1]]
    sets = np.array([[1, 0], [1, 1], [0, 0], [0, 1]], bool)
    assert describe_sets(targets, sets) == {
        "coverage": 0.75, "class coverage": pytest.approx(2 / 3), "mean size": 1.0, "single": 0.5, "empty": 0.25
    }  # fmt: skip


def test_p_values_are_ranks():
    assert p_values(np.array([0, 2, 2.5, 9]), np.array([3.0, 1, 2])).tolist() == [1, 0.75, 0.5, 0.25]
    grouped = p_values(np.array([0, 2, 9]), np.array([3.0, 1, 2]), np.array([0, 0, 1]))
    assert grouped == pytest.approx([1, 1 / 3 + 1 / 6 + 1 / 3, 1 / 3])


@given(st.integers(0, 2**32 - 1), st.integers(1, 30))
@settings(deadline=None, max_examples=30)
def test_p_values_are_seldom_low_for_known_samples(seed, rows):
    drawn = default_rng(seed).normal(size=rows + 1)
    ranks = [p_values(drawn[each : each + 1], np.delete(drawn, each))[0] for each in range(rows + 1)]
    for limit in (0.1, 0.3, 0.8):  # every sample may be the new one
        assert np.mean(np.array(ranks) <= limit) <= limit + 1e-9
