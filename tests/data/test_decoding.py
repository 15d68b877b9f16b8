"""What is read, what is refused and with which words; damage is made by hand."""

import io
import os
import socket
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from hpa import resources
from hpa.data import decoding
from hpa.data.decoding import read_channel
from hpa.errors import BadInput

ROOT = Path(__file__).resolve().parents[2]
RANDOM = np.random.default_rng(0)
NOISE = RANDOM.integers(0, 256, (160, 120), np.uint8)
SMOOTH = np.round(cv2.GaussianBlur(NOISE.astype(np.float32), (0, 0), 3) * 2 - 128).clip(0, 255).astype(np.uint8)
DEEP = SMOOTH.astype(np.uint16) * 16


def pil(pixels, kind="TIFF", **options):
    """Return an image as PIL encodes it."""
    buffer = io.BytesIO()
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(buffer, kind, **options)
    return buffer.getvalue()


def tiff(pixels, *more, **options):
    """Return a TIFF of one page, or of several with options of their own."""
    buffer = io.BytesIO()
    if not more:
        tifffile.imwrite(buffer, pixels, **options)
    else:
        with tifffile.TiffWriter(buffer) as writer:
            for page, page_options in ((pixels, options), *more):
                writer.write(page, **page_options)
    return buffer.getvalue()


def png(*chunks):
    """Return a grey PNG of `SMOOTH` with chunks, pairs of a name and what it holds, before its pixels."""

    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", SMOOTH.shape[1], SMOOTH.shape[0], 8, 0, 0, 0, 0)
    lines = zlib.compress(b"".join(b"\0" + line.tobytes() for line in SMOOTH))
    parts = [(b"IHDR", header), *chunks, (b"IDAT", lines), (b"IEND", b"")]
    return decoding.PNG + b"".join(chunk(*part) for part in parts)


@pytest.fixture
def read(tmp_path):
    """A function that writes bytes to a file and reads it."""

    def write_and_read(data):
        (tmp_path / "a.png").write_bytes(data)
        return read_channel(tmp_path / "a.png")

    return write_and_read


@pytest.mark.parametrize("compression", ["none", "lzw", "zlib", "packbits", "lzma", "lerc", "zstd"])
@pytest.mark.parametrize("pixels", [SMOOTH, DEEP], ids=["8 bits", "16 bits"])
def test_a_tiff_of_any_codec_that_is_read_keeps_its_numbers(read, pixels, compression):
    found = read(tiff(pixels, compression=compression, rowsperstrip=32))
    assert found.dtype == pixels.dtype
    assert np.array_equal(found, pixels)


@pytest.mark.parametrize(
    "data",
    [
        pil(SMOOTH, "PNG"),
        pil(SMOOTH, "BMP"),
        pil(np.dstack([SMOOTH] * 3), "BMP"),
        pil(SMOOTH, "JPEG"),
        pil(SMOOTH, "JPEG", progressive=True),
        pil(np.dstack([SMOOTH] * 3), "JPEG"),
        pil(SMOOTH, compression="tiff_lzw"),
        pil(SMOOTH, compression="jpeg"),
        tiff(SMOOTH, compression="jpeg", tile=(32, 32)),
        tiff(SMOOTH, compression="lzw", tile=(32, 32), predictor=True),
        tiff(SMOOTH, photometric="miniswhite"),
        tiff(SMOOTH, bigtiff=True, byteorder=">"),
        tiff(np.stack([SMOOTH] * 3), photometric="rgb", planarconfig="separate"),
        tiff(SMOOTH, imagej=True),
        tiff(SMOOTH, ome=True),
        pil(np.dstack([SMOOTH, 255 - SMOOTH])),
        pil(Image.fromarray(SMOOTH).convert("P")),
        pil(Image.fromarray(SMOOTH > 100)),
    ],
)
def test_sound_files_are_read_as_opencv_reads_them(read, data):
    expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(read(data), expected if expected.ndim == 2 else expected[..., 0])


