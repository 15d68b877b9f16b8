#!/usr/bin/env bash
# Sets everything up, lints, checks the types, builds the documentation, and runs the tests. Options are those of pytest.
# The tests of other backends use .venv-jax, which has JAX and no TensorFlow.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
set_up tests/requirements.txt
cd "$root"
wanted=$(grep -v '^tensorflow' requirements.txt; sed -n 's/^jax = //p' setup.cfg)
if [ "$wanted" != "$(cat .venv-jax/installed 2>/dev/null)" ]; then
    echo "installing requirements.txt with JAX instead of TensorFlow into .venv-jax (once)"
    "$python" -m venv --clear .venv-jax
    .venv-jax/bin/python -m pip install --quiet --disable-pip-version-check -r <(printf '%s\n' "$wanted")
    printf '%s' "$wanted" >.venv-jax/installed
fi
# Tests show the report page in a browser; without one they are skipped.
if ! command -v chromium >/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    { apt-get update -qq && apt-get install -y -qq chromium; } >/dev/null 2>&1 || echo "no chromium: the report page is not tested" >&2
fi
"$python" -m ruff check --quiet .
"$python" -m mypy
NO_MKDOCS_2_WARNING=1 "$python" -m mkdocs build --quiet -f docs/mkdocs.yml
"$python" -m pytest -q --numprocesses 2 --dist loadfile --no-loadscope-reorder "$@"
