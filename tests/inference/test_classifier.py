"""The page that classifies images, in a browser: it reads and predicts as Python does, and asks the network for nothing."""

import base64
import hashlib
import importlib
import io
import re
import struct
import tarfile
import zlib
from dataclasses import replace
from importlib.resources import files as resources
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import tifffile
from PIL import Image
from test_export import finished_run

from hpa.data.decoding import read_channel
from hpa.data.images import middle, resized
from hpa.data.layout import find_files, list_ids
from hpa.drawn.fields import write_dataset
from hpa.drawn.hep2 import write_cells
from hpa.errors import BadInput, Failure
from hpa.files import read_json, write_json
from hpa.inference import classifier
from hpa.tasks import HEP2, HPA


def run(name, *options):
    return importlib.import_module(f"hpa.{name}").main([*map(str, options)])


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A function that exports a run as a page; skips where its packages are absent or the runtime cannot be fetched."""
    for package in ("onnx", "onnxruntime", "tf2onnx"):
        pytest.importorskip(package)
    try:
        classifier.read_runtime()
    except Failure as error:
        pytest.skip(str(error))

    def export(folder):
        out = tmp_path_factory.mktemp("page") / "classifier.html"
        assert run("export", "--run", folder, "--format", "html", "--out", out) == 0
        return out

    return export


@pytest.fixture
def opened(watched):
    """A function that opens a page once it is ready."""

    def show(path, width=1280):
        tab = watched(path, width, "blob:", "file:")
        wait(tab, "Ready.")
        return tab

    return show


def wait(tab, words):
    from playwright.sync_api import expect

    expect(tab.locator("#status")).to_have_text(re.compile(words), timeout=60_000)


def given(tab, files, count):
    tab.set_input_files("#files", [str(each) for each in files])
    wait(tab, rf"^{count} samples?\.$")


def saved(tab, path):
    with tab.expect_download() as download:
        tab.click("#save")
    download.value.save_as(path)
    return pd.read_csv(path, dtype={"Id": str})


def same(found, expected):
    """Compare tables of the page and of `hpa predict`; a network that tells no images apart would compare nothing."""
    assert found.columns.tolist() == expected.columns.tolist()
    assert found["Id"].tolist() == expected["Id"].tolist()
    numbers = expected.iloc[:, 2:].to_numpy()
    assert (numbers.std(axis=0) > 1e-2).any()
    np.testing.assert_allclose(found.iloc[:, 2:].to_numpy(), numbers, atol=1e-3)
    assert found["Predicted"].tolist() == expected["Predicted"].tolist()


@pytest.fixture(scope="module")
def fields(tmp_path_factory, exported):
    """A page, drawn fields that shrink by no whole number, and what `hpa predict` says of them."""
    folder = tmp_path_factory.mktemp("fields")
    finished_run(folder / "runs" / "a" / "base", seed=3)
    write_dataset(folder / "data", train=1, test=8, size=75, seed=0)
    images = folder / "data" / "test"
    assert run("predict", "--runs", folder / "runs", "--images", images, "--out", folder / "table.csv") == 0
    return exported(folder / "runs" / "a" / "base"), images, pd.read_csv(folder / "table.csv")


def test_channel_files_give_the_table_of_hpa_predict(fields, opened, tmp_path):
    page, images, expected = fields
    tab = opened(page)
    files = sorted(images.iterdir())
    given(tab, [files[0]], 0)
    first = expected["Id"][0]
    assert tab.text_content("#faults") == f"{first}: waits for {first}_red, {first}_green, {first}_yellow"
    given(tab, files[1:], 8)
    assert tab.text_content("#faults") == ""
    same(saved(tab, tmp_path / "predicted.csv"), expected)
    first = tab.locator("article").first
    assert first.locator(".classes").text_content().replace(", ", " | ") == expected["Predicted"][0]
    assert first.locator("tbody tr").count() == 28
    shown = [float(each) for each in first.locator("tbody td:nth-child(2)").all_text_contents()]
    np.testing.assert_allclose(shown, sorted(expected.iloc[0, 2:], reverse=True), atol=1e-3)
    tab.click("#clear")
    wait(tab, "^0 samples")
    assert tab.locator("article").count() == 0


def test_one_image_with_all_channels(fields, opened, tmp_path):
    page, images, expected = fields
    for number, sample in enumerate(find_files(images, list_ids(images, HPA), HPA)):
        stack = np.dstack([cv2.imread(str(each), cv2.IMREAD_UNCHANGED) for each in sample])
        name = sample[0].stem.removesuffix("_red")
        if number % 3 == 0:
            Image.fromarray(stack, "RGBA").save(tmp_path / f"{name}.png")  # transparent pixels keep their colours
        elif number % 3 == 1:
            tifffile.imwrite(tmp_path / f"{name}.tif", np.moveaxis(stack, -1, 0), photometric="minisblack")  # pages
        else:
            tifffile.imwrite(tmp_path / f"{name}.tif", stack, photometric="rgb", extrasamples=[0], compression="lzw")
    tab = opened(page)
    given(tab, sorted(tmp_path.iterdir()), 8)
    same(saved(tab, tmp_path / "predicted.csv"), expected)


def test_cells_of_one_label_and_16_bits(exported, opened, tmp_path):
    folder = finished_run(tmp_path / "runs" / "a" / "base", HEP2, seed=2)
    write_json(folder / "config.json", read_json(folder / "config.json") | {"intensity_range": [[100, 4095]]})
    write_cells(tmp_path / "drawn", train=6, validation=6, test=12, size=43, seed=0)
    cells = tmp_path / "cells"
    cells.mkdir()
    for number, file in enumerate(sorted((tmp_path / "drawn" / "test").rglob("*.png"))):
        pixels = read_channel(file).astype(np.uint16) * (4 + number)
        cv2.imwrite(str(cells / f"{file.stem}.{'png' if number % 2 else 'tif'}"), pixels)
    assert run("predict", "--runs", tmp_path / "runs", "--images", cells, "--out", tmp_path / "table.csv") == 0
    tab = opened(exported(folder))
    given(tab, sorted(cells.iterdir()), 12)
    same(saved(tab, tmp_path / "predicted.csv"), pd.read_csv(tmp_path / "table.csv", dtype={"Id": str}))
    assert tab.locator("article th:has-text('threshold')").count() == 0
    cv2.imwrite(str(tmp_path / "eight.png"), np.zeros((40, 40), np.uint8))
    given(tab, [tmp_path / "eight.png"], 12)
    assert "eight: eight.png has 8 bits" in tab.text_content("#faults")


def test_what_cannot_be_used_is_named(fields, opened, tmp_path):
    page, images, _ = fields
    files = {each: tmp_path / f"a{each}.png" for each in HPA.suffixes}
    for suffix, side in zip(HPA.suffixes, (40, 40, 40, 44), strict=True):
        cv2.imwrite(str(files[suffix]), np.full((side, side), 7, np.uint8))
    Image.new("RGBA", (40, 40), "red").save(tmp_path / "picture.png")
    Image.new("RGB", (40, 40), "red").save(tmp_path / "three.png")
    whole = next(images.glob("*_red.png")).read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[:-200])
    (tmp_path / "notes.png").write_text("no image")
    tab = opened(page)
    given(tab, sorted(tmp_path.glob("*.png")), 0)
    faults = tab.locator("#faults li").all_text_contents()
    assert faults == [
        "a: the channels differ in size: 40x40, 40x40, 40x40, 44x44",
        "cut: cut.png is truncated, damaged or not an image; fetch it again",
        "notes: notes.png is no PNG, TIFF, BMP or JPEG",
        "picture: picture.png is a colour picture without transparency; its last channel should be yellow",
        "three: three.png ends in none of _red, _green, _blue, _yellow, and has 3 channels, not the 4 of red, green, blue, "
        "yellow",
    ]


def test_all_is_reached_by_keyboard_and_can_be_read(fields, opened):
    page, images, _ = fields
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    for width in (390, 1280):
        tab = opened(page, width)
        given(tab, sorted(images.iterdir()), 8)
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        found = axe.Axe().run(tab).response["violations"]
        assert [(each["id"], [node["html"][:200] for node in each["nodes"]][:3]) for each in found] == []
    seen = set()
    tab.evaluate("document.activeElement.blur()")
    for _ in range(16):
        tab.keyboard.press("Tab")
        seen.add(
            tab.evaluate("document.activeElement.id || document.activeElement.className || document.activeElement.tagName")
        )
    assert {"files", "save", "clear", "scroll", "SUMMARY"} <= seen


@pytest.fixture(scope="module")
def decoder(browser):
    """A tab that knows how to decode and resize, and nothing of a network."""
    tab = browser.new_page()
    tab.add_script_tag(content=(resources("hpa.inference") / "take_away" / "decode.js").read_text(encoding="utf-8"))
    return tab


def decoded(tab, file):
    """Return what the page reads of a file that stands for one channel, or what it says."""
    text = """async (text) => {
      const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
      try {
        const { width, height, data } = onlyChannel(await decode(new Blob([bytes])));
        return [width, height, data.BYTES_PER_ELEMENT, [...data]];
      } catch (error) { return error.message; }
    }"""
    found = tab.evaluate(text, base64.b64encode(file.read_bytes()).decode())
    if isinstance(found, str):
        return found
    width, height, size, data = found
    return np.array(data, f"u{size}").reshape(height, width)


SMOOTH = cv2.resize(np.random.default_rng(0).integers(0, 256, (6, 7), np.uint8), (37, 29), interpolation=cv2.INTER_CUBIC)
DEEP = SMOOTH.astype(np.uint16) * 251 + 3
COLOUR = np.dstack([SMOOTH * 0, SMOOTH, SMOOTH * 0])


def interlaced(path):
    """Write a PNG in Adam7's passes, with the filter of each line in turn; no writer here knows them."""
    height, width = SMOOTH.shape
    lines = b""
    for left, top, right, down in (
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    ):
        for row in SMOOTH[top::down, left::right]:
            lines += b"\1" + bytes(np.diff(row, prepend=np.uint8(0)))
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 1)
    pieces = [b"IHDR" + head, b"IDAT" + zlib.compress(lines), b"IEND"]
    framed = [struct.pack(">I", len(own) - 4) + own + struct.pack(">I", zlib.crc32(own)) for own in pieces]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(framed))


