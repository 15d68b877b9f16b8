"""Options that come from the settings' own definitions: type, check, help and what each preset gives."""

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, get_args

from hpa import command
from hpa.kinds import OneOf, expected, kind
from hpa.settings import DEFAULTS, HINTS, MAIN, NAMES, About, about, faults
from hpa.stages import STAGES
from hpa.training.presets import PRESETS


def add_settings(
    parser: argparse.ArgumentParser, names: Sequence[str], default: Callable[[str, About], str], fold: bool = False
) -> None:
    """Add an option for each setting, under the heading of its group.

    `default` returns in words what a setting is without its option. If `fold` is true, `--help` shows only the most used
    ones, and `--help-all` all of them.
    """
    groups: dict[str, argparse._ActionsContainer] = {MAIN: parser}
    for name in names:
        own = about(name)
        if own.group not in groups:
            groups[own.group] = parser.add_argument_group(own.group)
        base, marks = kind(HINTS[name])
        listed = any(isinstance(mark, OneOf) for mark in marks) or name == "loss"
        values = f": {expected(HINTS[name]).removeprefix('one of ')}" if listed else ""
        metavar = own.metavar or ("NAME" if base is str else "N")
        text = f"{own.help}{values} ({default(name, own)})".replace("%", "%%")
        groups[own.group].add_argument(option(name), type=partial(read, name), metavar=metavar, help=text)
    if fold:
        parser.add_argument("--help-all", action=_HelpAll, nargs=0, help="show all options and exit")
        parser.epilog = "More options, for data, network, learning, rare classes and augmentation: --help-all"
        parser.folded = groups.keys() - {MAIN}  # type: ignore[attr-defined]


def given_settings(options: argparse.Namespace) -> dict[str, Any]:
    """Return the settings that the options name."""
    return {name: value for name, value in vars(options).items() if name in NAMES and value is not None}


def option(name: str) -> str:
    """Return the option of a setting: "--batch-size" for "batch_size"."""
    return f"--{name.replace('_', '-')}"


def read(name: str, text: str) -> object:
    """Return the value of a setting from an option's text; raise argparse.ArgumentTypeError if it is out of bounds."""
    base, _ = kind(HINTS[name])
    words = expected(HINTS[name])
    value: object
    if name == "intensity_range":
        words = "LOW:HIGH with 0 <= LOW < HIGH <= 65535, full or 8-bit, or several of them separated by commas"
        value = tuple(_interval(part.strip()) for part in text.split(","))
    elif get_args(base):
        value = tuple(command.as_number(int, part.strip()) for part in text.split(","))
    else:
        value = command.as_number(base, text)
    if faults({name: value}):
        raise argparse.ArgumentTypeError(f"expected {words}, received '{text[:40]}'")
    return value


def _interval(text: str) -> tuple[object, ...] | None:
    if text == "8-bit":
        return None
    return (0, 2**16 - 1) if text == "full" else tuple(command.as_number(int, part) for part in text.split(":"))


def in_presets(name: str, own: About) -> str:
    """Return in words the default of a setting, and its values in the presets that change it."""
    values = [f"default: {shown(DEFAULTS[name], own)}"]
    values += [f"{preset}: {shown(changes[name], own)}" for preset, changes in PRESETS.items() if name in changes]
    return "; ".join(values)


def in_stages(name: str, own: About) -> str:
    """Return in words the default of a setting in fine-tuning."""
    if name in ("epochs", "learning_rate", "loss"):
        return "; ".join(f"{stage.name}: {getattr(stage, name)}" for stage in STAGES.values() if stage.start)
    return "default: that of the run it starts from" if name == "batch_size" else f"default: {shown(DEFAULTS[name], own)}"


def shown(value: object, own: About) -> str:
    """Return a value as a person types it."""
    if value is None:
        return own.unset
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def as_text(name: str, value: Any) -> str:
    """Return the value of a setting as its option takes it, so that `read` gives it back."""
    if name == "intensity_range":
        return ",".join("8-bit" if each is None else "{}:{}".format(*each) for each in value)
    return shown(value, about(name))


class _HelpAll(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        parser.folded = ()  # type: ignore[attr-defined]
        parser.epilog = None
        parser.print_help()
        parser.exit()
