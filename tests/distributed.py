"""What `training/test_distribution.py` does on four devices of a processor: `steps FILE LOSS...`, `whole` and `refused`."""

import os
import sys
from dataclasses import replace
from importlib import import_module

from hpa.backend import quiet_import

if __name__ == "__main__":
    # It runs few steps: it is to compile quickly.
    os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4 --xla_backend_optimization_level=0"
with quiet_import():
    import keras
if __name__ == "__main__" and keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    four = [tf.config.LogicalDeviceConfiguration()] * 4
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], four)
import numpy as np

from hpa.data.feed import Feed, training_batches
from hpa.models.normalization import BatchNormalization
from hpa.registry import NETWORKS
from hpa.settings import Settings
from hpa.tasks import HEP2, HPA
from hpa.training import fit
from hpa.training.distribution import distributed, shared, synchronize
from hpa.training.optimizers import new_optimizer

STEPS, ROWS, SIDE = 10, 12, 16
LEARNING = {"batch_size": ROWS, "epochs": STEPS, "optimizer": "sgd", "learning_rate": 0.02}
# No Adam: where a gradient is rounding alone, as of a bias before batch normalisation, it makes a step of full length.
EMA = {"ema_momentum": 0.5, "schedule": "cosine"}
CASES = {
    "binary-crossentropy": {"label_smoothing": 0.1, "positive_weights": "square-root"},
    "categorical-crossentropy": {"label_smoothing": 0.1},
    "focal": {},
    "asymmetric": {},
    "soft-f1": {},
    "lovasz": {},
    "smooth-l1": {},
    "binary-crossentropy+soft-f1": {},
    "focal+asymmetric:0.3": EMA,
    "categorical-crossentropy+soft-f1": EMA,
}
RECIPE = [
    "--variant", "2", "--size", "48", "--batch-size", "16", "--rows", "45", "--epochs", "2", "--mixing", "mix-up",
    "--loss", "binary-crossentropy+soft-f1", "--ema-momentum", "0.9", "--schedule", "plateau",
]  # fmt: skip


def trained(loss: str, options: dict[str, object], devices: int) -> dict[str, np.ndarray]:
    """Return the losses and metrics of ten steps, [10, 2], all weights after the first step, and after the last."""
    settings, random = Settings(loss=loss, **(LEARNING | options)), np.random.default_rng(0)
    task = HEP2 if loss.startswith("categorical") else HPA
    images = random.integers(0, 256, (ROWS, SIDE, SIDE, len(task.channels)), np.uint8)
    targets = np.eye(len(task.classes), dtype=np.uint8)[random.integers(0, len(task.classes), ROWS)]
    if task is HPA:
        targets |= (random.random(targets.shape) < 0.2).astype(np.uint8)
    records: list[list[np.ndarray]] = []

    class Record(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, float]) -> None:
            variables = [*self.model.variables, *self.model.optimizer.variables]
            records.append([np.array(list(logs.values())), *(keras.ops.convert_to_numpy(each) for each in variables)])

    with distributed(devices):
        inputs = keras.Input(images.shape[1:], dtype="uint8")
        x = keras.layers.Conv2D(6, 3, activation="relu")(keras.layers.Rescaling(1 / 255)(inputs))
        x = keras.layers.GlobalAveragePooling2D()(BatchNormalization(momentum=0.5)(x))
        x = keras.layers.BatchNormalization(momentum=0.5)(x)
        model = keras.Model(inputs, keras.layers.Dense(len(task.classes), activation=task.kind.activation)(x))
        drawn = [random.normal(size=each.shape) / 3 + (each.ndim == 1) for each in model.get_weights()]
        drawn[-1][:2] = -20  # a loss of clipped probabilities would not see these
        model.set_weights(drawn)
        positives = [1 + number / 9 for number in range(len(task.classes))]
        weighted = positives if settings.positive_weights != "none" else None
        fit.compile_model(model, settings, task, new_optimizer(settings, 1), weighted, 1)
        synchronize(model, True)
        feed = Feed(images, targets, np.arange(ROWS), "none", "mix-up", 0, weights=np.linspace(0.5, 2, ROWS))
        model.fit(
            shared(training_batches(feed, ROWS, range(STEPS))),
            epochs=STEPS, steps_per_epoch=1, shuffle=False, verbose=0, callbacks=[Record()],
        )  # fmt: skip
        synchronize(model, False)
    assert len(records) == STEPS
    logs = np.stack([record[0] for record in records])
    first, last = (np.concatenate([each.ravel() for each in records[number][1:]]) for number in (0, -1))
    return {"logs": logs, "first": first, "last": last, "start": np.concatenate([each.ravel() for each in drawn])}


