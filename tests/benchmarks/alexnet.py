"""The second report's way, whole: AlexNet with frozen features, a new head, 40 epochs of SGD in batches of 4.

Run `python tests/benchmarks/alexnet.py DATA FOLDER`, where DATA has `train/` and `validation/`; stlpips-pytorch is installed
for its weights. Stopped and started again, it goes on after the last finished epoch. `--row` is one of ROWS, `--cells` takes
fewer training cells. It writes a table and a plot of the curves.

Features are computed once for each of `--variants` augmentations of a cell; epochs take them in turn. The head has 59
million weights, and plain SGD reads and writes all of them and their velocities for every 4 cells. `Head` does the same sums
in another order. With momentum m, a gradient of t steps ago has moved the weights by rate (1 - m^t) / (1 - m) times itself.
So the weights are those of 128 steps ago, for which m^t is nothing in float32, and the gradients since then, each a product
of two thin matrices, 4 inputs by 4 errors. They are added to the weights 64 steps at once. What the first layer
gives for the next 64 steps is known before. tests/test_alexnet_head.py compares it with Keras' SGD.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import keras
import matplotlib.pyplot as plt
import ml_dtypes
import numpy as np
import pandas as pd
import tensorflow as tf

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from hpa.data.feed import Feed  # noqa: E402
from hpa.data.partition import make_partition, pack_sets  # noqa: E402
from hpa.hardware import fastest_precision  # noqa: E402
from hpa.models.catalog import build  # noqa: E402
from hpa.registry import DENSE_PART  # noqa: E402
from hpa.runs.monitor import single_label_scores  # noqa: E402
from hpa.settings import Settings  # noqa: E402
from hpa.tasks import HEP2  # noqa: E402
from hpa.training.fit import computing_in  # noqa: E402
from hpa.training.presets import PRESETS  # noqa: E402

ROWS = {
    "blurred": ("alexnet-antialiased", "imagenet"),
    "not blurred": ("alexnet", "imagenet"),
    "random features": ("alexnet-antialiased", None),
}
EPOCHS, BATCH, RATE, MOMENTUM, DROPOUT, SIZE = 40, 4, 1e-3, 0.9, 0.5, 78
AT_ONCE, REMEMBERED = 64, 128  # steps
FEATURE_BATCH = 64


class Layer:
    """A dense layer that learns by SGD with momentum, and keeps the gradients of its last steps as factors.

    Of the rows of factors the first `REMEMBERED` steps are before the steps that are taken at once.
    """

    def __init__(self, layer: keras.layers.Dense) -> None:
        kernel, bias = layer.get_weights()
        self.kernel, self.bias, self.velocity = tf.Variable(kernel), tf.Variable(bias), tf.Variable(0 * bias)
        rows = BATCH * (REMEMBERED + AT_ONCE)
        self.inputs, self.errors = (tf.Variable(tf.zeros((rows, side))) for side in kernel.shape)  # errors times the rate

    def variables(self) -> list[tf.Variable]:
        """Return what a stopped run goes on with."""
        return [self.kernel, self.bias, self.velocity, self.inputs, self.errors]

    def forward(self, x: tf.Tensor, moved: tf.Tensor) -> tf.Tensor:
        """Return the outputs for x [B, inputs]; `moved` is how far the weights have gone with each row of factors."""
        return self.given(tf.matmul(x, self.kernel), tf.matmul(x, self.inputs, transpose_b=True), moved)

    def given(self, product: tf.Tensor, likeness: tf.Tensor, moved: tf.Tensor) -> tf.Tensor:
        """Return the outputs from the products of the inputs with the kernel and with the factors' inputs."""
        return product + self.bias - tf.matmul(likeness * moved, self.errors)

    def backward(self, errors: tf.Tensor, moved: tf.Tensor) -> tf.Tensor:
        """Return the errors of the inputs for errors [B, outputs]."""
        known = tf.matmul(errors, self.errors, transpose_b=True) * moved
        return tf.matmul(errors, self.kernel, transpose_b=True) - tf.matmul(known, self.inputs)

    def learn(self, step: tf.Tensor, x: tf.Tensor, errors: tf.Tensor, rate: tf.Tensor) -> None:
        """Take one of the steps that are taken at once, with BATCH inputs and errors."""
        first = BATCH * (REMEMBERED + step)
        self.inputs[first : first + BATCH].assign(x)
        self.errors[first : first + BATCH].assign(rate * errors)
        self.velocity.assign(MOMENTUM * self.velocity - rate * tf.reduce_sum(errors, axis=0))
        self.bias.assign_add(self.velocity)

    def settle(self, steps: tf.Tensor) -> None:
        """Add the oldest steps to the weights, as many as were taken at once."""
        old, kept = BATCH * steps, BATCH * REMEMBERED
        self.kernel.assign_sub(tf.matmul(self.inputs[:old], self.errors[:old], transpose_a=True) / (1 - MOMENTUM))
        for factors in (self.inputs, self.errors):
            factors[:kept].assign(factors[old : old + kept])


