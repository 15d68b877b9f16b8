"""`python -m hpa.search`: search for better settings with short runs on a part of the training data.

Trials are validated on a fifth of `train/`, never on the data's own validation set. The best setting becomes a preset: with
`python -m hpa.train --preset NAME` it is trained at full length on all rows. The same command goes on where it stopped.
"""

import argparse
import shlex
from contextlib import nullcontext

from hpa import command
from hpa.cluster import add_place, calls
from hpa.errors import BadInput
from hpa.options import add_settings, given_settings
from hpa.training.presets import FOLDS, preset_file

MOMENTUM = "default: an average over a tenth of a trial's steps, or the preset's if that is shorter"


def build_parser() -> argparse.ArgumentParser:
    """Return the options."""
    parser = command.parser(
        "search",
        "Trials, table and picture are in <runs>/searches/<name>; the best setting becomes the preset <name>.",
        "task data runs",
    )
    add = parser.add_argument
    add("--name", default="search", help="name of the search, and of the preset that it finds")
    add("--preset", metavar="NAME", help="where to start from; if not given, cells for single-label tasks, else report")
    add_settings(
        parser,
        ("loss", "size", "intensity_range", "batch_size", "ema_momentum"),
        lambda name, _: MOMENTUM if name == "ema_momentum" else "default: the preset's",
    )
    add("--trials", type=command.positive_integer, default=20, help="trials in all, earlier ones included")
    add("--epochs", type=command.positive_integer, default=10, help="epochs of each trial")
    add("--rows", type=command.positive_integer, default=2000, help="training rows of each trial")
    add("--workers", type=command.positive_integer, default=1, metavar="N", help="trials at once, with --address")
    add_place(parser)
    add("--seed", type=command.whole_number, default=0, help="seed of the search and of every trial")
    parser.set_defaults(folds=FOLDS)
    return parser


def work(options: argparse.Namespace) -> None:
    """Search, and print the command that trains the best setting."""
    from hpa.training.plan import start_of_search

    _require_place(options)
    task, data, runs, name = options.task, options.data, options.runs, options.name
    start = start_of_search(options.preset, given_settings(options), task, data, runs, name)
    with command.quiet_import():
        from hpa.training.search import search

    asked = (start, options.preset or task.kind.preset, task, data, runs, name, options.trials)
    with nullcontext() if options.address == "none" else calls(options, "search") as submit:
        best = search(*asked, *((options.workers, submit) if submit else ()))
    parser, given = build_parser(), {"task": command.TEXT_OF_TASK[task], "data": data, "runs": runs}
    named = {option: str(value) for option, value in given.items() if value != parser.get_default(option)}
    named |= {"preset": name, "name": name}
    again = ["python", "-m", "hpa.train", *(part for option, value in named.items() for part in (f"--{option}", value))]
    print(f"trial {best.number} is the best, with {best.value:.4f}: {preset_file(runs, name)}")
    print(f"train it at full length: {shlex.join(again)}")


def _require_place(options: argparse.Namespace) -> None:
    """Raise BadInput for what no trial would heed: more than one GPU, and a share of a cluster where none is named."""
    if options.gpus_per_task > 1:
        fault = f"gpus_per_task {options.gpus_per_task:g}: a trial trains on one GPU; ask for at most 1"
        raise BadInput(fault, "gpus_per_task")
    parser = build_parser()
    for name in ("workers", "cores_per_task", "gpus_per_task", "memory_per_task"):
        value = getattr(options, name)
        if options.address == "none" and value != parser.get_default(name):
            raise BadInput(f"{name} {value:g}: needs a Ray cluster; give --address local, or another one", name)


main = command.main(__name__, build_parser, work)
