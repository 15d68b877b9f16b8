import colorsys
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from hpa.data.augment import augment, policies_for, require_channels
from hpa.data.policies import report
from hpa.errors import BadInput
from hpa.registry import AUGMENTATIONS

SIDE = 96
VARYING = [policy for policy in policies_for(4) if policy != "none"]


def blobs(count, channels=4, seed=0):
    """Smooth images with much contrast, uint8 [count, SIDE, SIDE, channels], all channels equal."""
    noise = np.random.default_rng(seed).normal(size=(count, SIDE, SIDE))
    smooth = np.stack([cv2.GaussianBlur(each, (0, 0), 6) for each in noise])
    scaled = np.clip(128 + 100 * smooth / smooth.std(), 0, 255).astype(np.uint8)
    return np.repeat(scaled[..., np.newaxis], channels, axis=-1)


@pytest.mark.parametrize(
    "shape", [(3, 64, 64, 4), (2, 30, 50, 1), (2, 24, 24, 3), (0, 8, 8, 4), (1, 1, 1, 4), (1, 1, 1, 3), (2, 20, 20, 7)]
)
def test_shape_and_type_stay_and_the_input_too(shape):
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    before = images.copy()
    images.flags.writeable = False
    for policy in policies_for(shape[-1]):
        augmented = augment(images, np.arange(len(images)), policy, seed=1, epoch=2)
        assert augmented.shape == shape
        assert augmented.dtype == np.uint8
        assert augmented.flags.writeable
        assert not np.shares_memory(augmented, images)
        assert np.array_equal(images, before)


def test_the_way_in_which_the_report_is_seeded_stays():
    images = blobs(2)
    augmenter = report()
    augmenter.seed_(int(np.random.SeedSequence([7, 3, 17]).generate_state(1)[0]))
    augmented = augment(images, np.array([4, 17]), "report", 7, 3)
    assert np.array_equal(augmented[1], augmenter.augment_image(images[1]))


def test_none_is_the_identity():
    images = blobs(3)
    assert np.array_equal(augment(images, np.arange(3), "none", 0, 0), images)


@pytest.mark.parametrize(("policy", "channels"), [("report", 4), ("cells", 4), ("cells", 7), ("rotation", 7)])
def test_the_channels_are_moved_alike(policy, channels):
    images = blobs(50, channels)
    turned = 0
    for image, augmented in zip(images, augment(images, np.arange(50), policy, 0, 0), strict=True):
        channels = [cv2.GaussianBlur(channel, (0, 0), 2).ravel() for channel in np.moveaxis(augmented, -1, 0)]
        assert np.corrcoef(channels).min() > 0.99
        turned += np.corrcoef(image[..., 0].ravel(), channels[0])[0, 1] < 0.9
    assert turned > 40


def test_no_pixel_value_is_shifted_and_the_noise_is_small():
    images = np.full((200, SIDE, SIDE, 4), 128, np.uint8)
    augmented = augment(images, np.arange(200), "report", 0, 0).astype(float)
    assert np.abs(augmented.mean(axis=(1, 2)) - 128).max() < 1
    deviations = augmented.std(axis=(1, 2))
    assert deviations.max() < 0.05 * 255 * 1.05
    assert deviations.mean() > 1


def movements(policy, count):
    """Return what a policy does to points: linear maps [n, 2, 2] and where the middle goes [n, 2], in pixels from it."""
    # A spot in each of three channels; where the three are seen afterwards gives the affine map.
    spots = np.array([[48, 48], [62, 48], [48, 62]])
    image = np.zeros((SIDE, SIDE, 4), np.uint8)
    for channel, (x, y) in enumerate(spots):
        layer = np.zeros((SIDE, SIDE), np.uint8)
        image[..., channel] = cv2.circle(layer, (int(x), int(y)), 4, 255, -1)
    maps = []
    for augmented in augment(np.repeat(image[np.newaxis], count, axis=0), np.arange(count), policy, 0, 0):
        found = [cv2.connectedComponentsWithStats((augmented[..., c] > 128).astype(np.uint8)) for c in range(3)]
        if all(components[0] == 2 for components in found):  # else a mirror image of a spot has come into view
            maps.append(np.array([components[3][1] for components in found]))
    maps = np.array(maps)  # [n, spot, xy]
    linear = (maps[:, 1:] - maps[:, :1]).swapaxes(1, 2) / 14
    return linear, maps[:, 0] + (linear @ ((SIDE - 1) / 2 - spots[0])) - (SIDE - 1) / 2


