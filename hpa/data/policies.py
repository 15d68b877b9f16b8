"""The augmentations: ways to vary a uint8 image, with the same movement of all its channels."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.random import Generator, SeedSequence

from hpa.registry import Augmentation, Vary, Warp

if TYPE_CHECKING:
    import imgaug.augmenters as iaa

# How an image is varied: the affine map of its points (x, y), where whole numbers are the middles of pixels; then the
# exponent of its values in [0, 1]; then noise: its standard deviation in grey levels, whether it is the same in all
# channels, and where in the pool of noise it starts.
DRAW = np.dtype([("matrix", "f8", (2, 3)), ("gamma", "f8"), ("deviation", "f8"), ("grey", "?"), ("start", "i8")])
NOISE_STARTS = 2**18


def drawn(linear: np.ndarray, shift: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return an array [n] of `DRAW` without noise: maps [n, 2, 2] around the image's middle, and shifts in pixels [n, 2]."""
    centre = np.array([width - 1, height - 1]) / 2
    draws = np.zeros(len(linear), DRAW)
    draws["matrix"] = np.dstack([linear, shift + centre - linear @ centre])
    draws["gamma"] = 1
    return draws


def report() -> iaa.Augmenter:
    """Return the first report's policy: flips, scale, translation, rotation, shear and a little noise.

    Ranges are those of the authors' script, with two departures. Its crops of up to 10 % are left to scale and translation,
    which do the same. Its noise of up to 0.05 of full scale is a quarter of that here: no pixel value is to be shifted,
    since the authors feared that this biases the data, but noise is cut off at 0, and on the dark ground of these images
    that adds brightness, 5 grey levels at 0.05 and about 1 here. A field of cells goes on beyond its edge, so what moves
    into view is a mirror image rather than black.
    """
    import imgaug.augmenters as iaa

    return iaa.Sequential(
        [
            iaa.Fliplr(0.5),
            iaa.Flipud(0.5),
            iaa.Affine(
                scale={"x": (0.8, 1.2), "y": (0.8, 1.2)},
                translate_percent={"x": (-0.2, 0.2), "y": (-0.2, 0.2)},
                rotate=(-180, 180),
                shear=(-8, 8),
                mode="reflect",
            ),
            iaa.AdditiveGaussianNoise(scale=(0, 0.0125 * 255), per_channel=0.5),
        ]
    )


def cells(generator: Generator, count: int, height: int, width: int) -> np.ndarray:
    """Turn, mirror, scale, shift and expose a single cell, which has no natural orientation.

    The angle is any, the scale 0.9 to 1.12, the shift up to 4 % of the side on either axis and gamma 0.8 to 1.25, darker as
    often as brighter. Cubic interpolation keeps the grain by which cells are told apart; linear would blur what is trained
    on and not what is predicted.
    """
    turn, side, zoom, right, down, exposure = generator.random((6, count))
    scale, mirror = 0.9 + 0.22 * zoom, np.where(side < 0.5, 1, -1)
    cosine, sine = scale * np.cos(2 * np.pi * turn), scale * np.sin(2 * np.pi * turn)
    linear = np.array([[mirror * cosine, -sine], [mirror * sine, cosine]]).transpose(2, 0, 1)
    draws = drawn(linear, 0.08 * (np.column_stack([right, down]) - 0.5) * [width, height], height, width)
    draws["gamma"] = 1.25 ** (2 * exposure - 1)
    return draws


def heavy(generator: Generator, count: int, height: int, width: int) -> np.ndarray:
    """Turn, mirror, crop, scale, stretch, shear, shift and expose a field, and add a little noise.

    The angle is any, the scale 0.75 to 1.6 (a crop of down to 40 % of the area). One axis is stretched by up to 15 % and the
    other one shrunk as much. Shear is up to 15 degrees at scale 1, the shift up to 10 % of the side, gamma 0.67 to 1.5, and
    the noise as strong as that of `report`, but never the same in all channels.
    """
    turn, side, zoom, stretch, slant, exposure, noise = generator.random((7, count))
    scale, ratio, mirror = 0.75 * (1.6 / 0.75) ** zoom, 1.15 ** (2 * stretch - 1), np.where(side < 0.5, 1, -1)
    angle, shear = 2 * np.pi * turn, np.tan(np.radians(30 * (slant - 0.5)))
    turns = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]).transpose(2, 0, 1)
    zero = np.zeros(count)
    shape = np.array([[mirror * scale * ratio, shear], [zero, scale / ratio]]).transpose(2, 0, 1)
    draws = drawn(shape @ turns, 0.2 * (generator.random((count, 2)) - 0.5) * [width, height], height, width)
    draws["gamma"], draws["deviation"] = 1.5 ** (2 * exposure - 1), 0.0125 * 255 * noise
    draws["start"] = generator.integers(NOISE_STARTS, size=count)
    return draws


