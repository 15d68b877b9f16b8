from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from PIL import Image

from hpa.data.augment import POLICIES, as_colour, augment, write_picture

SIDE = 96


def blobs(count, channels=4, seed=0):
    """Smooth images with much contrast, uint8 [count, SIDE, SIDE, channels], all channels equal."""
    noise = np.random.default_rng(seed).normal(size=(count, SIDE, SIDE))
    smooth = np.stack([cv2.GaussianBlur(each, (0, 0), 6) for each in noise])
    scaled = np.clip(128 + 100 * smooth / smooth.std(), 0, 255).astype(np.uint8)
    return np.repeat(scaled[..., np.newaxis], channels, axis=-1)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("shape", [(3, 64, 64, 4), (2, 30, 50, 1), (2, 24, 24, 3), (0, 8, 8, 4), (1, 1, 1, 4)])
def test_shape_and_type_stay_and_the_input_too(policy, shape):
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    before = images.copy()
    augmented = augment(images, np.arange(len(images)), policy, seed=1, epoch=2)
    assert augmented.shape == shape
    assert augmented.dtype == np.uint8
    assert not np.shares_memory(augmented, images)
    assert np.array_equal(images, before)


def test_a_read_only_input_will_do():
    images = blobs(2)
    images.flags.writeable = False
    augmented = augment(images, np.arange(2), "report", 0, 0)
    augmented[0] = 0


def test_none_is_the_identity():
    images = blobs(3)
    assert np.array_equal(augment(images, np.arange(3), "none", 0, 0), images)


def test_the_channels_are_moved_alike():
    images = blobs(50)
    for image, augmented in zip(images, augment(images, np.arange(50), "report", 0, 0), strict=True):
        channels = [cv2.GaussianBlur(channel, (0, 0), 2).ravel() for channel in np.moveaxis(augmented, -1, 0)]
        assert np.corrcoef(channels).min() > 0.99
        assert np.corrcoef(image[..., 0].ravel(), channels[0])[0, 1] < 0.9


def test_no_pixel_value_is_shifted_and_the_noise_is_small():
    images = np.full((200, SIDE, SIDE, 4), 128, np.uint8)
    augmented = augment(images, np.arange(200), "report", 0, 0).astype(float)
    assert np.abs(augmented.mean(axis=(1, 2)) - 128).max() < 1
    deviations = augmented.std(axis=(1, 2))
    assert deviations.max() < 0.05 * 255 * 1.05
    assert deviations.mean() > 1


def test_movements_lie_in_the_ranges_of_the_report_and_reach_their_ends():
    # A spot in each of three channels; where the three are seen afterwards gives the affine map.
    spots = np.array([[48, 48], [62, 48], [48, 62]])
    image = np.zeros((SIDE, SIDE, 4), np.uint8)
    for channel, (x, y) in enumerate(spots):
        layer = np.zeros((SIDE, SIDE), np.uint8)
        image[..., channel] = cv2.circle(layer, (int(x), int(y)), 4, 255, -1)
    maps = []
    for augmented in augment(np.repeat(image[np.newaxis], 600, axis=0), np.arange(600), "report", 0, 0):
        found = [cv2.connectedComponentsWithStats((augmented[..., c] > 128).astype(np.uint8)) for c in range(3)]
        if all(components[0] == 2 for components in found):  # else a mirror image of a spot has come into view
            maps.append(np.array([components[3][1] for components in found]))
    maps = np.array(maps)  # [n, spot, xy]
    assert len(maps) > 300
    linear = (maps[:, 1:] - maps[:, :1]).swapaxes(1, 2) / 14
    middle = maps[:, 0] + (linear @ ((SIDE - 1) / 2 - spots[0])) - (SIDE - 1) / 2
    assert np.abs(middle).max() < 0.2 * SIDE + 1.5
    assert np.abs(middle).max(axis=0).min() > 0.17 * SIDE
    scales = np.linalg.svd(linear, compute_uv=False)
    assert 0.7 < scales.min() < 0.85
    assert 1.15 < scales.max() < 1.35
    assert 0.4 < (np.linalg.det(linear) < 0).mean() < 0.6
    turned = np.degrees(np.arctan2(linear[:, 1, 0], linear[:, 0, 0]))
    assert np.histogram(turned, 8, (-180, 180))[0].min() > len(maps) / 16


def test_what_moves_into_view_is_not_black():
    augmented = augment(np.full((50, 32, 32, 4), 200, np.uint8), np.arange(50), "report", 0, 0)
    assert augmented.min() > 200 - 6 * 0.05 * 255


def test_an_item_does_not_depend_on_its_batch():
    images, items = blobs(5), np.array([4, 17, 3, 90, 2**31])
    together = augment(images, items, "report", 7, 3)
    assert np.array_equal(augment(images[::-1], items[::-1], "report", 7, 3), together[::-1])
    for place in range(5):
        alone = augment(images[place : place + 1], items[place : place + 1], "report", 7, 3)
        assert np.array_equal(alone[0], together[place])


@pytest.mark.parametrize("changed", [{"seed": 8}, {"epoch": 4}, {"items": np.array([18])}])
def test_seed_epoch_and_item_each_make_a_difference(changed):
    images = blobs(1)
    arguments = {"items": np.array([17]), "policy": "report", "seed": 7, "epoch": 3}
    first, other = augment(images, **arguments), augment(images, **{**arguments, **changed})
    assert np.abs(first.astype(int) - other).mean() > 10


def test_seed_and_epoch_are_not_mixed_up():
    images = blobs(1)
    swapped = [
        augment(images, np.array([item]), "report", seed, epoch) for seed, epoch, item in ((1, 2, 3), (2, 1, 3), (3, 2, 1))
    ]
    assert not np.array_equal(swapped[0], swapped[1])
    assert not np.array_equal(swapped[0], swapped[2])


def test_neither_the_global_random_state_nor_threads_matter():
    images = blobs(40)
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    serial = [augment(images[i : i + 1], np.array([i]), "report", 0, 0) for i in range(40)]
    assert np.array_equal(np.random.get_state()[1], state)  # noqa: NPY002
    with ThreadPoolExecutor(8) as pool:
        parallel = list(pool.map(lambda i: augment(images[i : i + 1], np.array([i]), "report", 0, 0), range(40)))
    assert np.array_equal(serial, parallel)


def test_colours():
    pixels = np.array([[200, 0, 0, 0], [0, 200, 0, 0], [0, 0, 200, 0], [0, 0, 0, 200], [255, 255, 0, 255]], np.uint8)
    painted = as_colour(pixels[np.newaxis])
    assert painted.dtype == np.uint8
    assert painted[0].tolist() == [[200, 0, 0], [0, 200, 0], [0, 0, 200], [100, 100, 0], [255, 255, 0]]
    assert as_colour(pixels[np.newaxis, :, :1])[0, 0].tolist() == [200, 0, 0]


def test_the_picture_shows_the_image_and_sixteen_variations(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (40, 40, 4), np.uint8)
    file = tmp_path / "new folder" / "sixteen.png"
    write_picture(file, image, "report", seed=5)
    picture = np.array(Image.open(file))
    assert picture.shape == (160, 200, 3)
    assert np.array_equal(picture[:40, :40], as_colour(image))
    varied = as_colour(augment(np.repeat(image[np.newaxis], 16, axis=0), np.arange(16), "report", 5, 0))
    tiles = [picture[40 * row : 40 * row + 40, 40 * column : 40 * column + 40] for row in range(4) for column in range(1, 5)]
    assert np.array_equal(tiles, varied)