def steps(file: str, *losses: str) -> None:
    """Take ten steps with some losses on one device and on four; write what came of it."""
    found = {
        f"{loss} {devices} {name}": values
        for loss in losses
        for devices in (1, 4)
        for name, values in trained(loss, CASES[loss], devices).items()
    }
    np.savez(file, **found)


def run(data: str, runs: str, name: str, *options: str) -> int:
    """Do a command and return its exit code."""
    code: int = import_module(f"hpa.{name}").main(["--data", data, "--runs", runs, *options])
    return code


def started(*shape: object, weights: str | None = None, **arguments: object) -> keras.Model:
    """Return GapNet, with the weights in a file and without dropout, which TensorFlow's replicas draw each for itself."""
    network = NETWORKS["gapnet"].build(*shape, **arguments)
    for layer in network.layers:
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0
    if weights:
        network.load_weights(weights)
    return network


def unfreeze(data: str, runs: str, name: str, epochs: int, devices: int) -> int:
    """Train from the weights of the run `whole` and return the exit code; layers unfreeze in so many epochs."""
    gapnet = NETWORKS["gapnet"]
    NETWORKS.register("started", replace(gapnet, build=started, arguments=(*gapnet.arguments, "weights")))
    start = ["--model", "started", "--weights", f"{runs}/whole/base/model.keras", "--unfreezing", str(epochs)]
    code = run(data, runs, "train", "--name", name, *RECIPE, *start, "--devices", str(devices))
    del NETWORKS["started"]
    return code


def whole(data: str, runs: str) -> None:
    """Train on four devices; be stopped on four, twice, and go on with four once; fine-tune and predict; unfreeze."""
    assert run(data, runs, "train", "--name", "whole", *RECIPE, "--devices", "all") == 0
    for epochs in (0, 1):
        assert unfreeze(data, runs, f"unfrozen-{epochs}", epochs, 4) == 0
    write_history = fit.write_history

    def interrupt_after_writing(*arguments: object) -> None:
        write_history(*arguments)
        raise KeyboardInterrupt

    for count in ("4", "2"):
        fit.write_history = interrupt_after_writing
        assert run(data, runs, "train", "--name", f"then-{count}", *RECIPE, "--devices", "4") == 1
        fit.write_history = write_history
        assert count != "4" or run(data, runs, "train", "--name", "then-4", *RECIPE, "--devices", "4") == 0
    assert run(data, runs, "finetune", "--name", "whole", "--stage", "cnn", "--epochs", "1", "--devices", "4") == 0
    assert run(data, runs, "predict", "--variants", "whole") == 0


def two(data: str, runs: str) -> None:
    """Go on with two devices, in a process of its own: TensorFlow allows one number of devices in a process."""
    assert run(data, runs, "train", "--name", "then-2", *RECIPE, "--devices", "2") == 0
    assert unfreeze(data, runs, "unfrozen-1-two", 1, 2) == 0


def refused(data: str, runs: str, *options: str) -> None:
    """Exit as the command does that trains with the options."""
    sys.exit(run(data, runs, "train", *RECIPE, *options))


if __name__ == "__main__":
    {"steps": steps, "whole": whole, "two": two, "refused": refused}[sys.argv[1]](*sys.argv[2:])
