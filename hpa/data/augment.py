"""Augmentation of batches by the name of an augmentation, and pictures of it."""

import numpy as np
from numpy.random import SeedSequence

from hpa.errors import BadInput
from hpa.registry import AUGMENTATIONS


def policies_for(channels: int) -> list[str]:
    """Return the names of the policies that images of so many channels allow; hue and saturation are for RGB alone."""
    return [name for name, each in AUGMENTATIONS.items() if channels == 3 or not each.colours]


def require_channels(policy: str, channels: int) -> None:
    """Refuse a policy for colours where there are none.

    Raises:
        BadInput: naming the policies that images of so many channels allow.
    """
    if policy not in policies_for(channels):
        raise BadInput(
            f"augmentation '{policy}' needs three colour channels, this task has {channels}; "
            f"choose from {', '.join(policies_for(channels))}"
        )


def augment(images: np.ndarray, items: np.ndarray, policy: str, seed: int, epoch: int) -> np.ndarray:
    """Return augmented copies of some images.

    How an item is varied depends on `seed`, `epoch` and its number alone, not on the batch or thread it comes in.

    Args:
        images: uint8 array [B, H, W, C].
        items: integer array [B], the items' numbers in the data set.
        policy: a name in `AUGMENTATIONS`.
        seed: the run's seed.
        epoch: the epoch's number.

    Returns:
        uint8 array [B, H, W, C].

    Raises:
        BadInput: if the policy needs other channels than the images have (see `require_channels`).
    """
    require_channels(policy, images.shape[-1])
    vary = AUGMENTATIONS[policy].prepare()
    augmented = np.empty_like(images)
    for place, (image, item) in enumerate(zip(images, items, strict=True)):
        augmented[place] = vary(image, SeedSequence([seed, epoch, item]))
    return augmented
