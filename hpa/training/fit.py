"""One stage's fit: its validation after every epoch, what it writes then, and how it goes on after an interruption.

At the end of epoch n the run folder gets, in this order, `model.keras` and `validation.npz` if the epoch is the best so
far, `state-n.keras` (model, optimizer and learning rate), and `history.csv`, whose rows count the finished epochs.
A process that dies anywhere in between is taken up from the state that the history names. All randomness of an epoch
comes from the seed and the epoch's number, so what is done again comes out the same.
"""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import pandas as pd
from keras import ops
from tqdm import tqdm

from hpa.data.feed import evaluation_batches, training_batches
from hpa.data.tables import SampleTable
from hpa.errors import Failure
from hpa.files import written_whole
from hpa.models.catalog import load
from hpa.models.gapnet import DENSE_PART
from hpa.scoring.metrics import macro_f1
from hpa.scoring.predictions import Predictions, write_predictions
from hpa.scoring.thresholds import best_global_threshold
from hpa.training.losses import LOSS_FUNCTIONS
from hpa.training.runs import read_history, write_history
from hpa.training.stages import STAGES, Settings


def fit(
    folder: Path,
    settings: Settings,
    new_model: Callable[[], keras.Model],
    images: np.ndarray,
    table: SampleTable,
    classes: tuple[str, ...],
    held_out: np.ndarray,
) -> None:
    """Train the run in `folder` up to its last epoch, from wherever an earlier try got to.

    Args:
        folder: the run folder, with its config.json.
        settings: what the run is made with.
        new_model: a function without arguments that returns the uncompiled model that a run without epochs starts from.
        images: uint8 array [n, S, S, C].
        table: ids and targets of the n rows.
        classes: class names.
        held_out: bool array [n], true for the rows of the validation set; the others are learned from.

    Raises:
        Failure: if the loss is no longer a finite number; the best model so far stays.
    """
    keras.utils.clear_session()  # layers are numbered from 0 again, so that names do not depend on earlier runs
    keras.utils.set_random_seed(settings.seed)
    done = len(read_history(folder))
    if done:
        model = load(_state_file(folder, done), compile=True)
        compile_model(model, settings, model.optimizer)
    else:
        model = new_model()
        freeze(model, STAGES[settings.stage].part)
        compile_model(model, settings, keras.optimizers.Adam(settings.learning_rate))
    rows, validation_rows = np.flatnonzero(~held_out), np.flatnonzero(held_out)
    validation = Validation(
        SampleTable(table.ids[validation_rows], table.targets[validation_rows]),
        classes,
        evaluation_batches(images, validation_rows, settings.batch_size),
    )
    batches = training_batches(
        images,
        table.targets,
        rows,
        settings.batch_size,
        settings.augmentation,
        settings.seed,
        range(done, settings.epochs),
    )
    model.fit(
        batches,
        initial_epoch=done,
        epochs=settings.epochs,
        steps_per_epoch=math.ceil(len(rows) / settings.batch_size),
        shuffle=False,  # the feed has done it
        verbose=0,
        callbacks=[Epochs(folder, settings, len(rows), validation)],
    )


def freeze(model: keras.Model, part: str) -> None:
    """Let only the `part` ("all", "convolutional" or "dense") of a network learn; takes effect when it is compiled."""
    for layer in model.layers:
        layer.trainable = part == "all" or (part == "dense") == layer.name.startswith(DENSE_PART)


def just_in_time() -> str | bool:
    """Return the `jit_compile` setting for this machine.

    On two CPU cores the compiler made a training step of variant 0 about six times slower; a GPU is left to Keras.
    """
    return "auto" if keras.distribution.list_devices("gpu") else False


def compile_model(model: keras.Model, settings: Settings, optimizer: keras.Optimizer) -> None:
    """Compile a model with its stage's loss; what is frozen by then stays frozen."""
    model.compile(
        optimizer=optimizer,
        loss=LOSS_FUNCTIONS[settings.loss],
        # Counts are summed over the whole epoch; a mean of the batches' F1 would be another, lower number.
        metrics=[keras.metrics.F1Score(average="macro", threshold=0.5, name="f1")],
        jit_compile=just_in_time(),
    )


