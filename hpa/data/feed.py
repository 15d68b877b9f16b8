"""Batches for training and evaluation: plain functions of NumPy, and datasets of tf.data that call them on every core."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from hpa.data.augment import aligned, augment, by_fours
from hpa.data.mixing import mix
from hpa.data.sampling import epoch_items
from hpa.data.store import Joined
from hpa.files import cores

if TYPE_CHECKING:
    import tensorflow as tf

SMALL = 0.72  # of the side, and so half of the pixels


def smaller(images: np.ndarray) -> np.ndarray:
    """Return images, uint8 [B, S, S, C], at `SMALL` of their side."""
    side = round(SMALL * images.shape[1])
    small = aligned((len(images), side, side, images.shape[-1]))
    for image, out in zip(images, small, strict=True):
        by_fours(lambda part, dst: cv2.resize(part, (side, side), dst=dst, interpolation=cv2.INTER_AREA), image, out)
    return small


@dataclass(frozen=True)
class Feed:
    """What a network learns from, batch by batch; any thread may call it.

    The order of an epoch and the augmentation of an item depend on the seed, the epoch and the item alone, and the mixing
    of a batch on its items too, so a feed that starts at a later epoch gives what an uninterrupted one gives from there on.

    Attributes:
        images: uint8 [n, S, S, C]: an array, a memory map or several concatenated.
        targets: uint8 array [n, classes].
        rows: integer array [m], the rows to learn from.
        augmentation: a name in `AUGMENTATIONS`.
        mixing: a name in `MIXINGS`.
        seed: the run's seed.
        factors: float64 array [m], how often each of the rows comes in an epoch (see `hpa.data.sampling`); None for once.
        weights: float32 array [n], what each row weighs in the loss; mixed as targets are. None for no weights.
        small_epochs: so many epochs, from epoch 0 on, have images that are `smaller`.
    """

    images: np.ndarray | Joined
    targets: np.ndarray
    rows: np.ndarray
    augmentation: str
    mixing: str
    seed: int
    factors: np.ndarray | None = None
    weights: np.ndarray | None = None
    small_epochs: int = 0

    def __post_init__(self) -> None:
        """Keep OpenCV from sharing each image out among threads, as several already make batches."""
        cv2.setNumThreads(1)

    def order(self, epoch: int) -> np.ndarray:
        """Return the items of an epoch in their order, int64 [epoch_size(factors)].

        Item `row + k * n` is the copy number k of a row, which is augmented in a way of its own.
        """
        factors = np.ones(len(self.rows)) if self.factors is None else self.factors
        rows = np.asarray(self.rows, np.int64)
        return epoch_items(rows, factors, len(self.images), np.random.default_rng([self.seed, epoch]))

    def load(self, epoch: int, items: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return the batch of some items: images uint8 [B, S, S, C], targets float32 [B, classes], if any weights [B]."""
        chosen = items % len(self.images)
        varied = augment(self.images, items, self.augmentation, self.seed, epoch, chosen)
        if epoch < self.small_epochs:
            varied = smaller(varied)
        truth = self.targets[chosen].astype(np.float32)
        if self.weights is not None:  # mixed as one more column of the targets
            truth = np.column_stack([truth, self.weights[chosen].astype(np.float32)])
        varied, truth = mix(varied, truth, self.mixing, np.random.default_rng([self.seed, epoch, *items]))
        return (varied, truth) if self.weights is None else (varied, truth[:, :-1], truth[:, -1])


def training_batches(feed: Feed, batch_size: int, epochs: range) -> tf.data.Dataset:
    """Return the batches of some epochs, one epoch after the other, as `feed` orders and loads them.

    Returns:
        A dataset of `ceil(epoch_size(factors) / batch_size)` batches an epoch, the last of which may be smaller.
    """
    import tensorflow as tf

    side = None if feed.small_epochs else feed.images.shape[1]
    shapes = [(None, side, side, feed.images.shape[-1]), (None, feed.targets.shape[1]), (None,)]
    types = [tf.uint8, tf.float32] if feed.weights is None else [tf.uint8, tf.float32, tf.float32]

    def batches_of(epoch: tf.Tensor) -> tf.data.Dataset:
        order = tf.data.Dataset.from_tensor_slices(tf.numpy_function(feed.order, [epoch], tf.int64))
        return order.batch(batch_size).map(lambda items: (epoch, items))

    def loaded(epoch: tf.Tensor, items: tf.Tensor) -> tuple[tf.Tensor, ...]:
        batch = tf.numpy_function(feed.load, [epoch, items], types)
        return tuple(tf.ensure_shape(part, shape) for part, shape in zip(batch, shapes, strict=False))

    return prefetched(tf.data.Dataset.range(epochs.start, epochs.stop).flat_map(batches_of), loaded)


def evaluation_batches(images: np.ndarray | Joined, rows: np.ndarray, batch_size: int) -> tf.data.Dataset:
    """Return the rows' images in their order and untouched: a dataset of uint8 batches [B, S, S, C]."""
    import tensorflow as tf

    def loaded(chosen: tf.Tensor) -> tf.Tensor:
        batch = tf.numpy_function(lambda chosen: images[chosen], [chosen], tf.uint8)
        return tf.ensure_shape(batch, (None, *images.shape[1:]))

    batches = tf.data.Dataset.from_tensor_slices(np.asarray(rows, np.int64)).batch(batch_size)
    return prefetched(batches, loaded)


def prefetched(batches: tf.data.Dataset, make: Callable[..., object]) -> tf.data.Dataset:
    """Return what `make` gives for each batch, in order, computed on every core and prefetched."""
    import tensorflow as tf

    # Nothing here needs tuning, and the tuner's thread has kept a training run up to 44 s after its last epoch.
    options = tf.data.Options()
    options.autotune.enabled = False
    return batches.map(make, num_parallel_calls=cores()).prefetch(2).with_options(options)
