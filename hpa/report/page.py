"""The report page: what the tables and pictures say, as one HTML file that loads nothing."""

import base64
import json
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files as resources
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment

from hpa import __version__
from hpa.backend import quiet_import
from hpa.data.layout import stamp
from hpa.data.pictures import colours
from hpa.data.tables import SampleTable
from hpa.errors import BadInput, Failure
from hpa.files import write_text
from hpa.report import pictures, tables
from hpa.report.pictures import Images
from hpa.runs.folder import folds_of, read_task_of, run_folders
from hpa.scoring.blend import thresholds_and_rows
from hpa.scoring.evaluation import Evaluation, evaluate
from hpa.scoring.folds import join_folds
from hpa.scoring.members import Members, read_members
from hpa.scoring.predictions import Predictions
from hpa.scoring.saved_thresholds import saved_choice
from hpa.scoring.thresholds import Rule
from hpa.scoring.weights import blend
from hpa.tasks import TASKS, Task

MOST_IMAGES = 2500  # of the gallery and the map

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Subject:
    """What a page is about: a run, or the blend of several.

    Attributes:
        name: in words.
        folders: the run folders, or other members.
        weights: float64 [members], of sum 1; the folds of a run are one member.
        members: their predictions of the validation rows.
        found: the scores of the rows that are shown.
        rule: of the thresholds.
        about: the JSON of the ensemble, if there is one.
        files: the channel files of each row, if these are not validation rows.
    """

    name: str
    folders: list[Path]
    weights: np.ndarray
    members: Members
    found: Evaluation
    rule: Rule
    about: dict[str, Any]
    files: list[list[Path]] | None = None


