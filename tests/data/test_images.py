import os
import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hpa.data.images import FULL, read_channel, read_image
from hpa.data.layout import find_files, find_folders, list_ids, list_images
from hpa.data.store import pack
from hpa.data.tables import read_ids, read_labelled
from hpa.errors import BadInput
from hpa.tasks import HEP2, HPA


def save(path, pixels, **options):
    Image.fromarray(np.asarray(pixels)).save(path, **options)
    return path


def write_png(path, depth, kind, width, height, data):
    """Write a PNG chunk by chunk, for the kinds that PIL does not write."""

    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    return path


def sample_of(folder, channels):
    folder.mkdir(exist_ok=True)
    return [save(folder / f"a_{name}.png", pixels) for name, pixels in zip(HPA.channels, channels, strict=True)]


@pytest.fixture
def grey():
    return np.random.default_rng(0).integers(0, 256, (30, 20), np.uint8)


def test_channels_are_stacked_red_green_blue_yellow(tmp_path):
    for value, channel in enumerate(("blue", "green", "red", "yellow")):
        save(tmp_path / f"a_{channel}.png", np.full((5, 6), value, np.uint8))
    (files,) = find_files(tmp_path, ["a"], HPA)
    image = read_image(files, HPA)
    assert image.shape == (5, 6, 4)
    assert image.dtype == np.uint8
    assert image[0, 0].tolist() == [2, 1, 0, 3]
    assert (image == image[0, 0]).all()


def test_the_size_of_the_files_is_kept_and_no_pixel_changes(tmp_path):
    channels = np.random.default_rng(0).integers(0, 256, (4, 33, 17), np.uint8)
    assert np.array_equal(read_image(sample_of(tmp_path, channels), HPA), np.moveaxis(channels, 0, -1))


def test_shrinking_averages_areas(tmp_path):
    channels = np.random.default_rng(0).integers(0, 256, (4, 64, 64), np.uint8)
    image = read_image(sample_of(tmp_path, channels), HPA, 16)
    block_means = channels.reshape(4, 16, 4, 16, 4).mean(axis=(2, 4))
    assert np.abs(image - np.moveaxis(block_means, 0, -1)).max() <= 0.5


def test_shrinking_by_a_fraction_weighs_the_pixels_that_are_cut(tmp_path):
    # Three pixels become two: each of the new ones is one old pixel and half of the middle one.
    channels = np.tile(np.array([0, 90, 180], np.uint8), (4, 3, 1))
    assert read_image(sample_of(tmp_path, channels), HPA, 2)[..., 0].tolist() == [[30, 150], [30, 150]]


def test_growing_is_bilinear(tmp_path):
    # The new pixels' centres lie at -0.25, 0.25, 0.75 and 1.25 of the old ones; beyond the edge the edge goes on.
    channels = np.tile(np.array([0, 100], np.uint8), (4, 2, 1))
    assert read_image(sample_of(tmp_path, channels), HPA, 4)[..., 0].tolist() == [[0, 25, 75, 100]] * 4


@pytest.mark.parametrize("side", [1, 100, 512, 4000])
def test_any_side_is_resized(tmp_path, side):
    channels = [np.full((side, side), value, np.uint8) for value in (0, 7, 128, 255)]
    image = read_image(sample_of(tmp_path, channels), HPA, 256)
    assert image.shape == (256, 256, 4)
    assert (image == [0, 7, 128, 255]).all()


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_resized_pixels_stay_in_the_range_of_the_file(tmp_path_factory, height, width, size, seed):
    channels = np.random.default_rng(seed).integers(50, 200, (4, height, width), np.uint8)
    image = read_image(sample_of(tmp_path_factory.getbasetemp(), channels), HPA, size)
    assert image.shape == (size, size, 4)
    assert image.dtype == np.uint8
    for channel, pixels in zip(np.moveaxis(image, -1, 0), channels, strict=True):
        assert pixels.min() <= channel.min()
        assert channel.max() <= pixels.max()


