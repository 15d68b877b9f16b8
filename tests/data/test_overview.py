import numpy as np
import pytest
from PIL import Image

from hpa.data.augment import augment
from hpa.data.overview import GAP, LABEL_WIDTH, VARIATIONS, write_overview, write_picture
from hpa.data.pictures import for_people
from hpa.errors import BadInput
from hpa.registry import AUGMENTATIONS, MIXINGS

PAINTS = ["#0000ff", "#00ff00", "#ff0000", "#808000", "#102030", "#405060"]


@pytest.mark.parametrize(("channels", "rows"), [(3, 16), (1, 14), (4, 14), (6, 14)])
def test_a_row_for_each_augmentation(tmp_path, channels, rows):
    images = np.random.default_rng(0).integers(0, 256, (5, 24, 24, channels), np.uint8)
    path, paints = tmp_path / "new folder" / "overview.png", ["#ffffff"] if channels == 1 else PAINTS[:channels]
    write_overview(path, images, seed=3, colours=paints)
    assert Image.open(path).mode == ("L" if channels == 1 else "RGB")
    picture = np.array(Image.open(path).convert("RGB"))
    tile = 24 + GAP
    assert picture.shape == (rows * tile, LABEL_WIDTH + (1 + VARIATIONS) * tile, 3)
    picture = picture.reshape(rows, tile, -1, 3)[:, :24]
    labels, tiles = picture[:, :, :LABEL_WIDTH], picture[:, :, LABEL_WIDTH:].reshape(rows, 24, -1, tile, 3)[:, :, :, :24]
    tiles = tiles.swapaxes(1, 2)
    assert len({label.tobytes() for label in labels}) == rows
    assert labels.max(axis=(1, 2, 3)).min() > 200
    assert all(np.array_equal(row[0], for_people(images[0], images[0], paints)) for row in tiles)
    names = [name for name in AUGMENTATIONS if channels == 3 or name not in ("hue", "saturation")] + [
        name for name in MIXINGS if name != "none"
    ]
    varied = augment(np.repeat(images[:1], VARIATIONS, axis=0), np.arange(VARIATIONS), "cells", 3, 0)
    assert np.array_equal(tiles[names.index("cells")][1:], for_people(varied, images[0], paints))
    for name, row in zip(names, tiles, strict=True):
        assert (len({each.tobytes() for each in row}) == 1) == (name == "none")


def test_a_name_that_is_no_pictures(tmp_path):
    with pytest.raises(BadInput, match=r"\.png"):
        write_overview(tmp_path / "overview.abc", np.zeros((1, 8, 8, 1), np.uint8), 0, PAINTS[:1])
    assert not list(tmp_path.iterdir())


def test_the_picture_shows_the_image_and_sixteen_variations(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (40, 40, 4), np.uint8)
    file = tmp_path / "new folder" / "sixteen.png"
    write_picture(file, image, "report", seed=5, colours=PAINTS[:4])
    picture = np.array(Image.open(file))
    assert picture.shape == (160, 200, 3)
    assert np.array_equal(picture[:40, :40], for_people(image, image, PAINTS[:4]))
    varied = augment(np.repeat(image[np.newaxis], 16, axis=0), np.arange(16), "report", 5, 0)
    varied = for_people(varied, image, PAINTS[:4])
    tiles = [picture[40 * row : 40 * row + 40, 40 * column : 40 * column + 40] for row in range(4) for column in range(1, 5)]
    assert np.array_equal(tiles, varied)
