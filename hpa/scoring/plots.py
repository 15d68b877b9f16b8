"""Pictures of scores: confusion matrix, F1 of every class, the worst mistakes, and a sweep of the shift.

matplotlib is imported where a figure is made, so that calculations do not load it.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from hpa.files import written_whole
from hpa.tasks import Task

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHEET_COLUMNS = 8
COPIES_SHOWN, COPY_SIDE, CAPTION_WIDTH = 160, 128, 38  # images, pixels, letters


def draw_confusion(matrix: np.ndarray, classes: Sequence[str], title: str) -> Figure:
    """Draw a confusion matrix, integers [true classes, predicted classes]: counts (none for 0), row shares as colour."""
    count = len(classes)
    rows = matrix.sum(axis=1)
    shares = matrix / np.maximum(rows, 1)[:, np.newaxis]
    figure = _figure(4 + 0.5 * count, 3 + 0.5 * count)
    figure.suptitle(title, size=10)
    axes = figure.subplots()
    # scikit-learn's ConfusionMatrixDisplay writes the numbers that it colours, zeros too, and reads $ in names as formulas.
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.argwhere(matrix):
        colour = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, matrix[row, column], ha="center", va="center", color=colour, size=8)
    axes.set_xticks(range(count), classes, rotation=90, parse_math=False)
    axes.set_yticks(range(count), [f"{name} ({n})" for name, n in zip(classes, rows, strict=True)], parse_math=False)
    axes.set(xlabel="predicted class", ylabel="true class (images)")
    figure.colorbar(image, label="share of the true class", shrink=0.8)
    return figure


def draw_class_f1(table: pd.DataFrame, title: str) -> Figure:
    """Draw a bar for the F1 of each class, a row with `class`, `rows` and `f1`, and a dashed line for the macro F1."""
    count = len(table)
    figure = _figure(8, 1.5 + 0.25 * count)
    axes = figure.subplots()
    bars = axes.barh(range(count), table["f1"])
    axes.bar_label(bars, fmt="%.3f", padding=3, size=8)
    axes.axvline(table["f1"].mean(), color="C1", linestyle="--")
    labels = [f"{name} ({rows})" for name, rows in zip(table["class"], table["rows"], strict=True)]
    axes.set_yticks(range(count), labels, parse_math=False)
    axes.set(xlabel="F1", ylabel="class (images)", title=title, xlim=(0, 1.1), ylim=(count - 0.4, -0.6))
    return figure


def draw_sweep(table: pd.DataFrame, title: str) -> Figure:
    """Draw a table of `sweep_shifts`: the macro F1 by shift with its interval, and how many test labels change at each."""
    figure = _figure(8, 6)
    upper, lower = figure.subplots(2, sharex=True, height_ratios=(2, 1))
    shifts = table.index.to_numpy()
    upper.fill_between(shifts, table["low"], table["high"], alpha=0.2, label="95 % interval")
    upper.plot(shifts, table["cross_validated"], marker=".", label="cross-validated")
    upper.plot(shifts, table["resubstituted"], linestyle="--", label="resubstituted")
    upper.set(ylabel="validation macro F1", title=title)
    figure.legend(loc="outside lower center", ncols=3)
    steps = np.diff(shifts, prepend=shifts[:1])
    lower.bar(shifts - steps / 2, table["changed"].fillna(0), width=0.8 * steps)
    lower.set(xlabel="shift", ylabel="test labels changed")
    return figure


def draw_sheet(pictures: np.ndarray, captions: Sequence[str]) -> Figure:
    """Draw RGB pictures, uint8 [k, S, S, 3], eight a row, each below three lines of about 38 letters."""
    columns, rows = min(len(pictures), SHEET_COLUMNS), math.ceil(len(pictures) / SHEET_COLUMNS)
    figure = _figure(2.4 * columns, 3 * rows, layout=None)  # forty axes would take the layout engine seconds
    for place, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        row, column = divmod(place, columns)
        axes = figure.add_axes(((column + 0.03) / columns, 1 - (row + 0.98) / rows, 0.94 / columns, 0.78 / rows))
        axes.imshow(picture)
        axes.set_axis_off()
        axes.set_title(caption, size=8, parse_math=False)
    return figure


def draw_copies(copies: pd.DataFrame, task: Task) -> Figure:
    """Draw the first 160 rows of `hpa.data.duplicates.copies_table`, group by group, those with near copies first."""
    from hpa.data.pictures import pictures_of

    exact = copies["kind"].eq("exact").groupby(copies["group"]).transform("all")
    shown = copies.iloc[np.argsort(exact, kind="stable")].head(COPIES_SHOWN)
    pictures = pictures_of(shown["files"].tolist(), task, COPY_SIDE)
    labels = [textwrap.shorten(label, CAPTION_WIDTH, placeholder=" ...") for label in shown["label"]]
    rows = zip(shown.itertuples(), labels, strict=True)
    return draw_sheet(pictures, [f"{row.kind} {row.group}, {row.set}\n{row.Id}\n{label}" for row, label in rows])


def write_figure(path: Path, figure: Figure) -> None:
    """Write a figure as a PNG of 100 dots an inch, whole or not at all."""
    with written_whole(path) as temporary:
        figure.savefig(temporary, dpi=100)


def _figure(width: float, height: float, layout: Literal["constrained"] | None = "constrained") -> Figure:
    """Return an empty figure of `width` times `height` inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=100, layout=layout)
