"""The library's face: train a run, predict with it, blend several, in a few lines of Python.

    import hpa

    run = hpa.Run.train(hpa.HPA, data="data", runs="runs", variant=0, size=128, epochs=10)
    tuned = run.finetune("cnn").finetune("dnn").finetune("dnn2")
    probabilities = tuned.predict("my-images")
    entry = hpa.blend([tuned, "runs/4/dnn2"], shift=0.34)
    entry.submission("submissions/entry.csv")

Strings serve as paths. Messages go to the logger "hpa". What is wrong with input or settings is raised as
`hpa.errors.BadInput`, work that cannot be done as `hpa.errors.Failure`. Random states and Keras' configuration stay as they
were.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpa.backend import borrowed_keras
from hpa.data.tables import has_test_set
from hpa.errors import BadInput
from hpa.runs.entry import make_entry
from hpa.runs.folder import best_score, data_of, read_history, read_settings, read_task_of, with_its_name
from hpa.scoring.rules import require_rules
from hpa.settings import Settings
from hpa.stages import STAGES
from hpa.tasks import HPA, Task
from hpa.training.plan import base_run, stage_run
from hpa.tta import TTA

if TYPE_CHECKING:
    import keras
    import numpy as np
    import pandas as pd
    from matplotlib.figure import Figure

    from hpa.inference.explain import Explanation
    from hpa.inference.images import Images
    from hpa.runs.entry import Entry
    from hpa.scoring.evaluation import Evaluation


@dataclass(frozen=True)
class Run:
    """One stage of a trained network, in its run folder `<runs>/<name>/<stage>`.

    Make one with `Run.train`, or open one with `Run.load`.

    Attributes:
        folder: the run folder.
    """

    folder: Path

    @classmethod
    def train(
        cls,
        task: Task = HPA,
        data: str | Path = "data",
        runs: str | Path = "runs",
        *,
        preset: str | None = None,
        name: str | None = None,
        devices: int | str = 1,
        **settings: Any,
    ) -> Run:
        """Train a base model, or go on where an earlier call or command stopped, and return the finished run.

        Args:
            task: what is classified.
            data: folder of the data: train/ with its table or class folders, and what else there is.
            runs: folder of the run folders and the packed images.
            preset: the settings to start from; None for `cells` if the task is single-label, else for `report`.
            name: of the run; None for the name made of model and variant. The fold is added.
            devices: how many GPUs of this computer share every batch, or `"all"`.
            **settings: those that differ from the preset, by their names in `hpa.Settings`.

        Raises:
            BadInput: if a setting, a table or an image cannot be used, or the run folder was made with other settings.
            Failure: if training diverges, or another process trains the same run.
        """
        data, runs = Path(data), Path(runs)
        resolved, name = base_run(preset, settings, task, data, runs, name)
        with borrowed_keras():
            from hpa.training.train import train

            return cls(train(resolved, task, data, runs, name, preset or task.kind.preset, devices=devices))

    @classmethod
    def load(cls, folder: str | Path) -> Run:
        """Open a run folder, such as `"runs/4/dnn2"`; BadInput if there is no run, or its config.json is damaged."""
        run = cls(with_its_name(Path(folder)))
        _ = run.task, run.settings
        return run

    @property
    def name(self) -> str:
        """The run's name; its stages share it."""
        return self.folder.resolve().parent.name

    @property
    def task(self) -> Task:
        """What is classified."""
        return read_task_of(self.folder)

    @property
    def settings(self) -> Settings:
        """What the run was made with."""
        return read_settings(self.folder)

    @property
    def data(self) -> Path:
        """The folder of the data that the run was trained with, as its config.json names it."""
        return data_of(self.folder)

    @property
    def history(self) -> pd.DataFrame:
        """Losses and scores, a row for each finished epoch."""
        return read_history(self.folder)

    @property
    def score(self) -> float:
        """The validation score of the best epoch: macro F1 if the task is multi-label, accuracy if it is single-label."""
        return best_score(self.folder)

    @cached_property
    def model(self) -> keras.Model:
        """The network of the best epoch: uint8 [n, S, S, C] to probabilities, float32 [n, classes]."""
        with borrowed_keras():
            from hpa.inference.predict import load_run

            return load_run(self.folder)

    def plot(self) -> Figure:
        """Return a figure of the losses and scores over the epochs."""
        from hpa.training.curves import draw_curves

        return draw_curves(self.history, f"{self.name} {self.settings.stage}", self.task.kind.monitor)

    def finetune(self, stage: str, data: str | Path | None = None, *, devices: int | str = 1, **settings: Any) -> Run:
        """Train the next stage from this run's best model, or go on with it, and return the finished run.

        Args:
            stage: `"cnn"` after base, `"dnn"` after cnn, `"dnn2"` after dnn.
            data: folder of the data; None for the one that this run was trained with.
            devices: as for `train`.
            **settings: those that differ from the stage's own and from this run's.

        Raises:
            BadInput, Failure: as `train`.
        """
        own = self.settings.stage
        following = ", ".join(each.name for each in STAGES.values() if each.start == own)
        if stage not in following.split(", "):
            expected = f"expected {following}" if following else "it is the last stage"
            raise BadInput(f"stage {stage}: does not follow on {own}; {expected}", setting="stage")
        runs = self.folder.parent.parent
        resolved, task, name = stage_run(stage, settings, runs, self.name)
        with borrowed_keras():
            from hpa.training.train import train

            return Run(train(resolved, task, Path(data or self.data), runs, name, devices=devices))

    def with_svm(self, kernel: str = "rbf", data: str | Path | None = None) -> Run:
        """Replace the network's dense head by a support vector machine (SVM), `"rbf"` or `"linear"`, and return the new run.

        The folder of the `data` is by default the one that this run was trained with.
        """
        with borrowed_keras():
            from hpa.training.svm import replace_head

            return Run(replace_head(self.folder, Path(data or self.data), self.folder.parent.parent, kernel))

    def predict(self, images: Images, tta: int = 1, tta_average: str = "probabilities") -> np.ndarray:
        """Return the probabilities of all classes, float32 [n, classes].

        Args:
            images: one of
                - an array, uint8 or uint16 [n, H, W, C], or a list of arrays [H, W, C], of any size;
                - a list of files, if the task has one channel, else of tuples with the file of each channel;
                - a folder; its samples come in the order of their ids, see `hpa.data.layout.list_ids`.
                16-bit images are scaled by the intensity range that the run was trained with.
            tta: test-time augmentation: over how many views of an image the mean is taken, 1, 2, 4 or 8.
            tta_average: what it is the mean of, `"probabilities"` or `"logits"`.

        Raises:
            BadInput: if images cannot be used; all are named.
        """
        with borrowed_keras():
            from hpa.inference.images import predict_images

            return predict_images(self.folder, images, TTA(tta, tta_average))

    def evaluate(
        self, data: str | Path, table: str | Path | None = None, tta: int = 1, tta_average: str = "probabilities"
    ) -> Evaluation:
        """Predict labelled images and score the predictions.

        Args:
            data: a folder of images, in class folders or with a table next to it.
            table: the CSV of their classes; None for the one next to `data`, or the class folders.
            tta: as for `predict`, like the next one.
            tta_average: see there.
        """
        with borrowed_keras():
            from hpa.inference.evaluate import evaluate_runs

            found = evaluate_runs([self.folder], Path(data), _path(table), TTA(tta, tta_average))
            return found.evaluations[str(self.folder)]

    def explain(self, images: Images, tta: int = 1, method: str = "auto") -> list[Explanation]:
        """Return for each image where the network looked: for each class a map, float32 [S, S], that adds up to its logit.

        Args:
            images: as for `predict`.
            tta: over how many views of an image the mean is taken, 1, 2, 4 or 8.
            method: `"exact"`, `"grad-cam"`, or `"auto"` for exact maps if the network has them, see `hpa.inference.explain`.
        """
        with borrowed_keras():
            from hpa.inference.explain import explain

            return list(explain([self.folder], images, TTA(tta), method))

    def embed(self, images: Images, tta: int = 1) -> np.ndarray:
        """Return what the network pools of each image before its last layers, float32 [n, features]."""
        with borrowed_keras():
            from hpa.inference.embeddings import embed

            return embed(self.folder, images, tta=TTA(tta)).features