@pytest.mark.parametrize(
    "data",
    [
        tiff(SMOOTH, (SMOOTH[::4, ::4], {"subfiletype": 1}), (SMOOTH > 9, {"subfiletype": 4, "photometric": "mask"})),
        tiff(np.dstack([SMOOTH] * 4), photometric="rgb", extrasamples=["unassalpha"]),
        png((b"acTL", struct.pack(">II", 1, 0))),
        png((b"iCCP", b"x\0\0" + zlib.compress(b"no profile")), (b"tIME", b"\xff" * 7), (b"sBIT", b"\x09")),
    ],
    ids=["thumbnail and mask", "alpha", "animation of one frame", "chunks that libpng warns of"],
)
def test_what_stands_beside_the_one_image_is_passed_over(read, data, capfd):
    assert np.array_equal(read(data), SMOOTH)
    assert capfd.readouterr() == ("", "")


def stack(*shape, **options):
    return tiff(np.zeros((*shape, 16, 16), np.uint8), **options)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (stack(5, photometric="minisblack"), "5 pages"),
        (stack(2, 3, imagej=True, metadata={"axes": "ZCYX"}), "3 channels and 2 slices"),
        (stack(4, imagej=True, metadata={"axes": "TYX"}), "4 time points"),
        (stack(3, ome=True, metadata={"axes": "CYX"}), "3 channels"),
        (stack(3, photometric="minisblack", planarconfig="separate"), "3 channels"),
        (tiff(np.zeros((16, 16, 5), np.uint8), photometric="minisblack", planarconfig="contig"), "5 channels"),
        (stack(16, photometric="minisblack", volumetric=True, tile=(16, 16, 16)), "16 slices"),
        (tiff(SMOOTH, (SMOOTH, {})), "2 pages"),
        (png((b"acTL", struct.pack(">II", 3, 0))), "3 frames of an animation"),
        (pil(SMOOTH, "PNG", save_all=True, append_images=[Image.fromarray(NOISE)]), "2 frames of an animation"),
    ],
)
def test_a_file_of_several_images_is_refused(read, data, what):
    with pytest.raises(BadInput) as caught:
        read(data)
    assert str(caught.value) == f"a.png holds {what}; save each as a file of its own"


def test_a_stack_that_imagej_has_in_one_page_is_refused(read):
    description = "ImageJ=1.53\nimages=40000\nslices=40000\n"
    with pytest.raises(BadInput, match=r"a.png holds 40000 (pages|slices)"):
        read(tiff(SMOOTH, description=description, metadata=None))


@pytest.mark.parametrize("pages", [1, 2])
def test_pages_that_follow_in_a_circle_end(read, pages):
    data = bytearray(tiff(SMOOTH, *[(SMOOTH, {})] * (pages - 1)))
    first = place = int.from_bytes(data[4:8], "little")
    for _ in range(pages):
        after = place + 2 + 12 * int.from_bytes(data[place : place + 2], "little")
        place = int.from_bytes(data[after : after + 4], "little")
    data[after : after + 4] = first.to_bytes(4, "little")
    if pages == 1:
        assert np.array_equal(read(data), SMOOTH)
    else:
        with pytest.raises(BadInput, match=r"a.png holds 2 pages"):
            read(data)


@pytest.mark.parametrize("kind", ["a GIF", "a WebP file", "a JPEG 2000 file", "an AVIF file"])
def test_other_formats_are_named_whatever_the_suffix_says(read, kind):
    data = {"a GIF": "GIF", "a WebP file": "WEBP", "a JPEG 2000 file": "JPEG2000", "an AVIF file": "AVIF"}[kind]
    with pytest.raises(BadInput, match=f"a.png is {kind}, whatever its name says; save it as a PNG, TIFF, BMP or JPEG"):
        read(pil(SMOOTH, data))


