"""Work on many images with all cores, with a progress bar and a list of what cannot be used."""

from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, TypeVar

from tqdm import tqdm

from hpa.errors import BadInput
from hpa.files import cores

T = TypeVar("T")
R = TypeVar("R")

AHEAD = 32  # items worked on before their results are asked for; bounds the memory and how long an interruption takes


class Inline(Executor):
    """An executor that does everything at once, in the thread that submits it."""

    def submit(self, fn: Callable[..., R], /, *args: Any, **kwargs: Any) -> Future[R]:
        """Return a future that is done."""
        future: Future[R] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def rows_of(part: tuple[int, int], rows: int, unit: int = 1) -> range:
    """Return the rows of one of several parts of a table, (number from 1, count), cut at multiples of `unit`.

    >>> [rows_of((number, 3), 10, 4) for number in (1, 2, 3)]
    [range(0, 4), range(4, 8), range(8, 10)]
    """
    number, count = part
    units = -(-rows // unit)
    return range(min(rows, unit * (units * (number - 1) // count)), min(rows, unit * (units * number // count)))


def map_in_threads(
    work: Callable[[T], R],
    items: Sequence[T],
    description: str,
    faults: list[str] | None = None,
    unit: str = "img",
    done: int = 0,
    name: Callable[[T], str] = lambda _: "",
) -> Generator[R | None, None, None]:
    """Yield the result for each item, in the order of the items.

    Threads are enough: the libraries release the interpreter's lock while they decode, resize and read.

    The list of `faults` gets the message of each item that raises BadInput, with its `name` before it, such as its id and a
    colon; the result of such an item is None. Without a list BadInput ends the work, as any other exception does. The
    progress bar counts `unit` and starts at `done`, the items that were done earlier.
    """
    if not items:
        return
    pending: deque[Future[R]] = deque()
    with (
        ThreadPoolExecutor(cores()) as pool,
        tqdm(total=done + len(items), initial=done, desc=description, unit=unit, disable=None) as bar,
    ):
        try:
            for row in range(-AHEAD, len(items)):
                if row + AHEAD < len(items):
                    pending.append(pool.submit(work, items[row + AHEAD]))
                if row >= 0:
                    result = None
                    try:
                        result = pending.popleft().result()
                    except BadInput as error:
                        if faults is None:
                            raise
                        faults.append(f"{name(items[row])}{error}")
                    yield result
                    bar.update()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
