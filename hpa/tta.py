"""Test-time augmentation: the mean prediction over an image and its turned and mirrored copies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hpa.errors import BadInput
from hpa.labels import LABELS

if TYPE_CHECKING:  # commands import this module for their options, and need no NumPy for these
    import numpy as np
    from numpy.typing import NDArray

# Quarter turns and mirror of each copy: the image itself first, the whole dihedral group of the square last.
VIEWS = {
    1: ((0, False),),
    2: ((0, False), (0, True)),
    4: ((0, False), (1, False), (2, False), (3, False)),
    8: tuple((turns, mirrored) for mirrored in (False, True) for turns in range(4)),
}
EPSILON = 1e-7  # that of Keras' crossentropies


def view(images: NDArray[np.uint8], turns: int, mirrored: bool) -> NDArray[np.uint8]:
    """Return images [B, S, S, C] turned anticlockwise by quarter turns, then mirrored left to right if asked for."""
    import numpy as np

    turned = np.rot90(images, turns, axes=(1, 2))
    return turned[:, :, ::-1] if mirrored else turned


def mean_logits(outputs: NDArray[np.float32], labels: str) -> NDArray[np.float32]:
    """Return the probabilities, float32 [B, classes], of the mean logits of probabilities, float32 [copies, B, classes].

    For multi-label samples the logit is that of a sigmoid, log(p / (1 - p)). For single-label samples it is that of a
    softmax, log(p), so the result is the normalised geometric mean. Probabilities are clipped to [epsilon, 1 - epsilon], as
    in Keras' crossentropies: a certain prediction of one copy must not outvote all others.
    """
    import numpy as np

    clipped = np.clip(outputs.astype(np.float64), EPSILON, 1 - EPSILON)
    kind = LABELS[labels]
    return np.asarray(kind.from_logits(kind.to_logits(clipped).mean(axis=0)), np.float32)


# Each takes outputs, float32 [copies, B, classes], and labels, and returns the mean, float32 [B, classes].
AVERAGES: dict[str, Any] = {"probabilities": lambda outputs, labels: outputs.mean(axis=0), "logits": mean_logits}


@dataclass(frozen=True)
class TTA:
    """Test-time augmentation: how many copies of each image a network predicts, and what is averaged.

    Attributes:
        views: how many copies, a key of `VIEWS`; 1 is the image itself.
        average: a key of `AVERAGES`; always `"probabilities"` for 1.

    Raises:
        BadInput: if one of them is no such key.

    Example:
        >>> print(TTA(8, "logits"), TTA(1), sep=", ")
        test-time augmentation 8 (mean of logits), no test-time augmentation
    """

    views: int = 1
    average: str = "probabilities"

    def __post_init__(self) -> None:
        """Check the values. Files may give them as other kinds of numbers."""
        for name, known in (("views", tuple(VIEWS)), ("average", tuple(AVERAGES))):
            if getattr(self, name) not in known:
                raise BadInput(f"{name} is {getattr(self, name)!r:.100}; expected one of {', '.join(map(str, known))}")
        object.__setattr__(self, "views", int(self.views))
        if self.views == 1:
            object.__setattr__(self, "average", "probabilities")

    def __str__(self) -> str:
        if self.views == 1:
            return "no test-time augmentation"
        return f"test-time augmentation {self.views} (mean of {self.average})"

    def predict(self, model: Any, images: NDArray[np.uint8], labels: str, batch: int = 0) -> NDArray[np.float32]:
        """Return a compiled model's mean over the copies of images, uint8 [B, S, S, C], as float32 [B, classes]."""
        mean: NDArray[np.float32] = self.predict_all([model], images, labels, batch)[0]
        return mean

    def predict_all(
        self, models: Sequence[Any], images: NDArray[np.uint8], labels: str, batch: int = 0
    ) -> NDArray[np.float32]:
        """Return the mean of each of several models, float32 [models, B, classes]; each copy is made once for all.

        Models see at least `batch` images, the last one several times if need be: XLA compiles a network for each number of
        images, which takes longer than to predict a few images in vain.
        """
        import numpy as np

        count, missing = len(images), batch - len(images)
        if missing > 0:
            images = np.concatenate([images, np.repeat(images[-1:], missing, axis=0)])
        copies = (np.ascontiguousarray(view(images, *each)) for each in VIEWS[self.views])
        outputs = [[model.predict_on_batch(copy)[:count] for model in models] for copy in copies]
        return np.stack([AVERAGES[self.average](np.stack(own), labels) for own in zip(*outputs, strict=True)])


NO_TTA = TTA()
