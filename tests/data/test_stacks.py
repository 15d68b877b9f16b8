"""Files of several channels and planes, written by tifffile, Pillow and imageio, are read as a task says, or refused."""

import struct
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import imageio.v3 as imageio
import numpy as np
import pytest
import tifffile
from PIL import Image

from hpa.data.images import Sample, middle, read_image, read_sample
from hpa.data.intensity import measure
from hpa.data.layout import find_files, id_of, list_ids
from hpa.data.segmentation import find_label_images
from hpa.data.store import pack, store_folder
from hpa.errors import BadInput
from hpa.files import read_json
from hpa.tasks import Task

RANDOM = np.random.default_rng(0)
TASK = Task("own", ("a", "b"), ("dapi", "actin", "tubulin"), ("dapi", "actin", "tubulin"), "one", files="{id}.tif")
CHANNELS = RANDOM.integers(0, 4096, (3, 20, 30), np.uint16)
STACK = RANDOM.integers(0, 4096, (3, 5, 20, 30), np.uint16)  # channels, planes
OME = {"ome": True, "metadata": {"axes": "CYX"}, "photometric": "minisblack"}
ONE = Task("one", ("a", "b"), ("dapi",), ("dapi",), "one", files="{id}.tif", plane="maximum")
NAMED = {"axes": "CYX", "Channel": {"Name": ["Tubulin", "DAPI", "actin"]}}


def channels_of(path, task=TASK):
    """Return the channels of a file, [C, H, W]."""
    return np.stack(read_sample([path], task).channels)


def tiff(path, pixels, **options):
    tifffile.imwrite(path, pixels, **options)
    return path


@pytest.mark.parametrize(
    "options",
    [
        OME,
        {**OME, "compression": "lzw", "rowsperstrip": 7},
        {"imagej": True, "metadata": {"axes": "CYX"}},
        {"metadata": {"axes": "CYX"}, "photometric": "minisblack", "bigtiff": True, "byteorder": ">"},
        {"photometric": "rgb", "planarconfig": "separate"},
    ],
    ids=["OME", "OME, LZW", "ImageJ", "tifffile", "planes of RGB"],
)
def test_a_tiff_that_says_what_its_channels_are(tmp_path, options):
    assert np.array_equal(channels_of(tiff(tmp_path / "x.tif", CHANNELS, **options)), CHANNELS)


def test_channels_of_the_last_axis(tmp_path):
    pixels = np.moveaxis(CHANNELS, 0, -1)
    assert np.array_equal(channels_of(tiff(tmp_path / "x.tif", pixels, photometric="rgb")), CHANNELS)


@pytest.mark.parametrize(("axes", "order"), [("ZCYX", (1, 0, 2, 3)), ("CZYX", (0, 1, 2, 3))])
def test_planes_become_their_maximum_or_one_of_them(tmp_path, axes, order):
    file = tiff(tmp_path / "x.tif", STACK.transpose(order), ome=True, metadata={"axes": axes}, photometric="minisblack")
    assert np.array_equal(channels_of(file, replace(TASK, plane="maximum")), STACK.max(axis=1))
    assert np.array_equal(channels_of(file, replace(TASK, plane=5)), STACK[:, 4])
    with pytest.raises(BadInput, match=r'x.tif has 5 planes; state in the task file plane = "maximum" or the number of one'):
        channels_of(file)
    with pytest.raises(BadInput, match=r"x.tif has 5 planes, the task file states plane = 6"):
        channels_of(file, replace(TASK, plane=6))


def test_a_stack_as_imagej_has_it(tmp_path):
    file = tiff(tmp_path / "x.tif", STACK.transpose(1, 0, 2, 3), imagej=True, metadata={"axes": "ZCYX"})
    assert np.array_equal(channels_of(file, replace(TASK, plane="maximum")), STACK.max(axis=1))


