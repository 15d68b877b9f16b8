"""Files that are written whole or not at all, and folders that one process at a time may write to."""

import contextlib
import fcntl
import hashlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from hpa.errors import BadInput, Failure


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary name in the folder of `path`; rename it to `path` once the block has ended well.

    A crash or a full disk inside the block leaves whatever stood at `path` untouched. The temporary name is always
    the same and keeps the suffix, so that a leftover of a killed process is overwritten by the next try.
    """
    path = Path(path)
    if path.is_dir():
        raise BadInput(f"{path}: is a folder; name a file")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.partial{path.suffix}")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: object) -> None:
    """Write `value` as indented JSON, whole or not at all."""
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict:
    """Return the JSON object in `path`.

    Raises:
        BadInput: if the file is absent or is not a JSON object.
    """
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise BadInput(f"{path}: not valid JSON ({error}); delete it or restore it") from error
    if not isinstance(value, dict):
        raise BadInput(f"{path}: expected a JSON object, found a {type(value).__name__}")
    return value


def file_digest(path: Path) -> str:
    """Return the SHA-256 of what is in a file, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def locked(path: Path, wait: bool) -> Iterator[None]:
    """Hold the lock file `path` while the block runs; the system lets go of it if the process dies.

    Raises:
        Failure: if `wait` is false and another process holds it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if not wait:
                raise Failure(f"{path.parent}: another process is at work here; wait for it or stop it") from error
            print(f"waiting for another process that is at work in {path.parent}", file=sys.stderr)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
