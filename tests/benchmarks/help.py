"""How long `--help` of every command takes, process start included.

Run `python tests/benchmarks/help.py`.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from hpa.__main__ import COMMANDS  # noqa: E402

REPEATS = 15


def seconds(*arguments: str) -> float:
    """Return how long a Python process takes."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    argparse.ArgumentParser(description=__doc__.partition("\n")[0]).parse_args()
    commands = {"python -c pass": ("-c", "pass"), **{name: ("-m", f"hpa.{name}", "--help") for name in COMMANDS}}
    times = {label: [] for label in commands}
    for repeat in range(REPEATS + 1):
        for label, arguments in commands.items():
            taken = seconds(*arguments)
            if repeat:  # the first round compiles the modules
                times[label].append(taken)
    print(f"median of {REPEATS}, load {os.getloadavg()[0]:.1f}; each command to be under 0.5 s")
    for label, each in times.items():
        print(f"{label:>15}: {statistics.median(each):.3f} s ({min(each):.3f} to {max(each):.3f})")


if __name__ == "__main__":
    main()
