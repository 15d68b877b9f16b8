"""Augmentation of batches by the name of an augmentation."""

import functools
from collections.abc import Callable

import numpy as np
from numpy.random import SeedSequence

from hpa.data.mixing import aligned
from hpa.data.policies import DRAW, NOISE_STARTS, drawn
from hpa.data.store import Images
from hpa.errors import BadInput
from hpa.registry import AUGMENTATIONS, Warp

BLOCK = 4096  # items whose variations are drawn together: imgaug takes as long for one as for hundreds


def policies_for(channels: int) -> list[str]:
    """Return the names of the policies that images of so many channels allow; hue and saturation are for RGB alone."""
    return [name for name, each in AUGMENTATIONS.items() if channels == 3 or not each.colours]


def require_channels(policy: str, channels: int) -> None:
    """Raise BadInput for a policy for colours where there are none.

    Raises:
        BadInput: naming the policies that images of so many channels allow.
    """
    if policy not in policies_for(channels):
        raise BadInput(
            f"augmentation '{policy}' needs three colour channels, this task has {channels}; "
            f"choose from {', '.join(policies_for(channels))}"
        )


def augment(
    images: Images, items: np.ndarray, policy: str, seed: int, epoch: int, rows: np.ndarray | None = None
) -> np.ndarray:
    """Return augmented copies of some images.

    How an item is varied depends on `seed`, `epoch` and its number alone, not on the batch or thread it comes in.

    Args:
        images: uint8 array [n, H, W, C].
        items: integer array [B], the items' numbers in the data set.
        policy: a name in `AUGMENTATIONS`.
        seed: the run's seed.
        epoch: the epoch's number.
        rows: integer array [B], the image of each item; None for 0 to B - 1.

    Returns:
        uint8 array [B, H, W, C].

    Raises:
        BadInput: if the policy needs other channels than the images have (see `require_channels`).
    """
    require_channels(policy, images.shape[-1])
    rows = np.arange(len(items)) if rows is None else rows
    record, augmented = AUGMENTATIONS[policy], aligned((len(items), *images.shape[1:]))
    if isinstance(record, Warp):
        variations = draws(record, items, seed, epoch, *images.shape[1:3])
    else:
        vary = record.prepare()
    for place in np.argsort(rows):  # in the order of the file
        image, copy = images[int(rows[place])], augmented[place]
        if isinstance(record, Warp):
            warp(record, image, variations[place], copy)
        else:
            copy[:] = vary(image, SeedSequence([seed, epoch, items[place]]))
    return augmented


def by_fours(change: Callable[[np.ndarray, np.ndarray], object], image: np.ndarray, out: np.ndarray) -> None:
    """Have OpenCV change an image of any number of channels, four at a time, since it takes no more."""
    if image.shape[-1] <= 4:
        change(image, out)
        return
    for first in range(0, image.shape[-1], 4):
        part = np.ascontiguousarray(image[..., first : first + 4])
        changed = np.empty((*out.shape[:2], part.shape[-1]), np.uint8)
        change(part, changed)
        out[..., first : first + 4] = changed


def draws(record: Warp, items: np.ndarray, seed: int, epoch: int, height: int, width: int) -> np.ndarray:
    """Return how some items, integers [B], of an epoch are varied: an array [B] of `DRAW`."""
    known = _blocks(record, seed, epoch, height, width)
    blocks, places = np.divmod(items, BLOCK)
    found = np.empty(len(items), DRAW)
    for block in np.unique(blocks).tolist():
        if block not in known:  # two threads may both draw it, and draw the same
            known[block] = record.draw(np.random.default_rng([seed, epoch, block]), BLOCK, height, width)
        found[blocks == block] = known[block][places[blocks == block]]
    return found


NUMBERS = 11  # of an image, see `numbers`


def is_movable(policy: str) -> bool:
    """Return whether `numbers` can say what a policy does: nothing, or what a `DRAW` holds."""
    return policy == "none" or isinstance(AUGMENTATIONS[policy], Warp)


def numbers(policy: str, items: np.ndarray, rows: np.ndarray, seed: int, epoch: int, side: int) -> np.ndarray:
    """Return in numbers what `augment` does to square images, for a policy that `is_movable`.

    Returns:
        float32 [B, `NUMBERS`]: the row of the image; the affine map from points (x, y) of the result to those of the image,
        two rows of three; then the exponent, the noise's deviation, whether it is grey, and its start, as in `DRAW`.
    """
    record = AUGMENTATIONS[policy]
    if isinstance(record, Warp):
        found = draws(record, items, seed, epoch, side, side)
    else:
        found = drawn(np.tile(np.eye(2), (len(items), 1, 1)), np.zeros((len(items), 2)), side, side)
    back = np.linalg.inv(found["matrix"][..., :2])
    back = np.concatenate([back, -back @ found["matrix"][..., 2:]], axis=2)
    rest = [found[name] for name in ("gamma", "deviation", "grey", "start")]
    return np.column_stack([rows, back.reshape(-1, 6), *rest]).astype(np.float32)


@functools.lru_cache(maxsize=2)  # an epoch begins while the last batches of the one before are made
def _blocks(record: Warp, seed: int, epoch: int, height: int, width: int) -> dict[int, np.ndarray]:
    return {}


def warp(record: Warp, image: np.ndarray, draw: np.void, out: np.ndarray) -> None:
    """Write an image, uint8 [H, W, C], as one `DRAW` varies it, into another one of its shape."""
    import cv2

    height, width, channels = image.shape
    flags = cv2.INTER_CUBIC if record.cubic else cv2.INTER_LINEAR
    borders = {"reflect": cv2.BORDER_REFLECT_101, "symmetric": cv2.BORDER_REFLECT, "constant": cv2.BORDER_CONSTANT}
    # With "reflect" OpenCV never comes back from an image that is one pixel high or wide.
    border = borders["symmetric" if record.border == "reflect" and 1 in image.shape[:2] else record.border]
    matrix, size = draw["matrix"], (width, height)
    by_fours(lambda part, dst: cv2.warpAffine(part, matrix, size, dst=dst, flags=flags, borderMode=border), image, out)
    if draw["gamma"] != 1:
        levels = np.rint(255 * (np.arange(256) / 255) ** draw["gamma"]).astype(np.uint8)
        cv2.LUT(out, levels, dst=out)
    if draw["deviation"] > 0:
        pool = noise_pool(height * width, channels, bool(draw["grey"]))
        noise = pool[draw["start"] : draw["start"] + height * width].reshape(image.shape)
        share = draw["deviation"] / NOISE_LEVELS
        cv2.addWeighted(out, 1, noise, share, -128 * share, dst=out)


NOISE_LEVELS = 32  # of the pool, in one standard deviation


@functools.lru_cache(maxsize=4)
def noise_pool(pixels: int, channels: int, grey: bool) -> np.ndarray:
    """Return a normal distribution around 128, uint8 [pixels + NOISE_STARTS, channels]; the same in all channels if grey.

    Drawing noise takes ten times as long as moving an image, so images take theirs from any place of this one.
    """
    normal = np.random.default_rng(0).standard_normal((pixels + NOISE_STARTS, 1 if grey else channels), np.float32)
    return np.repeat(np.rint(128 + NOISE_LEVELS * normal).clip(0, 255).astype(np.uint8), channels if grey else 1, axis=1)
