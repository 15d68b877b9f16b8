from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.random import default_rng

from hpa.data.mixing import cutmix, draw, mix_up, mosaic, paint, weigh

BATCHES = {
    "count": st.integers(1, 6),
    "side": st.integers(1, 15),
    "channels": st.integers(1, 5),
    "seed": st.integers(0, 2**32),
}


def batch(count, side, channels):
    """Image k has the value 40 k in all pixels and the target k, so that mixed targets are the shares of the images."""
    values = 40 * np.arange(count, dtype=np.uint8)
    return np.tile(values[:, None, None, None], (1, side, side, channels)), np.eye(count, dtype=np.float32)


def apply(mixing, images, targets, generator):
    """Return the images and targets of a batch that a mixing has mixed."""
    layers = mixing(generator, len(images), images.shape[1])
    return paint(images, layers), weigh(targets, layers, images.shape[1])


@pytest.mark.parametrize("mixing", [mix_up, cutmix, mosaic])
@given(**BATCHES)
@settings(deadline=None, max_examples=50)
def test_labels_are_a_convex_mixture_and_follow_the_seed(mixing, count, side, channels, seed):
    images, one_hot = batch(count, side, channels)
    before = images.copy()
    mixed, shares = apply(mixing, images, one_hot, default_rng(seed))
    assert np.array_equal(images, before)
    assert np.array_equal(one_hot, np.eye(count))
    assert (mixed.dtype, mixed.shape, shares.dtype, shares.shape) == (np.uint8, images.shape, np.float32, one_hot.shape)
    assert shares.min() >= 0
    assert shares.sum(axis=1) == pytest.approx(1, abs=1e-6)
    many = default_rng(seed).integers(0, 2, (count, 7)).astype(np.float32)
    again, mixed_many = apply(mixing, images, many, default_rng(seed))
    assert np.array_equal(again, mixed)
    assert mixed_many == pytest.approx(shares @ many, abs=1e-6)


@given(**BATCHES)
@settings(deadline=None)
def test_mix_up_mixes_pixels_as_it_mixes_labels(count, side, channels, seed):
    images, one_hot = batch(count, side, channels)
    images += default_rng(seed).integers(0, 40, images.shape, np.uint8)
    mixed, shares = apply(mix_up, images, one_hot, default_rng(seed))
    assert np.abs(mixed - np.tensordot(shares, images, 1)).max() <= 0.5 + 1e-3
    assert ((shares > 0).sum(axis=1) <= 2).all()


@pytest.mark.parametrize(("mixing", "sources"), [(cutmix, 2), (mosaic, 4)])
@given(**BATCHES)
@settings(deadline=None)
def test_labels_are_the_shares_of_the_pixels(mixing, sources, count, side, channels, seed):
    images, one_hot = batch(count, side, channels)
    places = np.arange(side * side, dtype=np.uint8).reshape(side, side, 1)
    marked = np.concatenate([images, np.tile(places, (count, 1, 1, 1))], axis=-1)
    mixed, shares = apply(mixing, marked, one_hot, default_rng(seed))
    assert (mixed[..., -1:] == places).all()  # every pixel stays in its place
    assert (mixed[..., :-1] == mixed[..., :1]).all()
    source = mixed[..., 0] // 40
    counted = (source[..., None] == np.arange(count)).mean(axis=(1, 2))
    assert shares == pytest.approx(counted, abs=1e-6)
    assert ((counted > 0).sum(axis=1) <= sources).all()


def test_what_cutmix_pastes_is_a_box():
    images, one_hot = batch(6, 32, 1)
    for seed in range(20):
        mixed, _ = apply(cutmix, images, one_hot, default_rng(seed))
        for k, image in enumerate(mixed[..., 0] // 40):
            foreign = image != k
            rows, columns = foreign.any(axis=1), foreign.any(axis=0)
            assert np.array_equal(foreign, np.outer(rows, columns))
            assert (np.diff(np.flatnonzero(rows)) == 1).all()
            assert (np.diff(np.flatnonzero(columns)) == 1).all()


def test_the_quadrants_of_a_mosaic():
    images, one_hot = batch(6, 50, 1)
    full = 0
    for seed in range(40):
        mixed, shares = apply(mosaic, images, one_hot, default_rng(seed))
        for k, image in enumerate(mixed[..., 0] // 40):
            corners = image[[0, 0, -1, -1], [0, -1, 0, -1]]
            assert corners[0] == k
            if len(set(corners)) == 4:
                full += 1
                y, x = (image[:, 0] == corners[0]).sum(), (image[0] == corners[0]).sum()
                assert 10 <= y <= 40
                assert 10 <= x <= 40
                expected = [y * x, y * (50 - x), (50 - y) * x, (50 - y) * (50 - x)]
                assert shares[k, corners] * 2500 == pytest.approx(expected, abs=0.01)
    assert full > 40


def partner_shares(mixing, side):
    """The shares of the other images in 4000 images."""
    images, one_hot = batch(200, side, 1)
    return np.concatenate([1 - apply(mixing, images, one_hot, default_rng(seed))[1].diagonal() for seed in range(20)])


def test_shares_are_distributed_as_published():
    # An image is its own partner once in 200; the moments of Beta(0.3, 0.3) are 1 / 2 and 1 / (4 (2 * 0.3 + 1)).
    shares = partner_shares(mix_up, 1)
    assert shares.mean() == pytest.approx(0.5 * 199 / 200, abs=0.02)
    assert shares.var() == pytest.approx(1 / 6.4, abs=0.01)
    # A box of side r with its centre anywhere keeps r - r^2 / 4 of it on either axis, and r^2 is uniform.
    shares = partner_shares(cutmix, 64)
    assert shares.mean() == pytest.approx((1 / 2 - 1 / 5 + 1 / 48) * 199 / 200, abs=0.015)
    assert partner_shares(mosaic, 64).mean() == pytest.approx(0.75 * 199 / 200, abs=0.01)


@pytest.mark.parametrize("name", ["mix-up", "cutmix", "mosaic"])
def test_half_of_the_batches_are_mixed(name):
    images, one_hot = batch(6, 16, 1)
    mixed = 0
    for seed in range(300):
        result, targets = apply(partial(draw, name), images, one_hot, default_rng(seed))
        assert np.array_equal(result, images) == np.array_equal(targets, one_hot)
        mixed += not np.array_equal(result, images)
    assert 120 < mixed < 180
