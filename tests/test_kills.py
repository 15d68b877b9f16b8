"""Twenty kills in a row, from the first drawn field to the submission; the end is that of a chain that nothing disturbed."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hpa.runs.folder import TIMES

ROOT = Path(__file__).resolve().parents[1]
VARIANT = ["--data=data", "--runs=runs", "--variant=2"]
CHAIN = [
    ["draw", "--out=data", "--train=40", "--test=12", "--size=48"],
    ["pack", "--data=data", "--runs=runs", "--size=48"],
    ["train", *VARIANT, "--size=48", "--batch-size=16", "--epochs=4", "--preset=winner"],
    ["finetune", *VARIANT, "--stage=cnn", "--epochs=2"],
    ["predict", "--data=data", "--runs=runs", "--tta=2"],
    ["thresholds", "--runs=runs"],
    ["ensemble", "--data=data", "--runs=runs", "--weights=equal", "--out=submission.csv"],
]
WHOLE_CHAIN = """
import importlib, sys
for name, *options in eval(sys.argv[1]):
    if code := importlib.import_module(f"hpa.{name}").main(options):
        sys.exit(code)
"""

# Each start is killed so many seconds after so many files of a pattern have been written in it.
KILLS = [
    ("data/train/*.png", 1, 0),
    ("data/train/.*.png", 30, 0),
    ("data/*/*.png", 60, 0.003),
    ("data/*.csv", 1, 0),
    ("runs/stores/*/*", 1, 0),
    ("runs/stores/*/*", 3, 0.01),
    ("runs/stores/*", 1, 0),
    ("runs/2/base/*", 1, 0),
    ("*", 0, 6),
    ("runs/2/base/.*.keras", 1, 0),
    ("runs/2/base/state-*.keras", 1, 0),
    ("runs/2/base/history.csv", 1, 0.3),
    ("*", 0, 2),
    ("runs/2/base/state-*.keras", 1, 0.05),
    ("runs/2/base/curves.png", 1, 0),
    ("runs/2/cnn/*", 1, 0.5),
    ("runs/2/cnn/state-*.keras", 1, 0),
    ("runs/2/cnn/*", 5, 0.2),
    ("runs/2/cnn/*test*", 1, 0),
    ("*submission*", 1, 0),
]


def start(folder):
    """Start the chain in a process group of its own."""
    folder.mkdir(exist_ok=True)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with open(folder.with_suffix(".log"), "a") as log:
        command = [sys.executable, "-c", WHOLE_CHAIN, repr(CHAIN)]
        return subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True)


def written(folder, pattern):
    """The files of a pattern, and when each was written."""
    times = set()
    for path in folder.glob(pattern):
        try:
            times.add((path, path.stat().st_mtime_ns))
        except FileNotFoundError:
            continue
    return times


def kill_after(process, folder, pattern, count, delay):
    before, seen = written(folder, pattern), set()
    while process.poll() is None and len(seen) < count:
        seen |= written(folder, pattern) - before
        time.sleep(0.002)
    time.sleep(delay)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    return process.wait()


def contents(folder):
    """What is in every file, but for locks, and for what tells when and where the images were drawn."""
    files = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
    # A killed process leaves the note that says who owned the lock.
    kept = {name: path for name, path in files.items() if path.name != "stamps.npy" and ".lock" not in path.name}
    return {re.sub("-[0-9a-f]{8}/", "/", name): parts(path) for name, path in kept.items()}


def parts(path):
    if path.name == "test.npz":
        with np.load(path) as arrays:
            return {name: each.tolist() for name, each in arrays.items() if name != "stamps_sha256"}
    if path.name == "store.json":
        return json.loads(path.read_text()) | {"source": None}
    if path.name == "history.csv":
        return pd.read_csv(path).drop(columns=list(TIMES)).to_csv()
    return path.read_bytes()


@pytest.mark.slow
def test_twenty_kills_in_a_row_change_nothing(tmp_path):
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    codes = [kill_after(start(killed), killed, *moment) for moment in KILLS]
    log = killed.with_suffix(".log")
    assert set(codes) <= {-signal.SIGKILL, 0}, log.read_text()
    assert codes.count(-signal.SIGKILL) >= 18, codes  # a file that is followed by the end of all may be seen too late
    last, undisturbed = start(killed), start(whole)
    assert (last.wait(), undisturbed.wait()) == (0, 0), log.read_text() + whole.with_suffix(".log").read_text()
    assert "Traceback" not in log.read_text()
    found, expected = contents(killed), contents(whole)
    assert found.keys() == expected.keys()
    assert [name for name in expected if found[name] != expected[name]] == []
