import doctest
import itertools
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpa.cluster import plan
from hpa.cluster.plan import Task, makespan, summary, table, walk
from hpa.data.parallel import Inline

CHAIN = [Task("pack", "pack"), Task("a", "train", after=(0,)), Task("b", "train", after=(0,)), Task("c", "svm", after=(1,))]


@st.composite
def plans(draw):
    """A plan of up to 12 tasks, each after some of those before it, and the seconds of each."""
    count = draw(st.integers(1, 12))
    after = [draw(st.sets(st.integers(0, number - 1))) if number else set() for number in range(count)]
    seconds = draw(st.lists(st.integers(1, 9), min_size=count, max_size=count))
    return [Task(str(number), "train", after=tuple(before)) for number, before in enumerate(after)], seconds


def last_of(steps):
    *_, last = steps
    return last


@given(plans(), st.integers(1, 4))
def test_each_task_is_done_once_and_after_those_before_it(plan, places):
    tasks, _ = plan
    begun, ended, most, lock = [], [], [0], Lock()

    def work(task):
        with lock:
            assert {str(number) for number in task.after} <= set(ended)
            begun.append(task.name)
            most[0] = max(most[0], len(begun) - len(ended))
        with lock:
            ended.append(task.name)

    with ThreadPoolExecutor(4) as executor:
        last = last_of(walk(tasks, executor, work, lambda: places))
    assert sorted(ended) == sorted(task.name for task in tasks)
    assert last.done == set(range(len(tasks)))
    assert most[0] <= places


@given(plans(), st.data())
def test_a_failure_leaves_out_what_comes_after_it_and_nothing_else(plan, data):
    tasks, _ = plan
    bad = data.draw(st.integers(0, len(tasks) - 1))
    lost = {bad}
    for number, task in enumerate(tasks):
        if lost & set(task.after):
            lost.add(number)

    def work(task):
        if task.name == str(bad):
            raise ValueError(task.name)

    last = last_of(walk(tasks, Inline(), work, lambda: 1))
    assert last.done == set(range(len(tasks))) - lost
    assert {number: str(error) for number, error in last.failed.items()} == {bad: str(bad)}
    assert last.running == {}


def test_what_is_done_is_not_done_again():
    seen = []
    last = last_of(walk(CHAIN, Inline(), lambda task: seen.append(task.name), lambda: 1, done={1}))
    assert seen == ["pack", "b", "c"]
    assert last.done == {0, 1, 2, 3}


def test_the_longest_way_comes_first():
    seen = []
    last_of(walk(CHAIN, Inline(), lambda task: seen.append(task.name), lambda: 1))
    assert seen[:2] == ["pack", "a"]  # c comes after it


def test_a_beat_comes_while_nothing_ends():
    future = Future()

    class Slow(Inline):
        def submit(self, fn, /, *args):
            return future

    steps = walk(CHAIN[:1], Slow(), print, lambda: 1, beat=0.01)
    assert [step.done for step in itertools.islice(steps, 3)] == [set()] * 3
    future.set_result(None)
    assert last_of(steps).done == {0}


@given(plans(), st.integers(1, 4))
def test_makespan_is_that_of_a_walk_through_time(plan, places):
    """The bounds of list scheduling (Graham 1969), and a simulation step by step."""
    tasks, seconds = plan
    found = makespan(tasks, seconds, places)
    ways = [0] * len(tasks)
    for number in reversed(range(len(tasks))):
        behind = [ways[other] for other in range(len(tasks)) if number in tasks[other].after]
        ways[number] = seconds[number] + max(behind, default=0)
    bound = max(max(ways), sum(seconds) / places)
    assert bound <= found <= (2 - 1 / places) * bound
    left, running, done, now = dict(enumerate(seconds)), set(), set(), 0
    while len(done) < len(tasks):
        free = [each for each in left if each not in running and each not in done and set(tasks[each].after) <= done]
        running |= set(sorted(free, key=lambda each: (-ways[each], each))[: places - len(running)])
        now += 1
        for each in running:
            left[each] -= 1
        done |= {each for each in running if not left[each]}
        running -= done
    assert found == now


def test_a_hundred_thousand_tasks_are_walked_with_few_in_flight():
    tasks = [Task(f"part {number}", "predict", ("--shard", f"{number}/99998")) for number in range(99_998)]
    tasks += [Task("predict", "predict", after=tuple(range(99_998))), Task("ensemble", "ensemble", after=(99_998,))]
    most = 0
    for step in walk(tasks, Inline(), lambda task: None, lambda: 64):
        most = max(most, len(step.running))
    assert step.done == set(range(100_000))
    assert most <= 64
    assert makespan(tasks, [1.0] * len(tasks), 1000) == 102


def test_a_plan_for_people():
    text = table(CHAIN, ["finished", "3 epochs done", "ready", "waiting"])
    assert text.splitlines() == [
        "   task  needs   after  state",
        "0  pack  1 core         finished",
        "1  a     1 core  0      3 epochs done",
        "2  b     1 core  0      ready",
        "3  c     1 core  1      waiting",
        "4 tasks: 1 finished, 1 3 epochs done, 1 ready, 1 waiting",
    ]
    assert Task("x", "train", cores=4, gpus=0.25, memory=2**33).needs == "4 cores, 0.25 GPU, 8 GiB"
    assert "0-2,4" in table([*CHAIN, Task("d", "svm", after=(0, 1, 2, 4))], ["ready"] * 5)
    assert summary(["ready"]) == "1 tasks: 1 ready"


def test_examples():
    assert doctest.testmod(plan).failed == 0


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interruption_ends_the_walk(error):
    def work(task):
        raise error

    with pytest.raises(error):
        last_of(walk(CHAIN, Inline(), work, lambda: 1))
