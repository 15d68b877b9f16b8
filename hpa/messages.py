"""The display of messages.

Every module logs to its own logger below "hpa": news with `info`, warnings with `warning`. Unless a program has configured
the logger "hpa" before, news go to the standard output and warnings to the standard error, as plain text.
`logging.getLogger("hpa").setLevel(logging.WARNING)` turns the news off.
"""

import logging
import sys
from typing import NoReturn


class Screen(logging.Handler):
    """Writes a message to the standard output, from a warning on to the standard error, wherever these lead just now."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write the message and flush, so that it stands before whatever is written next."""
        stream = sys.stderr if record.levelno >= logging.WARNING else sys.stdout
        print(self.format(record), file=stream, flush=True)

    def handleError(self, record: logging.LogRecord) -> NoReturn:  # noqa: N802
        """Raise: a full disk or a closed pipe must end a command as it does with `print`."""
        raise


def show() -> None:
    """Show the messages of this package, unless the program that imports it has said already what becomes of them."""
    logger = logging.getLogger("hpa")
    if logger.handlers or logger.level != logging.NOTSET:
        return
    logger.addHandler(Screen())
    logger.setLevel(logging.INFO)
    logger.propagate = False