def write_report(
    out: Path,
    runs: Path | None = None,
    folders: Sequence[Path] = (),
    ensemble: Path | None = None,
    data: Path | None = None,
    task: Task | None = None,
    heat_maps: int = 50,
) -> str:
    """Write the page of some runs, and return in words what is on it.

    Args:
        out: the HTML file.
        runs: a folder of runs, all of which are listed; the best one is shown in detail.
        folders: else run folders; several are blended with equal weights.
        ensemble: else the JSON that stands next to a submission.
        data: a labelled set that is shown instead of the validation rows.
        task: whose colours the channels have; None for those of the runs' task.
        heat_maps: of how many images, the worst mistakes first.

    Raises:
        BadInput: if there is no run, a run has no predictions, or they do not fit each other.
    """
    weights: np.ndarray | None = None
    about: dict[str, Any] = {}
    listed = list(folders)
    if ensemble:
        listed, weights, about = tables.folders_of_ensemble(ensemble)
    elif not listed:
        listed = run_folders(runs or Path("runs"), None, "all")
    board = tables.leaderboard(listed)
    chosen = listed
    if not folders and not ensemble:
        if not board or "score" not in board[0]:
            raise BadInput(f"{runs}: no run has a validation.npz yet; train one, or wait for its first epoch")
        chosen = _with_its_folds(Path(board[0]["name"]))
    subject = _subject(chosen, weights, about, data)
    page = _plain(_data(subject, board, task, heat_maps))
    here = resources("hpa.report")
    template = Environment(autoescape=True).from_string((here / "template.html").read_text(encoding="utf-8"))
    # No text in the data can end the script that holds it.
    text = json.dumps(page, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    script = (here / "script.js").read_text(encoding="utf-8")
    html = template.render(page=page, data=text, script=script, version=__version__)
    write_text(out, html)
    tiles = len(page["rows"])
    return f"{out}: {len(board)} runs, {len(page['ids'])} samples, {tiles} images, {out.stat().st_size / 1e6:.1f} MB"


def _plain(value: Any) -> Any:
    """Return what JSON takes: numbers that are none become null."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _with_its_folds(folder: Path) -> list[Path]:
    """Return all folds of the run of a folder if they are all there and finished alike, else the folder alone."""
    try:
        folds = folds_of(folder)
        read_members(folds, None)
    except BadInput:
        return [folder]
    return folds


def _subject(folders: list[Path], weights: np.ndarray | None, about: dict[str, Any], data: Path | None) -> Subject:
    members = read_members(folders, None)
    count = len(members.names)
    weights = np.full(count, 1 / count) if weights is None else weights
    if len(weights) != count:
        raise BadInput(f"the ensemble has {len(weights)} weights for {count} members; write it anew with hpa ensemble")
    name = members.names[0] if count == 1 else f"blend of {count} models"
    if about:
        wanted = about.get("thresholds", {})
        if set(wanted) != set(members.classes) or not isinstance(about.get("threshold"), str | float):
            raise BadInput(f"the ensemble has other thresholds than {members.names[0]} has classes; write it anew")
        thresholds = np.array([float(wanted[each]) for each in members.classes])
        rule: Rule = about["threshold"]
        searched = not (isinstance(rule, float) or members.kind.exclusive)
        rows = SampleTable(members.ids, members.targets) if searched and members.ids is not None else None
    else:
        thresholds, rows = thresholds_and_rows(folders, members.labels, len(members.classes), members.tta)
        rule = members.kind.rule or saved_choice(folders, members.classes)[0]
    own = blend(members.validation, weights)
    ids = np.arange(len(own)).astype(str) if members.ids is None else members.ids
    targets, files = members.targets, None
    if data:
        ids, targets, files, own = _predicted(folders, weights, data, members)
        name = f"{name} on {data}"
    found = Predictions(ids, members.classes, own, targets, members.labels, members.tta)
    return Subject(name, folders, weights, members, evaluate(found, thresholds, rows), rule, about, files)


def _predicted(
    folders: Sequence[Path], weights: np.ndarray, data: Path, members: Members
) -> tuple[np.ndarray, np.ndarray, list[list[Path]], np.ndarray]:
    """Return ids, targets, channel files and the blend's probabilities of a labelled set."""
    with quiet_import():
        from hpa.inference.images import chosen_samples
        from hpa.inference.predict import predict_files

    samples, files = chosen_samples(read_task_of(folders[0]), data)
    probabilities = dict(zip(folders, predict_files(folders, files, members.tta), strict=True))
    every = [blend([probabilities[each] for each in own]) for own in join_folds(folders).values()]
    return samples.ids, samples.known_targets, files, blend(every, weights)


def _data(subject: Subject, board: list[dict[str, Any]], task: Task | None, heat_maps: int) -> dict[str, Any]:
    """Return all that is on the page, as JSON takes it."""
    found, members = subject.found, subject.members
    own, kind = found.predictions, found.predictions.kind
    targets = own.known_targets
    wrong = found.predicted != targets.astype(bool)
    worst = np.lexsort((-np.abs(targets - own.probabilities).max(axis=1), ~wrong.any(axis=1)))
    labels, share = tables.doubtful_labels(own)
    score_name = next(iter(kind.scores))
    page: dict[str, Any] = {
        "name": subject.name,
        "score": {"name": score_name, "value": found.scores[score_name]},
        "scores": found.scores,
        "searched": found.rows_of_thresholds,
        "exclusive": kind.exclusive,
        "kind": kind.words,
        "tta": str(own.tta),
        "runs": board,
        "classes": tables.classes(found),
        "mixUps": tables.mix_ups(found),
        "ids": own.ids.tolist(),
        "folds": [] if subject.files else tables.folds(subject.folders, own.ids),
        "targets": [np.flatnonzero(row).tolist() for row in targets],
        "probabilities": base64.b64encode(np.ascontiguousarray(own.probabilities, "<f4").tobytes()).decode(),
        "labels": labels,
        "wrongShare": share,
        "ensemble": None,
        "rows": [],
    }
    if len(members.names) > 1:
        page["ensemble"] = tables.ensemble(members, subject.weights, subject.rule, subject.about.get("shift"))
    return page | _pictured(subject, task, board, worst[:MOST_IMAGES], heat_maps)


def _pictured(
    subject: Subject, task: Task | None, board: list[dict[str, Any]], rows: np.ndarray, heat_maps: int
) -> dict[str, Any]:
    """Return what is on the page of images; a reason instead of them where there are none."""
    found, own = subject.found, subject.found.predictions
    models = [Path(row["name"]) for row in board if Path(row["name"]) in subject.folders]
    models = [each for each in models if (each / "model.keras").exists() and (each / "config.json").exists()]
    if not models:
        return {"noImages": "None of the members is a run folder with a model."}
    folder = models[0]
    known = read_task_of(folder)
    painted = task or TASKS.get(known.name, known)
    if painted.channels != known.channels:
        raise BadInput(f"task {painted.name}: has other channels than {folder}; name the task of the runs", setting="task")
    try:
        images, place = _images(subject, folder, known, rows)
        side, encoded = pictures.tiles(images, place)
        shown = found.predicted[rows] | own.known_targets[rows].astype(bool)
        wanted = [np.flatnonzero(row).tolist() for row in shown[:heat_maps]]
        told = pictures.insight(folder, images, place, wanted)
        first = [*told["similar"][: pictures.SHOWN_SIMILAR], *told["copies"][: pictures.SHOWN_SIMILAR]]
        others = list(dict.fromkeys(each["id"] for similar in first for each in similar if each["id"] not in own.ids[rows]))
        if others:
            learned = pictures.stored_images(folder)
            extra = pictures.tiles(learned, pd.Index(learned.ids).get_indexer(others), side)[1]
            told["others"] = dict(zip(others, extra, strict=True))
    except (Failure, BadInput) as error:
        logger.warning("%s: the page has no images: %s", folder, error)
        return {"noImages": str(error)}
    return told | {
        "rows": rows.tolist(), "tiles": encoded, "side": side, "model": str(folder),
        "channels": list(known.channels), "colours": colours(painted),
    }  # fmt: skip


def _images(subject: Subject, folder: Path, task: Task, rows: np.ndarray) -> tuple[Images, np.ndarray]:
    """Return images that hold those of some rows, and where these are."""
    ids = subject.found.predictions.ids[rows]
    if subject.files is None:
        images = pictures.stored_images(folder)
        place = pd.Index(images.ids).get_indexer(ids)
        if (place < 0).any():
            raise Failure(f"{ids[place < 0][0]} is not among the packed images of {folder}; run hpa pack again")
        return images, place
    with quiet_import():
        from hpa.inference.images import read_images
        from hpa.inference.predict import form_of

    form, files = form_of(folder), [subject.files[row] for row in rows]
    stamps = np.array([stamp(own, own) for own in files], np.uint64)
    _, batches = read_images(files, task, [form])
    return Images(ids, np.concatenate([batch[form] for batch in batches]), stamps, form[1]), np.arange(len(rows))
