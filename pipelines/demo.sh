#!/usr/bin/env bash
# Sets everything up and goes the whole way on drawn cells, in this repository's folder, wherever it is called from.
# Options are those of `python -m hpa.demo`.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
set_up requirements.txt
cd "$root"
hpa demo "$@"