def test_channels_of_different_size_are_refused(tmp_path):
    files = sample_of(tmp_path, [np.zeros((8, 8), np.uint8)] * 3 + [np.zeros((8, 9), np.uint8)])
    with pytest.raises(BadInput, match=r"differ in size: a_red.png 8x8, .*a_yellow.png 9x8"):
        read_image(files, HPA, 8)


def test_every_missing_file_is_reported(tmp_path, write_samples):
    ids = write_samples(tmp_path, 20)
    for identifier in ids[:12]:
        (tmp_path / f"{identifier}_blue.png").unlink()
    (tmp_path / f"{ids[0]}_red.png").unlink()
    with pytest.raises(BadInput) as caught:
        find_files(tmp_path, [*ids, "absent"], HPA)
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{tmp_path}: 13 faults"
    assert lines[1] == "  id s0000: no s0000_red.png, s0000_blue.png"
    assert lines[2:11] == [f"  id s{number:04d}: no s{number:04d}_blue.png" for number in range(1, 10)]
    assert lines[11:] == ["  ... and 3 more"]


def test_an_id_without_any_image_is_one_line(tmp_path, write_samples):
    ids = write_samples(tmp_path, 2)
    with pytest.raises(BadInput) as caught:
        find_files(tmp_path, [*ids, "gone"], HPA)
    assert str(caught.value) == f"{tmp_path}: id gone: no gone_red.png, gone_green.png, gone_blue.png, gone_yellow.png"


def test_a_folder_that_is_absent(tmp_path):
    with pytest.raises(BadInput, match=r"nowhere: cannot be listed \(No such file or directory\)"):
        find_files(tmp_path / "nowhere", ["a"], HPA)


@pytest.mark.parametrize("kept", [0, 1, 8, 30, 60, 300, -30, -12, -4, -1])
def test_a_truncated_png_is_refused(tmp_path, grey, kept):
    file = save(tmp_path / "a_red.png", grey)
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(BadInput, match=r"a_red.png is truncated"):
        read_channel(file)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_flipped_bit_never_passes_unnoticed(tmp_path_factory, data):
    pixels = np.random.default_rng(0).integers(0, 256, (30, 20), np.uint8)
    file = save(tmp_path_factory.getbasetemp() / "flipped.png", pixels)
    encoded = bytearray(file.read_bytes())
    encoded[data.draw(st.integers(8, len(encoded) - 13))] ^= 1 << data.draw(st.integers(0, 7))
    file.write_bytes(encoded)
    with pytest.raises(BadInput, match="damaged"):
        read_channel(file)


@pytest.mark.parametrize("side", [2_000_000, 60_000])
def test_a_header_that_asks_for_gigabytes_is_refused(tmp_path, side):
    with pytest.raises(BadInput, match=f"a.png is {side} x {side} pixels, too large to be read"):
        read_channel(write_png(tmp_path / "a.png", 8, 0, side, side, b"\0"))


def test_what_is_no_file_is_refused(tmp_path):
    (tmp_path / "folder.png").mkdir()
    for name, reason in (("folder.png", "Is a directory"), ("absent.png", "No such file or directory")):
        with pytest.raises(BadInput, match=rf"{name} cannot be read \({reason}\)"):
            read_channel(tmp_path / name)
    (tmp_path / "page.png").write_text("<html>404</html>")
    with pytest.raises(BadInput, match=r"page.png is .*not an image"):
        read_channel(tmp_path / "page.png")


def test_16_bits_are_scaled(tmp_path):
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    channel = read_image([save(tmp_path / "a.png", values)], HEP2, ranges=[FULL])[..., 0]
    assert channel.dtype == np.uint8
    assert np.abs(channel - values / 257).max() <= 0.5
    assert (channel[0, 0], channel[-1, -1]) == (0, 255)


def test_numbers_that_are_no_pixels_are_refused(tmp_path):
    with pytest.raises(BadInput, match="float32"):
        read_channel(save(tmp_path / "a.png", np.zeros((4, 4), np.float32), format="tiff"))


