#!/usr/bin/env bash
# Starts Ray on this machine: `ray-start.sh head` on the first, `ray-start.sh HEAD_ADDRESS` on each other one. `ray stop` ends it.
# All of them need the same hpa, Python and Ray, and see the folder of data and runs under the same path. $PORT is the head's,
# 6379 if not given; $RAY_OPTIONS are further options of `ray start`, such as --num-gpus 4.
set -euo pipefail
head=${1:?"usage: ray-start.sh head, or ray-start.sh HEAD_ADDRESS"} port=${PORT:-6379}
if [ "$head" = head ]; then
    # shellcheck disable=SC2086
    ray start --head --port "$port" --include-dashboard false --disable-usage-stats ${RAY_OPTIONS:-}
else
    # shellcheck disable=SC2086
    ray start --address "$head:$port" --disable-usage-stats ${RAY_OPTIONS:-}
fi
