"""How much memory and disk are free, to check before long work that it fits."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from hpa.errors import BadInput, Failure

PROC, CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")  # there on Linux alone
LARGEST_SIDE = 32_766  # pixels; OpenCV turns and shifts no larger images


def require_memory(needed: int, what: str, fix: str = "choose a smaller size") -> None:
    """Raise BadInput if `what` would need more bytes of memory than are free; do nothing if that is unknown."""
    free = free_memory()
    if free is not None and needed > free:
        raise BadInput(f"{what} would need {in_gibibytes(needed)} of memory, {in_gibibytes(free)} are free; {fix}")


def require_picture(size: int, bytes_a_pixel: int, what: str) -> None:
    """Raise BadInput if `what`, of images of `size` pixels a side, is too much for the memory or for OpenCV."""
    require_memory(bytes_a_pixel * size**2, f"{what} of {size} pixels")
    if size > LARGEST_SIDE:
        raise BadInput(f"{what} of {size} pixels cannot be made; choose a size of at most {LARGEST_SIDE}")


def require_disk(folder: Path, needed: int, what: str, fix: str = "free some space, or choose a smaller size") -> None:
    """Raise Failure if `what` would need more bytes of disk than are free where `folder` is, or will be made."""
    free = free_disk(folder)
    if free is not None and needed > free:
        raise Failure(f"{what} would need {in_gibibytes(needed)} of disk, {in_gibibytes(free)} are free; {fix}")


def free_memory() -> int | None:
    """Return how many bytes of memory this process can have, or None where the system does not tell.

    On Linux, what is available in the machine and in each control group of the process, with the free swap; else all the
    memory of the machine, since what is available of it has no portable name.
    """
    try:
        lines = (PROC / "meminfo").read_text().splitlines()
        kilobytes = {name: int(value.split()[0]) for name, _, value in (line.partition(":") for line in lines)}
        free, swap = 1024 * kilobytes["MemAvailable"], 1024 * kilobytes.get("SwapFree", 0)
    except (OSError, ValueError, IndexError, KeyError):
        try:
            return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        except (AttributeError, OSError, ValueError):
            return None
    return min([free, *_free_in_control_groups()]) + swap


def free_disk(folder: Path) -> int | None:
    """Return how many bytes are free on the disk of a folder that is or will be there, or None where that is unknown."""
    folder = Path(folder).absolute()
    while not folder.exists():
        folder = folder.parent
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return None
    return usage.free if usage.total else None  # some network disks report nothing


def in_gibibytes(number: int) -> str:
    """Return a number of bytes for people: `0.07 GiB`, `37 GiB`, `37,253 GiB`."""
    gibibytes = number / 2**30
    return f"{gibibytes:,.{0 if gibibytes >= 10 else 2}f} GiB"


def _free_in_control_groups() -> Iterator[int]:
    """Yield how many bytes the process's control groups (versions 1 and 2) and those around them leave to it."""
    try:
        lines = (PROC / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, place = rest.partition(":")
        if number == "0":
            root, limit, usage, cache = CGROUPS, "memory.max", "memory.current", "inactive_file"
        elif "memory" in controllers.split(","):
            root, limit, usage = CGROUPS / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
            cache = "total_inactive_file"
        else:
            continue
        inner = PurePosixPath(place.strip("/"))
        for group in (inner, *inner.parents):  # inside a container only the last of them may be there
            try:
                folder = root / group
                used = int((folder / usage).read_text())
                statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
                yield max(0, int((folder / limit).read_text()) - used + int(statistics[cache]))
            except (OSError, ValueError, KeyError):  # not there, or its limit is "max"
                continue
