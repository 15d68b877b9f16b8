"""Does one task of a plan within its share of the machine."""

import importlib
import os
import time
from collections.abc import Callable
from typing import TypeVar

from hpa import command
from hpa.cluster.plan import Task
from hpa.errors import Busy, Failure
from hpa.files import SILENCE

R = TypeVar("R")


class TaskError(Failure):
    """A task that could not be done: its name and the line that its command would have printed."""


def do(task: Task) -> None:
    """Do a task with its share of the machine.

    Raises:
        TaskError: if the task has bad input or cannot be done.
    """
    limit(task.cores)
    module = importlib.import_module(f"hpa.{task.command}")
    parser = module.build_parser()
    try:
        patiently(lambda: module.work(parser.parse_args(task.arguments)))
    except Exception as error:
        told = command.failure(parser, error)
        if told is None:
            raise
        raise TaskError(f"{task.name}: {told[1]}") from None


def within(cores: int, work: Callable[..., R], *arguments: object) -> R:
    """Return what `work` returns with a share of the machine's cores; see `limit` and `patiently`."""
    limit(cores)
    return patiently(lambda: work(*arguments))


def patiently(work: Callable[[], R], patience: float = 1.25 * SILENCE) -> R:
    """Return what `work` returns; if another process holds a lock, wait until that one's death would have been noticed."""
    start = time.monotonic()
    while True:
        try:
            return work()
        except Busy:
            if time.monotonic() - start > patience:
                raise
            time.sleep(1)


def limit(cores: int) -> None:
    """Keep this process to some cores: hpa's own threads and those of OpenCV, BLAS and TensorFlow.

    TensorFlow reads its number of threads once, when it is first used. It takes GPU memory as it needs it.
    """
    names = ("HPA_CORES", "OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
    os.environ |= dict.fromkeys(names, str(cores))
    os.environ |= {"TF_FORCE_GPU_ALLOW_GROWTH": "true", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    import cv2
    from threadpoolctl import threadpool_limits

    cv2.setNumThreads(cores)
    threadpool_limits(cores)