class Head:
    """The report's head: three dense layers with ReLU and one with softmax, with dropout before each."""

    def __init__(self, layers: Sequence[keras.layers.Dense], seed: int, dropout: float = DROPOUT) -> None:
        self.layers = [Layer(layer) for layer in layers]
        self.dropout, self.seed = dropout, tf.Variable([seed, 0], dtype=tf.int32)
        self.learn = tf.function(self._learn, reduce_retracing=True)
        self.predict = tf.function(self._predict, reduce_retracing=True)

    def variables(self) -> list[tf.Variable]:
        """Return what a stopped run goes on with."""
        return [self.seed, *(variable for layer in self.layers for variable in layer.variables())]

    def dropped(self, x: tf.Tensor) -> tf.Tensor:
        """Return the inputs of a layer as dropout leaves them in training."""
        self.seed[1].assign(self.seed[1] + 1)
        kept = tf.random.stateless_uniform(tf.shape(x), self.seed) >= self.dropout
        return tf.where(kept, x / (1 - self.dropout), 0)

    def _learn(self, features: tf.Tensor, targets: tf.Tensor, rate: tf.Tensor) -> tf.Tensor:
        """Take up to `AT_ONCE` steps, with float32 [BATCH * steps, ...]; rows without a target do not count.

        Returns:
            The sum of the losses and the number of hits.
        """
        steps = tf.shape(features)[0] // BATCH
        first, *others = self.layers
        dropped, start = self.dropped(features), BATCH * REMEMBERED
        first.inputs[start : start + BATCH * steps].assign(dropped)
        product, likeness = tf.matmul(dropped, first.kernel), tf.matmul(dropped, first.inputs, transpose_b=True)
        results = tf.zeros(2)
        for step in tf.range(steps):
            rows = slice(BATCH * step, BATCH * (step + 1))
            age = (start + BATCH * step - tf.range(start + BATCH * AT_ONCE) + BATCH - 1) // BATCH
            moved = (1 - MOMENTUM ** tf.cast(tf.maximum(age, 0), tf.float32)) / (1 - MOMENTUM)
            inputs = [dropped[rows]]
            outputs = [first.given(product[rows], likeness[rows], moved)]
            for layer in others:
                inputs.append(self.dropped(tf.nn.relu(outputs[-1])))
                outputs.append(layer.forward(inputs[-1], moved))
            truth = targets[rows]
            results += tf.stack(
                [tf.reduce_sum(tf.nn.softmax_cross_entropy_with_logits(truth, outputs[-1])), hits(truth, outputs[-1])]
            )
            counted = tf.reduce_sum(truth, axis=1, keepdims=True)
            errors = (tf.nn.softmax(outputs[-1]) * counted - truth) / tf.reduce_sum(counted)
            for number in range(len(self.layers) - 1, -1, -1):
                if number:
                    back = self.layers[number].backward(errors, moved)
                self.layers[number].learn(step, inputs[number], errors, rate)
                if number:  # through dropout and ReLU: where an input is above 0
                    errors = tf.where(inputs[number] > 0, back / (1 - self.dropout), 0)
        for layer in self.layers:
            layer.settle(steps)
        return results

    def _predict(self, features: tf.Tensor, dropout: bool = False) -> tf.Tensor:
        """Return probabilities [B, classes], after `settle`; with dropout as in training if asked for."""
        age = REMEMBERED - tf.range(BATCH * (REMEMBERED + AT_ONCE)) // BATCH
        moved = (1 - MOMENTUM ** tf.cast(tf.maximum(age, 0), tf.float32)) / (1 - MOMENTUM)
        x = features
        for layer in self.layers:
            x = layer.forward(self.dropped(x) if dropout else x, moved)
            x = tf.nn.relu(x) if layer is not self.layers[-1] else tf.nn.softmax(x)
        return x


