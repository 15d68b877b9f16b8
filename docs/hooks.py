"""What MkDocs calls while it builds the site: pages get the tables and the picture that are made from the code."""

import argparse
import importlib
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import architecture  # noqa: E402

import hpa  # noqa: E402
from hpa.__main__ import COMMANDS  # noqa: E402
from hpa.kinds import expected  # noqa: E402
from hpa.settings import DEFAULTS, HINTS, about  # noqa: E402
from hpa.training.presets import PRESETS  # noqa: E402


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    r"""Return a table in Markdown; a bar in code needs no escape, and would show it.

    >>> print(table(["a", "b"], [["1", "x | y `x|y`"]]))
    | a | b |
    |---|---|
    | 1 | x \| y `x|y` |
    """
    cells = [[re.sub(r"(`[^`]*`)|\|", lambda bar: bar[1] or r"\|", cell) for cell in line] for line in (head, *rows)]
    texts = [f"| {' | '.join(' '.join(cell.split()) for cell in line)} |" for line in cells]
    return "\n".join([texts[0], "|" + "---|" * len(head), *texts[1:]])


def command_parser(name: str) -> argparse.ArgumentParser:
    """Return the parser of a command."""
    parser: argparse.ArgumentParser = importlib.import_module(f"hpa.{name}").build_parser()
    return parser


def commands() -> str:
    """Return a section for each command: what it does and a table of its options for each group of them."""
    parts = []
    for name, purpose in COMMANDS.items():
        parser = command_parser(name)
        parts.append(f"## hpa {name}\n\n{purpose[0].upper()}{purpose[1:]}.")
        for group in parser._action_groups:
            rows = [_option(parser, action) for action in group._group_actions if action.dest != "help"]
            if rows:
                title = f"**{group.title}**\n\n" if group.title not in ("options", "positional arguments") else ""
                parts.append(title + table(["option", "values", "default", "what it does"], rows))
    return "\n\n".join(parts)


def _option(parser: argparse.ArgumentParser, action: argparse.Action) -> list[str]:
    formatter = argparse.HelpFormatter(parser.prog)
    text = formatter._expand_help(action) if action.help and action.help != argparse.SUPPRESS else ""
    values = ", ".join(map(str, action.choices)) if action.choices else str(action.metavar or "")
    values = "" if action.nargs == 0 else values or action.dest.upper()
    shown = action.default not in (None, (), [], argparse.SUPPRESS) and action.default is not False
    default = f"`{action.default}`" if shown else ""
    if found := re.fullmatch(r"(.*) \(default: (.*)\)", text, re.DOTALL):  # settings say theirs in the help
        text, default = found.groups()
    name = ", ".join(f"`{each}`" for each in action.option_strings) or f"`{action.dest}`"
    required = " (required)" if action.required and action.option_strings else ""
    return [name + required, f"`{values}`" if values else "", default, text]


def settings() -> str:
    """Return a table of settings for each group: what each may be, its default and what it does."""
    groups: dict[str, list[list[str]]] = {}
    for name, default in DEFAULTS.items():
        told = about(name)
        value = told.unset if default is None else f"`{default}`"
        # The largest numbers are those of number formats, and no one's limit.
        values = re.sub(r"from (\d+) to \d{10}", r"of at least \1", expected(HINTS[name]))
        groups.setdefault(told.group, []).append([f"`{name}`", values, value, told.help])
    head = ["setting", "values", "default", "what it does"]
    return "\n\n".join(f"## {group.capitalize()}\n\n{table(head, rows)}" for group, rows in groups.items())


def presets() -> str:
    """Return the table of what each preset changes of `report`."""
    names = [name for name in PRESETS if name != "report"]
    rows = []
    for setting, default in DEFAULTS.items():
        if any(setting in PRESETS[name] for name in names):
            changed = [_value(PRESETS[name].get(setting)) for name in names]
            rows.append([f"`{setting}`", _value(default), *changed])
    return table(["setting", "`report`", *(f"`{name}`" for name in names)], rows)


def _value(value: object) -> str:
    return "" if value is None else f"`{value}`"


MARKS: dict[str, Callable[[], str]] = {
    "{{ commands }}": commands,
    "{{ settings }}": settings,
    "{{ presets }}": presets,
    "{{ architecture }}": architecture.draw,
    "{{ version }}": lambda: hpa.__version__,
}


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put what is made from the code in the place of its mark."""
    for mark, make in MARKS.items():
        if mark in markdown:
            markdown = markdown.replace(mark, make())
    return markdown
