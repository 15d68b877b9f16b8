"""`python -m hpa.demo`: all commands on drawn cells, one after the other, and the score of the blend on the test set.

The lines that start with `$` are commands that work by themselves. Run again, the demo goes on where it stopped.
"""

import argparse
import contextlib
import importlib
import shlex
import time
from collections.abc import Sequence
from pathlib import Path

from hpa import command
from hpa.errors import BadInput, Failure
from hpa.registry import require_network
from hpa.tasks import HPA

# The options that name a member, and those that only its training takes. A blend gains if its members make different
# mistakes and are about equally good. So these are two kinds of network. The CellNet has few filters: with twice as many it
# learns so much faster than GapNet that it is better alone.
MEMBERS: Sequence[tuple[list[str], list[str]]] = (
    (["--variant", "0"], []),
    (["--model", "cellnet"], ["--filters", "16,32,64,128", "--blocks", "1,1,1,1", "--kernel", "3", "--dropout", "0.2"]),
)


def build_parser() -> argparse.ArgumentParser:
    """Return the options."""
    parser = command.parser("demo", shared="data runs")
    parser.add_argument("--out", type=Path, default=Path("submissions/drawn.csv"), metavar="FILE.csv", help="the submission")
    parser.add_argument("--train", type=command.positive_integer, default=1200, help="drawn training fields")
    parser.add_argument("--test", type=command.positive_integer, default=400, help="drawn test fields")
    parser.add_argument("--size", type=command.positive_integer, default=80, help="side of the images in pixels")
    parser.add_argument("--epochs", type=command.positive_integer, default=7, help="epochs of the base models")
    parser.add_argument("--shift", type=float, default=0.1, help="of the ensemble's weights")
    parser.set_defaults(data=Path("data/drawn"), runs=Path("runs/drawn"))
    return parser


def work(options: argparse.Namespace) -> None:
    """Run the commands, then score what they wrote against the answer key."""
    start = time.perf_counter()
    require_network("gapnet", 0, options.size)  # CellNet takes smaller images
    check_names(options)
    for name, arguments in commands(options):
        print(f"\n$ python -m hpa.{name} {shlex.join(arguments)}", flush=True)
        code = importlib.import_module(f"hpa.{name}").main(arguments)
        if code:
            text = f"hpa.{name} ended with exit code {code}; fix what it says and run the same command again"
            raise BadInput(text) if code == 2 else Failure(text)
    print_scores(options)
    print(f"\nall of it in {time.perf_counter() - start:.0f} s")


def check_names(options: argparse.Namespace) -> None:
    """Raise before the first command what the last one would raise: for too long names, or a submission over the data."""
    from hpa.data.layout import data_paths

    for path in (options.data, options.runs, options.out):
        with contextlib.suppress(FileNotFoundError):
            path.lstat()  # the system says which name is too long
    command.require_output(options, options.out, data_paths(options.data))


def commands(options: argparse.Namespace) -> list[tuple[str, list[str]]]:
    """Return the commands with their arguments, in order."""
    out = _as_argument(options.out)
    data, runs = ["--data", _as_argument(options.data)], ["--runs", _as_argument(options.runs)]
    about, page = (_as_argument(options.out.with_suffix(suffix)) for suffix in (".json", ".html"))
    size = ["--size", str(options.size)]
    fields = ["--train", str(options.train), "--test", str(options.test)]
    learning = ["--preset", "winner", "--epochs", str(options.epochs), "--batch-size", "16"]
    thresholds = ["--threshold", "class-share"]  # 240 validation rows are too few to find the best one of each class
    steps = [("draw", ["--out", _as_argument(options.data), *fields, *size]), ("pack", [*data, *runs, *size])]
    for member, network in MEMBERS:
        which = [*data, *runs, *member]
        steps.append(("train", [*which, *network, *size, *learning]))
        steps.append(("finetune", [*which, "--stage", "cnn", "--epochs", "1"]))
    return [
        *steps,
        ("predict", [*data, *runs]),
        ("ensemble", [*data, *runs, f"--shift={options.shift}", *thresholds, "--out", out]),
        ("submit", [out, *data, "--check-only"]),
        ("report", ["--ensemble", about, "--heat-maps", "12", "--out", page]),
    ]


def _as_argument(path: Path) -> str:
    """Return a path as commands take it; one that begins with a dash would pass for an option."""
    return f"./{path}" if str(path).startswith("-") else str(path)


def print_scores(options: argparse.Namespace) -> None:
    """Print the macro F1 on the drawn test set of the blend, of each member, and of a constant guess."""
    import numpy as np

    from hpa.data.tables import read_training_table
    from hpa.files import read_json
    from hpa.scoring.members import read_members
    from hpa.scoring.metrics import macro_f1
    from hpa.scoring.submission import score_submission
    from hpa.scoring.thresholds import find_thresholds, predict_classes

    key = options.data / "test_key.csv"
    table = read_training_table(key, HPA)
    truth = table.known_targets
    about = read_json(options.out.with_suffix(".json"))
    members = read_members([Path(each["folder"]) for each in about["members"]], table.ids)
    scores = {}
    for name, validation, test in zip(members.names, members.validation, members.test, strict=True):
        thresholds = find_thresholds(about["threshold"], members.targets, validation)
        scores[name] = macro_f1(truth, predict_classes(test, thresholds)[0])
    best = max(scores, key=lambda name: scores[name])
    blend = score_submission(options.out, key, HPA)
    guess = {"constant guess (all classes)": macro_f1(truth, np.ones_like(truth))}
    print("\nmacro F1 on the drawn test set")
    for name, f1 in (guess | scores | {"blend": blend}).items():
        print(f"  {name:32} {f1:.4f}")
    side = "above" if blend > scores[best] else "below"
    print(f"the blend is {abs(blend - scores[best]):.4f} {side} its best member, {best}")


main = command.main(__name__, build_parser, work)
