#!/usr/bin/env bash
# Sets everything up, lints, checks the types, builds the documentation, and runs the tests. Options are those of pytest.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
set_up tests/requirements.txt
cd "$root"
"$python" -m ruff check --quiet .
"$python" -m mypy
NO_MKDOCS_2_WARNING=1 "$python" -m mkdocs build --quiet -f docs/mkdocs.yml
"$python" -m pytest -q --numprocesses 2 --dist loadfile --no-loadscope-reorder "$@"
