"""A script of the tests under one of Keras' backends, in a process and with a Python of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
# Variables of the environment name another Python.
PYTHONS = {
    "tensorflow": sys.executable,
    "jax": os.environ.get("HPA_JAX", TESTS.parent / ".venv-jax/bin/python"),
    "torch": os.environ.get("HPA_TORCH", TESTS.parent / ".venv-torch/bin/python"),
}


def under(backend: str, script: str, cache: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Do a script of this folder and return the finished process; what JAX compiles is kept in `cache` for the next one."""
    if not Path(PYTHONS[backend]).exists():
        pytest.skip(f"no Python with {backend} here; pipelines/test.sh makes that for jax")
    kept = {"JAX_COMPILATION_CACHE_DIR": str(cache / "jax"), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    environment = os.environ | {"KERAS_BACKEND": backend, "PYTHONPATH": str(TESTS.parent)} | kept
    command = [PYTHONS[backend], TESTS / script, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
