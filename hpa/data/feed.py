"""Batches for training and evaluation with tf.data; besides it, only `hpa.models.normalization` uses TensorFlow itself."""

from collections.abc import Callable

import cv2
import numpy as np
import tensorflow as tf

from hpa.data.augment import augment
from hpa.data.images import resized
from hpa.data.mixing import mix
from hpa.data.sampling import epoch_items
from hpa.data.store import Joined
from hpa.files import cores

SMALL = 0.72  # of the side, and so half of the pixels


def smaller(image: np.ndarray) -> np.ndarray:
    """Return an image, uint8 [S, S, C], at `SMALL` of its side."""
    return np.dstack([resized(channel, round(SMALL * len(image))) for channel in cv2.split(image)])


def training_batches(
    images: np.ndarray | Joined,
    targets: np.ndarray,
    rows: np.ndarray,
    batch_size: int,
    augmentation: str,
    mixing: str,
    seed: int,
    epochs: range,
    factors: np.ndarray | None = None,
    weights: np.ndarray | None = None,
    small_epochs: int = 0,
) -> tf.data.Dataset:
    """Return the batches of some epochs, one epoch after the other, each in an order of its own.

    The order of an epoch and the augmentation of an item depend on the seed, the epoch and the item alone, and the mixing
    of a batch on its items too, so a feed that starts at a later epoch gives what an uninterrupted one gives from there on.
    A row that comes more than once in an epoch is another item each time.

    Args:
        images: uint8 [n, S, S, C]: an array, a memory map or several concatenated.
        targets: uint8 array [n, classes].
        rows: integer array [m], the rows to learn from.
        batch_size: rows in a batch; the last batch of an epoch may be smaller.
        augmentation: a name in `AUGMENTATIONS`.
        mixing: a name in `MIXINGS`.
        seed: the run's seed.
        epochs: the numbers of the epochs.
        factors: float64 array [m], how often each of the rows comes in an epoch (see `hpa.data.sampling`); None for once.
        weights: float32 array [n], what each row weighs in the loss; mixed as targets are. None for no weights.
        small_epochs: so many epochs, from epoch 0 on, have images that are `smaller`.

    Returns:
        A dataset of `ceil(epoch_size(factors) / batch_size)` batches an epoch: uint8 [B, S, S, C], float32 [B, classes]
        and, if there are weights, float32 [B].
    """
    rows = np.asarray(rows, np.int64)
    factors = np.ones(len(rows)) if factors is None else factors
    # The weights go along as one more column of the targets.
    truths = targets if weights is None else np.column_stack([targets, weights])
    side = None if small_epochs else images.shape[1]

    def shuffled(epoch: int) -> np.ndarray:
        return epoch_items(rows, factors, len(images), np.random.default_rng([seed, epoch]))

    def load(epoch: int, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        chosen = items % len(images)
        varied = augment(images[chosen], items, augmentation, seed, epoch)
        if epoch < small_epochs:
            varied = np.stack([smaller(image) for image in varied])
        truth = truths[chosen].astype(np.float32)
        return mix(varied, truth, mixing, np.random.default_rng([seed, epoch, *items]))

    def batches_of(epoch: tf.Tensor) -> tf.data.Dataset:
        order = tf.data.Dataset.from_tensor_slices(tf.numpy_function(shuffled, [epoch], tf.int64))
        return order.batch(batch_size).map(lambda items: (epoch, items))

    def loaded(epoch: tf.Tensor, items: tf.Tensor) -> tuple[tf.Tensor, ...]:
        batch, truth = tf.numpy_function(load, [epoch, items], (tf.uint8, tf.float32))
        batch = tf.ensure_shape(batch, (None, side, side, images.shape[-1]))
        truth = tf.ensure_shape(truth, (None, truths.shape[1]))
        return (batch, truth) if weights is None else (batch, truth[:, :-1], truth[:, -1])

    batches = tf.data.Dataset.range(epochs.start, epochs.stop).flat_map(batches_of)
    return prefetched(batches, loaded)


def evaluation_batches(images: np.ndarray | Joined, rows: np.ndarray, batch_size: int) -> tf.data.Dataset:
    """Return the rows' images in their order and untouched: a dataset of uint8 batches [B, S, S, C]."""

    def loaded(chosen: tf.Tensor) -> tf.Tensor:
        batch = tf.numpy_function(lambda chosen: images[chosen], [chosen], tf.uint8)
        return tf.ensure_shape(batch, (None, *images.shape[1:]))

    batches = tf.data.Dataset.from_tensor_slices(np.asarray(rows, np.int64)).batch(batch_size)
    return prefetched(batches, loaded)


def prefetched(batches: tf.data.Dataset, make: Callable[..., object]) -> tf.data.Dataset:
    """Return what `make` gives for each batch, in order, computed on every core and prefetched."""
    # Nothing here needs tuning, and the tuner's thread has kept a training run up to 44 s after its last epoch.
    options = tf.data.Options()
    options.autotune.enabled = False
    return batches.map(make, num_parallel_calls=cores()).prefetch(2).with_options(options)
