"""Batches for training and evaluation with tf.data; the only module that needs tensorflow itself."""

import numpy as np
import tensorflow as tf

from hpa.data.augment import augment
from hpa.data.mixing import mix


def training_batches(
    images: np.ndarray,
    targets: np.ndarray,
    rows: np.ndarray,
    batch_size: int,
    augmentation: str,
    mixing: str,
    seed: int,
    epochs: range,
) -> tf.data.Dataset:
    """Return the batches of some epochs, one epoch after the other, each in an order of its own.

    The order of an epoch and the augmentation of an item depend on the seed, the epoch and the item alone, and the mixing
    of a batch on its items too, so a feed that starts at a later epoch gives what an uninterrupted one gives from there on.

    Args:
        images: uint8 array [n, S, S, C]; a memory map will do.
        targets: uint8 array [n, classes].
        rows: integer array [m], the rows to learn from.
        batch_size: rows in a batch; the last batch of an epoch may be smaller.
        augmentation: a name in `hpa.data.augment.POLICIES`.
        mixing: a name in `hpa.data.mixing.MIXINGS`, or "none".
        seed: the run's seed.
        epochs: the numbers of the epochs.

    Returns:
        A dataset of `ceil(m / batch_size)` batches an epoch: uint8 [B, S, S, C] and float32 [B, classes].
    """
    rows = np.asarray(rows, np.int64)

    def shuffled(epoch: int) -> np.ndarray:
        return np.random.default_rng([seed, epoch]).permutation(rows)

    def load(epoch: int, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        varied = augment(images[chosen], chosen, augmentation, seed, epoch)
        truth = targets[chosen].astype(np.float32)
        if mixing == "none":
            return varied, truth
        return mix(varied, truth, mixing, np.random.default_rng([seed, epoch, *chosen]))

    def batches_of(epoch: tf.Tensor) -> tf.data.Dataset:
        order = tf.data.Dataset.from_tensor_slices(tf.numpy_function(shuffled, [epoch], tf.int64))
        return order.batch(batch_size).map(lambda chosen: (epoch, chosen))

    def loaded(epoch: tf.Tensor, chosen: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        batch, truth = tf.numpy_function(load, [epoch, chosen], (tf.uint8, tf.float32))
        return tf.ensure_shape(batch, (None, *images.shape[1:])), tf.ensure_shape(truth, (None, targets.shape[1]))

    batches = tf.data.Dataset.range(epochs.start, epochs.stop).flat_map(batches_of)
    return batches.map(loaded, tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def evaluation_batches(images: np.ndarray, rows: np.ndarray, batch_size: int) -> tf.data.Dataset:
    """Return the rows' images in their order and untouched: a dataset of uint8 batches [B, S, S, C]."""

    def loaded(chosen: tf.Tensor) -> tf.Tensor:
        batch = tf.numpy_function(lambda chosen: images[chosen], [chosen], tf.uint8)
        return tf.ensure_shape(batch, (None, *images.shape[1:]))

    batches = tf.data.Dataset.from_tensor_slices(np.asarray(rows, np.int64)).batch(batch_size)
    return batches.map(loaded, tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)
