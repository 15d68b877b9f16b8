"""The evaluation of probabilities on labelled samples: scores, tables and pictures."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hpa.data.tables import SampleTable
from hpa.files import write_csv, write_json
from hpa.scoring.plots import draw_class_f1, draw_confusion, draw_sheet, write_figure
from hpa.scoring.predictions import Predictions

SHOWN_MISTAKES = 40
CAPTION_LETTERS = 22
PICTURES = ("confusion.png", "classes.png", "mistakes.png")
WRITTEN = ("scores.json", "classes.csv", "predictions.csv", *PICTURES)


@dataclass(frozen=True)
class Evaluation:
    """The scores of some probabilities.

    Attributes:
        predictions: the probabilities, with targets.
        thresholds: float64 array [classes].
        predicted: bool array [n, classes].
        scores: those of the predictions' kind, by name.
        rows_of_thresholds: how many of the samples the thresholds were searched on, which makes the scores too good.
    """

    predictions: Predictions
    thresholds: np.ndarray
    predicted: np.ndarray
    scores: dict[str, float]
    rows_of_thresholds: int = 0


def evaluate(predictions: Predictions, thresholds: np.ndarray, found_on: SampleTable | None = None) -> Evaluation:
    """Predict classes and score them.

    Args:
        predictions: with targets.
        thresholds: float64 array [classes]; not used for single-label samples: their most probable class is predicted.
        found_on: the labelled samples that the thresholds were searched on, if any.
    """
    targets, common = predictions.known_targets, 0
    predicted, _ = predictions.kind.decide(predictions.probabilities, thresholds)
    scores = {name: score(targets, predicted) for name, score in predictions.kind.scores.items()}
    if found_on is not None:  # the same samples have the same id and the same classes
        place = pd.Index(found_on.ids).get_indexer(predictions.ids)
        here = place >= 0
        common = int(np.count_nonzero(np.all(found_on.known_targets[place[here]] == targets[here], axis=1)))
    return Evaluation(predictions, np.asarray(thresholds), predicted, scores, common)


def class_table(evaluation: Evaluation) -> pd.DataFrame:
    """Return a row for each class: its name, its number of samples, precision, recall and F1.

    Precision and recall are NaN where they are undefined. There F1 is NaN for single-label samples and 0 for others.
    """
    from sklearn.metrics import precision_recall_fscore_support

    predictions = evaluation.predictions
    precision, recall, f1, rows = precision_recall_fscore_support(
        predictions.known_targets, evaluation.predicted, zero_division=np.nan
    )
    f1 = f1 if predictions.kind.exclusive else np.nan_to_num(f1)
    return pd.DataFrame({"class": predictions.classes, "rows": rows, "precision": precision, "recall": recall, "f1": f1})


def describe(evaluations: Mapping[str, Evaluation]) -> str:
    """Return tables of the scores of each evaluation, by its name, and of the classes of the last one, for the screen."""
    *_, last = evaluations.values()
    scores = pd.DataFrame.from_dict({name: each.scores for name, each in evaluations.items()}, orient="index")
    classes = class_table(last).rename(columns={"f1": "F1"}).set_index("class")
    parts = [
        table.rename_axis(index=None, columns=corner).to_string(float_format="{:.4f}".format, na_rep="-")
        for corner, table in (("model", scores), ("class", classes))
    ]
    if last.rows_of_thresholds:
        parts.append(
            f"the thresholds were found on {last.rows_of_thresholds} of these {len(last.predictions.ids)} rows, "
            "so these scores are too good; evaluate rows that the model was not chosen by"
        )
    return "\n\n".join(parts)


def worst_mistakes(evaluation: Evaluation) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of the worst mistakes, the worst first, and the class of each, integer arrays [k], k at most 40.

    The error of a mistake is the distance of the probability from the target, 0 or 1. For single-label samples the class is
    the predicted one, for others the class of the row with the largest error.
    """
    targets = evaluation.predictions.known_targets.astype(bool)
    wrong = evaluation.predicted & ~targets if evaluation.predictions.kind.exclusive else evaluation.predicted != targets
    errors = np.where(wrong, np.abs(targets - evaluation.predictions.probabilities), -1)
    rows = np.argsort(-errors.max(axis=1), kind="stable")
    rows = rows[wrong[rows].any(axis=1)][:SHOWN_MISTAKES]
    return rows, errors[rows].argmax(axis=1)


