"""Training on several devices of one computer: each takes an equal part of every batch, and all keep the same weights.

Under JAX Keras' `DataParallel` shards the batches. Loss and batch statistics are those of the whole batch by themselves, as
one device would compute them. Under TensorFlow each device of a `MirroredStrategy` is a replica, which sees its part of the
batch. What is more than a sum over rows has to be brought together there: the functions below do.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import keras
import numpy as np
from keras import KerasTensor

from hpa.backend import backend
from hpa.data.feed import Batches
from hpa.errors import BadInput, Failure
from hpa.hardware import accelerators
from hpa.settings import Settings
from hpa.training.resolve import require_shareable


def count_devices(asked: int | str, settings: Settings) -> int:
    """Return how many devices a run trains on, of those that Keras' backend finds.

    Args:
        asked: the number, or "all".
        settings: the run's.

    Raises:
        BadInput: if there are fewer, or the backend or the settings are not for several.
    """
    names = [f"device {number}" for number in range(accelerators() or 1)] if backend() == "torch" else _names()
    if asked != "all" and not isinstance(asked, int):
        raise BadInput(f"devices {asked}: expected a number or all", "devices")
    count = len(names) if asked == "all" else int(asked)
    if not 1 <= count <= len(names):
        raise BadInput(f"devices: {count} asked for, and {backend()} finds {len(names)} ({', '.join(names)})", "devices")
    require_shareable(count, settings)
    return count


def _names() -> list[str]:
    return list(keras.distribution.list_devices())


@contextmanager
def distributed(count: int) -> Iterator[None]:
    """Let the models that are made and trained in this block use so many devices; Keras forgets what was made before."""
    keras.utils.clear_session()  # layers are numbered from 0 again, so that names do not depend on earlier runs
    if count == 1:
        yield
        return
    names = _names()[:count]
    if backend() == "jax":
        with keras.distribution.DataParallel(devices=names).scope():
            yield
        return
    with _strategy(*names).scope():
        yield


@cache
def _strategy(*names: str) -> Any:
    """Return TensorFlow's strategy for some devices, always the same: exchanges of a second one would mix with its own."""
    import tensorflow as tf

    if _strategy.cache_info().currsize:
        raise Failure(
            f"devices {len(names)}: this process has trained on another number of devices, and TensorFlow allows one; start "
            "a new process"
        )
    return tf.distribute.MirroredStrategy([f"/{name}" for name in names])


def _replicas() -> int:
    """Return how many replicas the models that are made here have; under JAX there is one, on whatever devices."""
    if backend() != "tensorflow":
        return 1
    import tensorflow as tf

    return int(tf.distribute.get_strategy().num_replicas_in_sync)


def shared(batches: Batches) -> Batches:
    """Return batches as `hpa.data.feed` makes them so that each replica gets its part, in the order of the rows."""
    count = _replicas()
    if count == 1:
        return batches
    import tensorflow as tf

    def parts_of(*batch: tf.Tensor) -> tf.data.Dataset:
        rows = tf.shape(batch[0], tf.int64)[0] // count
        return tf.data.Dataset.range(0, count * rows, rows).map(lambda row: tuple(part[row : row + rows] for part in batch))

    parts = batches.flat_map(parts_of).prefetch(2 * count)  # type: ignore[attr-defined]
    return tf.distribute.get_strategy().distribute_datasets_from_function(lambda _: parts)


def of_all_devices(targets: KerasTensor, probabilities: KerasTensor) -> tuple[KerasTensor, KerasTensor]:
    """Return the rows of the whole batch, where a replica computes a part of it; anywhere else, those that are given."""
    if _replicas() == 1:
        return targets, probabilities
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    if context is None:  # Keras looks at the shapes alone
        return targets, probabilities
    logits = getattr(probabilities, "_keras_logits", probabilities)  # where Keras' crossentropies look for them
    targets, probabilities, logits_of_all = context.all_gather((targets, probabilities, logits), axis=0)
    if logits is not probabilities:
        probabilities._keras_logits = logits_of_all
    return targets, probabilities


def synchronize(model: keras.Model, on: bool) -> None:
    """Let batch normalisation take its statistics from the whole batch instead of each replica's part, or no longer.

    Only while it learns: what Keras saves of a layer that is synchronized cannot be loaded under other backends.
    """
    if _replicas() > 1:
        for layer in model.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.synchronized = on


def assign_seeds(state: keras.Variable, entropy: Sequence[int]) -> None:
    """Let a layer's random numbers begin anew; each of TensorFlow's replicas has its own."""
    copies = [state]
    if _replicas() > 1:
        import tensorflow as tf

        copies = tf.distribute.get_strategy().experimental_local_results(state.value)
    for copy, seed in zip(copies, np.random.SeedSequence(entropy).generate_state(len(copies)) >> 1, strict=True):
        copy.assign([int(seed), 0])
