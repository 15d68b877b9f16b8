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
    styles = ("C1-", "C1--")
    for axes, column, style, label in (
        (loss, "loss", "C0-", "training"),
        (loss, "validation_loss", "C1-", "validation"),
        (score, monitor.training, "C0-", "training"),
        *(
            (score, column, style, f"validation, {name}")
            for (column, name), style in zip(monitor.validation.items(), styles, strict=True)
        ),
    ):
        axes.plot(history["epoch"], history[column], style, marker=".", label=label)
    for axes, name in ((loss, "loss"), (score, monitor.name)):
        axes.set(xlabel="epoch", ylabel=name)
        axes.grid(alpha=0.3)
        axes.legend()
        axes.xaxis.get_major_locator().set_params(integer=True)
    return figure
