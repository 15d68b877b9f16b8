"""The commands: `hpa train ...` is the same as `python -m hpa.train ...`, and `hpa` alone lists them."""

import argparse
import importlib
import sys
from collections.abc import Sequence

import hpa

COMMANDS = {
    "demo": "run everything on drawn cells, from drawing to a scored submission",
    "draw": "draw cells in the layout of a task's real data, or a picture of its classes",
    "download": "download public images of the Human Protein Atlas as further training data",
    "sort": "sort a flat folder of images into class folders by a table",
    "duplicates": "find copies of images within and across the sets",
    "augmentations": "write a picture of every augmentation of a training sample",
    "specimens": "find the specimens, or other batches, that numbered samples run by",
    "split": "distribute the training rows over folds and show how evenly",
    "pack": "decode, stack and resize the images, once",
    "devices": "show what networks run on here, and why a GPU is not used",
    "train": "train a base model",
    "finetune": "fine-tune a model from the stage before, with one part frozen",
    "svm": "replace a finished run's dense head by a support vector machine (SVM)",
    "search": "search for better settings with Optuna on a part of the data",
    "predict": "predict the test set, or a folder, with all chosen models in one pass",
    "evaluate": "score models on labelled images, with pictures of their mistakes",
    "explain": "show where in an image the networks looked",
    "cells": "tell the classes of each cell of a field",
    "embed": "write a network's features of images as a table, and the most similar images",
    "thresholds": "compare rules for the thresholds and save one next to the models",
    "ensemble": "blend the models into a submission",
    "report": "show what runs learned on one page: classes, images, mistakes, doubtful labels, the ensemble",
    "cluster": "do a whole competition as one plan, here or on a Ray cluster",
    "export": "write a trained model for programs without hpa, as ONNX, SavedModel, LiteRT or a page",
    "submit": "check a submission and upload it to Kaggle",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that the first argument names, or list the commands; return the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments and arguments[0] in COMMANDS:
        code: int = importlib.import_module(f"hpa.{arguments[0]}").main(arguments[1:])
        return code
    parser = argparse.ArgumentParser(
        prog="hpa",
        usage="hpa <command> [options]",
        description=f"hpa {hpa.__version__}. The commands, in the order in which they are used:",
        epilog="\n".join(f"  {name:13} {what}" for name, what in COMMANDS.items())
        + "\n\n`hpa <command> --help` shows the options of a command; `python -m hpa.<command>` is the same command.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
    )
    parser.add_argument("-h", "--help", action="help", help=argparse.SUPPRESS)
    parser.add_argument("--version", action="version", version=f"hpa {hpa.__version__}", help=argparse.SUPPRESS)
    parser.parse_args(arguments)
    parser.print_help()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
