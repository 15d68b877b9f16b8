"""Every benchmark starts by the command in its docstring, from any folder, and tells its options."""

import os
import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parent / "benchmarks"
# One process for all, since TensorFlow takes seconds to import; each script finds the package by itself.
EACH = """
import pathlib, runpy, sys
before = list(sys.path)
for file in sys.argv[1:]:
    for name in [name for name in sys.modules if name.split(".")[0] in ("hpa", "ablation")]:
        del sys.modules[name]
    sys.path[:] = [str(pathlib.Path(file).parent), *before]
    sys.argv = [file, "--help"]
    try:
        runpy.run_path(file, run_name="__main__")
    except SystemExit as end:
        print("ended", file, end.code)
"""


def test_every_benchmark_tells_its_options(tmp_path):
    files = [str(file) for file in sorted(BENCHMARKS.glob("*.py"))]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"PYTHONSAFEPATH": "1"}
    command = [sys.executable, "-c", EACH, *files]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if line.startswith("ended")] == [f"ended {file} 0" for file in files]