def crop(generator: Generator, count: int, height: int, width: int) -> np.ndarray:
    """Cut up to 10 % off each side and stretch the rest to the old size; imgaug's own crop fails under NumPy 2.4."""
    before, after = generator.uniform(0, 0.1, (2, count, 2))
    stretch = 1 / (1 - before - after)
    return drawn(stretch[..., np.newaxis] * np.eye(2), stretch * (after - before) / 2 * [width, height], height, width)


def by_imgaug(build: Callable[[], iaa.Augmenter]) -> Callable[[Generator, int, int, int], np.ndarray]:
    """Return the `draw` of a `Warp` with the parameters that an imgaug augmenter draws.

    `build` returns flips, affine maps and Gaussian noise, one of them or a sequence that ends in the noise. The formulas are
    those of imgaug 0.5: it turns, scales, shears and shifts in this order, and shears by the hyperbolic tangent.
    """

    def draw(generator: Generator, count: int, height: int, width: int) -> np.ndarray:
        import imgaug.augmenters as iaa
        from imgaug.random import RNG

        random, size = RNG(generator), np.array([width, height])
        augmenter = build()  # anew, since its parameters remember what they drew before
        linear, shift, noise = np.tile(np.eye(2), (count, 1, 1)), np.zeros((count, 2)), {}
        for each in augmenter if isinstance(augmenter, iaa.Sequential) else [augmenter]:
            if isinstance(each, iaa.Fliplr | iaa.Flipud):
                axis = int(isinstance(each, iaa.Flipud))
                mirror = np.where(each.p.draw_samples((count,), random) >= 0.5, -1, 1)
                linear[:, axis] *= mirror[:, np.newaxis]
                shift[:, axis] *= mirror
            elif isinstance(each, iaa.Affine):
                samples = each._draw_samples(count, random)
                turn, (right, down) = np.radians(samples.rotate), np.tanh(np.radians(samples.shear))
                turns = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]).transpose(2, 0, 1)
                scales = np.column_stack(samples.scale)[..., np.newaxis]
                ones = np.ones(count)
                moved = np.array([[ones, -right], [down, ones]]).transpose(2, 0, 1) @ (scales * turns)
                linear = moved @ linear
                shift = (moved @ shift[..., np.newaxis])[..., 0] + np.column_stack(samples.translate) * (
                    size if samples.translate_mode == "percent" else 1
                )
            elif isinstance(each, iaa.AdditiveGaussianNoise):
                noise["deviation"] = each.value.scale.draw_samples((count,), random)
                noise["grey"] = each.per_channel.draw_samples((count,), random) <= 0.5
            else:
                raise TypeError(f"{type(each).__name__} is no flip, affine map or Gaussian noise")
        draws = drawn(linear, shift, height, width)
        for name, values in noise.items():
            draws[name] = values
        draws["start"] = generator.integers(NOISE_STARTS, size=count)
        return draws

    return draw


def flips() -> iaa.Augmenter:
    """Return a mirror image in half of the cases, and upside down in half of them."""
    import imgaug.augmenters as iaa

    return iaa.Sequential([iaa.Fliplr(0.5), iaa.Flipud(0.5)])


def _affine(**arguments: object) -> Callable[[], iaa.Augmenter]:
    def build() -> iaa.Augmenter:
        import imgaug.augmenters as iaa

        return iaa.Affine(**arguments)

    return build


def _image_by_image(name: str, colours: bool = False, **arguments: object) -> Augmentation:
    """Return an augmentation by the imgaug augmenter of that name."""

    def prepare() -> Vary:
        import imgaug.augmenters as iaa

        augmenter = getattr(iaa, name)(**arguments)

        def vary(image: np.ndarray, sequence: SeedSequence) -> np.ndarray:
            augmenter.seed_(int(sequence.generate_state(1)[0]))
            return augmenter.augment_image(image)

        return vary

    return Augmentation(prepare, colours)


REPORT = Warp(by_imgaug(report))
NONE = Augmentation(lambda: lambda image, _: image)
CELLS = Warp(cells, border="symmetric", cubic=True)
# The second report's RandomAffine: its script turns by up to 5 degrees, and leaves the corners black.
ALEXNET = Warp(by_imgaug(_affine(rotate=(-5, 5))), border="constant")
# The second report lists the others, one by one; it gives no ranges, these are mild.
HEAVY = Warp(heavy)
CROP = Warp(crop, border="symmetric")
ROTATION = Warp(by_imgaug(_affine(rotate=(-180, 180))))
FLIP = Warp(by_imgaug(flips))
HUE = _image_by_image("AddToHue", colours=True, value=(-25, 25))  # 255 are once round, so up to 35 degrees
SATURATION = _image_by_image("MultiplySaturation", colours=True, mul=(0.5, 1.5))
EXPOSURE = _image_by_image("Multiply", mul=(0.7, 1.4))  # as a longer or shorter exposure does; black stays black
ASPECT = Warp(by_imgaug(_affine(scale={"x": (0.8, 1.25)})))
BLUR = _image_by_image("GaussianBlur", sigma=(0, 2))
