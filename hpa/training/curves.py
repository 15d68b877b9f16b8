"""The reports' curves: loss and score of training and validation over the epochs."""

from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from hpa.labels import Monitor
from hpa.scoring.plots import write_figure


def write_curves(path: Path, history: pd.DataFrame, title: str, monitor: Monitor) -> None:
    """Write `draw_curves` as a PNG."""
    write_figure(path, draw_curves(history, title, monitor))


def draw_curves(history: pd.DataFrame, title: str, monitor: Monitor) -> Figure:
    """Draw the columns of a run's history that a monitor watches, in two panels."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    figure.suptitle(title)
    loss, score = figure.subplots(1, 2)
    of_loss = {"loss": "training", "validation_loss": "validation"}
    validation = {column: f"validation, {name}" for column, name in monitor.validation.items()}
    of_score = {monitor.training: "training", **validation}
    for axes, name, columns in ((loss, "loss", of_loss), (score, monitor.name, of_score)):
        for (column, label), style in zip(columns.items(), ("C0-", "C1-", "C1--"), strict=False):
            axes.plot(history["epoch"], history[column], style, marker=".", label=label)
        axes.set(xlabel="epoch", ylabel=name)
        axes.grid(alpha=0.3)
        axes.legend()
        axes.xaxis.get_major_locator().set_params(integer=True)
    return figure
