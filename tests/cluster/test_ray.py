"""A real cluster of three Ray nodes on this machine. Its tasks are Python's own: nodes need no module of the tests."""

import errno
import importlib
import io
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from types import SimpleNamespace

import pytest
from rich.console import Console

from hpa import cluster as command
from hpa import search
from hpa.backend import backend
from hpa.cluster import ray as on_ray
from hpa.cluster.live import Screen
from hpa.cluster.plan import Task, Walk
from hpa.cluster.ray import _check, connected
from hpa.cluster.share import TaskError
from hpa.errors import BadInput, Failure

ray = pytest.importorskip("ray")
TASK = Task("train 0", "train")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp("shared") / "runs"


@pytest.fixture(scope="module")
def cluster(three_nodes, runs):
    runs.mkdir()
    with connected(three_nodes.address, {"runs": runs}) as found:
        yield found
    assert list(runs.iterdir()) == []  # no probe is left


def test_work_is_done_on_the_nodes_with_its_share(cluster):
    names = ["HPA_CORES", "OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "KERAS_BACKEND"]
    code = f"__import__('hpa.cluster.share').cluster.share.limit(1), [__import__('os').environ[each] for each in {names}]"
    assert cluster.call(TASK, eval, code)[1] == ["1", "1", "1", backend()]
    with ThreadPoolExecutor() as executor:
        sleeping = "__import__('time').sleep(1), __import__('ray').get_runtime_context().get_node_id()"
        nodes = {node for _, node in executor.map(lambda _: cluster.call(TASK, eval, sleeping), range(3))}
    assert len(nodes) == 3


def test_messages_arrive(cluster):
    cluster.read_messages()
    cluster.call(TASK, eval, "__import__('logging').getLogger('hpa.x').warning('epoch %d', 3)")
    time.sleep(0.2)
    assert [(task, text) for task, _, text in cluster.read_messages()] == [("train 0", "begins"), ("train 0", "epoch 3")]


@pytest.mark.parametrize(("kind", "text"), [("BadInput", "epochs 0: too few"), ("Failure", "the loss is nan")])
def test_what_is_raised_comes_back_with_the_name_of_the_node(cluster, kind, text):
    code = f"errors = __import__('hpa.errors').errors\nraise errors.{kind}({text!r})"
    with pytest.raises((BadInput, Failure), match=rf"^{text} \(on {os.uname().nodename}\)$") as caught:
        cluster.call(TASK, exec, code)
    assert type(caught.value).__name__ == kind


def test_a_defect_is_told_with_its_place(cluster):
    with pytest.raises(TaskError, match=r"(?s)^train 0: a defect: .*ZeroDivisionError"):
        cluster.call(TASK, eval, "1 / 0")


def test_a_worker_that_dies_is_replaced_and_one_that_always_dies_is_given_up(cluster, tmp_path, monkeypatch, caplog):
    seen = f"__import__('pathlib').Path({str(tmp_path / 'seen')!r})"
    code = f"if not {seen}.exists():\n    {seen}.touch()\n    __import__('os')._exit(1)"
    cluster.call(TASK, exec, code)
    assert caplog.messages == ["train 0: its worker is lost, begins again"]
    monkeypatch.setattr(on_ray, "CRASHES", 2)
    with pytest.raises(TaskError, match=r"^train 0: its worker died 2 times"):
        cluster.call(TASK, exec, "__import__('os')._exit(1)")


def test_memory_that_runs_out_is_told(cluster, monkeypatch):
    def full(*arguments, **named):
        raise ray.exceptions.OutOfMemoryError("killed")

    monkeypatch.setattr(ray, "get", full)
    with pytest.raises(TaskError, match=r"^train 0: ran out of memory 3 times; give --memory-per-task, fewer --workers"):
        cluster.call(TASK, eval, "1")


@pytest.mark.parametrize(
    ("task", "text"),
    [
        (Task("a", "train", cores=3), "cores_per_task: a task needs 3 cores, and the largest node, .*, has 1 cores"),
        (Task("a", "train", gpus=0.5), "gpus_per_task: a task needs 0.5 GPUs, and the largest node, .*, has 0 GPUs"),
        (Task("a", "train", memory=2**60), r"memory_per_task: a task needs \d+\.0 GiB, and the largest node"),
    ],
)
def test_a_task_that_no_node_has_room_for_is_told(cluster, task, text):
    cluster.require_room([TASK])
    with pytest.raises(BadInput, match=f"^{text}"):
        cluster.require_room([TASK, task])


@pytest.mark.parametrize(("workers", "given_out", "at_work"), [(None, 6, 3), (2, 2, 2), (4, 4, 3), (9, 6, 3)])
def test_twice_as_many_tasks_as_there_is_room_for_are_given_out(cluster, monkeypatch, workers, given_out, at_work):
    monkeypatch.setattr(cluster, "workers", workers)
    assert (cluster.places(TASK), cluster.at_once(TASK)) == (given_out, at_work)


def test_a_node_that_is_not_fit_gets_no_tasks(cluster, monkeypatch):
    nodes = [node["NodeID"] for node in ray.nodes()]
    monkeypatch.setattr(cluster, "_unfit", dict.fromkeys(nodes[:2], "has other versions"))
    where = "__import__('ray').get_runtime_context().get_node_id()"
    assert {cluster.call(TASK, eval, where) for _ in range(3)} == {nodes[2]}


def test_what_makes_a_node_unfit(cluster, runs, tmp_path, monkeypatch):
    probe, versions, folder, keras_backend = cluster._fixed
    check = partial(_check(), keras_backend=keras_backend)
    assert check(probe, versions, folder) is None
    text = check(probe, versions | {"theano": "1.0.5"}, folder, keras_backend="theano")
    fix = "install version 1.0.5, or set KERAS_BACKEND to another"
    assert text.endswith(f": theano, the backend of Keras here, is not installed there; {fix}")
    assert "has other versions (keras " in check(probe, versions | {"keras": "0"}, folder)
    assert "0 here)" in check(probe, versions | {"hpa": "0"}, folder)
    text = check(probe | {"data": str(tmp_path / "data")}, versions, folder)
    assert text.endswith(
        f"does not see the folder of data, {tmp_path / 'data'}; share it with all nodes under the same path"
    )
    assert f"has another folder at {tmp_path} than this machine" in check(probe | {"runs": str(tmp_path)}, versions, folder)
    monkeypatch.setattr(time, "time", lambda: 1e9)
    assert "its clock differs from that of" in check(probe, versions, folder)
    monkeypatch.undo()
    with monkeypatch.context() as patched:
        patched.setattr("builtins.open", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device")))
        assert f"cannot write to {runs} (No space left on device)" in check(probe, versions, folder)
    monkeypatch.setitem(sys.modules, "hpa", None)
    assert "hpa or a package that it needs is not installed there" in check(probe, versions, folder)


def test_a_node_that_sees_other_folders_is_named(three_nodes, cluster, tmp_path):
    probe = cluster._probe | {"data": str(tmp_path / "nowhere")}
    before, cluster._fixed = cluster._fixed, (probe, *cluster._fixed[1:])
    try:
        with pytest.raises(BadInput, match="does not see the folder of data") as caught:
            cluster._require_fit()
    finally:
        cluster._fixed = before
    assert str(caught.value).startswith("cluster: 3 faults\n")


@pytest.mark.parametrize(
    ("address", "text"),
    [
        ("127.0.0.1:1", "Connection refused"),
        ("nowhere", "invalid literal"),
        ("auto", "Ray"),
        ("1.2.3.4:a", "invalid literal"),
    ],
)
def test_an_address_that_does_not_answer(address, text, tmp_path, monkeypatch):
    monkeypatch.setattr(ray, "init", lambda **_: (_ for _ in ()).throw(ConnectionError("Could not find any running Ray")))
    with pytest.raises(BadInput, match=f"^address {address}: no Ray cluster .*{text}") as caught, connected(address, {}):
        pass
    assert caught.value.setting == "address"


def test_without_ray(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "hpa.cluster.ray")
    with pytest.raises(BadInput, match=r"^address: Ray is not installed; pip install '\.\[cluster\]' .*, or --address none"):
        importlib.import_module("hpa.cluster.ray")


@pytest.mark.parametrize(
    "scores",  # as training prints them; the best epoch is kept by 0.1087
    [
        "macro F1 0.1000  validation: loss 0.7000  macro F1 0.0500 at 0.5, 0.1087 at the best threshold *",
        "accuracy 0.1000  validation: loss 0.7000  accuracy 0.1087 all samples alike, 0.0500 mean of the classes *",
        "accuracy 0.1000  validation: loss 0.7000  accuracy 0.1087 all samples alike, 0.0500 mean of the classes",
    ],
)
def test_what_the_screen_shows(scores):
    tasks = [Task("pack", "pack"), Task("train 0", "train", after=(0,)), Task("train 1", "train", after=(0,))]
    message = f"epoch 3/10  loss 0.8000  {scores}  37 images/s"
    for terminal in (True, False):
        stream = io.StringIO()
        screen = Screen(tasks, Console(file=stream, force_terminal=terminal, width=120))
        with screen.live:
            screen.show(Walk(set(), {}, {None: 0}), [("pack", "node1", "begins")], 2)
            walked = Walk({0}, {}, {None: 1, 1: 2})
            screen.show(walked, [("train 0", "node1", "begins"), ("train 0", "node1", message)], 2)
            screen.show(Walk({0, 1}, {2: Failure("nan")}, {}), [], 2)
        text = stream.getvalue()
        assert "1 of 3 done, 2 given out, 0 waiting, time left unknown" in text
        assert "2 of 3 done, 0 given out, 0 waiting, 1 failed, about 0 min left" in text
        shown = ["3/10", "0.1087", "37 images/s", "waits for a place"] if terminal else [f"[train 0 on node1] {message}\n"]
        assert [each for each in shown if each not in text] == []


def test_the_command_says_what_failed_on_the_cluster(three_nodes, cluster, tmp_path, monkeypatch, capsys):
    """A plan of one task, since networks take minutes: the folder of runs that it names is absent on every node."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(on_ray, "connected", lambda *_: nullcontext(cluster))
    options = command.build_parser().parse_args(["run", "--address=auto", f"--runs={tmp_path / 'runs'}"])
    tasks = [Task("thresholds", "thresholds", ("--runs", "nowhere")), Task("ensemble", "ensemble", after=(0,))]
    with pytest.raises(Failure, match=r"^1 of 2 tasks failed, 1 that come after them were left out; fix what is said above"):
        command._report(tasks, command._on_ray(options, tasks, set()))
    captured = capsys.readouterr()
    assert "thresholds: nowhere: no run folders here" in captured.err
    assert "[thresholds] failed; 0 of 2 done, 0 given out, 1 waiting, 1 failed" in captured.out


def test_the_time_left_is_that_of_the_tasks_at_work_at_once(tmp_path, monkeypatch):
    found = SimpleNamespace(
        require_room=lambda _: None, call=lambda *_: None, read_messages=list, places=lambda _: 2, at_once=lambda _: 2
    )
    shown = []
    monkeypatch.setattr(on_ray, "connected", lambda *_: nullcontext(found))
    monkeypatch.setattr(Screen, "show", lambda self, walked, messages, places: shown.append(places))
    command._on_ray(command.build_parser().parse_args(["run", f"--runs={tmp_path}"]), [TASK], set())
    assert set(shown) == {2}


def test_calls_of_other_commands(cluster, monkeypatch, runs):
    monkeypatch.setattr(on_ray, "connected", lambda *_: nullcontext(cluster))
    options = search.build_parser().parse_args(["--address=auto", f"--runs={runs}", "--cores-per-task=1", "--workers=2"])
    with command.calls(options, "search") as submit:
        found = [submit(eval, f"{number} + 1") for number in range(3)]
        assert [future.result(120) for future in found] == [1, 2, 3]