def hits(truth: tf.Tensor, outputs: tf.Tensor) -> tf.Tensor:
    """Return how many rows that count have their highest output at their class."""
    right = tf.argmax(truth, axis=1) == tf.argmax(outputs, axis=1)
    return tf.reduce_sum(tf.cast(right, tf.float32) * tf.reduce_sum(truth, axis=1))


def speed() -> None:
    """Print how long a step of the head takes, against Keras' SGD, measured in turn."""
    random = np.random.default_rng(0)
    stack = [keras.Input((9216,))]
    for units in (4096, 4096, 1000):
        stack += [keras.layers.Dropout(DROPOUT), keras.layers.Dense(units, "relu")]
    network = keras.Sequential([*stack, keras.layers.Dropout(DROPOUT), keras.layers.Dense(6, "softmax")])
    network.compile(keras.optimizers.SGD(RATE, momentum=MOMENTUM), "categorical_crossentropy", jit_compile=False)
    head = Head([layer for layer in network.layers if isinstance(layer, keras.layers.Dense)], 0)
    features = random.random((BATCH * AT_ONCE, 9216), np.float32)
    targets = np.eye(6, dtype=np.float32)[random.integers(0, 6, len(features))]
    for name in ("warming up", "measured", "measured"):
        seconds = []
        for work in (
            lambda: head.learn(features, targets, tf.constant(RATE, tf.float32)).numpy(),
            lambda: [network.train_on_batch(features[:BATCH], targets[:BATCH]) for _ in range(AT_ONCE)],
        ):
            start = time.perf_counter()
            work()
            seconds.append((time.perf_counter() - start) / AT_ONCE)
        print(
            f"{name}: {1e3 * seconds[0]:.1f} ms a step, Keras {1e3 * seconds[1]:.1f} ms, {seconds[1] / seconds[0]:.1f} times"
        )