@pytest.mark.parametrize("place", range(3))
def test_the_one_filled_channel_of_a_colour_file_is_taken(tmp_path, grey, place):
    colour = np.zeros((*grey.shape, 3), np.uint8)
    colour[..., place] = grey
    assert np.array_equal(read_channel(save(tmp_path / "a.png", colour)), grey)


def test_grey_saved_as_colour_is_taken(tmp_path, grey):
    assert np.array_equal(read_channel(save(tmp_path / "a.png", np.dstack([grey] * 3))), grey)
    assert not read_channel(save(tmp_path / "a.png", np.zeros((4, 4, 3), np.uint8))).any()


def test_true_colour_is_refused(tmp_path, grey):
    almost = np.dstack([grey] * 3)
    almost[3, 4, 1] ^= 1
    for colour, filled in ((almost, 3), (np.dstack([grey, 0 * grey, grey[::-1]]), 2)):
        with pytest.raises(BadInput, match=f"a.png is a colour image with {filled} filled channels"):
            read_channel(save(tmp_path / "a.png", colour))


def test_palettes(tmp_path, grey):
    file = tmp_path / "a.png"
    Image.fromarray(grey).convert("P").save(file)
    assert np.array_equal(read_channel(file), grey)
    green = Image.fromarray(grey // 16)
    green.putpalette([value for shade in range(16) for value in (0, 17 * shade, 0)])
    green.save(file)
    assert np.array_equal(read_channel(file), grey // 16 * 17)
    green.save(file, transparency=3)
    assert np.array_equal(read_channel(file), grey // 16 * 17)


@pytest.mark.parametrize("layers", [2, 4])
def test_alpha_is_passed_over(tmp_path, grey, layers):
    pixels = np.dstack([grey] * (layers - 1) + [grey[::-1]])
    assert np.array_equal(read_channel(save(tmp_path / "a.png", pixels)), grey)


def test_few_bits_are_spread_over_the_whole_range(tmp_path):
    channel = read_channel(write_png(tmp_path / "a.png", 4, 0, 4, 2, b"\0\x01\x2f\0\xf0\x80"))
    assert channel.tolist() == [[0, 17, 34, 255], [255, 0, 136, 0]]


def test_16_bit_colour_with_one_filled_channel(tmp_path):
    file = write_png(tmp_path / "a.png", 16, 2, 2, 1, b"\0" + struct.pack(">6H", 0, 257 * 9, 0, 0, 65535, 0))
    assert read_image([file], HEP2)[..., 0].tolist() == [[9, 255]]


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def found(folder, ids, task=HEP2):
    return [file.relative_to(folder).as_posix() for (file,) in find_files(folder, ids, task)]


def test_files_lie_in_the_folder_or_in_class_folders(tmp_path):
    touch(tmp_path, "a.png", "Golgi/b.tif", "NuMem 2.0/c.JPG", "Golgi/deeper/d.png", ".hidden/e.png", ".f.png", "g.gif")
    (tmp_path / "h.png").mkdir()
    assert found(tmp_path, ["c", "a", "b"]) == ["NuMem 2.0/c.JPG", "a.png", "Golgi/b.tif"]
    assert [folder.name for folder in find_folders(tmp_path)] == ["Golgi", "NuMem 2.0", "h.png"]
    assert list_ids(tmp_path, HEP2) == ["a", "b", "c"]
    with pytest.raises(BadInput) as caught:
        find_files(tmp_path, "defgh", HEP2)
    assert str(caught.value).splitlines()[1:] == [f"  id {name}: no {name}.png" for name in "defgh"]


@pytest.mark.parametrize("folder", ["", "Golgi/"])
@pytest.mark.parametrize("other", ["a.jpg", "a.PNG", "a.tif", "a.jpeg", "a.bmp", "a.tiff"])
def test_two_files_for_one_channel_are_refused_if_they_are_listed_or_used(tmp_path, folder, other):
    touch(tmp_path, f"{folder}a.png", f"{folder}{other}", f"{folder}b.bmp")
    assert found(tmp_path, ["b"]) == [f"{folder}b.bmp"]
    first, second = sorted((f"{folder}a.png", f"{folder}{other}"))
    for read in (lambda: list_ids(tmp_path, HEP2), lambda: found(tmp_path, ["a", "b"])):
        with pytest.raises(BadInput) as caught:
            read()
        assert str(caught.value) == f"{tmp_path}: {first} and {second} {SAME_NAME}"


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (["a.tif", "Golgi/b.png"], r"holds 2 images, such as b.png, but none ends in _w1.png or _w2.png; .* suffixes = \["),
        (
            ["a.czi", "b.gif", "c.gif", "notes.txt"],
            "holds no image but 1 .czi, 2 .gif files, which are not read; save them as PNG",
        ),
    ],
)
def test_files_that_are_there_but_are_not_those_of_the_task_are_told(tmp_path, files, reason):
    task = replace(HPA, channels=("nucleus", "protein"), suffixes=("_w1", "_w2"))
    touch(tmp_path, *files)
    with pytest.raises(BadInput, match=reason):
        find_files(tmp_path, ["a", "b"], task)
    touch(tmp_path, "a_w1.png")
    with pytest.raises(BadInput, match=r"id a: no a_w2.png\n.*id b: no b_w1.png, b_w2.png"):
        find_files(tmp_path, ["a", "b"], task)


def test_a_file_in_the_folder_itself_counts_before_one_in_a_folder_of_it(tmp_path):
    touch(tmp_path, "b.jpg", "a.png", "old/a.png", "Z/b.png", "Z/c.tif")
    assert found(tmp_path, ["a", "b", "c"]) == ["a.png", "b.jpg", "Z/c.tif"]
    assert list_ids(tmp_path, HEP2) == ["a", "b", "c"]


SAME_NAME = "have one name; rename all but one, or delete them if they are the same image"


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (
            ["1.tif", "2.tif"],
            "holds 2 images, such as 1.tif, but none ends in _dapi.png; rename them, or give the task file",
        ),
        (["1_dapi.czi"], "holds no image but 1 .czi files, which are not read; save them as PNG, TIFF, BMP or JPEG"),
        (["1_dapi.txt"], "holds no image"),
    ],
)
def test_a_class_folder_and_a_test_set_say_why_they_are_empty(tmp_path, files, reason):
    task = replace(HEP2, channels=("dapi",), suffixes=("_dapi",))
    touch(
        tmp_path, *(f"train/Golgi/{name}" for name in files), *(f"test/{name}" for name in files), "train/NuMem/2_dapi.png"
    )
    with pytest.raises(BadInput) as caught:
        read_labelled(tmp_path / "train", task)
    assert str(caught.value).startswith(f"{tmp_path / 'train'}: class folder Golgi {reason}")
    with pytest.raises(BadInput) as caught:
        read_ids(tmp_path, task)
    assert str(caught.value).startswith(f"{tmp_path / 'test'}: {reason}")


