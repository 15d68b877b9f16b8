"""Label images: which cell a pixel belongs to, read from a user's own segmentation or found by a watershed."""

import io
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import tifffile
from tifffile import COMPRESSION, PHOTOMETRIC

from hpa.data.decoding import JPEG, PNG, TIFFS, read_channel, read_with
from hpa.data.layout import id_of, list_images
from hpa.errors import BadInput, refuse
from hpa.tasks import Task

ENDINGS = ("_cp_masks", "_masks", "_mask", "_labels")  # what cellpose, stardist's examples and others add to a name
PNG_COLOURS, PNG_PALETTE = 25, b"\x03"  # where a PNG says what its colours are, and what it says of a palette
NUCLEUS, BODY = ("blue",), ("red", "yellow")  # channels of the competition


def find_label_images(folder: Path, ids: Sequence[str], task: Task) -> list[Path]:
    """Return the label image of each sample: `<id>`, or a channel file's name, with or without one of `ENDINGS`.

    Raises:
        BadInput: naming every sample that has none, or several.
    """
    found: dict[str, list[Path]] = {}
    extension = Path(task.files).suffix.replace("*", "tif")
    for path in list_images(folder, task):
        stem = next((path.stem.removesuffix(ending) for ending in ENDINGS if path.stem.endswith(ending)), path.stem)
        names = {stem, *(stem.removesuffix(suffix) for suffix in task.suffixes)}
        for name in {stem, id_of(Path(f"{stem}{extension}"), task) or stem} if task.files else names:
            found.setdefault(name, []).append(path)
    faults = [f"id {each}: no label image, such as {each}.png or {each}_cp_masks.tif" for each in ids if each not in found]
    for each in ids:
        if len(found.get(each, ())) > 1:
            faults.append(f"id {each}: {' and '.join(path.name for path in found[each])}; keep one of them")
    refuse(folder, faults)
    return [found[each][0] for each in ids]


def read_label_image(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """Return the number of the cell at each pixel, 0 outside of cells, int32 [H, W].

    Raises:
        BadInput: if it is no grey image of 8 or 16 bits, its format does not keep numbers, or it has another height and
            width than the sample.
    """
    read_with(path, _require_numbers)
    labels = read_channel(path).astype(np.int32)
    if labels.shape != shape:
        raise BadInput(
            f"{path.name} has {labels.shape[1]}x{labels.shape[0]} pixels, its image {shape[1]}x{shape[0]}; save them alike"
        )
    return labels


def _require_numbers(name: str, data: bytes) -> None:
    """Raise BadInput for a file of colours or of shades that only look alike: its numbers are not those of the cells."""
    kind = "a JPEG" if data.startswith(JPEG) else ""
    if data.startswith(PNG) and data[PNG_COLOURS : PNG_COLOURS + 1] == PNG_PALETTE:
        kind = "an image with a palette"
    if data.startswith(TIFFS):
        with tifffile.TiffFile(io.BytesIO(data)) as tiff:
            page = tiff.pages.first
            kinds = {PHOTOMETRIC.PALETTE: "an image with a palette", PHOTOMETRIC.MINISWHITE: "an image whose 0 is white"}
            kind = kinds.get(PHOTOMETRIC(page.photometric), "a JPEG" if page.compression == COMPRESSION.JPEG else "")
    if kind:
        raise BadInput(f"{name} is {kind}, which does not keep the numbers of cells; save it as a grey PNG or TIFF")


def segment(nucleus: np.ndarray, body: np.ndarray) -> np.ndarray:
    """Find the cells of a field by a watershed: nuclei first, then what lies nearest to each of them within the bodies.

    Nuclei are brighter than Otsu's threshold and split at their necks. Bodies are brighter than a threshold between
    background and cell; each pixel goes to the nucleus from which it is reached over the brightest way.

    Args:
        nucleus: uint8 or float array [H, W].
        body: the same of what fills cells.

    Returns:
        int32 array [H, W], numbers from 1; 0 outside of cells.
    """
    from scipy import ndimage
    from skimage.feature import peak_local_max
    from skimage.filters import threshold_otsu, threshold_triangle
    from skimage.segmentation import watershed

    side = min(nucleus.shape)
    nucleus, body = (cv2.GaussianBlur(each.astype(np.float32), (0, 0), max(side / 200, 1)) for each in (nucleus, body))
    if nucleus.max() == nucleus.min():
        return np.zeros(nucleus.shape, np.int32)
    inside = ndimage.binary_fill_holes(nucleus > threshold_otsu(nucleus))
    depth = cv2.GaussianBlur(ndimage.distance_transform_edt(inside), (0, 0), max(side / 200, 1))
    seeds = np.zeros(nucleus.shape, np.int32)
    for number, (row, column) in enumerate(
        peak_local_max(depth, min_distance=max(side // 16, 2), labels=inside.astype(np.int32), exclude_border=False), start=1
    ):
        seeds[row, column] = number
    nuclei = watershed(-depth, seeds, mask=inside)
    logarithm = np.log1p(body)
    filled = inside | (logarithm > threshold_triangle(logarithm))
    distance = ndimage.distance_transform_edt(nuclei == 0)
    return watershed(distance - 0.1 * side * logarithm / max(float(logarithm.max()), 1e-6), nuclei, mask=filled).astype(
        np.int32
    )
