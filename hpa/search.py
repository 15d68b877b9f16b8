"""`python -m hpa.search`: search for better settings with short runs on a part of the training data.

Trials are validated on a fifth of `train/`, never on the data's own validation set. The best setting becomes a preset: with
`python -m hpa.train --preset NAME` it is trained at full length on all rows. The same command goes on where it stopped.
"""

import argparse
import math
import shlex
from collections.abc import Sequence
from dataclasses import replace

from hpa import command
from hpa.errors import BadInput
from hpa.options import add_settings, given_settings
from hpa.settings import STAGES
from hpa.training.presets import FOLDS, PRESETS, preset_file, preset_name

MOMENTUM = "default: over a tenth of a trial's steps, or as many as the preset averages over if these are fewer"


def build_parser() -> argparse.ArgumentParser:
    """Return the options."""
    parser = command.parser(
        "search",
        "Search for better settings with short runs on a part of the training data. Trials, table and picture are in "
        "<runs>/searches/<name>; the best setting becomes the preset <name>.",
    )
    command.add_task(parser)
    command.add_folders(parser)
    add = parser.add_argument
    add("--name", type=command.run_name, default="search", help="name of the search, and of the preset that it finds")
    add("--preset", metavar="NAME", help="where to start from; if not given, cells for single-label tasks, else report")
    add_settings(
        parser,
        ("loss", "size", "intensity_range", "batch_size", "ema_momentum"),
        lambda name, _: MOMENTUM if name == "ema_momentum" else "default: the preset's",
    )
    add("--trials", type=command.positive_integer, default=20, help="settings to try in all, those tried before included")
    add("--epochs", type=command.positive_integer, default=10, help="passes of each trial over its training rows")
    add("--rows", type=command.positive_integer, default=2000, help="how many rows each trial learns from")
    add("--seed", type=command.whole_number, default=0, help="seed of the search and of every trial")
    parser.set_defaults(folds=FOLDS)
    return parser


def work(options: argparse.Namespace) -> None:
    """Search, and say how the best setting is trained."""
    if options.name in (*PRESETS, *STAGES, options.preset):
        raise BadInput(f"--name {options.name}: is the name of a preset or a stage already; choose another")
    from hpa.training.resolve import resolve

    start = resolve(options.preset, given_settings(options), options.task, options.data, options.runs)
    if options.ema_momentum is None:
        steps = options.epochs * math.ceil(options.rows / start.batch_size)
        # A momentum m averages over about 1 / (1 - m) steps, here a tenth of them.
        start = replace(start, ema_momentum=min(start.ema_momentum, max(0.0, 1 - 10 / steps)))
    with command.quiet_import():
        from hpa.training.search import search

    preset = preset_name(options.preset, options.task)
    best = search(start, preset, options.task, options.data, options.runs, options.name, options.trials)
    parser, given = build_parser(), {"task": command.text_of_task(options.task), "data": options.data, "runs": options.runs}
    named = {name: str(value) for name, value in given.items() if value != parser.get_default(name)}
    named |= {"preset": options.name, "name": options.name}
    again = ["python", "-m", "hpa.train", *(part for name, value in named.items() for part in (f"--{name}", value))]
    print(f"trial {best.number} is the best, with {best.value:.4f}: {preset_file(options.runs, options.name)}")
    print(f"train it at full length: {shlex.join(again)}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    return command.run(build_parser(), work, argv)


if __name__ == "__main__":
    raise SystemExit(main())