def blend(
    members: Sequence[Run | str | Path],
    *,
    shift: float = 0.34,
    weights: str = "shifted",
    threshold: str | float | None = None,
    data: str | Path | None = None,
    sample_submission: str | Path | None = None,
) -> Entry:
    """Blend the predictions of several runs, or of other members, into an entry.

    A run without predictions of the test set predicts it first, if `data` has one.

    Args:
        members: runs, run folders, or other folders with `validation.npz` and `test.npz`.
        shift: what the rule `"shifted"` subtracts from a member's validation F1 to get its weight.
        weights: the rule of the weights, one of `hpa.scoring.rules.WEIGHTS`.
        threshold: the rule of the thresholds, one of `hpa.scoring.rules.THRESHOLDS` or a number between 0 and 1; None for
            the one saved next to all members, or else `"per-class"`.
        data: folder of the data, which may have a test set; None for the one that the first run was trained with.
        sample_submission: the CSV that names the test rows; None for the one in `data`.

    Raises:
        BadInput: if a rule is unknown, the members do not fit each other or the test set, or no member's F1 is above the
            shift.
    """
    threshold = require_rules(weights, threshold)
    folders = [each.folder if isinstance(each, Run) else Path(each) for each in members]
    if not folders:
        raise BadInput("members: there are none; name at least one run or folder", setting="members")
    trained = [folder for folder in folders if (folder / "config.json").exists()]
    data = Path(data or (data_of(trained[0]) if trained else "data"))
    missing = [folder for folder in trained if not (folder / "test.npz").exists()]
    if missing and has_test_set(data):
        with borrowed_keras():
            from hpa.inference.predict import predict_as_validated

            predict_as_validated(missing, data)
    return make_entry(folders, data, None, _path(sample_submission), weights, shift, threshold)


def _path(given: str | Path | None) -> Path | None:
    return None if given is None else Path(given)


def load_model(path: str | Path) -> keras.Model:
    """Return a saved network: uint8 [n, S, S, C] to probabilities, float32 [n, classes].

    `path` is a run folder, or a `.keras` file in one. BadInput is raised if there is none, or it is damaged.
    """
    with borrowed_keras():
        from hpa.models.catalog import load

        return load(Path(path) / "model.keras" if Path(path).is_dir() else Path(path))
