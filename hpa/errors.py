"""The two exceptions a user meets: what is wrong, where, and how to fix it."""

from collections.abc import Sequence

SHOWN = 10
LONGEST_LINE = 1000  # letters; a damaged table may hold a field of megabytes


class BadInput(ValueError):
    """Bad input or a bad option. Its text is meant for the user; commands print it and exit with 2."""

    def __init__(self, text: str) -> None:
        """Take the text; of a monstrous line only both ends are kept."""
        super().__init__("\n".join(map(_shortened, text.split("\n"))))


def _shortened(line: str) -> str:
    if len(line) <= LONGEST_LINE:
        return line
    half = LONGEST_LINE // 2
    return f"{line[:half]} [... {len(line) - 2 * half} letters ...] {line[-half:]}"


def refuse(where: object, faults: Sequence[str]) -> None:
    """Raise `BadInput` if there are `faults`: the first ten, a line each, and how many there are in all."""
    if not faults:
        return
    if len(faults) == 1:
        raise BadInput(f"{where}: {faults[0]}")
    lines = [f"{where}: {len(faults)} faults", *(f"  {fault}" for fault in faults[:SHOWN])]
    if len(faults) > SHOWN:
        lines.append(f"  ... and {len(faults) - SHOWN} more")
    raise BadInput("\n".join(lines))


class Failure(RuntimeError):
    """Work that could not be done although the input was good. Commands print its text and exit with 1."""