def test_pages_that_say_nothing_are_refused_until_the_task_says_what_they_are(tmp_path):
    file = tiff(tmp_path / "x.tif", CHANNELS, photometric="minisblack", metadata=None)
    said = r'x.tif has 3 pages and does not say .*; state .* axes = "CYX" or axes = "ZYX", for channels or planes'
    with pytest.raises(BadInput, match=said):
        channels_of(file)
    assert np.array_equal(channels_of(file, replace(TASK, axes="CYX")), CHANNELS)
    assert np.array_equal(channels_of(file, replace(ONE, axes="ZYX"))[0], CHANNELS.max(axis=0))
    with pytest.raises(BadInput, match=r"x.tif has 3 axes, 3x20x30; the task file states CZYX"):
        channels_of(file, replace(TASK, axes="CZYX"))


@pytest.mark.parametrize(
    ("pixels", "options"),
    [
        (CHANNELS[:1], {"metadata": None}),
        (CHANNELS[:1], {}),
        (CHANNELS[:1], {"metadata": {"axes": "TYX"}}),
        (CHANNELS[0, ..., None], {}),
        (CHANNELS[0], {"subfiletype": 1}),
    ],
    ids=["page", "shape of tifffile", "time", "last axis", "reduced"],
)
def test_an_axis_of_one_says_nothing(tmp_path, pixels, options):
    file = tiff(tmp_path / "x.tif", pixels, photometric="minisblack", **options)
    assert np.array_equal(channels_of(file, ONE)[0], CHANNELS[0])


@pytest.mark.parametrize(
    ("shape", "options", "said"),
    [
        ((2, 5, 8, 8), {"photometric": "minisblack"}, '10 pages .* axes = "CZYX" or axes = "ZCYX", for channels and planes'),
        ((5, 8, 8, 3), {"photometric": "rgb"}, '5 pages .* axes = "ZYXC", for planes'),
        ((2, 2, 5, 8, 8), {"photometric": "minisblack"}, "holds 20 images"),
    ],
)
def test_what_pages_may_be_is_what_a_task_can_say(tmp_path, shape, options, said):
    file = tiff(tmp_path / "x.tif", np.zeros(shape, np.uint8), **options)
    with pytest.raises(BadInput, match=said):
        channels_of(file)


def test_one_channel_is_taken_by_its_name(tmp_path):
    file = tiff(tmp_path / "x.tif", CHANNELS, ome=True, metadata=NAMED, photometric="minisblack")
    assert np.array_equal(channels_of(file, replace(ONE, plane=None))[0], CHANNELS[1])


def test_pages_of_pillow(tmp_path):
    pages = [Image.fromarray(each) for each in CHANNELS]
    pages[0].save(tmp_path / "x.tif", save_all=True, append_images=pages[1:])
    assert np.array_equal(channels_of(tmp_path / "x.tif", replace(TASK, axes="CYX")), CHANNELS)


@pytest.mark.parametrize("axes", ["TYX", "TCYX"])
def test_times_are_refused(tmp_path, axes):
    pixels = CHANNELS if axes == "TYX" else STACK
    file = tiff(tmp_path / "x.tif", pixels, ome=True, metadata={"axes": axes}, photometric="minisblack")
    with pytest.raises(BadInput, match=r"x.tif holds 3 time points; save each as a file of its own"):
        channels_of(file)


def test_channels_are_taken_by_their_names(tmp_path):
    file = tiff(tmp_path / "x.tif", CHANNELS, ome=True, metadata=NAMED, photometric="minisblack")
    assert np.array_equal(channels_of(file), CHANNELS[[1, 2, 0]])
    two = replace(TASK, channels=("actin", "dapi"))
    assert np.array_equal(channels_of(file, two), CHANNELS[[2, 1]])


def test_names_in_another_order_are_refused(tmp_path):
    file = tiff(tmp_path / "x.tif", CHANNELS, ome=True, metadata=NAMED, photometric="minisblack")
    with pytest.raises(BadInput, match=r"x.tif has the channels Tubulin, DAPI, actin, in another order than the task's"):
        channels_of(file, replace(TASK, channels=("dapi", "er", "golgi")))
    unknown = replace(TASK, channels=("er", "golgi", "nucleus"))  # called otherwise: by their order
    assert np.array_equal(channels_of(file, unknown), CHANNELS)


