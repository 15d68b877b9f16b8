"""One stage's fit: its validation after every epoch, what it writes then, and how it goes on after an interruption.

At the end of epoch n the run folder gets, in this order, `model-n.keras` and `validation-n.npz` if the epoch is the best so
far, `state-n.keras` (model, optimizer and learning rate), and `history.csv`, whose rows count the finished epochs. Then the
two become `model.keras` and `validation.npz`, which so are of one epoch, and of one that the history has.
A process that dies anywhere in between is taken up from the state that the history names. All randomness of an epoch
comes from the seed and the epoch's number, so what is done again comes out the same, but for times. Keras' BackupAndRestore
does not know the history: after a kill between the two they would be of different epochs.
"""

import logging
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
from keras import ops
from tqdm import tqdm

from hpa.backend import backend
from hpa.data.feed import Feed, batch_shape, evaluation_batches, training_batches
from hpa.data.sampling import class_weights, epoch_size, positive_weights, repeat_factors
from hpa.data.store import Images
from hpa.data.tables import SampleTable
from hpa.errors import BadInput, Diverged
from hpa.files import file_digest, written_whole
from hpa.hardware import accelerators, announce, jit_compile
from hpa.models.catalog import load, save
from hpa.registry import SCHEDULES
from hpa.runs.folder import BEST, TIMES, model_shape, of_epoch, read_history, unsettled, write_history
from hpa.runs.monitor import has_stalled
from hpa.scoring.predictions import Predictions, write_predictions
from hpa.settings import Settings
from hpa.tasks import Task
from hpa.training.averages import averaged, measure_statistics
from hpa.training.distribution import assign_seeds, shared, synchronize
from hpa.training.layerwise import layerwise
from hpa.training.objective import NamedLoss
from hpa.training.on_device import OnDevice
from hpa.training.optimizers import new_optimizer
from hpa.training.transfer import freeze, phases

# For the batch statistics of EMA weights; with twice as many HEp-2 cells the validation loss was no lower.
MEASURED_ROWS = 1024
MEASURED_BATCH = 64  # rows at least: batches of 16 took nearly twice as long, and their variances are of fewer rows
# How many steps are taken between two looks at the loss, at most: each look waits for the device, and a small step takes no
# longer than its call from Python. On a processor no more than so many pixels are taken, so that Ctrl-C is heard soon.
STEPS_AT_ONCE, PIXELS_AT_ONCE = 16, 2**20

Logs = Mapping[str, Any]  # Keras gives its callbacks the means so far

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rows:
    """Some rows of a packed set.

    Attributes:
        images: uint8 [n, S, S, C], memory-mapped.
        table: ids and targets of the n rows.
        rows: integer array [m], those that count.
        weights: float32 array [n], what each row weighs in the training loss; None for equal weights.
    """

    images: Images
    table: SampleTable
    rows: np.ndarray
    weights: np.ndarray | None = None


def fit(
    folder: Path,
    settings: Settings,
    task: Task,
    new_model: Callable[[], keras.Model],
    training: Rows,
    validation: Rows,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    devices: int = 1,
) -> None:
    """Train the run in `folder` up to its last epoch, from wherever an earlier try got to.

    Args:
        folder: the run folder, with its config.json.
        settings: what the run is made with.
        task: what is classified.
        new_model: a function without arguments that returns the uncompiled model that a run without epochs starts from.
        training: the rows to learn from.
        validation: the rows to validate with.
        callbacks: more of Keras' callbacks; at the end of an epoch they are called when its row is in the history.
        devices: how many share every batch; this is called within `hpa.training.distribution.distributed`.

    Raises:
        BadInput: if the state that the history names is missing, damaged or another network's.
        Diverged: if the loss is no longer a finite number; the best model so far stays.
    """
    keras.utils.set_random_seed(settings.seed)
    done = len(read_history(folder))
    targets = training.table.known_targets
    learned = targets[training.rows]
    factors = repeat_factors(learned, settings.oversampling)
    positives, weights = None, training.weights
    if settings.positive_weights != "none":
        positives = positive_weights(learned, factors, settings.positive_weights).tolist()
    if settings.class_weights != "none":
        of_rows = class_weights(learned, factors, settings.class_weights)[targets.argmax(axis=1)]
        weights = of_rows if weights is None else weights * of_rows
    steps, size = batch_shape(epoch_size(factors), settings.batch_size, devices)
    at_once = steps_at_once(steps, size * settings.size**2, devices)
    if done:
        state = _state_file(folder, done)
        if not state.exists():
            raise BadInput(f"{state}: missing, and history.csv says that it is the last; delete the folder and train again")
        model = load(state, compile=True, shape=model_shape(settings, task))
        if not model.compiled:
            raise BadInput(f"{state}: holds no optimizer, it is no state of a training; delete the folder and train again")
    else:
        with computing_in(settings.precision):
            model = new_model()
        if settings.batch_statistics == "renewed":
            measure_statistics(model, (images for (images,) in statistics_batches(settings, training)()))
    announce(settings.precision, devices)
    feed = Feed(
        training.images,
        targets,
        training.rows,
        settings.augmentation,
        settings.mixing,
        settings.seed,
        factors,
        weights,
        int(settings.progressive_resizing * settings.epochs),
        settings.augment_on == "device",
    )
    validation_loss = NamedLoss(settings.loss, 0.0, positives)
    learning = OnDevice(model, feed) if feed.on_device else model  # one for all phases: it holds a copy of all pixels
    for first, end, share, own in phases(settings, done):
        if own:
            freeze(model, settings.part, share, keep_statistics=settings.batch_statistics != "learned")
            optimizer = new_optimizer(own, steps)
            if settings.first_layer_rate < 1:
                optimizer = layerwise(optimizer, model, settings.first_layer_rate)
        else:
            optimizer = model.optimizer
        compile_model(model, settings, task, optimizer, positives, at_once)
        if learning is not model:
            compile_model(learning, settings, task, optimizer, positives, at_once)
        learning.fit(
            shared(training_batches(feed, settings.batch_size, range(first, end), devices)),
            initial_epoch=first,
            epochs=end,
            steps_per_epoch=steps,
            shuffle=False,  # the feed has done it
            verbose=0,
            callbacks=[Epochs(folder, settings, task, size, training, validation, validation_loss, devices), *callbacks],
        )
        if learning.stop_training:
            break


