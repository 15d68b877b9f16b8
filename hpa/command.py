"""What all commands share: how they start and fail, and the options that several of them have."""

import argparse
import errno
import os
import re
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from hpa import files
from hpa.__main__ import COMMANDS
from hpa.backend import quiet_import as quiet_import
from hpa.errors import BadInput, Failure, refuse
from hpa.inference.engines import ENGINES
from hpa.kinds import Count, Positive, Seed, expected, is_within, kind
from hpa.stages import STAGES
from hpa.tasks import HPA, TASKS, Task, read_task
from hpa.tta import AVERAGES, NO_TTA, TTA, VIEWS

if TYPE_CHECKING:
    from hpa.settings import Settings

TEXT_OF_TASK: dict[Task, str] = {}  # what the user wrote for a task, for a command that says how to go on


class _Parser(argparse.ArgumentParser):
    """A parser that says in one line what is wrong with an option, without the page of usage.

    Attributes:
        folded: headings of the groups of options that `--help` leaves to `--help-all`.
    """

    folded: Collection[str] = ()

    def print_help(self, file: Any = None) -> None:
        """Print the help without the folded groups."""
        for action in (
            action for group in self._action_groups if group.title in self.folded for action in group._group_actions
        ):
            action.help = argparse.SUPPRESS
        super().print_help(file)

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


def main(
    module: str, build_parser: Callable[[], argparse.ArgumentParser], work: Callable[[argparse.Namespace], None]
) -> Callable[..., int]:
    """Return the `main` of a command: it takes the arguments, by default those of the process, and returns the exit code.

    It is run at once if the command's module is the program, as in `python -m hpa.train`.
    """
    if module == "__main__":
        raise SystemExit(run(build_parser(), work, None))
    return lambda argv=None: run(build_parser(), work, argv)


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
    """Escape letters that the standard streams cannot show, and open closed ones, so that no message can end a run."""
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
        return action.help if action.default in (None, (), []) else super()._get_help_string(action)


def parser(name: str, more: str = "", shared: str = "") -> argparse.ArgumentParser:
    """Return the parser of `hpa <name>`, or `python -m hpa.<name>`, with some `SHARED` options, separated by spaces.

    The description is that in `COMMANDS`, and `more`. An option's help ends with its default if it has one. `options.task`
    is the `Task` itself.
    """
    description = f"{COMMANDS[name][0].upper()}{COMMANDS[name][1:]}. {more}" if name in COMMANDS else more
    typed = "hpa " if Path(sys.argv[0]).stem == "hpa" else "hpa."
    own = _Parser(prog=f"{typed}{name}", description=description, formatter_class=_HelpFormatter)
    for option in shared.split():
        own.add_argument(f"--{option}", **SHARED[option])
    return own


def add_run(parser: argparse._ActionsContainer, help: str, several: bool = True, required: bool = True) -> None:
    """Add `--run`, which names a run folder in every command, or `several`; see `chosen_folders`."""
    number: dict[str, Any] = {"nargs": "+"} if several else {}
    parser.add_argument("--run", type=Path, required=required, metavar="FOLDER", help=help, **number)


def add_images(parser: argparse.ArgumentParser, data: bool = True) -> None:
    """Add the images to look at: `--data` or `--images`."""
    add = (parser.add_mutually_exclusive_group(required=True) if data else parser).add_argument
    if data:
        add("--data", type=Path, metavar="SET", help="a folder of labelled images: class folders, or a table next to it")
    add("--images", type=Path, nargs="+", default=(), required=not data, metavar="PATH", help=IMAGES)


def tta(options: argparse.Namespace) -> TTA:
    """Return the test-time augmentation that the options ask for; BadInput if they say how the mean of one view is made."""
    if options.tta == 1 and options.tta_average != NO_TTA.average:
        raise BadInput(f"--tta-average {options.tta_average}: is for --tta 2 or more; leave it out, or give --tta")
    return TTA(options.tta, options.tta_average)


def chosen_folders(options: argparse.Namespace) -> list[Path]:
    """Return the folders that `--run` names, each once, or else those that `--runs`, `--variants` and `--stage` choose."""
    from hpa.runs.folder import run_folders, with_its_name

    folders = [with_its_name(folder) for folder in options.run or []]
    twice = [str(folder) for folder in dict.fromkeys(folders) if folders.count(folder) > 1]
    refuse("--run", [f"{folder} is named twice; once is enough" for folder in twice])
    if folders and (vars(options).get("variants") or vars(options).get("stage", "last") != "last"):
        raise BadInput("--run names the folders itself; leave out --variants and --stage")
    return folders or run_folders(options.runs, options.variants, options.stage)


def runs_of(folder: Path) -> Path:
    """Return the folder of all runs that a run folder lies in, by its name."""
    return Path(os.path.normpath(folder / ".." / ".."))


def train(options: argparse.Namespace, settings: "Settings", task: Task, name: str, preset: str | None = None) -> None:
    """Train a run, or only check it if the option `--check-only` is given; see `hpa.training.train.train`."""
    if options.check_only:
        from hpa.training.plan import plan

        if options.tensorboard or options.devices != 1:  # the default is always there, and this loads Keras
            with quiet_import():
                from hpa.training.train import with_devices
            settings, _ = with_devices(settings, options.devices, options.tensorboard)
        print(f"{plan(settings, task, options.data, options.runs, name).folder}: settings and tables fit")
        return
    with quiet_import():
        from hpa.training.train import train

    train(settings, task, options.data, options.runs, name, preset, options.tensorboard, options.devices)


