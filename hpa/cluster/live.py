"""What a plan's walk looks like on the screen: a table that renews itself on a terminal, lines elsewhere."""

from __future__ import annotations

import re
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from hpa.cluster.plan import Task, Walk, makespan
from hpa.labels import LABELS

Message = tuple[str, str, str]  # task, node, text
# What training says of an epoch; of its scores that by which the best epoch is kept.
BEST = "|".join(kind.monitor.validation[kind.monitor.best] for kind in LABELS.values())
EPOCH = re.compile(rf"epoch (?P<epoch>\d+/\d+) .* (?P<score>[\d.]+) (?:{BEST})\b.*  (?P<rate>\d+ images/s)")


class Screen:
    """Shows how far a plan is.

    Attributes:
        live: what is to be entered while it shows.
    """

    def __init__(self, tasks: Sequence[Task], console: Console | None = None) -> None:
        """Take the plan, and where to write; None for the standard output."""
        self.console = console or Console(file=sys.stdout)
        self._tasks, self._begun, self._last = tasks, dict[str, float](), dict[str, tuple[str, str]]()
        self._seconds: dict[str, list[float]] = defaultdict(list)
        self._live = Live(console=self.console, auto_refresh=False) if self.console.is_terminal else None
        self._ended: set[str] = set()
        self.live: AbstractContextManager[object] = self._live or nullcontext()

    def show(self, walked: Walk, messages: Iterable[Message], places: int) -> None:
        """Show the table, or print what is new."""
        now = time.monotonic()
        for name, node, text in messages:
            self._last[name] = node, text
            if text == "begins":
                self._begun[name] = now
            if not self._live:
                self._print(f"[{name} on {node}] {text}")
        for number in [*walked.done, *walked.failed]:
            task = self._tasks[number]
            if task.name in self._begun and task.name not in self._ended:
                self._seconds[task.command].append(now - self._begun[task.name])
                if not self._live:
                    state = "failed" if number in walked.failed else "done"
                    self._print(f"[{task.name}] {state}; {self._summary(walked, places)}")
                self._ended.add(task.name)
        if self._live:
            self._live.update(Group(self._table(walked), Text(self._summary(walked, places))), refresh=True)

    def _print(self, line: str) -> None:
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _table(self, walked: Walk) -> Table:
        table = Table("task", "node", "epoch", "score", "rate", "minutes", "last message", box=None, expand=True)
        for number in sorted(walked.running.values()):
            task = self._tasks[number]
            node, text = self._last.get(task.name, ("", "waits for a place"))
            found = EPOCH.search(text)
            cells = list(found.group("epoch", "score", "rate")) if found else ["", "", ""]
            minutes = (time.monotonic() - self._begun[task.name]) / 60 if task.name in self._begun else 0
            table.add_row(task.name, node, *cells, f"{minutes:.1f}", Text("" if found else text, no_wrap=True))
        return table

    def _summary(self, walked: Walk, places: int) -> str:
        waiting = len(self._tasks) - len(walked.done) - len(walked.failed) - len(walked.running)
        counts = f"{len(walked.done)} of {len(self._tasks)} done, {len(walked.running)} given out, {waiting} waiting"
        failed = f", {len(walked.failed)} failed" if walked.failed else ""
        return f"{counts}{failed}, {self._left(walked, places)}"

    def _left(self, walked: Walk, places: int) -> str:
        """Return in words how long it may still take, by the mean times of the tasks so far, in the order of the plan."""
        times = {command: sum(seconds) / len(seconds) for command, seconds in self._seconds.items()}
        over = walked.done | walked.failed.keys()
        if not times or not {task.command for number, task in enumerate(self._tasks) if number not in over} <= times.keys():
            return "time left unknown until a task of each kind is done"
        seconds = [0.0 if number in over else times[task.command] for number, task in enumerate(self._tasks)]
        for number in walked.running.values():
            since = time.monotonic() - self._begun.get(self._tasks[number].name, time.monotonic())
            seconds[number] = max(0.0, seconds[number] - since)
        return f"about {makespan(self._tasks, seconds, places) / 60:.0f} min left"
