"""What every command shares: the way it starts, the way it fails, and the options that several of them have."""

import argparse
import errno
import math
import os
import re
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, NoReturn

from hpa import files
from hpa.backend import quiet_import as quiet_import
from hpa.errors import BadInput, Failure
from hpa.tasks import HPA, TASKS, Task, read_task
from hpa.tta import AVERAGES, TTA, VIEWS

# What the user wrote for each task that an option has named, for a command that says how to go on.
_TEXT_OF_TASK: dict[Task, str] = {}


class _Parser(argparse.ArgumentParser):
    """Says in one line what is wrong with an option; a page of usage before it would hide it.

    Attributes:
        folded: headings of the groups of options that `--help` leaves to `--help-all`.
    """

    folded: Collection[str] = ()

    def format_help(self) -> str:
        """Return the help without the folded groups."""
        kept = self._actions, self._action_groups
        self._action_groups = [group for group in kept[1] if group.title not in self.folded]
        hidden = [action for group in kept[1] if group.title in self.folded for action in group._group_actions]
        self._actions = [action for action in kept[0] if action not in hidden]
        try:
            return super().format_help()
        finally:
            self._actions, self._action_groups = kept

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}\n")


# What the system says of files, each with the exit code and what a user reads; other errors are defects.
OS_ERRORS = {
    **dict.fromkeys(
        (errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
        (1, "the disk is full ({}); free some space and run the same command again, it goes on where it stopped"),
    ),
    **dict.fromkeys(
        (errno.EEXIST, errno.ENOTDIR, errno.EISDIR),
        (2, "{}: a file stands where a folder is needed, or the reverse; name another"),
    ),
    **dict.fromkeys((errno.EACCES, errno.EROFS, errno.EPERM), (1, "{}: {strerror}")),
    errno.ENAMETOOLONG: (2, "{}: the name is too long for the file system; choose a shorter one"),
    errno.ELOOP: (2, "{}: is a link that leads back to itself; delete it or name another"),
}


def run(parser: argparse.ArgumentParser, work: Callable[[argparse.Namespace], None], argv: Sequence[str] | None) -> int:
    """Parse `argv`, do the `work` and return the exit code: 0 done, 2 bad input or option, 1 anything else."""
    open_streams()
    try:
        work(parser.parse_args(argv))
    except BrokenPipeError:  # the reader, `head` say, has seen enough; what is still buffered has nowhere to go
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (Exception, KeyboardInterrupt) as error:
        told = failure(parser, error)
        if not told:
            raise
        print(f"{parser.prog}: {told[1]}", file=sys.stderr)
        return told[0]
    return 0


def failure(parser: argparse.ArgumentParser, error: BaseException) -> tuple[int, str] | None:
    """Return the exit code of an error and what a user reads of it; None if it is a defect."""
    match error:
        case BadInput():
            return 2, _with_option(parser, error)
        case Failure():
            return 1, str(error)
        case KeyboardInterrupt():
            return 1, "interrupted; the same command goes on where it stopped"
        case MemoryError():
            reason = f" ({error})" if str(error) else ""
            return 1, f"the memory is full{reason}; choose smaller images or batches, or free some memory"
        case OSError() if error.errno in OS_ERRORS:
            code, text = OS_ERRORS[error.errno]
            return code, text.format(error.filename or "while writing", strerror=error.strerror)
    return None


def open_streams() -> None:
    """See to it that no message can end a run: letters that a stream cannot show are escaped, a closed stream is silent."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:  # closed: the next file would get this number, and every message would go into that file
            os.open(os.devnull, os.O_RDWR)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8", errors="replace"))  # noqa: SIM115
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _with_option(parser: argparse.ArgumentParser, error: BadInput) -> str:
    """Return the text of an error, which names the option at fault where this command has it."""
    for action in parser._actions:
        if action.option_strings and action.dest == error.setting:
            return error.with_option(action.option_strings[-1])
    return str(error)


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default is None else super()._get_help_string(action)


def parser(name: str, description: str) -> argparse.ArgumentParser:
    """Return the parser of `hpa <name>`, or `python -m hpa.<name>`; an option's help ends with its default if it has one."""
    typed = "hpa " if Path(sys.argv[0]).stem == "hpa" else "hpa."
    return _Parser(prog=f"{typed}{name}", description=description, formatter_class=_HelpFormatter)


def add_folders(parser: argparse.ArgumentParser, data: bool = True, runs: bool = True) -> None:
    """Add `--data` and `--runs`."""
    if data:
        parser.add_argument(
            "--data",
            type=Path,
            default=Path("data"),
            metavar="FOLDER",
            help="folder of the data: train/ with train.csv or class folders, test/, sample_submission.csv",
        )
    if runs:
        parser.add_argument(
            "--runs",
            type=Path,
            default=Path("runs"),
            metavar="FOLDER",
            help="folder of the run folders and the packed images",
        )


def add_task(parser: argparse.ArgumentParser) -> None:
    """Add `--task`; `options.task` is the `Task` itself."""
    parser.add_argument(
        "--task",
        type=task,
        default=HPA.name,
        metavar=f"{'|'.join(TASKS)}|FILE.toml",
        help="what is classified: a known task, or a file that names classes, channels and labels",
    )


def add_choice(parser: argparse.ArgumentParser) -> None:
    """Add the options that choose run folders."""
    from hpa.settings import STAGES  # here, since pydantic takes most of the time of a command's --help

    parser.add_argument(
        "--variants",
        type=comma_separated,
        metavar="N,N,...",
        help="the runs, each with all its folds, in place of all present ones",
    )
    parser.add_argument("--stage", choices=("last", "all", *STAGES), default="last", help="which stage of every run")


def add_tta(parser: argparse.ArgumentParser) -> None:
    """Add `--tta` and `--tta-average`."""
    parser.add_argument(
        "--tta",
        type=int,
        choices=VIEWS,
        default=1,
        help="test-time augmentation: take the mean over this many views of each image: itself, mirrored (2), quarter turns "
        "(4), or all of them (8)",
    )
    parser.add_argument(
        "--tta-average", choices=AVERAGES, default="probabilities", help="what the mean over views is taken of"
    )


def add_run_and_images(parser: argparse.ArgumentParser, several: bool, data: bool = True) -> None:
    """Add `--run`, one run folder or `several`, and the images that it is asked about: `--data` or `--images`."""
    number: dict[str, Any] = {"nargs": "+"} if several else {}
    text = "run folders; several are averaged" if several else "run folder"
    parser.add_argument("--run", type=Path, required=True, metavar="FOLDER", help=text, **number)
    images = parser.add_mutually_exclusive_group(required=True) if data else parser
    if data:
        images.add_argument(
            "--data", type=Path, metavar="SET", help="a folder of labelled images: class folders, or a table next to it"
        )
    images.add_argument(
        "--images",
        type=Path,
        nargs="+",
        default=(),
        required=not data,
        metavar="PATH",
        help="folders of images, and files, each of which stands for its sample",
    )


def tta(options: argparse.Namespace) -> TTA:
    """Return the test-time augmentation that the options ask for."""
    return TTA(options.tta, options.tta_average)


def add_check_only(parser: argparse.ArgumentParser) -> None:
    """Add `--check-only`."""
    parser.add_argument(
        "--check-only",
        action="store_true",
        help="train nothing; check settings, tables and run folders as training would before its first epoch",
    )


def require_output(options: argparse.Namespace, path: Path, data: Sequence[Path] = (), option: str = "--out") -> None:
    """Raise BadInput if writing the file `path` would replace something that a command reads.

    Args:
        options: of the command; the files that some of them name are inputs.
        path: the file to write.
        data: further files and folders that are read, such as `hpa.data.layout.data_paths` returns.
        option: what names `path`.
    """
    named = [
        getattr(options, name, None) for name in ("table", "sample_submission", "shares", "reference", "masks", "ensemble")
    ]
    images = getattr(options, "images", None) or ()
    named += [images] if isinstance(images, Path) else images
    named += [Path(group.strip()) for group in (getattr(options, "groups", None) or "").split(",") if group.strip()]
    text = _TEXT_OF_TASK.get(getattr(options, "task", HPA), HPA.name)
    named += [] if text in TASKS else [Path(text)]
    files.require_output(path, [*data, *filter(None, named)], option)
    for mark in ("config.json", "validation.npz", "store.json"):
        if (path.parent / mark).exists():
            raise BadInput(f"{option} {path}: {path.parent} holds a run or packed images; name another folder")


def task(text: str) -> Task:
    """Read the option `--task`."""
    try:
        found = TASKS[text] if text in TASKS else read_task(Path(text))
    except BadInput as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    _TEXT_OF_TASK[found] = text
    return found


def text_of_task(task: Task) -> str:
    """Return what was given as `--task`: the name of a known task, or the file as the user wrote it."""
    return _TEXT_OF_TASK[task]


def run_name(text: str) -> str:
    """Read an option that names a run's folder."""
    if text in ("stores", "presets", "searches") or not text.replace("-", "").replace("_", "").isalnum():
        raise argparse.ArgumentTypeError(f"expected letters, digits, - and _, found '{text}'")
    return text


def intensity_range(text: str) -> tuple[tuple[int, int] | None, ...]:
    """Read an option such as `100:4095`, `0:4095,8-bit` or `full`."""
    return tuple(_interval(part.strip()) for part in text.split(","))


def _interval(text: str) -> tuple[int, int] | None:
    if text == "8-bit":
        return None
    found = re.fullmatch("([0-9]{1,5}):([0-9]{1,5})", "0:65535" if text == "full" else text)
    low, high = (int(each) for each in found.groups()) if found else (0, 0)
    if not low < high < 2**16:
        raise argparse.ArgumentTypeError(f"expected LOW:HIGH with 0 <= LOW < HIGH <= 65535, full or 8-bit, found '{text}'")
    return low, high


def positive_number(text: str) -> float:
    """Read an option that is a number above 0."""
    number = _number(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number above 0, found '{text}'")
    return number


def whole_number(text: str) -> int:
    """Read an option such as a seed: 0 to 2^32 - 1, which is as far as NumPy's seeds go."""
    if not (text.isascii() and text.isdecimal() and int(text) < 2**32):
        raise argparse.ArgumentTypeError(f"expected a whole number from 0 to {2**32 - 1}, found '{text}'")
    return int(text)


def positive_integer(text: str) -> int:
    """Read an option that counts something: 1 to 2^31 - 1, so that what is reckoned with it stays within number formats."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 10 and 1 <= int(text) < 2**31):
        raise argparse.ArgumentTypeError(f"expected a whole number from 1 to {2**31 - 1}, found '{text[:40]}'")
    return int(text)


def comma_separated(text: str) -> list[str]:
    """Read an option such as `0,1,2`."""
    parts = [part.strip() for part in text.split(",")]
    if "" in parts or len(set(parts)) != len(parts):
        raise argparse.ArgumentTypeError(f"expected distinct names parted by commas, found '{text}'")
    return parts


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
