"""Faults that are real: memory that runs out under Ray's own watch, a disk that is full, trials of a search side by side."""

import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import optuna
import psutil
import pytest
from sklearn.metrics import accuracy_score

from hpa.drawn.fields import write_dataset
from hpa.drawn.hep2 import write_cells
from hpa.runs.folder import is_finished
from hpa.scoring.predictions import read_predictions

pytest.importorskip("ray")
pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
TINY = ["--model=cellnet", "--filters=4,8", "--blocks=1,1", "--kernel=3", "--dropout=0.1", "--size=32", "--batch-size=16"]


def run(command, folder, **environment):
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | environment
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)


def test_a_task_that_takes_too_much_memory_is_ended_by_ray_and_told(tmp_path):
    """Ray ends a worker when the memory in use passes a limit: here what is in use now and a GiB; the task takes two."""
    memory = psutil.virtual_memory()
    if memory.available < 6 * 2**30:
        pytest.skip("too little free memory")
    code = """
        import pathlib, sys
        from hpa.cluster.plan import Task
        from hpa.cluster.ray import connected
        from hpa.cluster.share import TaskError
        greedy = "held = bytearray(2 << 30)\\nfor at in range(0, 2 << 30, 4096): held[at] = 1\\n__import__('time').sleep(60)"
        with connected("local", {"runs": pathlib.Path("runs")}) as cluster:
            try:
                cluster.call(Task("train 0", "train"), exec, greedy)
            except TaskError as error:
                print(error)
    """
    (tmp_path / "runs").mkdir()
    limit = f"{(memory.total - memory.available + 2**30) / memory.total:.4f}"
    watch = {"RAY_memory_usage_threshold": limit, "RAY_memory_monitor_refresh_ms": "100"}
    done = run([sys.executable, "-c", textwrap.dedent(code)], tmp_path, **watch)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("train 0: ran out of memory 3 times; give --memory-per-task, fewer --workers")


def test_a_disk_that_is_full_is_told_and_the_same_command_goes_on(tmp_path):
    """The folder of runs lies on a disk of its own, which is full until it is made larger."""
    mount = ["unshare", "--mount", "bash", "-c"]
    (tmp_path / "runs").mkdir()
    if not shutil.which("unshare") or run([*mount, "mount -t tmpfs -o size=1m tmpfs runs"], tmp_path).returncode:
        pytest.skip("no right to mount a disk")
    write_dataset(tmp_path / "data", train=40, test=20, size=32, seed=0)
    plan = f"{sys.executable} -m hpa.cluster run {' '.join(TINY)} --epochs 2 --ensemble-weights equal --cores-per-task 1"
    small = f"{plan} --out entry.csv --address local"
    steps = ["mount -t tmpfs -o size=400k tmpfs runs", small, "echo code $?", "mount -o remount,size=50m runs", small]
    done = run([*mount, "; ".join([*steps, "echo code $?"])], tmp_path)
    assert re.findall(r"code \d", done.stdout) == ["code 1", "code 0"], done.stdout + done.stderr
    assert "train cellnet: the disk is full" in done.stderr
    assert "Traceback" not in done.stderr
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copytree(tmp_path / "data", alone / "data")
    assert run(f"{plan} --out entry.csv".split(), alone).returncode == 0
    assert (alone / "entry.csv").read_bytes() == (tmp_path / "entry.csv").read_bytes()


def test_a_search_with_two_trials_at_once_makes_the_runs_that_training_makes(tmp_path):
    write_cells(tmp_path / "data", train=60, validation=24, test=12, size=32, seed=0)
    options = ["--task=hep2", "--data=data", "--trials=4", "--epochs=1", "--rows=48", "--size=16"]
    place = ["--workers=2", "--address=local", "--cores-per-task=1"]
    done = run([sys.executable, "-m", "hpa.search", *options, *place], tmp_path)
    assert done.returncode == 0, done.stderr
    searches = tmp_path / "runs/searches/search"
    study = optuna.load_study(study_name="search", storage=f"sqlite:///{searches / 'study.db'}")
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 4
    folders = sorted(file.parent for file in searches.rglob("history.csv"))
    assert len(folders) == 4
    assert all(is_finished(folder) for folder in folders)
    saved = [read_predictions(folder / "validation.npz") for folder in folders]
    accuracies = [accuracy_score(each.targets.argmax(axis=1), each.probabilities.argmax(axis=1)) for each in saved]
    assert sorted(trial.value for trial in study.trials) == pytest.approx(sorted(accuracies))