def write_evaluation(
    folder: Path,
    evaluations: Mapping[str, Evaluation],
    pictures_of: Callable[[np.ndarray], np.ndarray],
    data: Path,
    table: Path | None = None,
) -> None:
    """Write scores.json, classes.csv, predictions.csv, mistakes.png and confusion.png (multi-label: classes.png).

    scores.json is written last: if it exists, the other files are complete. Without a mistake there is no mistakes.png.

    Args:
        folder: where to write; pictures of an earlier evaluation in it are deleted.
        evaluations: by name. The last one is written; of the others only the scores, in scores.json.
        pictures_of: returns RGB pictures, uint8 [k, S, S, 3], of rows, integers [k].
        data: the folder of the images, named in scores.json.
        table: the table of their classes, also named there; None for the usual one.
    """
    from sklearn.metrics import confusion_matrix

    *_, evaluation = evaluations.values()
    predictions = evaluation.predictions
    rows, numbers = worst_mistakes(evaluation)
    classes = class_table(evaluation)
    title = ", ".join(f"{name} {score:.4f}" for name, score in evaluation.scores.items())
    if evaluation.rows_of_thresholds:
        title += f"\nthresholds found on {evaluation.rows_of_thresholds} of these {len(predictions.ids)} rows"
    figures = {}
    if len(rows):
        captions = [_caption(evaluation, row, number) for row, number in zip(rows, numbers, strict=True)]
        figures["mistakes.png"] = draw_sheet(pictures_of(rows), captions)
    if predictions.kind.exclusive:
        numbers_of_classes = (each.argmax(axis=1) for each in (predictions.known_targets, evaluation.predicted))
        matrix = confusion_matrix(*numbers_of_classes, labels=range(len(predictions.classes)))
        figures["confusion.png"] = draw_confusion(matrix, predictions.classes, title)
    else:
        figures["classes.png"] = draw_class_f1(classes, title)

    for name in ("scores.json", *PICTURES):
        (folder / name).unlink(missing_ok=True)
    write_csv(folder / "classes.csv", classes, float_format="%.4f")
    write_prediction_table(folder / "predictions.csv", predictions, evaluation.thresholds)
    for name, figure in figures.items():
        write_figure(folder / name, figure)
    about: dict[str, Any] = {
        "data": str(data.resolve()),
        "table": str(table.resolve()) if table else None,
        "rows": len(predictions.ids),
        **asdict(predictions.tta),
        "scores": evaluation.scores,
        "models": {name: each.scores for name, each in evaluations.items()},
    }
    if not predictions.kind.exclusive:
        about["thresholds"] = dict(zip(predictions.classes, evaluation.thresholds.tolist(), strict=True))
        about["thresholds_found_on_these_rows"] = evaluation.rows_of_thresholds
    write_json(folder / "scores.json", about)


def write_prediction_table(path: Path, predictions: Predictions, thresholds: np.ndarray) -> None:
    """Write a CSV for people: `Id`, `Predicted`, `Target` where known, and the probability of every class.

    Class names are separated by ` | `, as `hpa.data.tables.read_training_table` reads them. Thresholds as for `evaluate`.
    """
    predicted, _ = predictions.kind.decide(predictions.probabilities, thresholds)
    columns = {"Id": predictions.ids, "Predicted": _names(predictions.classes, predicted)}
    if predictions.targets is not None:
        columns["Target"] = _names(predictions.classes, predictions.targets)
    # Not one dict: a class may have the name Target.
    table = pd.concat([pd.DataFrame(columns), pd.DataFrame(predictions.probabilities, columns=predictions.classes)], axis=1)
    write_csv(path, table, float_format="%.4f")


def _names(classes: tuple[str, ...], chosen: np.ndarray) -> list[str]:
    return [" | ".join(compress(classes, row)) for row in chosen.tolist()]


def _caption(evaluation: Evaluation, row: int, number: int) -> str:
    """Return three lines: which sample this is, and what is wrong with its class `number`."""
    predictions = evaluation.predictions
    pairs = zip(predictions.classes, predictions.probabilities[row], strict=True)
    shown = [f"{_shortened(name)} {probability:.3f}" for name, probability in pairs]
    lines = [_shortened(str(predictions.ids[row]), 2 * CAPTION_LETTERS - 8)]
    if predictions.kind.exclusive:
        lines += [f"true {shown[predictions.known_targets[row].argmax()]}", f"predicted {shown[number]}"]
    else:
        lines += ["missed" if predictions.known_targets[row, number] else "predicted, but not true", shown[number]]
    return "\n".join(lines)


def _shortened(text: str, letters: int = CAPTION_LETTERS) -> str:
    return text if len(text) <= letters else text[: letters - 1] + "…"
