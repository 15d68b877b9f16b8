"""One grey image from one file, a PNG, TIFF, BMP or JPEG: every pixel as it was saved, or a reason why not.

Files of several channels or planes are read by `hpa.data.stacks`.

Decoded by libraries that raise where OpenCV prints a line and goes on: imagecodecs, tifffile and simplejpeg. Only BMP, which
is not compressed, is left to OpenCV.
"""

import contextlib
import io
import logging
import math
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import cv2
import imagecodecs
import numpy as np
import simplejpeg
import tifffile
from PIL import Image, UnidentifiedImageError
from tifffile import COMPRESSION, PHOTOMETRIC

from hpa.errors import BadInput
from hpa.resources import require_memory

cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
logging.getLogger("tifffile").disabled = True

PNG = b"\x89PNG\r\n\x1a\n"
PNG_END = b"\0\0\0\0IEND\xae\x42\x60\x82"
JPEG = b"\xff\xd8\xff"
BMP = b"BM"
TIFFS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
OTHERS = {  # where a format's name stands in a file, and what it is called
    (0, b"GIF8"): "a GIF",
    (8, b"WEBP"): "a WebP file",
    (4, b"jP  \r\n"): "a JPEG 2000 file",
    (0, b"\xff\x4f\xff\x51"): "a JPEG 2000 file",
    (4, b"ftypavif"): "an AVIF file",
    (4, b"ftypheic"): "a HEIC file",
    (0, b"ZISRAWFILE"): "a Zeiss CZI file",
    (0, b"\xda\xce\xbe\x0a"): "a Nikon ND2 file",
    (0, b"\x89HDF"): "an HDF5 file",
}
# Codecs whose decoders notice damage, and those of which only the length of what comes out would tell. Others, such as JPEG
# 2000, fill holes with pixels that look right.
SAFE = {"NONE", "ADOBE_DEFLATE", "DEFLATE", "LZMA", "LERC"}
WITHOUT_CHECKSUM = {"LZW", "PACKBITS", "JPEG", "ZSTD"}
HOLE = bytes(64)  # no encoder writes so many zeros in a row
PROGRESSIVE, HUFFMAN_TABLES, START_OF_SCAN, END_OF_BLOCK = 0xC2, 0xC4, 0xDA, 0x00  # marks and a code of a JPEG
LARGEST = 2**30  # pixels; OpenCV's limit
FIX_SIZE = "cut it into tiles or shrink it"
SMALL = 2**26  # bytes; for less, nobody asks how much memory is free, which takes a while
STACKED = {"C": "channels", "Z": "slices", "T": "time points"}  # by tifffile's letters; other axes are pages
ALPHA = (1, 2)  # kinds of a TIFF's extra samples
T = TypeVar("T")


def read_channel(file: Path) -> np.ndarray:
    """Decode one grey image.

    A colour file is read if only one of its channels holds anything, or all are equal. An alpha channel is ignored. Fewer
    than 8 bits are spread over 8.

    Returns uint8 or uint16 [H, W], with the numbers that the file holds, and raises BadInput if the file is truncated,
    damaged, absent, no file, too large for the memory, in true colour, of other numbers than 8 or 16 bits, of another format
    or codec, or holds more than one image.
    """
    image = as_8_or_16_bits(file.name, read_with(file, lambda name, data: decoder_of(name, data)(name, data)))
    if image.ndim == 3 and image.shape[-1] == 2:
        return image[..., 0]
    return one_filled_channel(file.name, image[..., :3]) if image.ndim == 3 else image


def read_with(file: Path, decode: Callable[[str, bytes], T]) -> T:
    """Return what a decoder makes of the name and the bytes of a file; raise BadInput if it raises anything."""
    try:
        return decode(file.name, _read(file))
    except BadInput:
        raise
    except Exception as error:  # a decoder may raise anything when it meets damaged bytes
        if isinstance(error, MemoryError) or (isinstance(error, cv2.error) and error.code == cv2.Error.StsNoMem):
            raise BadInput(f"{file.name} is too large for the memory; {FIX_SIZE}") from error
        raise damaged(file.name) from error


