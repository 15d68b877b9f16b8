#!/usr/bin/env bash
# Sets everything up and goes the whole way on drawn cells. Options are those of `python -m hpa.demo`.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
set_up requirements.txt
[ $# -gt 0 ] || cd "$root"
hpa demo "$@"