def statistics_batches(settings: Settings, training: Rows) -> Callable[[], Iterable[tuple[Any, ...]]]:
    """Return a function that returns some training images without augmentation, in batches, for statistics of batches."""
    rows = np.random.default_rng(settings.seed).permutation(training.rows)[:MEASURED_ROWS]
    return partial(evaluation_batches, training.images, rows, max(settings.batch_size, MEASURED_BATCH))


def settle(folder: Path) -> None:
    """Let the best epoch's model and predictions take the place of those before it; delete those of an unfinished epoch.

    Done once more, after a kill in the middle of it say, it does what is left to do.
    """
    done = len(read_history(folder))
    for epoch, file in sorted((epoch, file) for file, epoch in unsettled(folder).items()):
        if epoch > done:
            file.unlink()
        else:
            os.replace(file, folder / f"{file.stem.removesuffix(f'-{epoch}')}{file.suffix}")


@contextmanager
def computing_in(precision: str) -> Iterator[None]:
    """Have the layers that are made while the block runs compute in a precision, one of `PRECISIONS`."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def compile_model(
    model: keras.Model,
    settings: Settings,
    task: Task,
    optimizer: keras.Optimizer,
    positives: list[float] | None = None,
    at_once: int = 1,
) -> None:
    """Compile a model with its loss, and `positives`, the weight of each class' positives in it, if it has such.

    It takes `at_once` steps for each call from Python. What is frozen by then stays frozen.
    """
    model.compile(
        optimizer=optimizer,
        loss=NamedLoss(settings.loss, settings.label_smoothing, positives),
        metrics=[task.kind.metric()],
        jit_compile=jit_compile(),
        steps_per_execution=at_once,
    )


def steps_at_once(steps: int, pixels: int, devices: int = 1) -> int:
    """Return how many of an epoch's steps are taken at once: a divisor, since Keras' next call begins the next epoch.

    PyTorch's trainer takes one at a time, and so does TensorFlow's on several devices, which exchange what they have found.

    Args:
        steps: of an epoch.
        pixels: of a batch.
        devices: that share the batch.
    """
    most = STEPS_AT_ONCE if accelerators() else min(STEPS_AT_ONCE, PIXELS_AT_ONCE // pixels)
    alone = backend() == "torch" or (backend() == "tensorflow" and devices > 1)
    return 1 if alone else max(each for each in range(1, max(most, 1) + 1) if steps % each == 0)


class Epochs(keras.callbacks.Callback):
    """Reseeds, validates, reports and saves, epoch by epoch."""

    def __init__(
        self,
        folder: Path,
        settings: Settings,
        task: Task,
        size: int,
        training: Rows,
        validation: Rows,
        loss: NamedLoss,
        devices: int,
    ) -> None:
        super().__init__()
        self.folder, self.settings, self.task, self.size, self.loss = folder, settings, task, size, loss
        self.measured = statistics_batches(settings, training)
        self.samples = validation.table.at(validation.rows)
        self.batches = partial(evaluation_batches, validation.images, validation.rows, settings.batch_size, devices)
        self.steps, _ = batch_shape(len(validation.rows), settings.batch_size, devices)
        self.plateau: keras.callbacks.ReduceLROnPlateau | None = None

    @property
    def network(self) -> keras.Model:
        """The network alone; under JAX to ask for `self.model` brings its weights up to date."""
        model = self.model
        return model.network if isinstance(model, OnDevice) else model

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Show the plateau schedule all epochs so far: Keras saves no callback's memory."""
        plateau = SCHEDULES[self.settings.schedule].plateau
        if plateau:
            by_score = plateau == "score"
            watched, mode = (self.task.kind.monitor.best, "max") if by_score else ("validation_loss", "min")
            self.plateau = keras.callbacks.ReduceLROnPlateau(watched, factor=0.1, patience=5, mode=mode)
            self.plateau.set_model(self.network)
            self.plateau.on_train_begin()
            self.network.optimizer.learning_rate = self.settings.learning_rate
            for row in read_history(self.folder).to_dict("records"):
                self.plateau.on_epoch_end(row["epoch"] - 1, row)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Give every dropout the random state that belongs to this epoch and start the progress bar."""
        for number, layer in enumerate(self.network.layers):
            if isinstance(layer, keras.layers.Dropout) and layer.rate:  # at rate 0 it draws nothing
                assign_seeds(layer.seed_generator.state, [self.settings.seed, epoch, number])
        synchronize(self.network, True)
        rows = self.params["steps"] * self.size
        self.bar = tqdm(total=rows, unit="img", desc=f"epoch {epoch + 1}", leave=False, disable=None)
        self.start = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        """Advance the progress bar; stop if the loss is not finite."""
        self.bar.update((batch + 1) * self.size - self.bar.n)
        self.bar.set_postfix_str(f"loss {logs['loss']:.4f}", refresh=False)
        self._require_finite(logs["loss"], "loss")

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Validate on the whole held-out set, keep the model if it is the best, and write the epoch down."""
        rate = self.params["steps"] * self.size / (time.perf_counter() - self.start)
        self.bar.close()
        synchronize(self.network, False)
        monitor, targets, network = self.task.kind.monitor, self.samples.known_targets, self.network
        with averaged(network, (images for (images,) in self.measured())):
            at_once, network.steps_per_execution = network.steps_per_execution, 1  # else all are one large graph
            probabilities = network.predict(shared(self.batches()), verbose=0, steps=self.steps)[: len(targets)]
            network.steps_per_execution = at_once
            loss = float(self.loss.value(targets, probabilities))
            self._require_finite(loss, "validation loss")
            row = {
                "epoch": epoch + 1,
                "learning_rate": float(ops.convert_to_numpy(network.optimizer.learning_rate)),
                "loss": logs["loss"],
                monitor.training: logs[monitor.training],
                "validation_loss": loss,
                **self.task.kind.monitor.scores(targets, probabilities),
            }
            history = read_history(self.folder)
            improved = not len(history) or row[monitor.best] > history[monitor.best].max()
            if improved:
                best, kept = (self.folder / of_epoch(name, epoch + 1) for name in BEST)
                save(network, best)
                predictions = Predictions(self.samples.ids, self.task.classes, probabilities, targets, self.task.labels)
                write_predictions(kept, replace(predictions, model_sha256=file_digest(best)))
        _save(network, _state_file(self.folder, epoch + 1))
        row |= dict(zip(TIMES, (round(time.perf_counter() - self.start, 2), round(rate, 1)), strict=True))
        history = pd.concat([history, pd.DataFrame([row])], ignore_index=True).dropna(axis="columns")  # begun without times
        write_history(self.folder, history)
        settle(self.folder)
        _state_file(self.folder, epoch).unlink(missing_ok=True)
        if self.plateau:
            self.plateau.on_epoch_end(epoch, row)
        scores = ", ".join(f"{row[column]:.4f} {name}" for column, name in monitor.validation.items())
        logger.info(
            f"epoch {epoch + 1}/{self.settings.epochs}  loss {row['loss']:.4f}  {monitor.name} {row[monitor.training]:.4f}  "
            f"validation: loss {loss:.4f}  {monitor.name} {scores}{' *' if improved else ''}  {rate:.0f} images/s"
        )
        if has_stalled(history[monitor.best], self.settings.patience):
            logger.info("no better %s for %d epochs: training ends here", monitor.name, self.settings.patience)
            self.model.stop_training = True
        if epoch + 1 == self.params["epochs"]:  # else Keras' fit ends with the average, and the next would go on with it
            network.optimizer.use_ema = False

    def _require_finite(self, loss: float, name: str) -> None:
        if not math.isfinite(loss):
            self.bar.close()
            kept = "the best model so far is kept" if len(read_history(self.folder)) else "no epoch was finished"
            raise Diverged(
                f"{self.folder}: the {name} is {loss}, training has diverged; {kept}. "
                "Delete the folder and train again with a lower learning rate"
            )


def _state_file(folder: Path, epochs: int) -> Path:
    return folder / f"state-{epochs}.keras"


def _save(model: keras.Model, path: Path) -> None:
    with written_whole(path) as temporary:
        model.save(temporary)
