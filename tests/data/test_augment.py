import colorsys
from concurrent.futures import ThreadPoolExecutor

import cv2
import imgaug.augmenters as iaa
import imgaug.parameters as iap
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from imgaug.augmentables import Keypoint, KeypointsOnImage
from scipy import stats

from hpa.data.augment import BLOCK, augment, draws, policies_for, require_channels, warp
from hpa.data.policies import NOISE_STARTS, by_imgaug, drawn, report
from hpa.errors import BadInput
from hpa.registry import AUGMENTATIONS, Warp

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


AFFINE = {
    "scale": {"x": (0.8, 1.2), "y": (0.8, 1.2)},
    "translate_percent": {"x": (-0.2, 0.2), "y": (-0.2, 0.2)},
    "rotate": (-180, 180),
    "shear": (-8, 8),
}


@pytest.mark.parametrize(("mode", "border"), [("reflect", "reflect"), ("symmetric", "symmetric"), ("constant", "constant")])
@pytest.mark.parametrize("shape", [(SIDE, SIDE), (60, 90)])
def test_one_map_gives_the_picture_of_the_chain_of_imgaug(mode, border, shape):
    random = np.random.default_rng(1)
    [image] = blobs(1)
    image = np.ascontiguousarray(image[: shape[0], : shape[1]])
    for number in range(12):

        def fixed(low_and_high):
            return random.uniform(*low_and_high)

        parameters = {
            name: {axis: fixed(each) for axis, each in ranges.items()} if isinstance(ranges, dict) else fixed(ranges)
            for name, ranges in AFFINE.items()
        }
        parameters["shear"] = iap.Uniform(parameters["shear"], parameters["shear"])  # a plain number shears along x alone
        flips = [iaa.Fliplr(number % 2), iaa.Flipud(number // 2 % 2)]
        chain = iaa.Sequential(
            [*flips, iaa.Affine(**parameters, mode=mode), iaa.Affine(rotate=3, translate_px=4, mode=mode)]
        )
        record = Warp(by_imgaug(lambda chain=chain: iaa.Sequential(chain[:3])), border)
        out = np.empty_like(image)
        warp(record, image, draws(record, np.array([number]), 0, 0, *shape)[0], out)
        assert np.abs(out.astype(int) - iaa.Sequential(chain[:3]).augment_image(image)).max() <= 2
        # A second affine map warps what was interpolated and cut off once already, so only points can be compared.
        both = Warp(by_imgaug(lambda chain=chain: chain), border)
        [draw] = draws(both, np.array([number]), 0, 0, *shape)
        [points] = of_points(chain, 1, shape)
        assert draw["matrix"] @ [*(POINTS[2] - 0.5), 1] == pytest.approx(points[2] - 0.5, abs=1e-3)


POINTS = np.array([[20.0, 30], [50, 30], [20, 50]])  # x, y from the corner of the image, not from the middle of a pixel


def of_points(chain, count, shape=(SIDE, SIDE)):
    """Return where imgaug's chain takes the points in `count` images, [n, 3, 2]."""
    points = [KeypointsOnImage([Keypoint(x, y) for x, y in POINTS], (*shape, 4)) for _ in range(count)]
    return np.array([each.to_xy_array() for each in chain.augment_keypoints(points)], np.float64)


@pytest.mark.parametrize("policy", ["report", "rotation", "flip", "aspect", "alexnet"])
def test_maps_are_distributed_as_those_of_imgaug(policy):
    chains = {
        "report": report,
        "rotation": lambda: iaa.Affine(rotate=(-180, 180)),
        "flip": lambda: iaa.Sequential([iaa.Fliplr(0.5), iaa.Flipud(0.5)]),
        "aspect": lambda: iaa.Affine(scale={"x": (0.8, 1.25)}),
        "alexnet": lambda: iaa.Affine(rotate=(-5, 5)),
    }
    chain = chains[policy]()
    chain.seed_(5)
    expected = of_points(chain, 1500) - 0.5
    matrices = draws(AUGMENTATIONS[policy], np.arange(6000), 3, 1, SIDE, SIDE)["matrix"]
    found = np.einsum("nij,pj->npi", matrices, np.column_stack([POINTS - 0.5, np.ones(3)]))

    def described(points):
        """Places, and what only combinations of parameters give: lengths, the angle between and the area with its sign."""
        right, down = points[:, 1] - points[:, 0], points[:, 2] - points[:, 0]
        area = right[:, 0] * down[:, 1] - right[:, 1] * down[:, 0]
        together = [np.hypot(*right.T), np.hypot(*down.T), area, (right * down).sum(axis=1), np.arctan2(*right.T)]
        return np.column_stack([points.reshape(len(points), 6), *together]).round(2)

    for one, other in zip(described(found).T, described(expected).T, strict=True):
        assert stats.ks_2samp(one, other).pvalue > 1e-3


def test_noise_is_distributed_as_that_of_imgaug():
    images = np.full((400, 24, 24, 4), 128, np.uint8)
    noise = report()[3]
    noise.seed_(2)
    found, expected = augment(images, np.arange(400), "report", 0, 0), noise.augment_images(images)
    deviations = [each.std(axis=(1, 2)).mean(axis=1) for each in (found, expected)]
    assert stats.ks_2samp(*deviations).pvalue > 1e-3
    for each in (found, expected):
        noisy = each[each.std(axis=(1, 2, 3)) > 0.5]
        alike = (noisy == noisy[..., :1]).all(axis=(1, 2, 3))
        assert 0.4 < alike.mean() < 0.6


@given(deviation=st.floats(0.3, 4), start=st.integers(0, NOISE_STARTS - 1), grey=st.booleans())
@settings(deadline=None, max_examples=30)
def test_noise_has_the_right_moments_in_every_image_and_channel(deviation, start, grey):
    record, image = Warp(drawn), np.full((128, 128, 4), 100, np.uint8)
    [draw] = drawn(np.eye(2)[np.newaxis], np.zeros((1, 2)), 128, 128)
    draw["deviation"], draw["grey"], draw["start"] = deviation, grey, start
    out = np.empty_like(image)
    warp(record, image, draw, out)
    noise = out.astype(float) - 100
    rounded = stats.norm(scale=deviation)
    levels = np.arange(-30, 31)
    variance = levels**2 @ (rounded.cdf(levels + 0.5) - rounded.cdf(levels - 0.5))
    assert noise.mean(axis=(0, 1)) == pytest.approx(0, abs=4 * deviation / 128 + 0.01)
    assert noise.var(axis=(0, 1)) == pytest.approx(variance, rel=0.06, abs=0.01)
    correlations = np.corrcoef(noise.reshape(-1, 4).T)
    assert correlations == pytest.approx(np.ones((4, 4)) if grey else np.eye(4), abs=0.05)
    along = [
        np.corrcoef(noise[:-1, ..., 0].ravel(), noise[1:, ..., 0].ravel()),
        np.corrcoef(noise[:, :-1, 0].ravel(), noise[:, 1:, 0].ravel()),
    ]
    assert [each[0, 1] for each in along] == pytest.approx([0, 0], abs=0.05)
    if deviation > 2:
        assert stats.kurtosis(noise[..., 0].ravel()) == pytest.approx(0, abs=0.2)


def test_what_is_no_map_and_no_noise_is_no_warp():
    with pytest.raises(TypeError, match="GaussianBlur is no flip, affine map or Gaussian noise"):
        by_imgaug(lambda: iaa.GaussianBlur(1))(np.random.default_rng(0), 1, 8, 8)


def test_draws_of_an_item_are_those_of_its_block_in_any_company():
    record, items = AUGMENTATIONS["report"], np.array([0, BLOCK - 1, BLOCK, 5 * BLOCK + 3])
    together = draws(record, items, 1, 2, 32, 32)
    for other in range(9):  # of which only two are remembered
        draws(record, items, 1, other, 32, 32)
    assert (draws(record, items[::-1], 1, 2, 32, 32) == together[::-1]).all()
    assert len(np.unique(together["matrix"].reshape(4, 6), axis=0)) == 4


def test_tensorflow_can_take_a_batch_as_it_is():
    for count in (1, 2, 5):
        assert augment(blobs(count), np.arange(count), "report", 0, 0).ctypes.data % 64 == 0


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
