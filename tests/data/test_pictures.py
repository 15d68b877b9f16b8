import cv2
import numpy as np
import pytest

from hpa.data.pictures import as_colour, captioned, for_people, write_sheet
from hpa.errors import BadInput

COLOURS = ["#ff0000", "#00ff00", "#0000ff", "#808000"]


def test_a_channel_has_its_colour():
    pixels = np.array([[200, 0, 0, 0], [0, 200, 0, 0], [0, 0, 200, 0], [0, 0, 0, 200], [255, 255, 0, 255]], np.uint8)
    painted = as_colour(pixels[np.newaxis], COLOURS)
    assert painted.dtype == np.uint8
    assert painted[0].tolist() == [[200, 0, 0], [0, 200, 0], [0, 0, 200], [100, 100, 0], [255, 255, 0]]
    assert as_colour(pixels[np.newaxis, :, :2], ["#0000ff", "#ff0080"])[0, :2].tolist() == [[0, 0, 200], [200, 0, 100]]
    assert as_colour(pixels[np.newaxis, :, :1], ["#ffffff"])[0, 0].tolist() == [200, 200, 200]


def test_pictures_for_people_stretch_the_contrast_of_each_channel():
    ramp = np.tile(np.linspace(10, 30, 500).astype(np.uint8), (20, 1))
    image = np.dstack([ramp, 255 - ramp, np.full_like(ramp, 200), ramp // 8])
    for rest, paints in ((image, COLOURS), (image[..., :1], ["#ffffff"])):
        shown = for_people(rest, rest, paints)
        assert (shown[..., 0].min(), shown[..., 0].max()) == (0, 255)
    assert (for_people(image, image, COLOURS)[..., 2] == 200).all()  # even: as it is
    assert np.array_equal(
        for_people(image[..., 3:], image[..., 3:], ["#ffffff"])[..., 0], ramp // 8
    )  # hardly any levels: noise
    brighter = np.minimum(image, 245) + 10
    assert for_people(brighter, image, COLOURS)[:, 0, 0].mean() > 100  # a variation is seen as such
    assert np.array_equal(for_people(np.stack([image, brighter]), image, COLOURS)[0], for_people(image, image, COLOURS))


def test_a_label_that_fits_no_tile_is_cut_off(tmp_path):
    write_sheet(tmp_path / "x.png", [captioned("a name of thirty letters or so", np.zeros((9, 9), np.uint8))], columns=1)
    assert cv2.imread(str(tmp_path / "x.png")).shape == (9 + 14 + 2, 13, 3)


def test_a_sheet_has_its_tiles_row_by_row(tmp_path):
    tiles = np.random.default_rng(0).integers(0, 256, (6, 5, 4, 3), np.uint8)
    write_sheet(tmp_path / "new folder" / "sheet.png", iter(tiles), columns=3)
    sheet = cv2.imread(str(tmp_path / "new folder" / "sheet.png"))[..., ::-1]
    assert np.array_equal(sheet, np.vstack([np.hstack(tiles[:3]), np.hstack(tiles[3:])]))


def test_nothing_is_drawn_for_a_name_that_is_no_pictures(tmp_path):
    with pytest.raises(BadInput, match=r"\.abc: not a picture's name; let it end in \.png"):
        write_sheet(tmp_path / "sheet.abc", (1 / 0 for _ in range(3)), columns=3)
