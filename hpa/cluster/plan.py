"""A plan: commands of hpa, what each needs, which wait for which; and the walk through it with any executor."""

from __future__ import annotations

import heapq
import shlex
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Task:
    """A command of hpa, which goes on where it stopped and changes nothing if it is done already.

    Attributes:
        name: tells it apart, such as "train 0-fold1".
        command: the command's name, such as "train".
        arguments: its options.
        after: numbers of the tasks of the plan that come before it.
        cores: processor cores that it takes.
        gpus: GPUs that it takes, or a share of one.
        memory: bytes that it takes; 0 if that is not said.
        folder: the run folder that it makes, if it makes one.
    """

    name: str
    command: str
    arguments: tuple[str, ...] = ()
    after: tuple[int, ...] = ()
    cores: int = 1
    gpus: float = 0
    memory: int = 0
    folder: Path | None = None

    @property
    def typed(self) -> str:
        """The command as a person types it."""
        return shlex.join(["hpa", self.command, *self.arguments])

    @property
    def needs(self) -> str:
        """What it takes, in words."""
        parts = [f"{self.cores} core{'s' * (self.cores != 1)}"]
        parts += [f"{self.gpus:g} GPU"] if self.gpus else []
        return ", ".join(parts + ([f"{self.memory / 2**30:g} GiB"] if self.memory else []))


class Queue:
    """The tasks of a plan that are ready; those with the longest way behind them come first.

    Attributes:
        ways: for each task, how long it takes from its start to the end of the plan, if there are enough places.
    """

    def __init__(self, tasks: Sequence[Task], seconds: Sequence[float], done: Collection[int] = ()) -> None:
        """Take the plan, how long each task takes, and the numbers of the tasks that are done."""
        self.ways = list(seconds)
        self._done, self._missing = set(done), [0] * len(tasks)
        self._followers: list[list[int]] = [[] for _ in tasks]
        for number in range(len(tasks) - 1, -1, -1):
            self.ways[number] += max((self.ways[each] for each in self._followers[number]), default=0)
            for before in tasks[number].after:
                self._followers[before].append(number)
            self._missing[number] = sum(before not in self._done for before in tasks[number].after)
        self._ready = [(-way, number) for number, way in enumerate(self.ways) if self._is_ready(number)]
        heapq.heapify(self._ready)

    def __bool__(self) -> bool:
        """Tell whether a task is ready."""
        return bool(self._ready)

    def take(self) -> int:
        """Return the number of the next task."""
        return heapq.heappop(self._ready)[1]

    def finish(self, number: int) -> None:
        """Say that a task is done; what waited for nothing else becomes ready."""
        self._done.add(number)
        for follower in self._followers[number]:
            self._missing[follower] -= 1
            if self._is_ready(follower):
                heapq.heappush(self._ready, (-self.ways[follower], follower))

    def _is_ready(self, number: int) -> bool:
        return not self._missing[number] and number not in self._done


@dataclass
class Walk:
    """How far a plan has come.

    Attributes:
        done: numbers of the tasks that are done.
        failed: the errors of those that failed, by their numbers.
        running: the tasks at work, or waiting for a place to work.
    """

    done: set[int]
    failed: dict[int, BaseException]
    running: dict[Future[Any], int]


def walk(
    tasks: Sequence[Task],
    executor: Executor,
    work: Callable[[Task], object],
    places: Callable[[], int],
    done: Collection[int] = (),
    beat: float | None = None,
) -> Iterator[Walk]:
    """Do the tasks of a plan, each after those before it, and yield how far it is after each change.

    If a task fails, only what comes after it is left out.

    Args:
        tasks: the plan; each task comes after the tasks that it waits for.
        executor: gets the tasks.
        work: does one; what it raises is the task's error.
        places: says how many tasks the executor may have at once.
        done: numbers of the tasks that need not be done.
        beat: yield at least every so many seconds; None for changes only.
    """
    queue, state = Queue(tasks, [1.0] * len(tasks), done), Walk(set(done), {}, {})
    while True:
        while queue and len(state.running) < max(1, places()):
            number = queue.take()
            state.running[executor.submit(work, tasks[number])] = number
        yield state
        if not state.running:
            return
        for future in wait(state.running, beat, FIRST_COMPLETED).done:
            number = state.running.pop(future)
            if error := future.exception():
                state.failed[number] = error
            else:
                state.done.add(number)
                queue.finish(number)


def makespan(tasks: Sequence[Task], seconds: Sequence[float], places: int) -> float:
    """Return how long a plan takes if `places` tasks are done at once, in the order of `walk`.

    This is list scheduling by the critical path: at most 2 - 1 / places times as long as the best order (Graham 1969).

    >>> plan = [Task("a", "pack"), Task("b", "train", after=(0,)), Task("c", "train", after=(0,))]
    >>> makespan(plan, [1, 2, 3], 1), makespan(plan, [1, 2, 3], 2)
    (6.0, 4.0)
    """
    queue, running, now = Queue(tasks, seconds), list[tuple[float, int]](), 0.0
    while queue or running:
        while queue and len(running) < places:
            number = queue.take()
            heapq.heappush(running, (now + seconds[number], number))
        now = running[0][0]
        while running and running[0][0] == now:  # what ends at the same time is over before anything begins
            queue.finish(heapq.heappop(running)[1])
    return now


def table(tasks: Sequence[Task], states: Sequence[str]) -> str:
    """Return the plan for people: a line for each task with its number, needs, state, and what comes before it."""
    lines = [("", "task", "needs", "after", "state")]
    for number, (task, state) in enumerate(zip(tasks, states, strict=True)):
        lines.append((str(number), task.name, task.needs, _ranges(task.after), state))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
    return f"{text}\n{summary(states)}"


def summary(states: Sequence[str]) -> str:
    """Return how many tasks are in each state.

    >>> summary(["finished", "waiting", "waiting"])
    '3 tasks: 1 finished, 2 waiting'
    """
    return f"{len(states)} tasks: " + ", ".join(f"{count} {state}" for state, count in Counter(states).items())


def _ranges(numbers: Sequence[int]) -> str:
    """Return numbers for people, runs of them as ranges."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][-1] + 1:
            parts[-1][1:] = [number]
        else:
            parts.append([number])
    return ",".join("-".join(map(str, part)) for part in parts)