def as_8_or_16_bits(name: str, image: np.ndarray) -> np.ndarray:
    """Return an array as it is; raise BadInput if it holds other numbers than uint8 or uint16."""
    if image.dtype not in (np.uint8, np.uint16):
        raise BadInput(f"{name} holds {image.dtype} numbers; save it with 8 or 16 bits")
    return image


def _read(file: Path) -> bytes:
    """Return what is in a file, without opening what could block."""
    try:
        if file.exists() and not file.is_file() and not file.is_dir():
            raise BadInput(f"{file.name} is a pipe, a socket or a device, not a file; replace it by an image")
        return file.read_bytes()
    except OSError as error:
        raise BadInput(f"{file.name} cannot be read ({error.strerror})") from error


def decoder_of(name: str, data: bytes) -> Callable[[str, bytes], np.ndarray]:
    """Return the function that decodes a file's bytes by what they begin with; colours are in its library's order."""
    for start, decode in ((PNG, _decode_png), (JPEG, _decode_jpeg), (TIFFS, _decode_tiff), (BMP, _decode_bmp)):
        if data.startswith(start):
            return decode
    for (place, mark), kind in OTHERS.items():
        if data.startswith(mark, place):
            raise BadInput(f"{name} is {kind}, whatever its name says; save it as a PNG, TIFF, BMP or JPEG")
    raise damaged(name)


def _decode_png(name: str, data: bytes) -> np.ndarray:
    """Decode the pieces of a PNG that make its pixels; of others, such as a profile of colours, libpng prints complaints."""
    place, pieces, frames = len(PNG), [PNG], 1
    while data[place : place + 12] != PNG_END:
        length, kind = int.from_bytes(data[place : place + 4]), data[place + 4 : place + 8]
        piece = data[place : place + length + 12]
        if len(piece) != length + 12 or zlib.crc32(piece[4:-4]) != int.from_bytes(piece[-4:]):
            raise damaged(name)
        if kind == b"acTL":
            frames = int.from_bytes(piece[8:12])
        if kind[:1].isupper():
            pieces.append(piece)
        place += length + 12
    require_fits(name, int.from_bytes(data[16:20]), int.from_bytes(data[20:24]), bytes_per_pixel=4)
    if frames > 1:
        raise several(name, f"{frames} frames of an animation")
    return imagecodecs.png_decode(b"".join([*pieces, PNG_END]))


def _decode_bmp(name: str, data: bytes) -> np.ndarray:
    width, height = (abs(int.from_bytes(data[place : place + 4], "little", signed=True)) for place in (18, 22))
    require_fits(name, width, height, bytes_per_pixel=4)
    if len(data) < int.from_bytes(data[2:6], "little"):  # the size of the file, which OpenCV does not look at
        raise damaged(name)
    if (image := cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)) is None:
        raise damaged(name)
    return image


def _decode_jpeg(name: str, data: bytes) -> np.ndarray:
    height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    require_fits(name, width, height, bytes_per_pixel=1 if colours == "Gray" else 3)
    if colours not in ("Gray", "YCbCr", "RGB"):
        raise BadInput(f"{name} is a {colours} image; save the one channel as grey")
    return decode_jpeg(data)


def decode_jpeg(data: bytes) -> np.ndarray:
    """Return a JPEG as uint8 [H, W] or, if it has colours, [H, W, 3]: blue, green, red.

    Raises ValueError if libjpeg has a warning, or zeros stand where no image has them. The code recovers after a hole, often
    with the right number of pixels, so libjpeg may not notice.
    """
    if HOLE in data:
        scan, may_have_zeros = _first_scan(data)
        if not may_have_zeros and HOLE in data[scan:]:  # what stands before the scan may hold anything
            raise ValueError("hole")
    grey = simplejpeg.decode_jpeg_header(data)[2] == "Gray"
    image = simplejpeg.decode_jpeg(data, "GRAY" if grey else "BGR", strict=True)
    return image[..., 0] if grey else image