def degrees(linear):
    return np.degrees(np.arctan2(linear[:, 1, 0], linear[:, 0, 0]))


def test_movements_lie_in_the_ranges_of_the_report_and_reach_their_ends():
    linear, middle = movements("report", 600)
    assert len(linear) > 300
    assert np.abs(middle).max() < 0.2 * SIDE + 1.5
    assert np.abs(middle).max(axis=0).min() > 0.17 * SIDE
    scales = np.linalg.svd(linear, compute_uv=False)
    assert 0.7 < scales.min() < 0.85
    assert 1.15 < scales.max() < 1.35
    assert 0.4 < (np.linalg.det(linear) < 0).mean() < 0.6
    assert np.histogram(degrees(linear), 8, (-180, 180))[0].min() > len(linear) / 16


def test_movements_of_cells():
    linear, middle = movements("cells", 600)
    assert len(linear) == 600
    assert np.abs(middle).max() < 0.04 * SIDE + 0.3
    assert np.abs(middle).max(axis=0).min() > 0.036 * SIDE
    scales = np.linalg.svd(linear, compute_uv=False)
    assert np.ptp(scales, axis=1).max() < 0.08  # the same along all axes, but for the pixels' own coarseness
    assert scales.mean(axis=1).min() == pytest.approx(0.9, abs=0.02)
    assert scales.mean(axis=1).max() == pytest.approx(1.12, abs=0.02)
    assert 0.4 < (np.linalg.det(linear) < 0).mean() < 0.6
    assert np.histogram(degrees(linear), 8, (-180, 180))[0].min() > 600 / 16


def test_movements_of_the_single_augmentations():
    linear, middle = movements("alexnet", 200)
    assert np.abs(middle).max() < 0.5
    assert 4 < np.abs(degrees(linear)).max() < 6
    linear, middle = movements("rotation", 200)
    assert np.abs(middle).max() < 1
    assert np.abs(np.linalg.det(linear) - 1).max() < 0.1
    assert np.histogram(degrees(linear), 8, (-180, 180))[0].min() > 200 / 16
    linear, _ = movements("flip", 200)
    counts = [np.isclose(linear, np.diag([x, y]), atol=0.01).all(axis=(1, 2)).sum() for x in (-1, 1) for y in (-1, 1)]
    assert sum(counts) == 200
    assert min(counts) > 30
    linear, _ = movements("aspect", 200)
    assert np.abs(linear[:, 1] - [0, 1]).max() < 0.03
    assert linear[:, 0, 0].min() == pytest.approx(0.8, abs=0.03)
    assert linear[:, 0, 0].max() == pytest.approx(1.25, abs=0.03)
    linear, middle = movements("crop", 200)
    stretch = linear[:, [0, 1], [0, 1]]
    assert stretch.min() > 0.99
    assert 1.15 < stretch.max() < 1.27  # 20 % cut off make 1 / 0.8
    assert np.abs(linear[:, [0, 1], [1, 0]]).max() < 0.04
    assert 3 < np.abs(middle).max() < 0.1 * SIDE / 2 * 1.25 + 0.5


def test_a_crop_shows_no_border():
    assert augment(np.full((50, 32, 32, 4), 200, np.uint8), np.arange(50), "crop", 0, 0).min() == 200


def test_cells_are_exposed_without_noise():
    levels = np.array([0, 60, 128, 255], np.uint8)
    augmented = augment(np.tile(levels, (400, 16, 16, 1)), np.arange(400), "cells", 0, 0)
    assert np.ptp(augmented, axis=(1, 2)).max() == 0  # neither noise nor a dark border
    values = augmented[:, 0, 0]
    assert set(values[:, 0]) == {0}
    assert set(values[:, 3]) == {255}
    gamma = np.log(values[:, 1] / 255) / np.log(60 / 255)
    assert gamma.min() == pytest.approx(0.8, abs=0.01)
    assert gamma.max() == pytest.approx(1.25, abs=0.01)
    assert 0.4 < (gamma > 1).mean() < 0.6
    assert np.abs(255 * (128 / 255) ** gamma - values[:, 2]).max() < 1.5


def test_an_exposure_is_a_factor():
    images = np.tile(np.array([0, 50, 100, 150], np.uint8), (200, 8, 8, 1))
    augmented = augment(images, np.arange(200), "exposure", 0, 0).astype(float)
    factors = augmented[:, :1, :1, 3:] / 150
    assert np.abs(augmented - images * factors).max() <= 1
    assert factors.min() == pytest.approx(0.7, abs=0.02)
    assert factors.max() == pytest.approx(1.4, abs=0.02)


