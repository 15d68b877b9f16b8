"""Batches for training and evaluation: plain functions of NumPy, called on every core by tf.data or by threads."""

from __future__ import annotations

import functools
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from hpa.backend import backend
from hpa.data.augment import NUMBERS, augment, by_fours, numbers
from hpa.data.mixing import FIELDS, aligned, draw, paint, weigh
from hpa.data.sampling import epoch_items
from hpa.data.store import Images
from hpa.files import cores

Batches = Iterable[tuple[Any, ...]]  # of arrays, or of TensorFlow's tensors

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
        on_device: whether the images are made from `numbers` in the training step, see `hpa.training.on_device`.
    """

    images: Images
    targets: np.ndarray
    rows: np.ndarray
    augmentation: str
    mixing: str
    seed: int
    factors: np.ndarray | None = None
    weights: np.ndarray | None = None
    small_epochs: int = 0
    on_device: bool = False

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

    @functools.cached_property
    def kept(self) -> np.ndarray:
        """The rows whose images a device has to keep: integers in their order."""
        return np.unique(self.rows)

    @functools.cached_property
    def columns(self) -> int:
        """How many numbers make an image on a device: those of `hpa.data.augment.numbers` and those of each layer."""
        return NUMBERS + len(FIELDS) * len(draw(self.mixing, np.random.default_rng(0), 1, 1))

    def load(self, epoch: int, items: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return the batch of some items: images uint8 [B, S, S, C], targets float32 [B, classes], if any weights [B].

        If the images are made on the device, there is float32 [B, columns] instead of them. Its rows count in `kept`.
        """
        chosen, side = items % len(self.images), self.images.shape[1]
        if self.on_device:
            rows = np.searchsorted(self.kept, chosen)
            varied = numbers(self.augmentation, items, rows, self.seed, epoch, side)
        else:
            varied = augment(self.images, items, self.augmentation, self.seed, epoch, chosen)
            if epoch < self.small_epochs:
                varied = smaller(varied)
                side = varied.shape[1]
        truth = self.targets[chosen].astype(np.float32)
        if self.weights is not None:  # mixed as one more column of the targets
            truth = np.column_stack([truth, self.weights[chosen].astype(np.float32)])
        layers = draw(self.mixing, np.random.default_rng([self.seed, epoch, *items]), len(items), side)
        truth = weigh(truth, layers, side)
        if self.on_device:
            varied = np.column_stack([varied, *(layer[name] for layer in layers for name in FIELDS)])
            varied = varied.astype(np.float32)
        else:
            varied = paint(varied, layers)
        return (varied, truth) if self.weights is None else (varied, truth[:, :-1], truth[:, -1])


def batch_shape(count: int, batch_size: int, devices: int = 1) -> tuple[int, int]:
    """Return how many batches so many items fill, and how many items each of them has: at most `batch_size`, all alike.

    Several devices share each batch equally; `batch_size` is a multiple of their number.
    """
    batches = math.ceil(count / batch_size)
    return batches, devices * math.ceil(count / (devices * max(batches, 1)))


def equal_batches(items: np.ndarray, batch_size: int, devices: int = 1) -> np.ndarray:
    """Deal some items out, in their order, to batches of one size: an array [batches, size], see `batch_shape`.

    XLA compiles a network for each shape of its batches. Where the items do not fill the last batch the first ones come
    again, fewer than there are batches, times the devices.

    >>> equal_batches(np.arange(10), 4)
    array([[0, 1, 2, 3],
           [4, 5, 6, 7],
           [8, 9, 0, 1]])
    """
    return np.resize(items, batch_shape(len(items), batch_size, devices))


def training_batches(feed: Feed, batch_size: int, epochs: range, devices: int = 1) -> Batches:
    """Return the batches of some epochs, one epoch after the other, as `feed` orders and loads them.

    Returns:
        See `prefetched`; each epoch is dealt out by `equal_batches`.
    """
    side = None if feed.small_epochs else feed.images.shape[1]
    inputs = ("float32", (feed.columns,)) if feed.on_device else ("uint8", (side, side, feed.images.shape[-1]))
    parts = [inputs, ("float32", (feed.targets.shape[1],)), ("float32", ())]

    def items() -> Iterator[tuple[int, np.ndarray]]:
        for epoch in epochs:
            for batch in equal_batches(feed.order(epoch), batch_size, devices):
                yield epoch, batch

    return prefetched(items, feed.load, parts[: 2 if feed.weights is None else 3])


def evaluation_batches(images: Images, rows: np.ndarray, batch_size: int, devices: int = 1) -> Batches:
    """Return the rows' images in their order and untouched, each batch a tuple of one uint8 array [B, S, S, C].

    After the last row some may come again, see `equal_batches`; what is made of them is to be left out.
    """
    batches = equal_batches(np.asarray(rows, np.int64), batch_size, devices)
    return prefetched(
        lambda: ((0, batch) for batch in batches),
        lambda _, chosen: (augment(images, chosen, "none", 0, 0, chosen),),
        [("uint8", images.shape[1:])],
    )


def prefetched(
    items: Callable[[], Iterator[tuple[int, np.ndarray]]],
    load: Callable[[int, np.ndarray], tuple[np.ndarray, ...]],
    parts: Sequence[tuple[str, tuple[int | None, ...]]],
) -> Batches:
    """Return what `load` gives for each epoch and its items, in order, computed on every core and prefetched.

    Args:
        items: a function that returns the iterator over epochs and items.
        load: returns a batch.
        parts: dtype and shape, without the first axis, of each part of a batch.

    Returns:
        Under TensorFlow a `tf.data.Dataset`, elsewhere a generator of NumPy arrays, which can be gone through once.
    """
    if backend() != "tensorflow":
        return _in_threads(items(), load)
    import tensorflow as tf

    def loaded(epoch: tf.Tensor, items: tf.Tensor) -> tuple[tf.Tensor, ...]:
        batch = tf.numpy_function(load, [epoch, items], [tf.as_dtype(dtype) for dtype, _ in parts])
        return tuple(tf.ensure_shape(part, (None, *shape)) for part, (_, shape) in zip(batch, parts, strict=True))

    # Nothing here needs tuning, and the tuner's thread has kept a training run up to 44 s after its last epoch.
    options = tf.data.Options()
    options.autotune.enabled = False
    specs = (tf.TensorSpec((), tf.int64), tf.TensorSpec((None,), tf.int64))
    batches = tf.data.Dataset.from_generator(items, output_signature=specs)
    return batches.map(loaded, num_parallel_calls=cores()).prefetch(2).with_options(options)


def _in_threads(
    items: Iterator[tuple[int, np.ndarray]], load: Callable[[int, np.ndarray], tuple[np.ndarray, ...]]
) -> Iterator[tuple[np.ndarray, ...]]:
    pool, pending = ThreadPoolExecutor(cores()), deque[Future[tuple[np.ndarray, ...]]]()
    try:
        for each in items:
            pending.append(pool.submit(load, *each))
            if len(pending) > cores() + 2:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