def test_files_of_one_name_in_two_folders_are_refused_if_they_are_listed_or_used(tmp_path):
    touch(tmp_path, "plate2/1.png", "plate1/1.tif", "plate1/1.png", "plate3/2.png", "plate2/02.png")
    assert found(tmp_path, ["2", "02"]) == ["plate3/2.png", "plate2/02.png"]
    for read in (lambda: list_ids(tmp_path, HEP2), lambda: found(tmp_path, ["2", "1"]), lambda: found(tmp_path, ["001"])):
        with pytest.raises(BadInput) as caught:
            read()
        assert str(caught.value) == f"{tmp_path}: plate1/1.png and plate1/1.tif and plate2/1.png {SAME_NAME}"
    touch(tmp_path, "plate1/2.jpg", "plate2/2.png")
    for read in (lambda: list_ids(tmp_path, HEP2), lambda: found(tmp_path, ["1", "2", "3"])):
        with pytest.raises(BadInput) as caught:
            read()
        assert str(caught.value).splitlines()[1:3] == [
            f"  plate1/1.png and plate1/1.tif and plate2/1.png {SAME_NAME}",
            f"  plate1/2.jpg and plate2/2.png and plate3/2.png {SAME_NAME}",
        ]
    touch(tmp_path, "1.bmp", "2.jpg")
    assert list_ids(tmp_path, HEP2) == ["02", "1", "2"]
    assert found(tmp_path, ["1", "2"]) == ["1.bmp", "2.jpg"]