def test_a_blur_takes_contrast_and_no_light():
    images = np.random.default_rng(0).integers(0, 256, (60, 64, 64, 2), np.uint8)
    augmented = augment(images, np.arange(60), "blur", 0, 0)
    assert np.abs(augmented.mean(axis=(1, 2)) - images.mean(axis=(1, 2))).max() < 2
    contrast = augmented.std(axis=(1, 2)) / images.std(axis=(1, 2))
    assert contrast.max() <= 1
    # White noise under a Gaussian of standard deviation s keeps 1 / (2 s sqrt(pi)), here the tails of it are cut off.
    assert contrast.min() == pytest.approx(1 / (2 * 2 * np.sqrt(np.pi)), abs=0.03)


def hue_saturation_value(images):
    return np.array([colorsys.rgb_to_hsv(*pixel) for pixel in images[:, 0, 0] / 255])


def test_hue_and_saturation_leave_each_other_and_the_value():
    images = np.tile(np.array([100, 200, 180], np.uint8), (200, 8, 8, 1))
    hue, saturation, value = hue_saturation_value(images[:1])[0]
    turned = hue_saturation_value(augment(images, np.arange(200), "hue", 0, 0))
    assert np.abs(turned[:, 1:] - [saturation, value]).max() < 0.02
    assert 360 * np.abs(turned[:, 0] - hue).max() == pytest.approx(35, abs=4)
    greyed = hue_saturation_value(augment(images, np.arange(200), "saturation", 0, 0))
    assert np.abs(greyed[:, [0, 2]] - [hue, value]).max() < 0.02
    assert greyed[:, 1].min() == pytest.approx(0.5 * saturation, abs=0.03)
    assert greyed[:, 1].max() == pytest.approx(1.5 * saturation, abs=0.03)


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_colours_need_three_channels(channels):
    for policy in ("hue", "saturation"):
        with pytest.raises(BadInput, match=f"'{policy}' needs three colour channels, this task has {channels}; choose"):
            require_channels(policy, channels)
        with pytest.raises(BadInput, match="three colour channels"):
            augment(np.zeros((1, 8, 8, channels), np.uint8), np.arange(1), policy, 0, 0)
        require_channels(policy, 3)
    assert {*policies_for(channels), "hue", "saturation"} == set(AUGMENTATIONS) == set(policies_for(3))


def test_what_moves_into_view_is_not_black():
    augmented = augment(np.full((50, 32, 32, 4), 200, np.uint8), np.arange(50), "report", 0, 0)
    assert augmented.min() > 200 - 6 * 0.05 * 255


@pytest.mark.parametrize("policy", VARYING)
def test_an_item_does_not_depend_on_its_batch(policy):
    images, items = blobs(5), np.array([4, 17, 3, 90, 2**31])
    together = augment(images, items, policy, 7, 3)
    assert not np.array_equal(together, images)
    assert np.array_equal(augment(images[::-1], items[::-1], policy, 7, 3), together[::-1])
    for place in range(5):
        alone = augment(images[place : place + 1], items[place : place + 1], policy, 7, 3)
        assert np.array_equal(alone[0], together[place])


@pytest.mark.parametrize("policy", ["report", "cells"])
@pytest.mark.parametrize("changed", [{"seed": 8}, {"epoch": 4}, {"items": np.array([18])}])
def test_seed_epoch_and_item_each_make_a_difference(policy, changed):
    images = blobs(1)
    arguments = {"items": np.array([17]), "policy": policy, "seed": 7, "epoch": 3}
    first, other = augment(images, **arguments), augment(images, **{**arguments, **changed})
    assert np.abs(first.astype(int) - other).mean() > 10


def test_seed_and_epoch_are_not_mixed_up():
    images = blobs(1)
    swapped = [
        augment(images, np.array([item]), "report", seed, epoch) for seed, epoch, item in ((1, 2, 3), (2, 1, 3), (3, 2, 1))
    ]
    assert not np.array_equal(swapped[0], swapped[1])
    assert not np.array_equal(swapped[0], swapped[2])


@pytest.mark.parametrize("policy", ["report", "cells"])
def test_neither_the_global_random_state_nor_threads_matter(policy):
    images = blobs(40)
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    serial = [augment(images[i : i + 1], np.array([i]), policy, 0, 0) for i in range(40)]
    assert np.array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    with ThreadPoolExecutor(8) as pool:
        parallel = list(pool.map(lambda i: augment(images[i : i + 1], np.array([i]), policy, 0, 0), range(40)))
    assert np.array_equal(serial, parallel)