@pytest.mark.parametrize("codec", ["jpeg2000", "jpegxl", "png"])
def test_codecs_that_may_hide_damage_are_named(read, codec):
    with pytest.raises(BadInput, match=rf"a.png is a TIFF of the codec {codec.upper()}, which is not read; save it"):
        read(tiff(SMOOTH, compression=codec))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (tiff(SMOOTH.astype(np.int16)), "holds int16 numbers"),
        (tiff(SMOOTH.astype(np.uint32), compression="zlib"), "holds uint32 numbers"),
        (pil(Image.fromarray(np.dstack([NOISE] * 3)).convert("CMYK"), "JPEG"), "is a CMYK image"),
        (pil(Image.fromarray(np.dstack([NOISE] * 3)).convert("CMYK")), "is a SEPARATED image"),
    ],
)
def test_what_is_no_grey_image_of_8_or_16_bits_is_refused(read, data, reason):
    with pytest.raises(BadInput, match=f"a.png {reason}; save"):
        read(data)


CODED = {
    "jpeg": pil(NOISE, "JPEG"),
    "jpeg, own tables": pil(NOISE, "JPEG", optimize=True, quality=95),
    "jpeg of three": pil(np.dstack([NOISE] * 3), "JPEG"),
    "lzw": tiff(SMOOTH, compression="lzw"),
    "lzw, noise": tiff(NOISE, compression="lzw"),
    "lzw, predicted": tiff(DEEP, compression="lzw", predictor=True),
    "lzw, tiles": tiff(SMOOTH, compression="lzw", tile=(32, 32)),
    "deflate": tiff(SMOOTH, compression="zlib", rowsperstrip=32),
    "packbits": tiff(NOISE, compression="packbits"),
    "zstd": tiff(NOISE, compression="zstd"),
    "lzma": tiff(SMOOTH, compression="lzma"),
    "lerc": tiff(SMOOTH, compression="lerc"),
    "jpeg in a tiff": tiff(NOISE, compression="jpeg"),
    "jpeg tiles in a tiff": tiff(NOISE, compression="jpeg", tile=(64, 64)),
    "png": pil(NOISE, "PNG"),
    "png, two chunks": pil(np.tile(NOISE, (4, 4)), "PNG"),
}


@pytest.mark.parametrize("length", [64, 0.1, 0.5])
@pytest.mark.parametrize("name", CODED)
def test_a_hole_of_zeros_is_damage(read, name, length, capfd):
    data = CODED[name]
    assert read(data).ndim == 2
    length = int(length if length > 1 else length * len(data))
    for start in np.linspace(0.3 * len(data), 0.9 * len(data) - length, 8).astype(int):
        with pytest.raises(BadInput, match=r"a.png is truncated, damaged or not an image; fetch it again"):
            read(data[:start] + bytes(length) + data[start + length :])
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", [*CODED, "tiff", "bmp"])
def test_a_file_that_was_cut_short_is_damaged(read, name, capfd):
    data = {"tiff": tiff(NOISE), "bmp": pil(NOISE, "BMP")}.get(name) or CODED[name]
    for kept in (3, 20, 0.1, 0.5, 0.95):
        with pytest.raises(BadInput, match=r"a.png is truncated, damaged or not an image; fetch it again"):
            read(data[: int(kept if kept > 1 else kept * len(data))])
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("pixels", [np.zeros((600, 600), np.uint8), np.full((600, 600), 255, np.uint8), np.pad(SMOOTH, 300)])
@pytest.mark.parametrize("options", [{}, {"optimize": True}, {"progressive": True}, {"quality": 10, "optimize": True}])
def test_dark_and_bright_areas_of_a_jpeg_are_not_damage(read, pixels, options):
    assert np.abs(read(pil(pixels, "JPEG", **options)).astype(int) - pixels).mean() < 3


def test_zeros_beside_the_pixels_of_a_jpeg_are_no_hole(read):
    assert np.abs(read(pil(NOISE, "JPEG", quality=95, comment=bytes(100))).astype(int) - NOISE).mean() < 3