def test_other_numbers_of_channels_are_refused(tmp_path):
    file = tiff(tmp_path / "x.tif", CHANNELS[:2], **OME)
    with pytest.raises(BadInput, match=r"x.tif has 2 channels; the task has 3 \(dapi, actin, tubulin\)"):
        channels_of(file)
    pattern = replace(TASK, files="{id}_{channel}.tif")
    with pytest.raises(BadInput, match=r"x.tif has 2 channels; one is expected in a file"):
        read_sample([file] * 3, pattern)


def test_several_images_in_a_file_are_refused(tmp_path):
    with tifffile.TiffWriter(tmp_path / "x.tif", ome=True) as writer:
        for _ in range(2):
            writer.write(CHANNELS, photometric="minisblack", metadata={"axes": "CYX"})
    with pytest.raises(BadInput, match=r"x.tif holds 2 images; save each as a file of its own"):
        channels_of(tmp_path / "x.tif")


def test_a_file_whose_pages_lie_in_other_files(tmp_path):
    file = tiff(tmp_path / "x.tif", CHANNELS, **OME)
    with tifffile.TiffFile(file) as opened:
        text = opened.ome_metadata
    text = text.replace('SizeC="3"', 'SizeC="4"')
    tiff(file, CHANNELS, description=text.encode(), metadata=None, photometric="minisblack")
    with pytest.raises(BadInput, match=r"x.tif has pages in other files"):
        channels_of(file)


@pytest.mark.parametrize("options", [{"imagej": True}, OME, {**OME, "compression": "lzw"}, {**OME, "compression": "zlib"}])
@pytest.mark.parametrize("task", [TASK, ONE], ids=["channels", "planes"])
def test_a_stack_that_is_cut_short(tmp_path, options, task):
    file = tiff(tmp_path / "x.tif", CHANNELS, **options | {"metadata": {"axes": "CYX" if task is TASK else "ZYX"}})
    with tifffile.TiffFile(file) as opened:
        end = max(page.dataoffsets[-1] + page.databytecounts[-1] for page in opened.pages)
    whole = file.read_bytes()
    assert len(channels_of(file, task)) == len(task.channels)
    for kept in (end - 9, end - 1):
        file.write_bytes(whole[:kept])
        with pytest.raises(BadInput, match=r"x.tif is truncated, damaged or not an image"):
            channels_of(file, task)


def test_pages_that_are_lost(tmp_path):
    """The chain of pages is broken: a plane may lack, though the others are whole."""
    file = tiff(tmp_path / "x.tif", CHANNELS, metadata=None, photometric="minisblack")
    with tifffile.TiffFile(file) as opened:
        last = opened.pages[2].offset
    data = file.read_bytes()
    file.write_bytes(data.replace(struct.pack("<I", last), struct.pack("<I", 2**30)))
    with pytest.raises(BadInput, match=r"x.tif is truncated, damaged or not an image"):
        channels_of(file, replace(ONE, axes="ZYX"))


def test_other_numbers_than_8_or_16_bits_are_refused(tmp_path):
    file = tiff(
        tmp_path / "x.tif", CHANNELS.astype(np.float32), ome=True, metadata={"axes": "CYX"}, photometric="minisblack"
    )
    with pytest.raises(BadInput, match=r"x.tif holds float32 numbers; save it with 8 or 16 bits"):
        channels_of(file)


def test_signed_numbers_whose_0_is_white_are_named(tmp_path):
    file = tiff(tmp_path / "x.tif", CHANNELS[0].astype(np.int16), photometric="miniswhite")
    with pytest.raises(BadInput, match=r"x\.tif holds int16 numbers; save it with 8 or 16 bits"):
        channels_of(file, ONE)


def test_white_may_be_zero(tmp_path):
    file = tiff(tmp_path / "x.tif", CHANNELS, metadata={"axes": "CYX"}, photometric="miniswhite")
    assert np.array_equal(channels_of(file), 65535 - CHANNELS)