def _first_scan(jpeg: bytes) -> tuple[int, bool]:
    """Return where a JPEG's first scan begins, 0 if it is not found, and whether it codes an area without detail as zeros.

    The first, and shortest, code of a Huffman table tells. In a progressive JPEG zeros may also be the last bits of dark
    areas.
    """
    place, zeros = 2, False
    while jpeg[place : place + 1] == b"\xff" and jpeg[place + 1] != START_OF_SCAN:
        kind, length = jpeg[place + 1], int.from_bytes(jpeg[place + 2 : place + 4])
        zeros |= kind == PROGRESSIVE
        table, place = place + 4, place + 2 + length
        while kind == HUFFMAN_TABLES and table < place:
            is_of_details, first = jpeg[table] >> 4, jpeg[table + 17]
            zeros |= bool(is_of_details) and first == END_OF_BLOCK
            table += 17 + sum(jpeg[table + 1 : table + 17])
    return place if jpeg[place + 1 : place + 2] == bytes([START_OF_SCAN]) else 0, zeros


def _decode_tiff(name: str, data: bytes) -> np.ndarray:
    with tifffile.TiffFile(io.BytesIO(data), _multifile=False) as tiff:
        page = _only_page(name, tiff)
        require_fits(name, page.imagewidth, page.imagelength, page.samplesperpixel * math.ceil(page.bitspersample / 8))
        require_sound(name, data, page, [page])
        return _as_grey_or_colour(name, page, page.asarray())


def require_sound(name: str, data: bytes, page: tifffile.TiffPage, pages: Sequence[Any]) -> None:
    """Raise if some pages of a TIFF, all like the `page`, have a codec that is not read, are cut short or have holes."""
    codec = getattr(page.compression, "name", page.compression)
    if codec not in SAFE | WITHOUT_CHECKSUM:
        raise BadInput(f"{name} is a TIFF of the codec {codec}, which is not read; save it uncompressed or with LZW")
    for own in pages:
        if not all(own.databytecounts) or len(own.dataoffsets) < math.prod(page.chunked):
            raise damaged(name)  # tifffile would fill a piece without bytes, or that is not there, with zeros
        if any(start + length > len(data) for start, length in zip(own.dataoffsets, own.databytecounts, strict=False)):
            raise damaged(name)  # cut short
        if codec in WITHOUT_CHECKSUM:
            _require_no_holes(page, own)
    if page.compression == COMPRESSION.LZW:  # damage may make imagecodecs end the process; libtiff says so to Pillow
        with contextlib.suppress(UnidentifiedImageError), Image.open(io.BytesIO(data)) as image:
            for own in pages:
                image.seek(own.index)
                image.load()


def _only_page(name: str, tiff: tifffile.TiffFile) -> tifffile.TiffPage:
    """Return the one page of a TIFF that is neither a smaller copy of another nor a mask."""
    # Iteration would not end where pages follow in a circle.
    present: Iterable[Any] = map(tiff.pages.__getitem__, range(len(tiff.pages)))
    pages = [page for page in present if not (page.is_reduced or page.is_mask)] or [tiff.pages.first]
    [page, *others] = pages
    images = max(len(pages), int((tiff.imagej_metadata or {}).get("images", 1)))  # ImageJ has large stacks in one page
    if not others and images == 1 and page.imagedepth == 1:
        return page
    axes: dict[str, int] = {}
    with contextlib.suppress(Exception):  # the description may hold anything
        axes = dict(zip(tiff.series[0].axes, tiff.series[0].shape, strict=True))
    stack = " and ".join(f"{axes[letter]} {word}" for letter, word in STACKED.items() if axes.get(letter, 1) > 1)
    raise several(name, stack or f"{max(images, page.imagedepth)} pages")


def _require_no_holes(page: tifffile.TiffPage, own: Any) -> None:
    """Raise ValueError if a piece of a page that is like another has a hole that its codec decodes as if all was well."""
    tables = page.jpegtables[:-2] if page.jpegtables else JPEG[:2]  # without the mark that ends them
    pieces: Iterable[Any] = page.parent.filehandle.read_segments(own.dataoffsets, own.databytecounts)
    for piece, _ in pieces:
        if page.compression == COMPRESSION.JPEG:  # imagecodecs passes over libjpeg's warnings
            decode_jpeg(tables + piece[2:])
        elif HOLE in piece:
            raise ValueError("hole")


