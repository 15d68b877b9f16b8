"""Kills on a real cluster of three Ray nodes: what comes out is what one process makes, byte for byte."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
from test_kills import contents

from hpa.drawn.fields import write_dataset

ROOT = Path(__file__).resolve().parents[2]
ENDS = [
    "--ensemble-weights=equal",
    "--out=entry.csv",
    "--cores-per-task=1",
    "--batch-size=16",
    "--finetune-options=--epochs=1",
]
VARIANTS = ["--variants=2,3", "--folds=2", "--stages=base,cnn", "--size=48", "--epochs=3", "--shard-rows=20", *ENDS]
CELLNET = ["--model=cellnet", "--filters=4,8", "--blocks=1,1", "--kernel=3", "--dropout=0.1"]
SEEDS = [*CELLNET, "--seeds=0,1", "--folds=2", "--stages=base,cnn", "--size=32", "--epochs=4", "--shard-rows=20", *ENDS]


def start(folder, options, address):
    """Start the command in a process group of its own; data is drawn into its folder first."""
    if not folder.exists():
        write_dataset(folder / "data", train=40, test=70, size=48, seed=0)
    command = [sys.executable, "-m", "hpa.cluster", "run", f"--address={address}", *options]
    with open(folder.with_suffix(".log"), "a") as log:
        return subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True)


def alone(folder, options):
    """What one process makes of a plan."""
    assert start(folder, options, "none").wait() == 0, folder.with_suffix(".log").read_text()
    return contents(folder)


def raylet(node):
    return psutil.Process(node.all_processes["raylet"][0].process.pid)


def kill(*processes):
    for process in processes:
        try:
            process.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue


def kill_node(cluster, node):
    """Kill a node's raylet and all its workers at once."""
    own = raylet(node)
    kill(own, *own.children(recursive=True))
    cluster.remove_node(node, allow_graceful=False)


def owners(folder):
    """The processes that hold the lock of a run folder, by the folder."""
    found = {}
    for file in folder.glob("runs/*/*/.lock.owner"):
        try:
            found[file.parent] = psutil.Process(int(re.search(r"pid=(\d+)", file.read_text())[1]))
        except (FileNotFoundError, psutil.NoSuchProcess, TypeError):
            continue
    return found


def at_work(cluster):
    """The workers of all nodes that do a task."""
    children = [child for node in cluster.list_all_nodes() for child in raylet(node).children()]
    titles = [(child, " ".join(child.cmdline())) for child in children if child.is_running()]
    return [child for child, title in titles if re.match("ray::(pack|train|cnn|predict|ensemble)", title)]


def until(condition, seconds=600):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return found


def epochs_of(log):
    """How often each epoch of each training was told."""
    return Counter(re.findall(r"^\[(\w+ [\w-]+) on [^\]]+\] epoch (\d+)/", log, re.MULTILINE))


def require_same(folder, expected):
    found = contents(folder)
    kept = {name: each for name, each in found.items() if not Path(name).name.startswith(".probe-")}
    assert kept.keys() == expected.keys()
    assert [name for name in expected if kept[name] != expected[name]] == []


@pytest.mark.slow
def test_a_node_is_lost_another_joins_and_the_driver_dies(three_nodes, tmp_path):
    killed = tmp_path / "killed"
    driver = start(killed, VARIANTS, three_nodes.address)

    def in_the_middle():
        """The node, not the head, on which a training has some of its epochs."""
        for run, process in owners(killed).items():
            if list(run.glob("state-*.keras")):
                for node in three_nodes.worker_nodes:
                    if raylet(node) in process.parents():
                        return node
        return None

    kill_node(three_nodes, until(in_the_middle))
    until(lambda: "lost, begins again" in killed.with_suffix(".log").read_text())
    three_nodes.add_node(num_cpus=1)
    until(lambda: list(killed.glob("runs/*/cnn/history.csv")))
    assert driver.poll() is None
    os.killpg(driver.pid, signal.SIGKILL)
    assert driver.wait() == -signal.SIGKILL
    log = killed.with_suffix(".log")
    assert start(killed, VARIANTS, three_nodes.address).wait() == 0, log.read_text()
    require_same(killed, alone(tmp_path / "alone", VARIANTS))
    told = epochs_of(log.read_text())
    assert {epoch for _, epoch in told} == {"1", "2", "3"}
    assert max(told.values()) == 1, told
    assert "Traceback" not in log.read_text()


@pytest.mark.slow
def test_twenty_kills_of_workers_nodes_and_drivers(three_nodes, tmp_path):
    killed, log = tmp_path / "killed", tmp_path / "killed.log"
    chance, counts = random.Random(0), Counter()
    driver = start(killed, SEEDS, three_nodes.address)
    for number in range(20):
        before = log.read_text().count(" epoch ") if number else 0
        wait = time.monotonic() + chance.uniform(0, 12)
        until(lambda: time.monotonic() > wait or log.read_text().count(" epoch ") > before)  # noqa: B023
        time.sleep(chance.uniform(0, 1))
        victim = chance.choice(["worker", "worker", "node", "driver"])
        if driver.poll() is not None:
            assert driver.wait() == 0, log.read_text()  # all is done already
            victim = "end"
        elif victim == "worker":
            workers = list(owners(killed).values()) or at_work(three_nodes)
            kill(*workers[:1])
            victim = "worker" if workers else "none at work"
        elif victim == "node":
            kill_node(three_nodes, chance.choice(list(three_nodes.worker_nodes)))
            three_nodes.add_node(num_cpus=1)
        else:
            os.killpg(driver.pid, signal.SIGKILL)
            driver.wait()
            driver = start(killed, SEEDS, three_nodes.address)
        counts[victim] += 1
    assert driver.wait() == 0, log.read_text()
    assert start(killed, SEEDS, three_nodes.address).wait() == 0, log.read_text()
    print(dict(counts))
    assert counts["end"] + counts["none at work"] <= 5, counts
    require_same(killed, alone(tmp_path / "alone", SEEDS))
    assert "Traceback" not in log.read_text()
