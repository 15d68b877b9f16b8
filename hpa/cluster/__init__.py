"""`python -m hpa.cluster plan|run`: a whole competition as one plan, on this machine or on a Ray cluster.

    python -m hpa.cluster run --variants 0,1,2,3,4,6 --folds 5 --preset winner --tta 8 --address auto

packs the images, trains and fine-tunes every variant, seed and fold, predicts the test set and writes the blend. Each task
is a command that can be typed by hand. The same command goes on where it stopped, after a failure too.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import math
import shlex
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from hpa import command
from hpa.cluster.plan import walk
from hpa.errors import Failure
from hpa.files import cores
from hpa.options import add_settings, given_settings, in_presets
from hpa.settings import NAMES
from hpa.stages import STAGES, SVM_KERNELS
from hpa.training.presets import PRESETS

if TYPE_CHECKING:
    from hpa.cluster.competition import Competition, Share
    from hpa.cluster.plan import Task, Walk

LISTED = ("stage", "variant", "fold", "seed")  # settings that have options of their own here, or none

logger = logging.getLogger(__name__)


def add_place(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where tasks run, and what each may take there."""
    add = parser.add_argument_group("cluster").add_argument
    help = (
        "where tasks run: here, one after the other; on a Ray of this machine that ends with the command; on the Ray "
        "cluster that this machine belongs to; on the one at an address"
    )
    add("--address", default="none", metavar="none|local|auto|HOST:PORT", help=help)
    add("--cores-per-task", type=command.positive_integer, metavar="N", help="if not given, all cores of this machine")
    help = (
        "GPUs of a task that trains, such as 1, 0.25, or 2 that share every batch; one that predicts, and a trial of a "
        "search, takes at most 1"
    )
    add("--gpus-per-task", type=_gpus, default=0, metavar="N", help=help)
    help = "memory of a task; if not given, none is reserved"
    add("--memory-per-task", type=command.positive_number, metavar="GIB", help=help)


@contextmanager
def calls(options: argparse.Namespace, command: str) -> Iterator[Callable[..., Future[Any]]]:
    """Connect to the cluster that the options of `add_place` name; yield a function that begins a call there as a task.

    It takes the arguments of an executor's `submit`; the last of them is the task's name.
    """
    from hpa.cluster.plan import Task
    from hpa.cluster.ray import connected
    from hpa.cluster.share import within

    task = Task("", command, **asdict(_share(options)))
    options.runs.mkdir(parents=True, exist_ok=True)
    threads = ThreadPoolExecutor(1000)  # a thread only waits for its task
    with connected(options.address, {"runs": options.runs, "data": options.data}, options.workers) as cluster:
        cluster.require_room([task])

        def submit(work: Callable[..., Any], *arguments: Any) -> Future[Any]:
            own = replace(task, name=str(arguments[-1]))
            return threads.submit(cluster.call, own, within, task.cores, work, *arguments)

        try:
            yield submit
        finally:
            threads.shutdown(wait=False, cancel_futures=True)


def build_parser() -> argparse.ArgumentParser:
    """Return the options."""
    parser = command.parser(
        "cluster",
        "That is: pack, train, fine-tune, predict, blend. plan prints the tasks, what each needs and what is finished; run "
        "does them, one after the other or on a Ray cluster. The other options are those of hpa.train.",
        "task data runs tta tta-average",
    )
    parser.allow_abbrev = False
    add = parser.add_argument
    add("action", choices=("plan", "run"), help="print the plan, or carry it out")
    add("--preset", metavar="NAME", help=f"where settings start from: {', '.join(PRESETS)}, or the name of a search")
    add(
        "--variants",
        type=command.comma_separated,
        metavar="N,N,...",
        help="variants of the network; if not given, the report's six",
    )
    add("--seeds", type=_seeds, default="0", metavar="N,N,...", help="seeds; each gives models of its own")
    add(
        "--stages",
        type=command.comma_separated,
        default="base",
        metavar="base,cnn,...",
        help=f"stages of training: the first of {','.join(STAGES)}",
    )
    add("--finetune-options", type=shlex.split, default=[], metavar="'OPTIONS'", help="of hpa.finetune, for every stage")
    add("--svm", choices=SVM_KERNELS, help="give each run an SVM head at its end, too")
    add("--rule", metavar="RULE", help="choose thresholds by this rule of hpa.thresholds; if not given, none are chosen")
    add(
        "--stage", choices=("last", "all", *STAGES), default="last", help="which stage of every run is predicted and blended"
    )
    add("--ensemble-weights", metavar="RULE", help="--weights of hpa.ensemble")
    for name in ("shift", "threshold", "sample-submission", "out"):
        add(f"--{name}", metavar="VALUE", help=f"--{name} of hpa.ensemble")
    add_settings(parser, [name for name in NAMES if name not in LISTED], in_presets, fold=True)
    add_place(parser)
    help = "at most so many tasks at once; if not given, all that fit"
    add("--workers", type=command.positive_integer, metavar="N", help=help)
    add(
        "--shard-rows",
        type=command.positive_integer,
        default=10_000,
        metavar="N",
        help="pack and predict larger sets in parts of about so many rows, each a task of its own",
    )
    add("--dry-run", action="store_true", help="of run: print the plan and do nothing")
    return parser


