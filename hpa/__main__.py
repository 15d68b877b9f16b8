"""`python -m hpa`: list the commands."""

import argparse
from collections.abc import Sequence

import hpa

COMMANDS = {
    "demo": "the whole way on drawn cells, from drawing to a scored submission",
    "draw": "draw cells in the layout of a task's real data, or a picture of its classes",
    "download": "fetch public images of the Human Protein Atlas to learn from as well",
    "sort": "sort a flat folder of images into class folders by a table",
    "duplicates": "find copies of images within and across the sets",
    "augmentations": "one picture of every augmentation on a training sample",
    "split": "share the training table out over folds and show how evenly",
    "pack": "decode, stack and resize the images, once",
    "train": "train a base model",
    "finetune": "fine-tune a model from the stage before, one part frozen",
    "svm": "put a support vector machine in the place of a trained network's dense head",
    "search": "search for better settings with Optuna on a part of the data",
    "predict": "predict the test set, or a folder, with all chosen models in one pass",
    "evaluate": "score models on labelled images, with pictures of what they mistake",
    "thresholds": "compare rules for the thresholds and save one beside the models",
    "ensemble": "blend the models into a submission",
    "submit": "check a submission and upload it to Kaggle",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Print the commands in the order in which they are used; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="hpa",
        usage="python -m hpa.<command> [options]",
        description=f"hpa {hpa.__version__}. Each command tells its options with --help.",
        epilog="\n".join(f"  python -m hpa.{name:13} {what}" for name, what in COMMANDS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
    )
    parser.add_argument("-h", "--help", action="help", help=argparse.SUPPRESS)
    parser.parse_args(argv)
    parser.print_help()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
