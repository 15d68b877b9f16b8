"""Test-time augmentation: the mean prediction over turned and mirrored views of an image."""

import keras
import numpy as np

# Quarter turns and mirror of each view: the image itself first, the whole dihedral group of the square last.
VIEWS = {
    1: ((0, False),),
    2: ((0, False), (0, True)),
    4: ((0, False), (1, False), (2, False), (3, False)),
    8: tuple((turns, mirrored) for mirrored in (False, True) for turns in range(4)),
}


def view(images: np.ndarray, turns: int, mirrored: bool) -> np.ndarray:
    """Return images [B, S, S, C] turned anticlockwise by quarter turns, then mirrored left to right if asked for."""
    turned = np.rot90(images, turns, axes=(1, 2))
    return turned[:, :, ::-1] if mirrored else turned


def mean_over_views(model: keras.Model, images: np.ndarray, views: int) -> np.ndarray:
    """Return the mean of a model's probabilities over views of a batch, float32 [B, classes].

    Args:
        model: a compiled model.
        images: uint8 array [B, S, S, C].
        views: a key of `VIEWS`.
    """
    total = sum(model.predict_on_batch(np.ascontiguousarray(view(images, *each))) for each in VIEWS[views])
    return total / np.float32(views)