@pytest.mark.parametrize("pixels", [CHANNELS, (CHANNELS >> 4).astype(np.uint8)], ids=["16 bits", "8 bits"])
def test_a_png_of_three_channels(tmp_path, pixels):
    task = replace(TASK, files="{id}.png")
    if pixels.dtype == np.uint8:
        imageio.imwrite(tmp_path / "x.png", np.moveaxis(pixels, 0, -1))
    else:  # OpenCV has blue first, and its file red
        cv2.imwrite(str(tmp_path / "x.png"), np.moveaxis(pixels[::-1], 0, -1))
    assert np.array_equal(channels_of(tmp_path / "x.png", task), pixels)


def test_alpha_is_a_channel_where_four_are_expected(tmp_path):
    four = replace(TASK, channels=(*TASK.channels, "er"), files="{id}.png")
    pixels = RANDOM.integers(0, 256, (20, 30, 4), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    assert np.array_equal(channels_of(tmp_path / "x.png", four), np.moveaxis(pixels, -1, 0))
    assert np.array_equal(channels_of(tmp_path / "x.png", replace(TASK, files="{id}.png")), np.moveaxis(pixels, -1, 0)[:3])
    pixels[..., 3] = 255
    Image.fromarray(pixels).save(tmp_path / "x.png")
    with pytest.raises(BadInput, match=r"x.png has 3 channels, and opaque alpha where er should be"):
        channels_of(tmp_path / "x.png", four)


def test_a_bmp_and_a_jpeg_have_red_first(tmp_path):
    pixels = np.zeros((32, 32, 3), np.uint8) + np.uint8([200, 100, 50])
    for name in ("x.bmp", "x.jpg"):
        Image.fromarray(pixels).save(tmp_path / name, quality=95)
        found = channels_of(tmp_path / name, replace(TASK, files="{id}.*")).mean(axis=(1, 2))
        assert np.abs(found - [200, 100, 50]).max() < 3


def blobs(count):
    """Return a grey picture of blurred spots, as a stain shows."""
    picture = np.zeros((128, 128), np.float32)
    for x, y, radius in RANDOM.integers(4, 124, (count, 3)).tolist():
        cv2.circle(picture, (x, y), radius // 10 + 2, 200.0, -1)
    return cv2.GaussianBlur(picture, (0, 0), 2).astype(np.uint8)


@pytest.mark.parametrize("quality", [50, 75, 95])
@pytest.mark.parametrize("paint", [(0, 1, 0), (1, 0, 0), (0, 0, 1), (1, 1, 0), (1, 0, 1)])
def test_a_colour_that_is_an_artefact(tmp_path, paint, quality):
    task = replace(TASK, channels=("dapi",), suffixes=("dapi",), files="{id}.jpg")
    grey = blobs(30)
    Image.fromarray(grey[..., None] * np.uint8(paint)).save(tmp_path / "x.jpg", quality=quality)
    with pytest.raises(BadInput, match=r"x.jpg is a colour image with . filled channels"):
        channels_of(tmp_path / "x.jpg", task)
    [found] = channels_of(tmp_path / "x.jpg", replace(task, grey="brightest"))
    assert np.corrcoef(found.ravel(), grey.ravel())[0, 1] > 0.99


def test_two_stains_in_one_colour_image_are_no_artefact(tmp_path):
    task = replace(TASK, channels=("dapi",), suffixes=("dapi",), files="{id}.jpg", grey="brightest")
    Image.fromarray(np.dstack([blobs(20), blobs(20), np.zeros((128, 128), np.uint8)])).save(tmp_path / "x.jpg")
    with pytest.raises(BadInput, match=r"x.jpg shows more than one colour, so it is more than one channel"):
        channels_of(tmp_path / "x.jpg", task)


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({"ome": True, "metadata": {"axes": "CYX", "PhysicalSizeX": 0.325, "PhysicalSizeY": 0.325}}, 0.325),
        ({"ome": True, "metadata": {"axes": "CYX", "PhysicalSizeX": 325.0, "PhysicalSizeXUnit": "nm",
                                    "PhysicalSizeY": 325.0, "PhysicalSizeYUnit": "nm"}}, 0.325),
        ({"ome": True, "metadata": {"axes": "CYX", "PhysicalSizeX": 0.3, "PhysicalSizeY": 0.6}}, 0),
        ({"ome": True, "metadata": {"axes": "CYX", "PhysicalSizeX": 2.0, "PhysicalSizeXUnit": "pixel"}}, 0),
        ({"imagej": True, "metadata": {"axes": "CYX", "unit": "um"}, "resolution": (2, 2)}, 0.5),
        ({"imagej": True, "metadata": {"axes": "CYX", "unit": "\\u00B5m"}, "resolution": (4, 4)}, 0.25),
        ({"imagej": True, "metadata": {"axes": "CYX"}, "resolution": (72, 72)}, 0),
        ({"metadata": {"axes": "CYX"}, "resolution": (300, 300), "resolutionunit": "INCH"}, 0),
        ({"ome": True, "metadata": {"axes": "CYX", "PhysicalSizeX": 1.9, "PhysicalSizeXUnit": "mm",
                                    "PhysicalSizeY": 1.9, "PhysicalSizeYUnit": "mm"}}, 1900),
        ({"ome": True, "metadata": {"axes": "CYX", "PhysicalSizeX": 0.3, "PhysicalSizeXUnit": "m",
                                    "PhysicalSizeY": 0.3, "PhysicalSizeYUnit": "m"}}, 0),
        ({"imagej": True, "metadata": {"axes": "CYX", "unit": "inch"}, "resolution": (1, 1)}, 0),
    ],
)  # fmt: skip
def test_the_size_of_a_pixel_is_known_where_the_file_tells_it(tmp_path, options, size):
    file = tiff(tmp_path / "x.tif", CHANNELS, photometric=None if "imagej" in options else "minisblack", **options)
    assert read_sample([file], TASK).pixel_size == pytest.approx(size, rel=1e-4)