def require_output(options: argparse.Namespace, path: Path, data: Sequence[Path] = (), option: str = "--out") -> None:
    """Raise BadInput if writing the file `path`, which an `option` names, would replace something that the command reads.

    It reads what some `options` name, and `data`, such as `hpa.data.layout.data_paths` returns. Neither may `path` be a
    folder, nor its folder a file.
    """
    if path.is_dir():
        raise BadInput(f"{option} {path}: is a folder; name a file")
    if path.parent.exists() and not path.parent.is_dir():
        raise BadInput(f"{option} {path.parent}: is a file; name a folder")
    inputs = ("table", "sample_submission", "shares", "reference", "known", "masks", "ensemble")
    named = [getattr(options, name, None) for name in inputs]
    images = getattr(options, "images", None) or ()
    named += [images] if isinstance(images, Path) else images
    named += [Path(group.strip()) for group in (getattr(options, "groups", None) or "").split(",") if group.strip()]
    text = TEXT_OF_TASK.get(getattr(options, "task", HPA), HPA.name)
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
    TEXT_OF_TASK[found] = text
    return found


def number(hint: Any) -> Callable[[str], Any]:
    """Return the reader of an option that is a number, one of the types of `hpa.kinds`."""

    def read(text: str) -> Any:
        value = as_number(kind(hint)[0], text)
        if isinstance(value, str) or not is_within(value, hint):
            raise argparse.ArgumentTypeError(f"expected {expected(hint)}, found '{text[:40]}'")
        return value

    return read


def as_number(base: type, text: str) -> Any:
    """Return the number of a type that a text holds, or else the text."""
    if base is int:
        return int(text) if re.fullmatch("-?[0-9]{1,10}", text) else text
    try:
        return base(text)
    except ValueError:
        return text


positive_integer, whole_number, positive_number = number(Count), number(Seed), number(Positive)


def devices(text: str) -> int | str:
    """Read the option `--devices`."""
    return text if text == "all" else int(positive_integer(text))


def shard(text: str) -> tuple[int, int]:
    """Read the option `--shard`, such as `2/8`."""
    found = re.fullmatch("([0-9]{1,9})/([0-9]{1,9})", text)
    number, count = (int(each) for each in found.groups()) if found else (0, 0)
    if not 1 <= number <= count:
        raise argparse.ArgumentTypeError(f"expected K/N, the part K of N parts, 1 <= K <= N, found '{text}'")
    return number, count


def comma_separated(text: str) -> list[str]:
    """Read an option such as `0,1,2`."""
    parts = [part.strip() for part in text.split(",")]
    if "" in parts or len(set(parts)) != len(parts):
        raise argparse.ArgumentTypeError(f"expected distinct names separated by commas, found '{text}'")
    return parts


def _folder(default: str, help: str) -> dict[str, Any]:
    return {"type": Path, "default": Path(default), "metavar": "FOLDER", "help": help}


# Options that several commands have.
KNOWN_TASKS = f"{'|'.join(TASKS)}|FILE.toml"
TASK = "what is classified: a known task, or a file that names classes, channels and labels"
CHECK = "train nothing; check settings, tables and run folders as training would before its first epoch"
IMAGES = "folders of images, files, each of which stands for its sample, and CSVs with such in a column path"
SEVERAL = "run folders; several are averaged"
INSTEAD = "run folders, instead of those that --runs, --variants and --stage choose"
AVERAGED = "test-time augmentation: average over an image and its mirror image (2), quarter turns (4), or all of these (8)"
ENGINE = "what computes: onnxruntime and openvino, which the extras export and openvino install, are faster on many CPUs"
RUNS = "the runs, each with all its folds, instead of all that are there"
DEVICES = "GPUs of this computer that share every batch"
SHARED: dict[str, dict[str, Any]] = {
    "task": {"type": task, "default": HPA.name, "metavar": KNOWN_TASKS, "help": TASK},
    "data": _folder("data", "folder of the data: train/ with train.csv or class folders, test/, sample_submission.csv"),
    "runs": _folder("runs", "folder of the run folders and the packed images"),
    "variants": {"type": comma_separated, "metavar": "N,N,...", "help": RUNS},
    "stage": {"choices": ("last", "all", *STAGES), "default": "last", "help": "which stage of every run"},
    "tta": {"type": int, "choices": VIEWS, "default": 1, "help": AVERAGED},
    "tta-average": {"choices": AVERAGES, "default": "probabilities", "help": "what test-time augmentation averages"},
    "engine": {"choices": ENGINES, "default": "keras", "help": ENGINE},
    "tensorboard": {"action": "store_true", "help": "write each epoch to <run folder>/tensorboard, for TensorBoard to show"},
    "devices": {"type": devices, "default": 1, "metavar": "all|N", "help": DEVICES},
    "check-only": {"action": "store_true", "help": CHECK},
}
