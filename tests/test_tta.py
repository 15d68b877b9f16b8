import numpy as np
import pytest
from scipy.stats import gmean

from hpa import command
from hpa.errors import BadInput
from hpa.tta import AVERAGES, NO_TTA, TTA, VIEWS, view


class Corners:
    """Stands in for a network: its outputs are the brightness of the upper corners of each image, by class."""

    def predict_on_batch(self, images):
        assert images.flags.c_contiguous
        return images[:, 0, [0, -1], 0].astype(np.float32) / 255


def test_the_options_are_those_of_the_tables():
    parser = command.parser("thing", "Does a thing.", "tta tta-average")
    choices = {action.dest: action.choices for action in parser._actions}
    assert set(choices["tta"]) == set(VIEWS)
    assert set(choices["tta_average"]) == set(AVERAGES)


def test_one_view_has_no_mean():
    parser = command.parser("thing", "Does a thing.", "tta tta-average")
    assert command.tta(parser.parse_args([])) == NO_TTA
    with pytest.raises(BadInput, match="--tta-average logits: is for --tta 2 or more; leave it out, or give --tta"):
        command.tta(parser.parse_args(["--tta-average", "logits"]))


@pytest.mark.parametrize("views", VIEWS)
@pytest.mark.parametrize("average", AVERAGES)
def test_one_view_after_the_other_is_averaged(views, average):
    images = np.random.default_rng(0).integers(20, 235, (5, 4, 4, 1), np.uint8)
    found = TTA(views, average).predict(Corners(), images, "many")
    each = np.array([view(images, *how)[:, 0, [0, -1], 0] for how in VIEWS[views]]) / 255
    if average == "probabilities":
        expected = each.mean(axis=0)
    else:  # odds have a geometric mean
        odds = gmean(each / (1 - each), axis=0)
        expected = odds / (1 + odds)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert found.dtype == np.float32


@pytest.mark.parametrize("batch", [0, 3, 5, 8])
def test_models_see_a_whole_batch(batch):
    images, seen = np.random.default_rng(0).integers(20, 235, (5, 4, 4, 1), np.uint8), []

    class Counting(Corners):
        def predict_on_batch(self, images):
            seen.append(len(images))
            return super().predict_on_batch(images)

    found = TTA(8).predict(Counting(), images, "many", batch)
    np.testing.assert_array_equal(found, TTA(8).predict(Corners(), images, "many"))
    assert seen == [max(batch, 5)] * 8


def test_the_mean_logits_of_one_label_are_a_geometric_mean():
    outputs = np.random.default_rng(0).dirichlet(np.ones(6), (8, 20)).astype(np.float32)
    expected = gmean(outputs, axis=0)
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(AVERAGES["logits"](outputs, "one"), expected, rtol=1e-5)


@pytest.mark.parametrize("labels", ["one", "many"])
def test_a_view_that_is_sure_does_not_outvote_all_others(labels):
    outputs = np.array([[[0.0, 1.0]]] + [[[0.99, 0.01]]] * 7, np.float32)  # log 0 would be the end of class 0
    found = AVERAGES["logits"](outputs, labels)
    assert np.isfinite(found).all()
    assert found[0, 0] > 0.8 > 0.2 > found[0, 1]