def test_channels_may_lie_in_folders_of_their_own_and_what_is_no_sample_in_several(tmp_path):
    touch(tmp_path, *(f"{channel}/a_{channel}.png" for channel in HPA.channels), "red/scale.png", "blue/scale.png")
    assert list_ids(tmp_path, HPA) == ["a"]
    assert len(find_files(tmp_path, ["a"], HPA, whole=True)) == 1
    touch(tmp_path, "old/a_red.png", "old/a_blue.png")
    with pytest.raises(BadInput) as caught:
        list_ids(tmp_path, HPA)
    assert str(caught.value).splitlines() == [
        f"{tmp_path}: 2 faults",
        f"  blue/a_blue.png and old/a_blue.png {SAME_NAME}",
        f"  old/a_red.png and red/a_red.png {SAME_NAME}",
    ]


def test_a_name_that_is_not_utf_8_is_refused(tmp_path):
    touch(tmp_path, "é.png", "\udce9.txt")  # as Python reads the byte E9, which is é in Windows' Latin alphabet
    assert list_ids(tmp_path, HEP2) == ["é"]
    touch(tmp_path, "\udce9.png")
    for read in (lambda: list_images(tmp_path, HEP2), lambda: list_ids(tmp_path, HEP2), lambda: found(tmp_path, ["é"])):
        with pytest.raises(BadInput) as caught:
            read()
        assert str(caught.value) == rf"{tmp_path}: \xe9.png has a name that is not valid UTF-8; rename it"


def test_suffixes_that_begin_with_a_dot_or_a_space(tmp_path):
    task = replace(HPA, channels=("nucleus", "protein"), suffixes=(".c0", " (2)"))
    touch(tmp_path, "007.c0.png", "007 (2).tif", "a.b.c0.png", "a.b (2).png")
    assert list_ids(tmp_path, task) == ["007", "a.b"]
    assert [[file.name for file in files] for files in find_files(tmp_path, ["7", "a.b"], task)] == [
        ["007.c0.png", "007 (2).tif"],
        ["a.b.c0.png", "a.b (2).png"],
    ]


def test_a_sample_is_listed_even_if_it_lacks_a_channel(tmp_path):
    touch(tmp_path, *(f"a_{channel}.png" for channel in HPA.channels), "b_yellow.png", "other.png")
    assert list_ids(tmp_path, HPA) == ["a", "b"]
    with pytest.raises(BadInput, match=r"id b: no b_red.png, b_green.png, b_blue.png"):
        find_files(tmp_path, ["a", "b"], HPA)


def test_of_two_suffixes_that_fit_the_longer_one_is_meant(tmp_path):
    task = replace(HPA, channels=("cell", "mask"), suffixes=("", "_mask"))
    touch(tmp_path, "a.png", "a_mask.png", "b_mask.png", "b.png")
    assert list_ids(tmp_path, task) == ["a", "b"]
    assert [[file.name for file in files] for files in find_files(tmp_path, ["a", "b"], task)] == [
        ["a.png", "a_mask.png"],
        ["b.png", "b_mask.png"],
    ]


@pytest.mark.parametrize(
    ("names", "ids", "files"),
    [
        (["00001.png", "00020.png"], ["1", "20"], ["00001.png", "00020.png"]),
        (["1.png", "20.png"], ["00001", "00020"], ["1.png", "20.png"]),
        (["1.png", "01.png", "0.png"], ["01", "1", "000"], ["01.png", "1.png", "0.png"]),
    ],
)
def test_leading_zeros(tmp_path, names, ids, files):
    touch(tmp_path, *names)
    assert found(tmp_path, ids) == files