def main() -> None:
    """Compute features, train the head, write the curves."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path, help="the cells")
    parser.add_argument("folder", type=Path, help="where features and results are written")
    parser.add_argument("--row", choices=ROWS, default="blurred")
    parser.add_argument("--cells", type=int, help="how many training cells (default: all)")
    parser.add_argument("--variants", type=int, default=8, help="augmentations of a cell (default: 8)")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--speed", action="store_true", help="only time the head, against Keras")
    options = parser.parse_args()
    if options.speed:
        speed()
        return

    preset = {name: value for name, value in PRESETS["alexnet"].items() if name != "preset"}
    model, weights = ROWS[options.row]
    settings = Settings(**(preset | {"model": model, "size": SIZE, "rows": options.cells, "seed": options.seed}))
    partition = make_partition(settings, HEP2, options.data)
    images = pack_sets(partition, options.data, options.folder, HEP2, SIZE, None)
    targets = partition.table.known_targets.astype(np.float32)
    keras.utils.set_random_seed(options.seed)
    with computing_in(fastest_precision()):
        network = build(model, SIZE, 1, len(HEP2.classes), "softmax", weights=weights)
    body = keras.Model(network.input, network.get_layer(f"{DENSE_PART}features").output)
    feed = Feed(images, partition.table.known_targets, partition.training, "alexnet", "none", options.seed)
    name = f"{options.row.replace(' ', '-')}-{len(partition.training)}-{options.seed}"
    folder = options.folder / name
    folder.mkdir(parents=True, exist_ok=True)

    def cells(rows: np.ndarray, variant: int | None) -> np.ndarray:
        """Return the features of some cells, as they are or varied; computed once for all epochs."""
        path = folder / f"features-{'validation' if rows is partition.validation else 'training'}-{variant}.npy"
        if not path.exists():
            start = time.perf_counter()
            made = np.empty((len(rows), body.output.shape[1]), ml_dtypes.bfloat16)
            for first in range(0, len(rows), FEATURE_BATCH):
                batch = rows[first : first + FEATURE_BATCH]
                shown = (
                    feed.load(variant, batch)[0] if variant is not None else np.stack([images[int(row)] for row in batch])
                )
                made[first : first + len(batch)] = body.predict_on_batch(shown)
            np.save(path.with_suffix(".part.npy"), made.view(np.uint16))
            path.with_suffix(".part.npy").rename(path)
            print(f"{path.name}: {len(rows) / (time.perf_counter() - start):.0f} cells/s", flush=True)
        return np.load(path, mmap_mode="r").view(ml_dtypes.bfloat16)

    head = Head([layer for layer in network.layers if isinstance(layer, keras.layers.Dense)], options.seed)
    table, state = folder / "history.csv", folder / "state.npz"
    history = pd.read_csv(table).to_dict("records") if table.exists() else []
    rate, best, waited = RATE, np.inf, 0
    if history:
        with np.load(state) as file:
            for variable, value in zip(head.variables(), file.values(), strict=True):
                variable.assign(value)
    for row in history:
        rate, best, waited = plateau(row["validation_loss"], rate, best, waited)
    place_of = {row: place for place, row in enumerate(partition.training)}
    for epoch in range(len(history), options.epochs):
        varied = cells(partition.training, epoch % options.variants)
        start, order = time.perf_counter(), np.array([place_of[row] for row in feed.order(epoch)])
        total = np.zeros(2)
        for first in range(0, len(order), BATCH * AT_ONCE):
            places = order[first : first + BATCH * AT_ONCE]
            fill = ((0, -len(places) % BATCH), (0, 0))
            learned = np.pad(varied[places].astype(np.float32), fill), np.pad(targets[partition.training[places]], fill)
            total += head.learn(*learned, tf.constant(rate, tf.float32)).numpy()
        seconds = time.perf_counter() - start
        truth = targets[partition.validation]
        scores = {}
        # What the source did: dropout is left on, validation cells are varied as training cells are.
        for kind, variant, dropout in (("", None, False), ("_with_dropout", None, True), ("_varied", 0, False)):
            features = cells(partition.validation, variant)
            found = np.concatenate([
                head.predict(features[first : first + 256].astype(np.float32), tf.constant(dropout)).numpy()
                for first in range(0, len(features), 256)
            ])  # fmt: skip
            loss = float(-np.log(np.maximum((found * truth).sum(axis=1), 1e-7)).mean())
            scores |= {f"validation_loss{kind}": loss}
            scores |= {f"{key}{kind}": value for key, value in single_label_scores(truth.astype(np.uint8), found).items()}
        row = {"epoch": epoch + 1, "learning_rate": rate, "loss": total[0] / len(order), "accuracy": total[1] / len(order)}
        history.append(row | scores | {"seconds": seconds})
        np.savez(state, *[variable.numpy() for variable in head.variables()])
        pd.DataFrame(history).to_csv(table, index=False)
        rate, best, waited = plateau(scores["validation_loss"], rate, best, waited)
        print({key: round(value, 4) for key, value in history[-1].items()}, flush=True)
    draw(pd.DataFrame(history), folder / "curves.png", options.row)


def plateau(loss: float, rate: float, best: float, waited: int) -> tuple[float, float, int]:
    """Return what Keras' ReduceLROnPlateau with factor 0.1 and patience 5 knows after an epoch: rate, best loss, epochs."""
    if loss < best - 1e-4:
        return rate, loss, 0
    return (rate / 10, best, 0) if waited + 1 >= 5 else (rate, best, waited + 1)


def draw(history: pd.DataFrame, path: Path, title: str) -> None:
    """Plot loss and accuracy against epochs."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    left.plot(history["epoch"], history[["loss", "validation_loss"]], label=["training", "validation"])
    right.plot(history["epoch"], history[["accuracy", "validation_accuracy"]], label=["training", "validation"])
    right.axhline(0.92, linestyle=":", color="grey", label="the report's test accuracy")
    for axes, label in ((left, "loss"), (right, "accuracy")):
        axes.set(xlabel="epoch", ylabel=label, title=title)
        axes.legend()
    figure.savefig(path)


if __name__ == "__main__":
    main()
