"""The stages that a network goes through, and the settings that a run is made with."""

from dataclasses import dataclass

# What each name stands for is written where it is carried out (losses, fit, augment, mixing); these lists are here so
# that the option parser need not load those.
LOSSES = ("binary-crossentropy", "categorical-crossentropy", "soft-f1", "smooth-l1")
CROSSENTROPIES = {"one": "categorical-crossentropy", "many": "binary-crossentropy"}  # by the labels of the task
OPTIMIZERS = ("adam", "adamw", "sgd")
SCHEDULES = ("constant", "cosine", "plateau")
AUGMENTATIONS = (
    "report", "cells", "alexnet", "crop", "rotation", "flip", "hue", "saturation", "exposure", "aspect", "blur", "none",
)  # fmt: skip
MIXINGS = ("none", "mix-up", "cutmix", "mosaic")
PRECISIONS = ("float32", "mixed_bfloat16")  # Keras' names
PARTS = ("all", "convolutional", "dense")


@dataclass(frozen=True)
class Stage:
    """One stage of training.

    Attributes:
        name: also the name of its run folder.
        start: the stage whose best model it starts from; None starts from new weights.
        part: what learns, one of `PARTS`; the rest is frozen.
        epochs: the default number of epochs.
        learning_rate: the default learning rate.
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
        filters: filters of each stage of a CellNet; this and the next three are None for other models.
        blocks: residual blocks of each stage.
        kernel: side of the kernels in pixels.
        dropout: rate on the pooled features.
        activation: Keras' name of the activation inside the network; the pretrained backbones have their own.
        weights: file of weights to start from, or "imagenet"; None for new ones.
        stage: a name in `STAGES`.
        part: what learns, one of `PARTS`.
        size: side of the images in pixels.
        folds: number of folds of the training table; None where the data has a validation set of its own.
        fold: the fold that is held out for validation.
        split_seed: seed of the folds; apart from `seed`, so that models of different seeds share their validation rows.
        groups: what keeps rows on one side of the split: None, "neighbours-<n>" or a file, see `hpa.data.splits`.
        rows: how many of the training rows are learned from, chosen by the seed of the split; None for all.
        precision: one of `PRECISIONS`: what the network computes in; its weights and outputs are float32 in any case.
        seed: seed of the weights, the order, the augmentation and the dropout.
        epochs: number of epochs.
        batch_size: rows a step.
        optimizer: one of `OPTIMIZERS`.
        learning_rate: the optimizer's, at its highest.
        schedule: one of `SCHEDULES`.
        weight_decay: the optimizer's.
        averaging: momentum of the moving average of the weights that is validated and kept; 0 for none.
        label_smoothing: share of each crossentropy target that is spread over all classes.
        loss: one of `LOSSES`.
        augmentation: one of `AUGMENTATIONS`.
        mixing: one of `MIXINGS`.
    """

    model: str
    variant: int | None
    filters: tuple[int, ...] | None
    blocks: tuple[int, ...] | None
    kernel: int | None
    dropout: float | None
    activation: str
    weights: str | None
    stage: str
    part: str
    size: int
    folds: int | None
    fold: int
    split_seed: int
    groups: str | None
    rows: int | None
    precision: str
    seed: int
    epochs: int
    batch_size: int
    optimizer: str
    learning_rate: float
    schedule: str
    weight_decay: float
    averaging: float
    label_smoothing: float
    loss: str
    augmentation: str
    mixing: str


def run_name(model: str, variant: int | None, fold: int) -> str:
    """Return the name of a run's folder: the variant for GapNet on fold 0, with the model and the fold where they differ."""
    parts = [] if model == "gapnet" else [model]
    parts += [] if variant is None else [str(variant)]
    parts += [f"fold{fold}"] if fold else []
    return "-".join(parts)
