"""Files that are written whole or not at all, folders that one process at a time may write to, and the cores to do it on."""

import _thread
import contextlib
import functools
import hashlib
import json
import logging
import os
import platform
import re
import signal
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpa.errors import BadInput, Busy

if TYPE_CHECKING:
    import pandas as pd
    from filelock import LeaseCompromise

logger = logging.getLogger(__name__)

SILENCE = 120.0  # seconds; a process on another machine that has given no sign of life for so long counts as dead
# `.<digest of the name>-<digest of the machine>-<process>.partial<suffix>`: as short for a name of 250 letters as for any.
TEMPORARY = re.compile(r"\.[0-9a-f]{8}-(?P<machine>[0-9a-f]{8})-(?P<process>[0-9]+)\.partial(\.[^.]*)?")


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary name in the folder of `path`; rename it to `path` once the block has ended well.

    A crash or a full disk inside the block leaves what was at `path` untouched. The temporary name, with the same suffix, is
    this process's own: if several processes write the same file, the last one wins. A link is followed and stays a link; a
    device or a pipe, such as /dev/null, is written to and never replaced. What killed processes of this computer have left
    in the folder is deleted.

    Raises:
        BadInput: if `path` is a folder, or a link that leads back to itself.
    """
    path = Path(os.path.realpath(path))  # follows links, except one that leads back to itself
    if path.is_symlink():
        raise BadInput(f"{path}: is a link that leads back to itself; delete it or name another file")
    if path.is_dir():
        raise BadInput(f"{path}: is a folder; name a file")
    if path.exists() and not path.is_file():
        with tempfile.TemporaryDirectory() as folder:
            temporary = Path(folder) / path.name
            yield temporary
            path.write_bytes(temporary.read_bytes())
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    _delete_leftovers(path.parent)
    temporary = path.with_name(f".{_digits(path.name)}-{_machine()}-{os.getpid()}.partial{path.suffix}")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@functools.cache  # once a process: a folder may hold hundreds of thousands of images
def _delete_leftovers(folder: Path) -> None:
    for entry in os.scandir(folder):
        found = TEMPORARY.fullmatch(entry.name)
        if found and found["machine"] == _machine() and not _is_running(int(found["process"])):
            Path(entry).unlink(missing_ok=True)


def _is_running(process: int) -> bool:
    if os.name == "nt":  # signal 0 would end the process there, so leftovers stay
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is another user's
        pass
    return True


@functools.cache
def _machine() -> str:
    return _digits(platform.node())


def _digits(text: str) -> str:
    return hashlib.blake2b(os.fsencode(text), digest_size=4).hexdigest()


def require_output(path: Path, inputs: Iterable[Path], option: str = "--out") -> None:
    """Raise BadInput if writing the file `path`, which an `option` names, would replace one of the `inputs`.

    These are files and folders with all in them that a command reads; absent ones count too.
    """
    real = Path(os.path.realpath(path))
    for source in inputs:
        same = source.exists() and real.exists() and os.path.samefile(source, real)  # a hard link, or other capitals
        if same or real == Path(os.path.realpath(source)):
            raise BadInput(f"{option} {path}: is {source}, which this command reads; name another file")
        if source.is_dir() and any(parent.exists() and os.path.samefile(parent, source) for parent in real.parents):
            raise BadInput(f"{option} {path}: lies in {source}, which this command reads; name another folder")


def require_outputs(paths: Iterable[Path], inputs: Iterable[Path], option: str = "--out") -> None:
    """Do `require_output` for many files and inputs, all of them files: each is looked at once, not once for each other."""
    sources = {_identity(source): source for source in inputs if source.exists()}
    for path in paths:
        if path.exists() and (source := sources.get(_identity(path))):
            require_output(path, [source], option)


def _identity(path: Path) -> tuple[int, int]:
    """Return two numbers that all names of a file share, those of links too."""
    stat = os.stat(path)
    return stat.st_dev, stat.st_ino


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8, whole or not at all."""
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: object) -> None:
    """Write `value` as indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def write_csv(path: Path, table: "pd.DataFrame", **options: Any) -> None:
    """Write a table without its index, whole or not at all; `options` are those of pandas' `to_csv`."""
    with written_whole(path) as temporary:
        table.to_csv(temporary, **{"index": False, "lineterminator": "\n"} | options)


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in `path`; BadInput if it is absent, no plain file, not a JSON object or has a key twice."""
    require_plain(path)
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"), object_pairs_hook=_without_repeated_keys)
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise BadInput(f"{path}: not valid JSON ({error}); delete it or restore it") from error
    if not isinstance(value, dict):
        raise BadInput(f"{path}: expected a JSON object, found a {type(value).__name__}")
    return value


@contextlib.contextmanager
def remembered(path: Path) -> Iterator[tuple[dict[int, Any], Callable[[int, Any], None]]]:
    """Yield what an interrupted block has finished, by key, and a function that adds a key and its value, as JSON takes it.

    Each is a line of the file `path`, which is deleted once the block has ended well. A line that was cut off is left out.
    """
    found: dict[int, Any] = {}
    with contextlib.suppress(OSError):
        for line in path.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError, TypeError):
                key, value = json.loads(line)
                found[key] = value

    def add(key: int, value: Any) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a", encoding="utf-8") as file:
            file.write(f"\n{json.dumps([key, value])}")  # the line before may be cut off

    yield found, add
    path.unlink(missing_ok=True)


def _without_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    for key, count in Counter(key for key, _ in pairs).items():
        if count > 1:
            raise ValueError(f"key {json.dumps(key)} is there twice")
    return dict(pairs)


def require_plain(path: Path) -> None:
    """Raise BadInput if `path` is a pipe, a device or a socket, which could be read from without end; absent is fine."""
    path = Path(path)
    if path.exists() and not path.is_file() and not path.is_dir():
        raise BadInput(f"{path}: is a pipe or a device, not a file; name a file")


def file_digest(path: Path) -> str:
    """Return the SHA-256 of what is in a file, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def locked(path: Path, wait: bool) -> Iterator[None]:
    """Hold the lock file `path` while the block runs, against processes of this machine and of all that see the folder.

    On one machine the system's own lock decides, which ends with its process. Some network file systems have none or ignore
    it. So `<path>.owner` says who is at work, and its time is renewed every few seconds. An owner on another machine that
    has not renewed it for two minutes counts as dead. One that wakes up later than that is interrupted, or, where it ignores
    interrupts, ended.

    Raises:
        Busy: if `wait` is false and another process holds it.
    """
    from filelock import FileLock, SoftFileLease, Timeout  # here, since every command imports this module for its --help too

    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    lease = SoftFileLease(
        path.with_name(f"{path.name}.owner"),
        lease_duration=SILENCE, heartbeat_interval=SILENCE / 24, on_compromise=_interrupt,
    )  # fmt: skip
    with contextlib.ExitStack() as held:
        for lock in (FileLock(path), lease):
            try:
                lock.acquire(timeout=0.1, poll_interval=0.02)  # the first look may find a dead owner, the second takes over
            except Timeout as error:
                owner = lease.owner
                which = f" ({owner.pid} on {owner.hostname})" if owner else ""
                if not wait:
                    raise Busy(f"{path.parent}: another process is at work here{which}; wait for it or stop it") from error
                logger.warning(f"waiting for another process{which} that is at work in {path.parent}")
                lock.acquire(poll_interval=0.5)
            except NotImplementedError:  # the file system has no such locks
                continue
            held.callback(lock.release)
        yield


def _interrupt(loss: "LeaseCompromise") -> None:
    logger.error(f"{loss.lock_file}: another process has taken over, this one gave no sign of life for {SILENCE:.0f} s")
    if callable(signal.getsignal(signal.SIGINT)):
        _thread.interrupt_main()
    else:  # a shell lets what it starts in the background ignore that signal
        os.kill(os.getpid(), signal.SIGTERM)


def cores() -> int:
    """Return how many processor cores this process may use: $HPA_CORES, or all that the system gives it."""
    if (given := os.environ.get("HPA_CORES", "")).isdecimal() and int(given):
        return int(given)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
