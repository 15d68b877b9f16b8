"""What a plan costs: Ray's overhead and gain here, a plan of 100,000 tasks, and how long a competition takes on N GPUs.

    python tests/benchmarks/cluster.py walk     how long a plan of 100,000 tasks is made and walked, and its memory
    python tests/benchmarks/cluster.py ray      overhead of an empty task; 8 short trainings on 1 and 2 workers of one core
    python tests/benchmarks/cluster.py reckon --train 36 --predict 90    the report's 32 models and the winner's 30 by GPUs

`reckon` does no work: it lists the tasks of the plan as `walk` would give them out, where each GPU, or machine, has one
task that learns from `--train` and predicts `--predict` images a second.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from hpa.cluster.plan import Queue, Task, makespan, walk  # noqa: E402
from hpa.data.parallel import Inline  # noqa: E402
from hpa.settings import STAGES  # noqa: E402
from hpa.training.presets import PRESETS  # noqa: E402

GPUS = (1, 2, 4, 8, 16, 32)
LEARNED, TESTED = 24_858, 11_702  # rows of four of five folds of the competition, and of its test set


def walk_many() -> None:
    """Print the seconds and the memory of a plan of 100,000 tasks."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    tasks = [Task(f"predict {n}/99998", "predict", ("--shard", f"{n}/99998"), cores=2, gpus=1) for n in range(1, 99_999)]
    tasks += [Task("predict", "predict", after=tuple(range(99_998))), Task("ensemble", "ensemble", after=(99_998,))]
    made = time.perf_counter() - start
    most = max(len(step.running) for step in walk(tasks, Inline(), lambda task: None, lambda: 64))
    seconds = time.perf_counter() - start
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(
        f"{len(tasks):,} tasks: made in {made:.1f} s, walked in {seconds - made:.1f} s, {memory:.0f} MB, "
        f"at most {most} in flight"
    )


def on_ray() -> None:
    """Print the overhead of a task and the speed-up of 8 trainings."""
    from hpa.cluster.ray import connected

    with tempfile.TemporaryDirectory() as place, connected("local", {"runs": Path(place)}) as cluster:
        cluster.call(Task("first", "train"), len, "")
        start = time.perf_counter()
        for _ in range(50):
            cluster.call(Task("empty", "train"), len, "")
        print(f"an empty task: {(time.perf_counter() - start) / 50:.3f} s, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as place:
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        draw = ["draw", "--out", "data", "--train", "200", "--test", "20", "--size", "48"]
        subprocess.run(
            [sys.executable, "-m", "hpa", *draw], cwd=place, env=environment, check=True, stdout=subprocess.DEVNULL
        )
        plan = "--model cellnet --filters 8,16 --blocks 1,1 --kernel 3 --dropout 0.1 --size 48 --epochs 8 --batch-size 16"
        plan += " --seeds 0,1,2,3,4,5,6,7 --cores-per-task 1 --ensemble-weights equal"
        times = {}
        for name, where in {
            "none": ["none"],
            "1 worker": ["local", "--workers=1"],
            "2 workers": ["local", "--workers=2"],
        }.items():
            start = time.perf_counter()
            command = ["-m", "hpa", "cluster", "run", *plan.split(), "--runs", f"runs-{name[0]}", "--out", f"{name[0]}.csv"]
            command += ["--address", *where]
            subprocess.run([sys.executable, *command], cwd=place, env=environment, check=True, stdout=subprocess.DEVNULL)
            times[name] = time.perf_counter() - start
            print(f"8 trainings, {name}: {times[name]:.0f} s, load {os.getloadavg()[0]:.1f}")
        same = all((Path(place) / f"{name}.csv").read_bytes() == (Path(place) / "n.csv").read_bytes() for name in "12")
        print(f"speed-up of 2 workers over 1: {times['1 worker'] / times['2 workers']:.2f}; the same submission: {same}")


def reckon(rate: float, predict_rate: float) -> None:
    """Print the hours that the report's and the winner's plan take on so many GPUs, one task on each."""
    tuned = [stage.epochs for stage in STAGES.values() if stage.start]
    plans = {
        "report, 8 variants x 4 stages": (8, [40, *tuned]),
        "winner, 6 variants x 5 folds": (30, [PRESETS["winner"].get("epochs", 40)]),
    }
    print(f"{'':31}" + "".join(f"{gpus:>7}" for gpus in GPUS) + "   critical path, GPUs that reach it")
    for name, (runs, stages) in plans.items():
        tasks, seconds = [Task("pack", "pack")], [0.0]
        for run in range(runs):
            for number, epochs in enumerate(stages):
                tasks.append(Task(f"{run} {number}", "train", after=(len(tasks) - 1 if number else 0,)))
                seconds.append(epochs * LEARNED / rate)
        ends = tuple(number for number, task in enumerate(tasks) if task.name.endswith(f" {len(stages) - 1}"))
        parts = 32
        first = len(tasks)
        tasks += [Task(f"predict {part}", "predict", after=ends) for part in range(parts)]
        seconds += [TESTED * len(ends) / parts / predict_rate] * parts
        tasks += [Task("ensemble", "ensemble", after=tuple(range(first, first + parts)))]
        seconds += [5.0]
        path = max(Queue(tasks, seconds).ways)
        hours = [makespan(tasks, seconds, gpus) / 3600 for gpus in GPUS]
        enough = next((gpus for gpus in range(1, 257) if makespan(tasks, seconds, gpus) <= 1.001 * path), None)
        print(f"{name:31}" + "".join(f"{each:7.2f}" for each in hours) + f"   {path / 3600:.2f} h, {enough}")


def main() -> None:
    """Measure or reckon, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("walk", "ray", "reckon"))
    parser.add_argument("--train", type=float, help="images a second that a training takes")
    parser.add_argument("--predict", type=float, help="images a second that one model predicts")
    options = parser.parse_args()
    if options.what == "reckon":
        reckon(options.train, options.predict)
    else:
        {"walk": walk_many, "ray": on_ray}[options.what]()


if __name__ == "__main__":
    main()
