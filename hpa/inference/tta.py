"""Test-time augmentation: the mean prediction over turned and mirrored views of an image."""

import keras
import numpy as np
from scipy.special import expit, logit, softmax

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


def mean_probabilities(outputs: np.ndarray, labels: str) -> np.ndarray:
    """Return the mean over the first axis of outputs [views, B, classes], whatever the labels."""
    return outputs.mean(axis=0)


def mean_logits(outputs: np.ndarray, labels: str) -> np.ndarray:
    """Return the probabilities that belong to the mean of the logits, float32 [B, classes].

    The logit is that of a sigmoid, log(p / (1 - p)), where samples have many labels. Where they have one it is that of a
    softmax, log(p), so that the result is the normalised geometric mean. Probabilities are kept off 0 and 1 by Keras'
    epsilon, as in its crossentropies: one view that is sure must not outvote all others.

    Args:
        outputs: float32 array [views, B, classes] of probabilities.
        labels: `"one"` or `"many"`.
    """
    epsilon = keras.config.epsilon()
    kept = np.clip(outputs.astype(np.float64), epsilon, 1 - epsilon)
    if labels == "one":
        return softmax(np.log(kept).mean(axis=0), axis=1).astype(np.float32)
    return expit(logit(kept).mean(axis=0)).astype(np.float32)


AVERAGES = {"probabilities": mean_probabilities, "logits": mean_logits}


def mean_over_views(
    model: keras.Model, images: np.ndarray, views: int, average: str = "probabilities", labels: str = "many"
) -> np.ndarray:
    """Return the mean of a model's outputs over views of a batch, float32 [B, classes].

    Args:
        model: a compiled model.
        images: uint8 array [B, S, S, C].
        views: a key of `VIEWS`.
        average: a key of `AVERAGES`.
        labels: `"one"` or `"many"`.
    """
    outputs = [model.predict_on_batch(np.ascontiguousarray(view(images, *each))) for each in VIEWS[views]]
    return AVERAGES[average](np.stack(outputs), labels)