@dataclass(frozen=True)
class Validation:
    """The held-out rows, their class names, and their images in batches."""

    table: SampleTable
    classes: tuple[str, ...]
    batches: Iterable


class Epochs(keras.callbacks.Callback):
    """Reseeds, validates, reports and saves, epoch by epoch."""

    def __init__(self, folder: Path, settings: Settings, rows: int, validation: Validation) -> None:
        super().__init__()
        self.folder, self.settings, self.rows, self.validation = folder, settings, rows, validation

    def on_epoch_begin(self, epoch: int, logs=None) -> None:
        """Give every dropout the random state that belongs to this epoch and start the progress bar."""
        for number, layer in enumerate(self.model.layers):
            if isinstance(layer, keras.layers.Dropout):
                state = np.random.SeedSequence([self.settings.seed, epoch, number]).generate_state(1) >> 1
                layer.seed_generator.state.assign([int(state[0]), 0])
        self.bar = tqdm(total=self.rows, unit="img", desc=f"epoch {epoch + 1}", leave=False, disable=None)
        self.start = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs=None) -> None:
        """Advance the progress bar; stop if the loss is not finite."""
        self.bar.update(min(self.settings.batch_size, self.rows - batch * self.settings.batch_size))
        self.bar.set_postfix_str(f"loss {logs['loss']:.4f}", refresh=False)
        self._require_finite(logs["loss"], "loss")

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        """Validate on the whole held-out set, keep the model if it is the best, and write the epoch down."""
        rate = self.rows / (time.perf_counter() - self.start)
        self.bar.close()
        targets = self.validation.table.targets
        probabilities = self.model.predict(self.validation.batches, verbose=0)
        loss = float(ops.mean(LOSS_FUNCTIONS[self.settings.loss](targets.astype(np.float32), probabilities)))
        self._require_finite(loss, "validation loss")
        threshold = best_global_threshold(targets, probabilities)
        row = {
            "epoch": epoch + 1,
            "loss": logs["loss"],
            "f1": logs["f1"],
            "validation_loss": loss,
            "validation_f1": macro_f1(targets, probabilities > 0.5),
            "validation_f1_best": macro_f1(targets, probabilities > threshold),
            "threshold": threshold,
        }
        history = read_history(self.folder)
        best = history["validation_f1_best"].max() if len(history) else -1.0
        improved = row["validation_f1_best"] > best
        if improved:
            _save(self.model, self.folder / "model.keras")
            predictions = Predictions(self.validation.table.ids, self.validation.classes, probabilities, targets)
            write_predictions(self.folder / "validation.npz", predictions)
        _save(self.model, _state_file(self.folder, epoch + 1))
        write_history(self.folder, pd.concat([history, pd.DataFrame([row])], ignore_index=True))
        _state_file(self.folder, epoch).unlink(missing_ok=True)
        print(
            f"epoch {epoch + 1}/{self.settings.epochs}  loss {row['loss']:.4f}  F1 {row['f1']:.4f}  "
            f"validation: loss {loss:.4f}  F1 {row['validation_f1']:.4f} at 0.5, "
            f"{row['validation_f1_best']:.4f} at {threshold:.3f}{' *' if improved else ''}  {rate:.0f} images/s",
            flush=True,
        )

    def _require_finite(self, loss: float, name: str) -> None:
        if not math.isfinite(loss):
            self.bar.close()
            kept = "the best model so far is kept" if len(read_history(self.folder)) else "no epoch was finished"
            raise Failure(
                f"{self.folder}: the {name} is {loss}, training has diverged; {kept}. "
                "Delete the folder and train again with a lower --learning-rate"
            )


def _state_file(folder: Path, epochs: int) -> Path:
    return folder / f"state-{epochs}.keras"


def _save(model: keras.Model, path: Path) -> None:
    with written_whole(path) as temporary:
        model.save(temporary)