def work(options: argparse.Namespace) -> None:
    """Print the plan, or carry it out."""
    from hpa.cluster.competition import competition, finished, states
    from hpa.cluster.plan import table

    tasks = competition(_asked(options))
    if options.action == "plan" or options.dry_run:
        for number, task in enumerate(tasks):
            print(f"{number}  $ {task.typed}")
        print(f"\n{table(tasks, states(tasks))}")
        return
    done = finished(tasks)
    logger.info("%d of %d tasks are finished", len(done), len(tasks))
    _report(tasks, _here(tasks, done) if options.address == "none" else _on_ray(options, tasks, done))


def _asked(options: argparse.Namespace) -> Competition:
    from hpa.cluster.competition import Competition
    from hpa.data.tables import has_test_set, read_ids, read_labelled

    views = command.tta(options)
    named = {name: getattr(options, name.replace("-", "_")) for name in ("shift", "threshold", "sample-submission", "out")}
    named["weights"] = options.ensemble_weights
    rows = {"train": len(read_labelled(options.data / "train", options.task))}
    if has_test_set(options.data):
        rows["test"] = len(read_ids(options.data, options.task))
    return Competition(
        task=options.task,
        task_text=command.TEXT_OF_TASK[options.task],
        data=options.data,
        runs=options.runs,
        preset=options.preset,
        settings={name: value for name, value in given_settings(options).items() if name not in LISTED},
        variants=options.variants,
        seeds=options.seeds,
        stages=options.stages,
        finetune=options.finetune_options,
        svm=options.svm,
        predict=[f"--tta={views.views}", f"--tta-average={views.average}"],
        thresholds=[f"--rule={options.rule}"] if options.rule else None,
        ensemble=[f"--{name}={value}" for name, value in named.items() if value is not None],
        stage=options.stage,
        share=_share(options),
        shards={name: math.ceil(count / options.shard_rows) for name, count in rows.items()},
    )


def _share(options: argparse.Namespace) -> Share:
    """Return what the options of `add_place` let a task take."""
    from hpa.cluster.competition import Share

    return Share(options.cores_per_task or cores(), options.gpus_per_task, int((options.memory_per_task or 0) * 2**30))


def _here(tasks: Sequence[Task], done: set[int]) -> Walk:
    """Do the tasks in this process; return how far the plan came."""
    from hpa.cluster.share import do
    from hpa.data.parallel import Inline

    counted = itertools.count(len(done) + 1)

    def work(task: Task) -> None:
        logger.info("\n[%d/%d] $ %s", next(counted), len(tasks), task.typed)
        do(task)

    *_, last = walk(tasks, Inline(), work, lambda: 1, done)
    return last


def _on_ray(options: argparse.Namespace, tasks: Sequence[Task], done: set[int]) -> Walk:
    """Do the tasks on a Ray cluster; return how far the plan came."""
    from hpa.cluster.live import Screen
    from hpa.cluster.ray import connected
    from hpa.cluster.share import do

    options.runs.mkdir(parents=True, exist_ok=True)
    screen, executor = Screen(tasks), ThreadPoolExecutor(1000)  # a thread only waits for its task
    with connected(options.address, {"runs": options.runs, "data": options.data}, options.workers) as cluster:
        cluster.require_room(tasks)
        heaviest = max(tasks, key=lambda task: (task.gpus, task.cores))

        def work(task: Task) -> None:
            cluster.call(task, do, task)

        def places() -> int:
            return cluster.places(heaviest)

        try:
            with screen.live:
                for last in walk(tasks, executor, work, places, done, beat=1):
                    screen.show(last, cluster.read_messages(), cluster.at_once(heaviest))
        finally:
            executor.shutdown(wait=False, cancel_futures=True)
    return last


def _report(tasks: Sequence[Task], walked: Walk) -> None:
    """Say what failed, and raise Failure if anything did."""
    for _, error in sorted(walked.failed.items()):
        if not isinstance(error, Failure):
            raise error
        logger.error("%s", error)
    if walked.failed:
        left = len(tasks) - len(walked.done) - len(walked.failed)
        raise Failure(
            f"{len(walked.failed)} of {len(tasks)} tasks failed, {left} that come after them were left out; fix what is "
            "said above and run the same command again"
        )


def _seeds(text: str) -> list[int]:
    return [command.whole_number(part) for part in command.comma_separated(text)]


def _gpus(text: str) -> float:
    number = command.positive_number(text) if text != "0" else 0
    if number > 1 and number != int(number):
        raise argparse.ArgumentTypeError(f"expected a whole number of GPUs or a share of one, found '{text}'")
    return number


main = command.main(__name__, build_parser, work)
