import threading

import pytest

from hpa.data import parallel
from hpa.data.parallel import map_in_threads
from hpa.errors import BadInput


def halved(number):
    if number % 2:
        raise BadInput(f"{number} is odd")
    return number // 2


def test_results_come_in_order():
    assert list(map_in_threads(halved, range(0, 400, 2), "halving")) == list(range(200))
    assert list(map_in_threads(halved, [], "halving")) == []


def test_faults_are_collected():
    faults = []
    results = map_in_threads(halved, range(4), "halving", faults, name=lambda number: f"row {number}: ")
    assert list(results) == [0, None, 1, None]
    assert faults == ["row 1: 1 is odd", "row 3: 3 is odd"]
    with pytest.raises(BadInput, match="1 is odd"):
        list(map_in_threads(halved, range(4), "halving"))


@pytest.mark.parametrize("error", [OSError, BadInput, KeyboardInterrupt])
def test_any_other_exception_ends_the_work(error):
    begun = []

    def work(number):
        begun.append(number)
        raise error("at once")

    with pytest.raises(error):
        list(map_in_threads(work, range(1000), "working"))
    assert len(begun) < 100


def test_work_goes_no_further_ahead_than_memory_allows(monkeypatch):
    monkeypatch.setattr(parallel, "AHEAD", 3)
    begun, went_on = [], threading.Event()

    def work(number):
        begun.append(number)
        if len(begun) == 5:
            went_on.set()

    results = map_in_threads(work, range(1000), "working")
    next(results)
    next(results)
    assert went_on.wait(5)  # while nobody asks for a result
    results.close()
    assert len(begun) <= 5
