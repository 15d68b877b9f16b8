"""The four stages that each network goes through, and the settings that a run is made with."""

from dataclasses import dataclass

LOSSES = ("binary-crossentropy", "soft-f1")
AUGMENTATIONS = ("report", "none")


@dataclass(frozen=True)
class Stage:
    """One stage of training.

    Attributes:
        name: also the name of its run folder.
        start: the stage whose best model it starts from; None starts from new weights.
        part: what learns, "all", "convolutional" or "dense"; the rest is frozen.
        epochs: the default number of epochs.
        learning_rate: the default learning rate of Adam.
        loss: the default loss, one of `LOSSES`.
    """

    name: str
    start: str | None
    part: str
    epochs: int
    learning_rate: float
    loss: str


# The report's schedule: 40 epochs, then 10 on the CNN, 4 on the DNN and 2 more on the DNN.
STAGES = {
    stage.name: stage
    for stage in (
        Stage("base", None, "all", 40, 1e-3, "binary-crossentropy"),
        Stage("cnn", "base", "convolutional", 10, 1e-4, "soft-f1"),
        Stage("dnn", "cnn", "dense", 4, 1e-4, "soft-f1"),
        Stage("dnn2", "dnn", "dense", 2, 1e-4, "soft-f1"),
    )
}


@dataclass(frozen=True)
class Settings:
    """What a run is made with; two runs with equal settings on the same data give the same files.

    Attributes:
        model: a name in `hpa.models.variants.MODELS`.
        variant: 0 to 7, or None where the model has no variants.
        stage: a name in `STAGES`.
        size: side of the images in pixels.
        folds: number of folds of the training table.
        fold: the fold that is held out for validation.
        split_seed: seed of the folds; apart from `seed`, so that models of different seeds share their validation rows.
        seed: seed of the weights, the order, the augmentation and the dropout.
        epochs: number of epochs.
        batch_size: rows a step.
        learning_rate: learning rate of Adam.
        loss: one of `LOSSES`.
        augmentation: one of `AUGMENTATIONS`.
    """

    model: str
    variant: int | None
    stage: str
    size: int
    folds: int
    fold: int
    split_seed: int
    seed: int
    epochs: int
    batch_size: int
    learning_rate: float
    loss: str
    augmentation: str


def run_name(model: str, variant: int | None, fold: int) -> str:
    """Return the name of a run's folder: the variant for GapNet on fold 0, with the model and the fold where they differ."""
    parts = [] if model == "gapnet" else [model]
    parts += [] if variant is None else [str(variant)]
    parts += [f"fold{fold}"] if fold else []
    return "-".join(parts)