def _as_grey_or_colour(name: str, page: tifffile.TiffPage, image: np.ndarray) -> np.ndarray:
    """Return the array of a page as [H, W], or [H, W, 3] if it has colours, with 0 for black."""
    photometric = page.photometric
    if image.dtype not in (np.uint8, np.uint16, bool):
        return image  # `read_channel` raises
    if photometric == PHOTOMETRIC.PALETTE:
        return palette_colours(page, image)
    if image.ndim == 3 and page.axes.startswith("S"):
        image = np.moveaxis(image, 0, -1)
    grey = require_grey_or_colour(name, page)
    samples = page.samplesperpixel - sum(kind in ALPHA for kind in page.extrasamples)
    if samples > (1 if grey else 4):  # some writers leave open what the fourth of RGB is
        raise several(name, f"{samples} channels")
    if image.ndim == 3:
        image = image[..., 0] if grey else image[..., :3]
    return black_is_zero(page, image)


def require_grey_or_colour(name: str, page: tifffile.TiffPage) -> bool:
    """Tell whether a page of a TIFF is grey; raise BadInput if it is neither grey nor in red, green and blue."""
    grey = page.photometric in (PHOTOMETRIC.MINISBLACK, PHOTOMETRIC.MINISWHITE)
    if not grey and page.photometric not in (PHOTOMETRIC.RGB, PHOTOMETRIC.YCBCR):
        found = getattr(page.photometric, "name", page.photometric)
        raise BadInput(f"{name} is a {found} image; save the one channel as grey")
    return grey


def palette_colours(page: tifffile.TiffPage, image: np.ndarray) -> np.ndarray:
    """Return the colours, uint8 [H, W, 3], of a page of a TIFF that holds numbers of a palette, [H, W]."""
    return np.moveaxis((np.asarray(page.colormap) >> 8).astype(np.uint8)[:, image], 0, -1)


def black_is_zero(page: tifffile.TiffPage, image: np.ndarray) -> np.ndarray:
    """Return the array of pages of a TIFF with 0 for black, and fewer than 8 bits spread over 8."""
    if image.dtype not in (np.uint8, np.uint16, bool):
        return image  # the caller refuses it
    bits = page.bitspersample
    if page.photometric == PHOTOMETRIC.MINISWHITE:
        image = ~image if image.dtype == bool else (2**bits - 1 - image).astype(image.dtype)
    return image.astype(np.uint8) * np.uint8(255 // (2**bits - 1)) if bits < 8 else image


def one_filled_channel(name: str, image: np.ndarray) -> np.ndarray:
    """Return the channel of a colour image [H, W, C] that holds anything, [H, W]; raise BadInput if several differ."""
    filled = [channel for channel in np.moveaxis(image, -1, 0) if channel.any()]
    if len(filled) > 1 and any(not np.array_equal(channel, filled[0]) for channel in filled):
        raise BadInput(f"{name} is a colour image with {len(filled)} filled channels; save the one channel as grey")
    return filled[0] if filled else image[..., 0]


def require_fits(name: str, width: int, height: int, bytes_per_pixel: int) -> None:
    """Raise BadInput if an image of this size cannot be decoded here, before memory is asked for."""
    if width * height > LARGEST:
        raise BadInput(f"{name} is {width} x {height} pixels, too large to be read: {LARGEST:,} are the most; {FIX_SIZE}")
    needed = width * height * bytes_per_pixel
    if needed > SMALL:
        require_memory(needed, f"{name}, {width} x {height} pixels,", FIX_SIZE)


def several(name: str, what: str) -> BadInput:
    """Return what to raise if a file holds several things of which one is meant."""
    return BadInput(f"{name} holds {what}; save each as a file of its own")


def damaged(name: str) -> BadInput:
    """Return what to raise if a file cannot be decoded."""
    return BadInput(f"{name} is truncated, damaged or not an image; fetch it again")
