"""The one exception a user meets: what is wrong, where, and what would mend it."""

from collections.abc import Sequence

SHOWN = 10


class BadInput(ValueError):
    """Bad input or a bad option. Its text is meant for the user; commands print it and exit with 2."""


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
