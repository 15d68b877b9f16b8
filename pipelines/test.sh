#!/usr/bin/env bash
# Sets everything up, lints, checks the types, and runs the tests. Options are those of pytest.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
set_up tests/requirements.txt
cd "$root"
"$python" -m ruff check --quiet .
"$python" -m mypy
"$python" -m pytest -q --numprocesses 2 --dist loadfile --no-loadscope-reorder "$@"