def test_a_size_of_pixels_that_one_of_two_files_tells_is_unknown(tmp_path):
    task = Task("two", ("a", "b"), ("dapi", "actin"), ("dapi", "actin"), "one", files="{id}_{channel}.*", fit="pad")
    metadata = {"axes": "YX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    files = [tiff(tmp_path / "s_dapi.tif", CHANNELS[0], ome=True, metadata=metadata), tmp_path / "s_actin.png"]
    cv2.imwrite(str(files[1]), CHANNELS[1])
    assert read_sample(files, task).pixel_size == 0
    tiff(files[0], CHANNELS[0], ome=True, metadata=metadata | {"PhysicalSizeX": 0.25, "PhysicalSizeY": 0.25})
    tiff(tmp_path / "s_actin.tif", CHANNELS[1], ome=True, metadata=metadata)
    with pytest.raises(BadInput, match=r"differ in the size of their pixels: 0\.25, 0\.5"):
        read_sample([files[0], tmp_path / "s_actin.tif"], task)


def test_pixels_that_leave_a_dot_of_an_image_are_refused(tmp_path):
    task = replace(TASK, channels=("dapi",), pixel_size=0.5)
    sample = Sample([tmp_path / "x.tif"], [np.full((20, 30), 255, np.uint8)], task, 1e-6)
    told = "x.tif: at its pixel size of 1e-06 micrometres its 30x20 pixels would be a dot in the 5000000x5000000 that 10"
    with pytest.raises(BadInput, match=told):
        sample.image(10)
    assert replace(sample, pixel_size=0.0125).image(12).any()  # 480 own pixels, 16 times as many as the image is wide
    with pytest.raises(BadInput, match="a dot in the 520x520"):
        replace(sample, pixel_size=0.0125).image(13)


def test_a_pixel_size_resamples_and_cuts_out_the_middle(tmp_path):
    task = replace(TASK, channels=("dapi",), pixel_size=0.5)
    pixels = RANDOM.integers(0, 256, (64, 96), np.uint8)
    metadata = {"axes": "YX", "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.25}
    file = tiff(tmp_path / "x.tif", pixels, ome=True, metadata=metadata)
    image = read_image([file], task, 16)[..., 0]  # 16 pixels of 0.5 um are 32 of 0.25
    blocks = pixels[16:48, 32:64].reshape(16, 2, 16, 2).mean(axis=(1, 3))
    assert np.abs(image - blocks).max() <= 0.5
    larger = read_image([file], task, 64)[..., 0]  # 128 pixels of 0.25: padded
    assert np.abs(larger[16:48, 8:56] - pixels.reshape(32, 2, 48, 2).mean(axis=(1, 3))).max() <= 0.5
    assert not larger[:16].any()
    assert not larger[:, :8].any()
    plain = tiff(tmp_path / "y.tif", pixels)
    with pytest.raises(BadInput, match=r"y.tif does not tell the size of its pixels; .* leave pixel_size out"):
        read_image([plain], task, 16)


@pytest.mark.parametrize("shape", [(20, 30), (30, 20), (21, 30), (25, 25)])
def test_what_is_not_square_is_padded_or_cropped(tmp_path, shape):
    pixels = RANDOM.integers(1, 256, shape, np.uint8)
    file = tiff(tmp_path / "x.tif", pixels)
    task = replace(TASK, channels=("dapi",))
    padded = read_image([file], replace(task, fit="pad"), max(shape))[..., 0]
    top, left = ((max(shape) - length) // 2 for length in shape)
    assert np.array_equal(padded[top : top + shape[0], left : left + shape[1]], pixels)
    assert padded.astype(int).sum() == pixels.astype(int).sum()
    cropped = read_image([file], replace(task, fit="crop"), min(shape))[..., 0]
    top, left = ((length - min(shape)) // 2 for length in shape)
    assert np.array_equal(cropped, pixels[top : top + min(shape), left : left + min(shape)])
    stretched = read_image([file], replace(task, fit="stretch"), 16)[..., 0]
    assert np.array_equal(stretched, cv2.resize(pixels, (16, 16), interpolation=cv2.INTER_AREA))


def test_the_middle_of_an_image_is_larger_in_one_way_and_smaller_in_the_other():
    image = np.arange(1, 8)[None] * np.ones((2, 1), int)  # 2 x 7
    assert middle(image, 4).tolist() == [[0] * 4, [2, 3, 4, 5], [2, 3, 4, 5], [0] * 4]


def names(folder, *files):
    folder.mkdir(exist_ok=True)
    for file in files:
        (folder / file).write_bytes(b"")


PLATES = replace(TASK, suffixes=("1", "2", "3"), files="{plate}_{well}_s{site}_w{channel}*.tif")


def test_a_pattern_of_plate_well_site_and_channel(tmp_path):
    ids = ["Week1_150607_B02_1", "Week1_150607_B02_2"]
    stems = ["Week1_150607_B02_s1", "Week1_150607_B02_s2"]
    names(tmp_path, *(f"{stem}_w{channel}{'3F-A'}{channel}.TIF" for stem in stems for channel in (3, 1, 2)), "notes.tif")
    assert list_ids(tmp_path, PLATES) == ids
    files = find_files(tmp_path, ids[::-1], PLATES)
    assert [[file.name for file in sample] for sample in files] == [
        [f"{stem}_w{channel}3F-A{channel}.TIF" for channel in (1, 2, 3)] for stem in stems[::-1]
    ]
    assert id_of(files[0][1], PLATES) == ids[1]
    assert id_of(Path("notes.tif"), PLATES) is None


def test_a_missing_and_a_second_file_of_a_pattern_are_named(tmp_path):
    names(tmp_path, "P_A01_s1_w1a.tif", "P_A01_s1_w2a.tif", "P_A01_s1_w2b.tif", "P_A02_s1_w1.tif")
    with pytest.raises(BadInput) as caught:
        find_files(tmp_path, ["P_A02_1", "P_A01_1"], PLATES)
    assert str(caught.value).splitlines()[1:] == [
        "  id P_A02_1: no {plate}_{well}_s{site}_w2*.tif, {plate}_{well}_s{site}_w3*.tif",
        "  id P_A01_1: no {plate}_{well}_s{site}_w3*.tif",
    ]
    with pytest.raises(BadInput, match=r"P_A01_s1_w2a.tif and P_A01_s1_w2b.tif have one name"):
        list_ids(tmp_path, PLATES)


def test_a_name_that_fits_two_channels_is_refused(tmp_path):
    names(tmp_path, "P_A01_s1_w12.tif")
    with pytest.raises(BadInput, match=r"P_A01_s1_w12.tif may be of channel 1 and of 12; write files so that it fits one"):
        list_ids(tmp_path, replace(PLATES, suffixes=("1", "12", "3")))
    exact = replace(PLATES, suffixes=("1", "12", "3"), files=PLATES.files.replace("*", ""))
    assert list_ids(tmp_path, exact) == ["P_A01_1"]


def test_two_samples_of_one_id_are_refused(tmp_path):
    names(tmp_path, "a_b-c.tif", "a-b_c.tif", "a-b-c.tif")
    assert list_ids(tmp_path, replace(TASK, files="{x}_{y}.tif")) == ["a-b_c", "a_b-c"]
    names(tmp_path, "p_qsx.tif", "psq_x.tif")
    with pytest.raises(BadInput, match=r"have one name"):
        list_ids(tmp_path, replace(TASK, files="{x}s{y}.tif"))


def test_files_that_fit_no_pattern_are_told(tmp_path):
    names(tmp_path, "x.png")
    with pytest.raises(BadInput, match=r"holds 1 image, such as x.png, but none is named \{id\}.tif; rename"):
        find_files(tmp_path, ["x"], TASK)
    names(tmp_path / "other", "x.czi")
    with pytest.raises(BadInput, match=r'1 .czi files, .* or name such files in a task file, as files = "\{id\}.czi"'):
        find_files(tmp_path / "other", ["x"], replace(TASK, files=""))


def test_label_images_are_found_by_the_id_or_by_the_files_name(tmp_path):
    names(tmp_path, "P_A01_s1_w2x_cp_masks.png", "P_A02_1_masks.tif")
    found = find_label_images(tmp_path, ["P_A02_1", "P_A01_1"], PLATES)
    assert [file.name for file in found] == ["P_A02_1_masks.tif", "P_A01_s1_w2x_cp_masks.png"]


@pytest.fixture
def source(tmp_path):
    """Six stacks of 12 bits in files of 16, each with two channels of another brightness, and two planes."""
    (tmp_path / "train").mkdir()
    for number in range(6):
        pixels = np.stack([RANDOM.integers(100, 4000, (2, 24, 36)), RANDOM.integers(10, 300, (2, 24, 36))]).astype(np.uint16)
        metadata = {"axes": "CZYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
        tiff(tmp_path / "train" / f"s{number}.ome.tif", pixels, ome=True, metadata=metadata, photometric="minisblack")
    return tmp_path / "train"


TWO = Task("two", ("a", "b"), ("dapi", "actin"), ("dapi", "actin"), "one", files="{id}.ome.tif", plane="maximum", fit="pad")


def test_12_bits_are_scaled_by_the_range_of_each_channel(source):
    files = find_files(source, list_ids(source, TWO), TWO)
    ranges = measure(source, files, TWO)
    (dim, bright), (low, high) = ranges
    assert 100 <= dim < 400
    assert 3900 < bright < 4000
    assert 10 <= low < 40
    assert 280 < high < 300
    image = read_image(files[0], TWO, 36, ranges)
    own = tifffile.imread(files[0][0]).max(axis=1).astype(float)
    for channel, (black, white) in enumerate(ranges):
        expected = np.round(np.clip((own[channel] - black) / (white - black), 0, 1) * 255)
        assert np.array_equal(image[6:30, :, channel], expected)
        assert len(np.unique(image[..., channel])) > 150


def test_a_store_says_how_files_were_read_and_is_packed_anew_for_another_choice(source, tmp_path, capsys):
    ids, ranges = np.array(list_ids(source, TWO)), ((0, 4095), (0, 300))
    folders = [store_folder(tmp_path, source, task, 16, ranges) for task in (TWO, replace(TWO, plane=1))]
    assert folders[0] != folders[1]
    own = pack(folders[0], source, ids, TWO, 16, ranges)
    about = read_json(folders[0] / "store.json")
    assert about["reading"] == {"files": "{id}.ome.tif", "plane": "maximum", "fit": "pad"}
    assert about["intensity_range"] == [[0, 4095], [0, 300]]
    assert np.array_equal(own.images, [read_image(each, TWO, 16, ranges) for each in find_files(source, ids, TWO)])
    facts = np.load(folders[0] / "facts.npy")
    assert facts[:, [0, 1, 4]].tolist() == [[24, 36, 500_000]] * 6
    first = replace(TWO, plane=1)
    other = pack(folders[0], source, ids, first, 16, ranges)  # in the same place: noticed
    assert read_json(folders[0] / "store.json")["reading"]["plane"] == 1
    assert np.array_equal(other.images, [read_image(each, first, 16, ranges) for each in find_files(source, ids, first)])
    assert capsys.readouterr().err == ""  # padded, so nothing to say of their shape


def test_pixels_of_several_sizes_are_told(source, tmp_path, capsys):
    metadata = {"axes": "CZYX", "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.25}
    pixels = np.full((2, 2, 24, 24), 4000, np.uint16)
    tiff(source / "s9.ome.tif", pixels, ome=True, metadata=metadata, photometric="minisblack")
    pack(tmp_path / "store", source, np.array(list_ids(source, TWO)), TWO, 8, ((0, 4095), (0, 300)))
    said = f"{source}: the pixels are not of one size, 0.25 to 0.5 micrometres; state pixel_size = ... in the task file\n"
    assert capsys.readouterr().err == said


def test_a_scan_of_one_dot_per_inch_is_packed(source, tmp_path):
    pixels = np.full((3, 24, 24), 4000, np.uint16)
    tiff(source / "s9.tif", pixels, imagej=True, metadata={"axes": "CYX", "unit": "inch"}, resolution=(1, 1))
    pack(tmp_path / "store", source, np.array(["s9"]), TASK, 8, ((0, 4095),) * 3)
    assert np.load(tmp_path / "store" / "facts.npy").tolist() == [[24, 24, 4000, 4000, 4000, 0]]


def test_a_czi_through_bioio(tmp_path):
    """Written by Zeiss' own library. Nothing that is to be had here writes ND2 or LIF."""
    pytest.importorskip("bioio_czi")
    czi = pytest.importorskip("pylibCZIrw.czi")
    task, file = replace(TWO, files="{id}.czi"), tmp_path / "x.CZI"
    with czi.create_czi(str(file)) as writer:
        for channel, planes in enumerate(STACK[:2]):
            for plane, pixels in enumerate(planes):
                writer.write(pixels[..., None], plane={"C": channel, "Z": plane, "T": 0})
        sizes = dict.fromkeys(("scale_x", "scale_y", "scale_z"), 0.325e-6)
        writer.write_metadata("x", channel_names={0: "Actin", 1: "DAPI"}, **sizes)
    [files] = find_files(tmp_path, list_ids(tmp_path, task), task)
    sample = read_sample(files, task)
    assert np.array_equal(sample.channels, STACK[[1, 0]].max(axis=1))
    assert sample.pixel_size == pytest.approx(0.325)
    with pytest.raises(BadInput, match=r"x.CZI has 5 planes; state in the task file"):
        read_sample(files, replace(task, plane=""))
    file.write_bytes(file.read_bytes()[:3000])
    with pytest.raises(BadInput, match=r"x.CZI cannot be read by bioio \(.*\); pip install '.\[formats\]' in .*, or save"):
        read_sample(files, task)


def test_a_microscopes_file_without_bioio(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "bioio", None)
    names(tmp_path, "x.nd2")
    task = replace(TWO, files="{id}.nd2")
    assert list_ids(tmp_path, task) == ["x"]
    fix = r"pip install '.\[formats\]' in the folder with hpa's source, or save it as OME-TIFF"
    with pytest.raises(BadInput, match=f"x.nd2: a .nd2 file needs bioio; {fix}"):
        read_sample([tmp_path / "x.nd2"], task)