@pytest.mark.parametrize(
    ("task", "suffixes", "more"), [(HEP2, [""], []), (HPA, HPA.suffixes, ["notes.png"]), (HPA, HPA.suffixes[:2], [])]
)
def test_samples_that_a_whole_table_does_not_name_are_counted_once(tmp_path, capsys, monkeypatch, task, suffixes, more):
    touch(tmp_path, *(f"{number:02d}{suffix}.png" for number in range(3, 8) for suffix in suffixes), "08.txt", *more)
    touch(tmp_path, *(f"{number}{suffix}.png" for number in (1, 2) for suffix in task.suffixes))
    listed, scandir = [], os.scandir
    monkeypatch.setattr(os, "scandir", lambda folder: listed.append(folder) or scandir(folder))
    for _ in range(2):
        assert len(find_files(tmp_path, ["2", "001"], task, whole=True)) == 2
    assert listed == [tmp_path] * 2
    line = f"{tmp_path}: samples without a row in the table are left out: 5 (03, 04, 05, ...)\n"
    assert capsys.readouterr() == ("", line)


def test_of_a_part_of_a_table_and_of_a_table_that_names_all_nothing_is_said(tmp_path, capsys):
    touch(tmp_path, "1.png", "Golgi/02.png", "02.jpg")
    find_files(tmp_path, ["1"], HEP2)
    find_files(tmp_path, ["1", "2"], HEP2, whole=True)
    assert capsys.readouterr() == ("", "")


def test_leading_zeros_before_suffixes(tmp_path):
    touch(tmp_path, *(f"007_{channel}.png" for channel in HPA.channels))
    assert [file.name for file in find_files(tmp_path, ["7"], HPA)[0]] == [f"007_{channel}.png" for channel in HPA.channels]


def test_zeros_before_what_is_no_number_count(tmp_path):
    touch(tmp_path, "0a.png", "10.png")
    for identifier in ("a", "00a", "1", "100"):
        with pytest.raises(BadInput, match=f"id {identifier}: no {identifier}.png"):
            find_files(tmp_path, [identifier], HEP2)


def test_an_id_that_could_mean_two_files_or_a_file_that_is_taken(tmp_path):
    touch(tmp_path, "1.png", "01.png", "2.png")
    with pytest.raises(BadInput, match=r"id 001: no 001.png"):
        find_files(tmp_path, ["001"], HEP2)
    with pytest.raises(BadInput, match=r"id 02: 2.png is that of id 2 already; keep one of them"):
        find_files(tmp_path, ["2", "02"], HEP2)


def test_a_grey_task_takes_images_of_any_size_and_refuses_colour(tmp_path, grey):
    folder = tmp_path / "train" / "Golgi"
    folder.mkdir(parents=True)
    large = np.kron(np.arange(64, dtype=np.uint8).reshape(8, 8), np.ones((500, 500), np.uint8))
    for identifier, pixels in (("1", [[77]]), ("2", large), ("3", grey)):
        save(folder / f"{identifier}.png", np.array(pixels, np.uint8), compress_level=1)
    store = pack(tmp_path / "store", tmp_path / "train", ["1", "2", "3"], HEP2, 8)
    assert store.images.shape == (3, 8, 8, 1)
    assert (store.images[0] == 77).all()
    assert np.array_equal(store.images[1, ..., 0], large[::500, ::500])
    colour = save(folder / "4.png", np.dstack([grey, 0 * grey, grey[::-1]]))
    with pytest.raises(
        BadInput, match=r"id 4: 4.png is a colour image with 2 filled channels; save the one channel as grey"
    ):
        pack(tmp_path / "store", tmp_path / "train", ["1", "2", "3", "4"], HEP2, 8)
    save(colour, np.dstack([grey] * 3))
    assert len(pack(tmp_path / "store", tmp_path / "train", ["1", "2", "3", "4"], HEP2, 8).ids) == 4


def test_real_files_are_decoded_as_pil_does(shared_data):
    for file in sorted((shared_data / "kaggle_png").glob("*.png"))[:10]:
        assert np.array_equal(read_channel(file), np.array(Image.open(file)))
    for file in sorted((shared_data / "hpa_real" / "train").glob("*_green.png"))[::9]:
        assert np.array_equal(read_channel(file), np.array(Image.open(file)))
