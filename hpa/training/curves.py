"""The report's four curves: loss and F1 of training and validation over the epochs."""

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from hpa.files import written_whole


def write_curves(path: Path, history: pd.DataFrame, title: str) -> None:
    """Draw the columns of a run's history as a PNG with two panels."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    figure.suptitle(title)
    loss, f1 = figure.subplots(1, 2)
    for axes, column, style, label in (
        (loss, "loss", "C0-", "training"),
        (loss, "validation_loss", "C1-", "validation"),
        (f1, "f1", "C0-", "training, at 0.5"),
        (f1, "validation_f1", "C1-", "validation, at 0.5"),
        (f1, "validation_f1_best", "C1--", "validation, at the best threshold"),
    ):
        axes.plot(history["epoch"], history[column], style, marker=".", label=label)
    for axes, name in ((loss, "loss"), (f1, "macro F1")):
        axes.set(xlabel="epoch", ylabel=name)
        axes.grid(alpha=0.3)
        axes.legend()
        axes.xaxis.get_major_locator().set_params(integer=True)
    with written_whole(path) as temporary:
        figure.savefig(temporary, dpi=100)
