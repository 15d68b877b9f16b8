"""The stages that a network goes through, and the settings that a run is made with."""

import re
from dataclasses import dataclass

from hpa.errors import BadInput

# What each name stands for is written where it is carried out (losses, fit, augment, mixing); these lists are here so
# that the option parser need not load those.
LOSSES = {  # and the labels, one or many a sample, that each is for
    "binary-crossentropy": ("many",),
    "categorical-crossentropy": ("one",),
    "focal": ("many",),
    "asymmetric": ("many",),
    "soft-f1": ("one", "many"),
    "smooth-l1": ("one", "many"),
}
SMOOTHED = ("binary-crossentropy", "categorical-crossentropy", "focal")  # those that label smoothing is for
CROSSENTROPIES = {"one": "categorical-crossentropy", "many": "binary-crossentropy"}  # by the labels of the task
OPTIMIZERS = ("adam", "adamw", "sgd")
SCHEDULES = ("constant", "cosine", "plateau", "plateau-score")
WEIGHTINGS = ("none", "square-root", "inverse-frequency")
AUGMENTATIONS = (
    "report", "cells", "alexnet", "crop", "rotation", "flip", "hue", "saturation", "exposure", "aspect", "blur", "none",
)  # fmt: skip
ACTIVATIONS = ("relu", "mish")  # inside the networks, by Keras' names
MIXINGS = ("none", "mix-up", "cutmix", "mosaic")
PRECISIONS = ("float32", "mixed_bfloat16")  # Keras' names
NAME = re.compile("(.*?)(-fold[0-9]+)?(-svm-(?:linear|rbf))?", re.DOTALL)
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
        loss: the default loss, as `parse_loss` reads it.
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
        model: a name in `hpa.registry.NETWORKS`.
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
        intensity_range: for each channel what is black and white in its 16-bit files, or None if they have 8 bits; None if
            all have 8 bits, or while the training set has not been measured.
        folds: number of folds of the training table; None where the data has a validation set of its own.
        fold: the fold that is held out for validation.
        split_seed: seed of the folds; apart from `seed`, so that models of different seeds share their validation rows.
        groups: what keeps rows on one side of the split: None, or "antibodies", "neighbours-<n>" or a file, or several of
            them parted by commas, see `read_groups` of `hpa.data.splits`.
        external_weight: what a row of the external set weighs in the loss, where a row of `train` weighs 1; 0 to learn from
            `train` alone.
        rows: how many of the training rows are learned from, chosen by the seed of the split; None for all.
        precision: one of `PRECISIONS`: what the network computes in; its weights and outputs are float32 in any case.
        seed: seed of the weights, the order, the augmentation and the dropout.
        epochs: number of epochs.
        batch_size: rows a step.
        optimizer: one of `OPTIMIZERS`.
        learning_rate: the optimizer's, at its highest.
        schedule: one of `SCHEDULES`; a plateau is one of the validation loss, or of the score that keeps the best epoch.
        warm_up: epochs over which a cosine or constant schedule rises; 0 for none.
        patience: epochs without a better score after which the run ends; 0 for never.
        weight_decay: the optimizer's.
        clip_norm: largest norm of the gradient over all weights; 0 for any.
        averaging: momentum of the moving average of the weights that is validated and kept; 0 for none.
        label_smoothing: share of each crossentropy target that is spread over all classes.
        loss: one of `LOSSES`, or two as `parse_loss` reads them.
        positive_weights: one of `WEIGHTINGS`: what positives weigh in binary crossentropy, see `hpa.data.sampling`.
        class_weights: one of `WEIGHTINGS`: what rows weigh by their class, where they have one label.
        oversampling: share of the rows below which a class is rare and its rows are repeated in an epoch; 0 for none.
        augmentation: one of `AUGMENTATIONS`.
        mixing: one of `MIXINGS`.
        progressive_resizing: share of the epochs, the first, with images made smaller by `hpa.data.feed`; 0 for none.
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
    intensity_range: tuple[tuple[int, int] | None, ...] | None
    folds: int | None
    fold: int
    split_seed: int
    groups: str | None
    external_weight: float
    rows: int | None
    precision: str
    seed: int
    epochs: int
    batch_size: int
    optimizer: str
    learning_rate: float
    schedule: str
    warm_up: int
    patience: int
    weight_decay: float
    clip_norm: float
    averaging: float
    label_smoothing: float
    loss: str
    positive_weights: str
    class_weights: str
    oversampling: float
    augmentation: str
    mixing: str
    progressive_resizing: float


def parse_loss(text: str) -> dict[str, float]:
    """Return the losses that a setting names and their shares, which sum to 1.

    "A" is one of `LOSSES`, "A+B" the mean of two, and "A+B:0.3" has a share of 0.3 of B and 0.7 of A.

    Raises:
        BadInput: if the text is none of these.
    """
    found = re.fullmatch(r"([a-z0-9-]+)(?:\+([a-z0-9-]+)(?::(0?\.\d*[1-9]\d*))?)?", text)
    names = [name for name in found.groups()[:2] if name] if found else []
    if not names or not set(names) <= LOSSES.keys() or len(names) != len(set(names)):
        raise BadInput(
            f"loss {text}: expected one of {', '.join(LOSSES)}, "
            "or two of them as A+B, or as A+B:SHARE, where SHARE is B's, between 0 and 1"
        )
    share = float(found[3] or 0.5)
    return dict(zip(names, (1 - share, share), strict=True)) if names[1:] else {text: 1.0}


def require_loss(loss: str, labels: str) -> None:
    """Raise BadInput if a loss, or a part of it, is not for tasks with `labels` ("one" or "many") a sample."""
    for name in parse_loss(loss):
        if labels not in LOSSES[name]:
            kind = f"tasks with {labels} label{'s' * (labels == 'many')} a sample"
            raise BadInput(f"--loss {name} is not for {kind}; take another --loss or --preset")


def run_name(given: str | None, model: str, variant: int | None, fold: int) -> str:
    """Return the name of a run's folder: what is given, or else the variant, with the model unless it is GapNet.

    Folds but the first have their number in it, as `fold_name` says.
    """
    parts = [] if model == "gapnet" else [model]
    parts += [] if variant is None else [str(variant)]
    name = given or "-".join(parts)
    return fold_name(name, fold) if fold else name


def fold_name(name: str, fold: int) -> str:
    """Return the name of another fold of a run: `"0-fold2"` for `"0"` or `"0-fold1"` and fold 2; fold 0 has no suffix."""
    start, _, end = NAME.fullmatch(name).groups("")
    return f"{start}-fold{fold}{end}" if fold else start + end


def require_name(name: str, fold: int, kernel: str | None = None) -> None:
    """Raise BadInput if a run's name ends as that of another fold, or of a support vector machine, does.

    Args:
        name: as a user gives it; the ending of its own fold may be left out.
        fold: that the run holds out.
        kernel: of the support vector machine that is the run's head; None if it has none.
    """
    _, given, machine = NAME.fullmatch(name).groups("")
    if given and fold_name(name, fold) != name:
        raise BadInput(
            f"--name {name}: ends in {given}, as the name of another fold does, but the fold here is {fold}; choose a name "
            "without that ending, the fold is added by itself"
        )
    if machine != (f"-svm-{kernel}" if kernel else ""):
        raise BadInput(f"--name {name}: only the runs that hpa.svm makes end in -svm-<kernel>; choose another name")
