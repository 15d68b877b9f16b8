"""`python -m hpa`: list the commands."""

import hpa

COMMANDS = {
    "demo": "the whole way on drawn cells, from drawing to a scored submission",
    "draw": "draw cells in the competition's own layout, or a picture of the 28 classes",
    "split": "share the training table out over folds and show how evenly",
    "pack": "decode, stack and resize the images, once",
    "train": "train a base model",
    "finetune": "fine-tune a model from the stage before, one part frozen",
    "predict": "predict the test set with all chosen models in one pass",
    "ensemble": "blend the models into a submission",
    "submit": "check a submission and upload it to Kaggle",
}


def main() -> None:
    """Print the commands in the order in which they are used."""
    print(f"hpa {hpa.__version__}. Each command tells its options with --help.\n")
    for name, what in COMMANDS.items():
        print(f"  python -m hpa.{name:9} {what}")


if __name__ == "__main__":
    main()
