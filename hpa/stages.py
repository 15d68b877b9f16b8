"""The stages of training, and the names of run folders. Light, so that each command can list the stages."""

from dataclasses import dataclass

from hpa.errors import BadInput

SVM_KERNELS = ("linear", "rbf")  # of SVM heads, which are in the names of their runs
PARTS = ("all", "convolutional", "dense")
RESERVED = ("stores", "presets", "searches")  # folders next to those of the runs


@dataclass(frozen=True)
class Stage:
    """One stage of training.

    Attributes:
        name: also the name of its run folder.
        start: the stage whose best model it starts from; None starts from new weights.
        part: what learns, one of `PARTS`; the rest is frozen.
        epochs, learning_rate, loss: the defaults of these settings.
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


def run_name(given: str | None, model: str, variant: int | None, fold: int) -> str:
    """Return the name of a run's folder: the given one, or else the variant, with the model unless it is GapNet.

    All folds but the first add their number, see `fold_name`; a given name may have it already.

    Raises:
        BadInput: if the given name cannot be that of a run's folder.
    """
    parts = [] if model == "gapnet" else [model]
    parts += [] if variant is None else [str(variant)]
    name = "-".join(parts) if given is None else require_letters(given)
    return fold_name(name.removesuffix(fold_name("", fold)), fold)


def require_letters(name: str) -> str:
    """Return the name of a run or a search; raise BadInput if it cannot be the name of its folder."""
    if name in RESERVED or not name.replace("-", "").replace("_", "").isalnum():
        taken = f"{', '.join(RESERVED)} are taken"
        raise BadInput(f"name {name}: expected letters, digits, - and _; {taken}", setting="name")
    return name


def fold_name(run: str, fold: int, kernel: str | None = None) -> str:
    """Return the name of a fold of a run, with the kernel of its SVM head if it has one.

    >>> fold_name("0", 0), fold_name("0", 2), fold_name("0", 2, "rbf")
    ('0', '0-fold2', '0-fold2-svm-rbf')
    """
    return run + (f"-fold{fold}" if fold else "") + (f"-svm-{kernel}" if kernel else "")


def name_fault(name: str, fold: int, kernel: str | None = None) -> str | None:
    """Return what is wrong with the name of a run on a fold: that it has the ending of another fold or of an SVM head."""
    ending = fold_name("", 0, kernel)
    endings = tuple(fold_name("", 0, each) for each in SVM_KERNELS)
    if not name.endswith(ending) or name.removesuffix(ending).endswith(endings):
        return "only the runs that hpa.svm makes end in -svm-<kernel>; choose another name"
    _, mark, number = name.removesuffix(ending).rpartition("-fold")
    if mark and number.isdecimal() and mark + number != fold_name("", fold):
        return (
            f"ends in {mark}{number}, as the name of another fold does, but the fold here is {fold}; choose a name without "
            "that ending, the fold is added automatically"
        )
    return None


def require_name(name: str, fold: int, kernel: str | None = None) -> None:
    """Raise BadInput if there is a `name_fault`."""
    if fault := name_fault(name, fold, kernel):
        raise BadInput(f"name {name}: {fault}", setting="name")
