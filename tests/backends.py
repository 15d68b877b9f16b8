"""What `test_backends.py` does under each backend: `backends.py curve`, and `backends.py whole DATA RUNS PLACE`."""

import hashlib
import json
import sys
from importlib import import_module
from pathlib import Path

from hpa.backend import quiet_import

with quiet_import():
    import keras
import numpy as np

from hpa.data.feed import Feed, training_batches
from hpa.models.catalog import build
from hpa.runs.folder import TIMES, read_history
from hpa.settings import Settings
from hpa.tasks import HPA
from hpa.training import fit
from hpa.training.optimizers import new_optimizer

SETTINGS = Settings(
    variant=2, size=48, batch_size=8, loss="binary-crossentropy+soft-f1", epochs=4, warm_up=1, schedule="cosine",
    clip_norm=1.0, weight_decay=0.01, optimizer="adamw", learning_rate=2e-4,
)  # fmt: skip
NETWORK = ["--variant", "2", "--size", "48", "--batch-size", "16"]
LEARNING = ["--epochs", "2", "--ema-momentum", "0.9", "--schedule", "plateau", "--mixing", "mix-up", "--augment-on"]
COUNT = 38  # so that rows come again to fill the last batch of an epoch


def curve() -> None:
    """Take twenty training steps and print, as JSON, the losses and the batches' digests.

    All backends start from the same weights, which NumPy draws, and drop nothing out: each has random numbers of its own.
    """
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (COUNT, 48, 48, 4), np.uint8)
    targets = (random.random((COUNT, len(HPA.classes))) < 0.2).astype(np.uint8)
    model = build("gapnet", 48, 4, len(HPA.classes), variant=2)
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0
    drawn = [random.normal(size=each.shape) / 9 + (each.ndim == 1) for each in model.get_weights()]
    model.set_weights([each.astype(np.float32) for each in drawn])
    fit.compile_model(model, SETTINGS, HPA, new_optimizer(SETTINGS, 5))
    weights = np.linspace(0.5, 1, COUNT, dtype=np.float32)
    feed = Feed(images, targets, np.arange(COUNT), "report", "mix-up", 0, weights=weights)
    losses, digests = [], []
    for batch in training_batches(feed, SETTINGS.batch_size, range(SETTINGS.epochs)):
        arrays = [np.asarray(part) for part in batch]
        digests.append(hashlib.sha256(b"".join(part.tobytes() for part in arrays)).hexdigest())
        model.reset_metrics()
        losses.append(float(model.train_on_batch(*arrays, return_dict=True)["loss"]))
    json.dump({"losses": losses, "digests": digests}, sys.stdout)


def run(data: str, runs: str, name: str, *options: str) -> int:
    """Do a command and return its exit code."""
    code: int = import_module(f"hpa.{name}").main(["--data", data, "--runs", runs, *options])
    return code


def whole(data: str, runs: str, place: str) -> None:
    """Train, be stopped, go on, fine-tune and predict; the histories with and without a stop must be equal.

    Images are augmented at a `place`, "host" or "device".
    """
    assert run(data, runs, "train", "--name", "whole", *NETWORK, *LEARNING, place) == 0
    write_history = fit.write_history

    def interrupt_after_writing(*arguments: object) -> None:
        write_history(*arguments)
        raise KeyboardInterrupt

    fit.write_history = interrupt_after_writing
    assert run(data, runs, "train", "--name", "stopped", *NETWORK, *LEARNING, place) == 1
    fit.write_history = write_history
    assert run(data, runs, "train", "--name", "stopped", *NETWORK, *LEARNING, place) == 0
    histories = [read_history(Path(runs) / name / "base").drop(columns=list(TIMES)) for name in ("whole", "stopped")]
    assert histories[0].equals(histories[1]), histories
    assert run(data, runs, "finetune", "--name", "whole", "--stage", "cnn", "--epochs", "1") == 0
    assert run(data, runs, "predict", "--tta", "2") == 0


if __name__ == "__main__":
    {"curve": curve, "whole": whole}[sys.argv[1]](*sys.argv[2:])
    assert keras.backend.backend() == "tensorflow" or "tensorflow" not in sys.modules