def test_a_hole_is_found_though_bytes_fill_a_gap_before_a_segment():
    data = bytearray(pil(NOISE, "JPEG", quality=95))
    data[-300:-200] = bytes(100)
    with pytest.raises(ValueError, match=r"^hole$"):
        decoding.decode_jpeg(bytes(data[:2]) + b"\xff\xff\xff" + bytes(data[2:]))


def test_signed_numbers_whose_0_is_white_are_named(read):
    with pytest.raises(BadInput, match="holds int16 numbers"):
        read(tiff(SMOOTH.astype(np.int16), photometric="miniswhite"))


@pytest.mark.parametrize("compression", ["lzw", "packbits", "zstd", "none"])
def test_black_images_are_not_damage(read, compression):
    assert not read(tiff(np.zeros((600, 600), np.uint8), compression=compression)).any()


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (os.mkfifo, "is a pipe, a socket or a device, not a file"),
        (lambda path: socket.socket(socket.AF_UNIX).bind(str(path)), "is a pipe, a socket or a device, not a file"),
        (lambda path: path.symlink_to("/dev/zero"), "is a pipe, a socket or a device, not a file"),
        (lambda path: path.mkdir(), r"cannot be read \(Is a directory\)"),
        (lambda path: path.symlink_to("nowhere"), r"cannot be read \(No such file or directory\)"),
    ],
    ids=["FIFO", "socket", "device", "folder", "link to nowhere"],
)
def test_what_is_no_file_is_not_opened(tmp_path, monkeypatch, make, reason):
    monkeypatch.chdir(tmp_path)  # a socket's name is short
    make(Path("a.png"))
    with pytest.raises(BadInput, match=f"a.png {reason}"):
        read_channel(Path("a.png"))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF"])
def test_an_image_that_is_too_large_for_the_memory_is_told_so(read, monkeypatch, kind):
    data = pil(NOISE, kind)
    monkeypatch.setattr(decoding, "SMALL", 0)
    monkeypatch.setattr(resources, "free_memory", lambda: 1000)
    with pytest.raises(BadInput, match=r"a.png, 120 x 160 pixels, would need .* GiB of memory, 0.00 GiB are free"):
        read(data)
    monkeypatch.setattr(resources, "free_memory", lambda: None)  # the system does not say
    assert read(data).shape == NOISE.shape
    monkeypatch.setattr(decoding, "LARGEST", 1000)
    with pytest.raises(BadInput, match=r"a.png is 120 x 160 pixels, too large to be read: 1,000 are the most"):
        read(data)


def test_a_decoder_that_finds_no_memory_is_no_damage(read, monkeypatch):
    def full(*arguments, **options):
        raise MemoryError

    for library, function, data in (
        ("simplejpeg", "decode_jpeg", CODED["jpeg"]),
        ("imagecodecs", "png_decode", CODED["png"]),
    ):
        monkeypatch.setattr(getattr(decoding, library), function, full)
        with pytest.raises(BadInput, match=r"a.png is too large for the memory; cut it into tiles or shrink it"):
            read(data)


def test_no_decoder_writes_to_the_screen(tmp_path):
    holes = [data[: len(data) // 2] + bytes(300) + data[len(data) // 2 + 300 :] for data in CODED.values()]
    cut = [data[: len(data) // 2] for data in CODED.values()]
    other = [tiff(SMOOTH, compression="jpeg2000"), pil(SMOOTH, "GIF"), b"II*\0" + bytes(100), decoding.PNG + bytes(100)]
    for number, data in enumerate([*holes, *cut, *other]):
        (tmp_path / f"{number:02d}.png").write_bytes(data)
    code = (
        "import sys\nfrom pathlib import Path\nfrom hpa.data.decoding import read_channel\nfrom hpa.errors import BadInput\n"
        "for file in sorted(Path(sys.argv[1]).iterdir()):\n"
        "    try:\n        read_channel(file)\n        print(file.name, 'was read')\n    except BadInput:\n        pass\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert (done.stdout, done.stderr) == ("", "")