def pillow(image, mode=None, **options):
    made = Image.fromarray(image)
    return lambda path: (made.convert(mode) if mode else made).save(path, **options)


def tiff(image, **options):
    return lambda path: tifffile.imwrite(path, image, **options)


WRITTEN = {
    "png": pillow(SMOOTH), "deep.png": pillow(DEEP), "alpha.png": pillow(SMOOTH, "LA"), "palette.png": pillow(SMOOTH, "P"),
    "bits.png": pillow(SMOOTH, "1"), "colour.png": pillow(COLOUR), "interlaced.png": interlaced,
    "tif": tiff(SMOOTH), "deep.tif": tiff(DEEP), "big-endian.tif": tiff(DEEP, byteorder=">"),
    "lzw.tif": tiff(SMOOTH, compression="lzw", predictor=True), "packbits.tif": tiff(SMOOTH // 64, compression="packbits"),
    "deep-lzw.tif": tiff(DEEP, compression="lzw", rowsperstrip=4),
    "deflate.tif": tiff(DEEP, compression="zlib", predictor=True),
    "tiles.tif": tiff(DEEP, tile=(16, 32), compression="zlib"), "white.tif": tiff(SMOOTH, photometric="miniswhite"),
    "noise.tif": tiff(np.random.default_rng(1).integers(0, 256, (90, 90), np.uint8), compression="lzw"),
    "planes.tif": tiff(np.moveaxis(COLOUR, -1, 0), photometric="rgb", planarconfig="separate"),
    "colour.tif": tiff(COLOUR, photometric="rgb", compression="lzw"), "imagej.tif": tiff(SMOOTH, imagej=True),
    "bmp": pillow(SMOOTH), "jpg": pillow(SMOOTH, quality=95),
}  # fmt: skip


@pytest.mark.parametrize("name", WRITTEN)
def test_a_file_is_read_as_python_reads_it(decoder, tmp_path, name):
    file = tmp_path / (name if "." in name else f"a.{name}")
    WRITTEN[name](file)
    found, expected = decoded(decoder, file), read_channel(file)
    assert not isinstance(found, str), found
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(
        found, expected, atol=1 if name == "jpg" else 0
    )  # decoders of JPEG may round in their own way


def test_what_python_does_not_read_is_not_read_here(decoder, tmp_path):
    files = {
        "two.tif": (tiff(np.stack([SMOOTH, SMOOTH])), "holds 2 channels"),
        "float.tif": (tiff(SMOOTH.astype(np.float32)), "other numbers than 8 or 16 bits"),
        "colours.png": (
            pillow(np.dstack([SMOOTH, SMOOTH.T[:29, :29].repeat(2, 1)[:, :37], SMOOTH])),
            "is a colour image with 3",
        ),
        "big.tif": (tiff(SMOOTH, bigtiff=True), "is a BigTIFF"),
        "jpeg2000.tif": (tiff(SMOOTH, compression="jpeg2000"), "of codec 34712"),
        "animated.png": (pillow(SMOOTH, save_all=True, append_images=[Image.fromarray(SMOOTH // 2)]), "holds 2 frames"),
    }
    for name, (write, fault) in files.items():
        write(tmp_path / name)
        assert fault in decoded(decoder, tmp_path / name)
    for name in ("png", "deep.png", "lzw.tif", "deflate.tif", "tif"):
        file = tmp_path / (name if "." in name else f"cut.{name}")
        WRITTEN[name](file)
        data = file.read_bytes()
        for length in (len(data) // 2, len(data) - 20):
            file.write_bytes(data[:length])
            with pytest.raises(BadInput):
                read_channel(file)
            assert decoded(decoder, file) == "is truncated, damaged or not an image; fetch it again"


@pytest.mark.parametrize(
    ("height", "width", "size"),
    [
        (512, 512, 256),
        (128, 128, 32),
        (96, 96, 32),
        (75, 75, 32),
        (60, 71, 32),
        (33, 40, 33),
        (20, 20, 33),
        (31, 50, 33),
        (8, 8, 8),
    ],
)
def test_images_are_resized_as_opencv_does(decoder, height, width, size):
    image = np.random.default_rng(0).integers(0, 256, (height, width), np.uint8)
    text = "([data, width, height, size]) => [...resize({ data: Uint8Array.from(data), width, height }, size)]"
    found = np.array(decoder.evaluate(text, [image.ravel().tolist(), width, height, size])).reshape(size, size)
    np.testing.assert_array_equal(found, resized(image, size))


@pytest.mark.parametrize(("height", "width"), [(7, 12), (12, 7), (9, 12), (5, 5)])
@pytest.mark.parametrize(("fit", "longest"), [("pad", max), ("crop", min)])
def test_the_middle_of_an_image_is_pythons(decoder, height, width, fit, longest):
    image = np.arange(1, height * width + 1, dtype=np.uint8).reshape(height, width)
    text = "([data, width, height, fit]) => [...seen({ data: Uint8Array.from(data), width, height }, fit).data]"
    side = longest(height, width)
    found = np.array(decoder.evaluate(text, [image.ravel().tolist(), width, height, fit])).reshape(side, side)
    np.testing.assert_array_equal(found, middle(image, side))


def test_files_that_are_read_in_another_way_are_refused():
    task = replace(HPA, files="{id}.tif", axes="CYX", fit="pad")
    with pytest.raises(
        BadInput, match=r"(?s)format html: 2 faults.*has files = '{id}.tif'.*has axes = 'CYX'; the page reads"
    ):
        classifier.require_readable(task)
    classifier.require_readable(replace(HPA, fit="crop"))


def test_the_runtime_is_fetched_once_and_checked(tmp_path, monkeypatch, caplog):
    parts = {name: name.encode() for name in classifier.PARTS.values()}
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as package:
        for name, data in parts.items():
            entry = tarfile.TarInfo(f"package/dist/{name}")
            entry.size = len(data)
            package.addfile(entry, io.BytesIO(data))
    asked = []

    class Opener:
        def open(self, request, timeout):
            asked.append(request.full_url)
            return io.BytesIO(content.getvalue())

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "http://mirror.example/npm/")
    monkeypatch.setattr(classifier, "opener", Opener)
    with pytest.raises(BadInput, match=r"is not onnxruntime-web-[0-9.]*.tgz as npm has it"):
        classifier.read_runtime()
    assert not list(tmp_path.rglob("*.tgz"))
    digest = hashlib.sha512(content.getvalue()).digest()
    monkeypatch.setattr(classifier, "INTEGRITY", f"sha512-{base64.b64encode(digest).decode()}")
    for _ in range(2):
        assert classifier.read_runtime() == {key: parts[name] for key, name in classifier.PARTS.items()}
    assert asked == [f"http://mirror.example/npm/onnxruntime-web/-/{classifier.PACKAGE}"] * 2
    (own,) = tmp_path.rglob("*.tgz")
    own.write_bytes(b"damaged")
    with pytest.raises(BadInput, match="delete it"):
        classifier.read_runtime()


def test_without_a_network_the_way_out_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "http://127.0.0.1:9")
    with pytest.raises(Failure, match=r"cannot be fetched .*npm pack onnxruntime-web@.* and name the file with --runtime"):
        classifier.read_runtime()
    with pytest.raises(BadInput, match=r"absent\.tgz: cannot be read"):
        classifier.read_runtime(Path("absent.tgz"))
    assert list(tmp_path.iterdir()) == []
