"""What TensorBoard shows of a run: Keras' own callback, which is told what history.csv tells."""

from importlib.util import find_spec
from pathlib import Path

import keras

from hpa.errors import installing, refuse
from hpa.runs.folder import read_history

LOGS = "tensorboard"  # in the run folder


def require_tensorboard() -> None:
    """Raise BadInput if TensorBoard, or TensorFlow, which writes its files, is not installed."""
    fixes = {"tensorboard": installing("tensorboard"), "tensorflow": "pip install tensorflow"}
    missing = [f"needs {name}; {fix}" for name, fix in fixes.items() if find_spec(name) is None]
    refuse("tensorboard", missing, "tensorboard")


class Board(keras.callbacks.TensorBoard):
    """Writes each finished epoch of a run to `<run folder>/tensorboard`; a resumed run goes on there.

    It comes after the callback that writes the history.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder / LOGS), write_graph=False)
        self.folder = folder

    def on_epoch_end(self, epoch: int, logs: object = None) -> None:
        """Write the epoch's row of the history; validation scores become curves of their own."""
        row = read_history(self.folder).drop(columns="epoch").iloc[epoch]
        super().on_epoch_end(epoch, {name.replace("validation_", "val_"): float(value) for name, value in row.items()})
