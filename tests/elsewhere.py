"""Imported before anything else, this takes from Python what Linux alone has, and what macOS or Windows lacks."""

import os
import sys

NAMES = ("sched_getaffinity", "sched_setaffinity", "process_cpu_count", "fdatasync", "pwrite", "pread", "posix_fallocate")
FOLDERS = ("/proc/", "/sys/")


def hide_linux():
    """Remove file locks, what `os` has on some systems only, and all that is below /proc and /sys."""
    sys.modules["fcntl"] = None
    for name in NAMES:
        if hasattr(os, name):
            delattr(os, name)
    sys.addaudithook(lambda event, arguments: refuse(arguments[0]) if event == "open" else None)
    stat = os.stat

    def stat_elsewhere(path, **options):
        refuse(path)
        return stat(path, **options)

    os.stat = stat_elsewhere
    os.supports_follow_symlinks.add(stat_elsewhere)


def refuse(path):
    if str(path).startswith(FOLDERS):
        raise FileNotFoundError(2, "No such file or directory", str(path))


hide_linux()
