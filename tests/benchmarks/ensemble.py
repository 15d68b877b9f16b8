"""How long `python -m hpa.ensemble` takes on 32 members x 11,702 test rows x 28 classes, process start included.

Run `python tests/benchmarks/ensemble.py`. It makes the members in a temporary folder, times the command in processes of
its own, and compares it with the straightforward way: scikit-learn's F1 at 100 thresholds for every class of every
member, and a submission filled in row by row with pandas.

`python tests/benchmarks/ensemble.py CHECKOUT` compares time, processor time and peak memory with those of another checkout
instead, such as `git worktree add --detach CHECKOUT COMMIT` makes, on 40 members
x 100,000 validation and test rows, in turn.
"""

import argparse
import resource
import runpy
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import f1_score

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from hpa.scoring.predictions import Predictions, read_predictions, write_predictions  # noqa: E402
from hpa.tasks import HPA  # noqa: E402

MEMBERS, TEST_ROWS, VALIDATION_ROWS = 32, 11_702, 6_215
SHARES = np.geomspace(0.4, 0.0005, len(HPA.classes))  # long-tailed, like the competition's classes
REPEATS = 7


def make_members(folder: Path, count: int, test_rows: int, validation_rows: int) -> list[Path]:
    """Write the members and `sample_submission.csv`; ids are as long as the competition's, 36 characters."""
    random = np.random.default_rng(0)
    pd.DataFrame({"Id": _ids("test", test_rows), "Predicted": "0"}).to_csv(folder / "sample_submission.csv", index=False)
    truth = {"test": random.random((test_rows, 28)) < SHARES, "validation": random.random((validation_rows, 28)) < SHARES}
    members = [folder / f"member{number}" for number in range(count)]
    for member in members:
        for name, targets in truth.items():
            probabilities = 1 / (1 + np.exp(3 - 3 * targets + random.normal(size=targets.shape)))
            known = targets if name == "validation" else None
            predictions = Predictions(_ids(name, len(targets)), HPA.classes, probabilities, known)
            write_predictions(member / f"{name}.npz", predictions)
    return members


def _ids(name: str, rows: int) -> np.ndarray:
    return np.array([f"{name}-{row:0{35 - len(name)}d}" for row in range(rows)])


def run_command(folder: Path, members: list[Path]) -> str:
    """Run the command in a process of its own and return what it printed."""
    options = ["--shift", 0.1, "--sample-submission", folder / "sample_submission.csv", "--out", folder / "blend.csv"]
    arguments = [sys.executable, "-m", "hpa.ensemble", *options, "--run", *members]
    return subprocess.run([*map(str, arguments)], check=True, capture_output=True, text=True, cwd=ROOT).stdout


def straightforward_thresholds(targets: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Try 100 thresholds for every class with scikit-learn."""
    candidates = np.linspace(0.005, 0.995, 100)
    scores = [
        [f1_score(truth, own > threshold, zero_division=0) for threshold in candidates]
        for truth, own in zip(targets.T, probabilities.T, strict=True)
    ]
    return candidates[np.argmax(scores, axis=1)]


def straightforward_submission(path: Path, ids: np.ndarray, probabilities: np.ndarray, thresholds: np.ndarray) -> None:
    """Fill in one row of a data frame after the other."""
    frame = pd.DataFrame({"Id": ids, "Predicted": ""})
    for row in range(len(frame)):
        frame.loc[row, "Predicted"] = " ".join(map(str, np.flatnonzero(probabilities[row] > thresholds)))
    frame.to_csv(path, index=False)


def timed(work: Callable, *arguments: object) -> tuple[float, object]:
    """Return the seconds that a call takes, and what it returns."""
    start = time.perf_counter()
    result = work(*arguments)
    return time.perf_counter() - start, result


def compare(other: Path) -> None:
    """Run the command of two checkouts in turn, and print what each needs and whether both write the same."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        members = make_members(folder, 40, 100_000, 100_000)
        needed, written = {ROOT: [], other: []}, set()
        for checkout in (ROOT, other) * 3:
            start = time.perf_counter()
            with subprocess.Popen([sys.executable, __file__, checkout, folder], stdout=subprocess.PIPE, text=True) as child:
                processor, peak = map(float, child.stdout.read().split())
            needed[checkout].append((time.perf_counter() - start, processor, peak))
            written.add((folder / "blend.csv").read_bytes())
        medians = {each: [statistics.median(own) for own in zip(*rows, strict=True)] for each, rows in needed.items()}
        for checkout, (clock, processor, peak) in medians.items():
            print(f"{checkout.name}: {clock:.1f} s, {processor:.1f} s of the processor, {peak / 2**20:.2f} GiB at most")
        ratios = [own / before for own, before in zip(medians[ROOT], medians[other], strict=True)]
        print("ratios: {:.2f} by the clock, {:.2f} of the processor, {:.2f} of the memory".format(*ratios), end="; ")
        print(f"the same submission: {'yes' if len(written) == 1 else 'NO'}; {len(members)} members")


def needs(checkout: Path, folder: Path) -> None:
    """Run the command as the checkout's own benchmark does, and print its processor seconds and peak memory in kibibytes."""
    own = runpy.run_path(str(checkout / Path(__file__).relative_to(ROOT)))  # its options may have had other names
    own["run_command"](folder, sorted(folder.glob("member*")))
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(used.ru_utime + used.ru_stime, used.ru_maxrss)


def measure() -> None:
    """Time the command against the straightforward way, and print."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        members = make_members(folder, MEMBERS, TEST_ROWS, VALIDATION_ROWS)
        run_command(folder, members)  # compiled modules and cached files: not what is measured
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        runs = [timed(run_command, folder, members) for _ in range(REPEATS)]
        now = resource.getrusage(resource.RUSAGE_CHILDREN)
        times = [seconds for seconds, _ in runs]
        median = statistics.median(times)
        processor = (now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime) / REPEATS
        print(*runs[-1][1].splitlines()[-3:], sep="\n")
        print(
            f"python -m hpa.ensemble, {MEMBERS} members: median {median:.2f} s of {REPEATS} runs "
            f"({min(times):.2f} to {max(times):.2f} s; processor time {processor:.2f} s); to be under 2 s"
        )
        validation, test = (read_predictions(members[0] / f"{each}.npz") for each in ("validation", "test"))
        search, thresholds = timed(straightforward_thresholds, validation.targets, validation.probabilities)
        writing, _ = timed(straightforward_submission, folder / "rows.csv", test.ids, test.probabilities, thresholds)
        whole = (MEMBERS + 1) * search + writing
        print(
            f"the straightforward way: thresholds {search:.1f} s a member, submission {writing:.1f} s; "
            f"{MEMBERS} members and their blend reckoned {whole:.0f} s, {whole / median:.0f} times as long"
        )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("checkout", type=Path, nargs="?", help="another checkout (default: the straightforward way)")
    parser.add_argument("members", type=Path, nargs="?", help="run the command of the checkout once on these members")
    options = parser.parse_args()
    if options.members:
        needs(options.checkout, options.members)
    elif options.checkout:
        compare(options.checkout.resolve())
    else:
        measure()


if __name__ == "__main__":
    main()
