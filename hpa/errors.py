"""The two exceptions a user meets: what is wrong, where, and how to fix it."""

import difflib
import re
from collections.abc import Collection, Sequence

SHOWN = 10
LONGEST_LINE = 1000  # letters; a damaged table may hold a field of megabytes


class BadInput(ValueError):
    """Bad input or a bad setting. Its text is meant for the user; commands print it and exit with 2.

    Attributes:
        setting: the setting, argument or option that is at fault, such as "label_smoothing"; None if it is not one of them.
        faults: each fault by itself, if the text lists several.
    """

    def __init__(self, text: str, setting: str | None = None, faults: Sequence[str] = ()) -> None:
        """Take what was expected, what was received and how to fix it; only both ends of a very long line are kept.

        The text names settings by their plain names. If it begins with the one at fault, as "fold 7: ...", a command puts
        its option there: "--fold 7: ...".
        """
        super().__init__("\n".join(map(_shortened, text.split("\n"))))
        self.setting, self.faults = setting, faults

    def with_option(self, option: str) -> str:
        """Return the text as a command prints it, with the name of the option that sets the setting at its beginning.

        >>> BadInput("fold 7: folds count from 0", setting="fold").with_option("--fold")
        '--fold 7: folds count from 0'
        >>> BadInput("3 folds are too many", setting="folds").with_option("--folds")
        '--folds: 3 folds are too many'
        """
        found = re.match(rf"{re.escape(self.setting or '')}(?=[ :])", str(self))
        return f"{option}{str(self)[found.end() :]}" if found else f"{option}: {self}"


def _shortened(line: str) -> str:
    if len(line) <= LONGEST_LINE:
        return line
    half = LONGEST_LINE // 2
    return f"{line[:half]} [... {len(line) - 2 * half} letters ...] {line[-half:]}"


def shown(text: str, letters: int = 60) -> str:
    """Return a text for a message: only the beginning of a long one, since a damaged table may hold megabytes."""
    return text if len(text) <= letters else f"{text[:letters]}... ({len(text)} letters)"


def installing(extra: str) -> str:
    """Return how an extra of hpa is installed. Not by the name `hpa`: on PyPI that is another project.

    >>> installing("export")
    "pip install '.[export]' in the folder with hpa's source"
    """
    return f"pip install '.[{extra}]' in the folder with hpa's source"


def first_of(texts: Sequence[str], most: int = 3) -> str:
    """Return the first few of some texts for a message.

    >>> first_of(["a", "b", "c", "d"])
    'a, b, c, ...'
    """
    return ", ".join(texts[:most]) + (", ..." if len(texts) > most else "")


def closest(name: str, known: Collection[str], otherwise: str) -> str:
    """Return a hint for a message about an unknown name: the known name like it, or all of them.

    >>> closest("epoch", ["epochs", "size"], "they are"), closest("x", ["epochs", "size"], "they are")
    ('is epochs meant?', 'they are epochs, size')
    """
    near = difflib.get_close_matches(name, known, 1)
    return f"is {near[0]} meant?" if near else f"{otherwise} {', '.join(known)}"


def refuse(where: object, faults: Sequence[str], setting: str | None = None) -> None:
    """Raise `BadInput` if there are `faults`: the first ten, a line each, and how many there are in all.

    They were found in the file, folder or setting `where`. The `setting` is as for `BadInput`.
    """
    if len(faults) == 1:
        raise BadInput(f"{where}: {faults[0]}", setting, faults)
    if faults:
        lines = [f"{where}: {len(faults)} faults", *(f"  {fault}" for fault in faults[:SHOWN])]
        lines += [f"  ... and {len(faults) - SHOWN} more"] if len(faults) > SHOWN else []
        raise BadInput("\n".join(lines), setting, faults)


class Failure(RuntimeError):
    """Work that could not be done although the input was good. Commands print its text and exit with 1."""


class Diverged(Failure):
    """Training came to a loss that is no number."""


class Busy(Failure):
    """Another process is at work in the same folder."""
