#!/usr/bin/env bash
# HEp-2 cells, our way: trains two networks at a time, replaces the head of each by a support vector machine (SVM), blends
# the two, and scores each and the blend on the validation and test cells.
# Usage: hep2.sh [DATA [RUNS [PREDICTIONS.csv]]]; $SEEDS replaces the two seeds, $TRAIN_OPTIONS adds options.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
set_up requirements.txt
data=$(as_path "${1:-data/hep2}") runs=$(as_path "${2:-runs/hep2}") predictions=$(as_path "${3:-submissions/hep2.csv}")
read -ra seeds <<<"${SEEDS:-0 1}"

# shellcheck disable=SC2206
training=(--task hep2 --data "$data" --runs "$runs" --progressive-resizing 0.5 ${TRAIN_OPTIONS:-})
planned=()
for seed in "${seeds[@]}"; do planned+=("--seed $seed --name seed$seed"); done
check_runs train "${training[@]}"

make() {
    hpa train --seed "$1" --name "seed$1" "${training[@]}"
    hpa svm --data "$data" --run "$runs/seed$1/base"
}

labelled() {
    local line
    while IFS= read -r line || [ -n "$line" ]; do printf '%s: %s\n' "$1" "$line"; done
}

# Networks side by side, a core each, are done sooner than one after the other on all cores. Each has a process group,
# which ends with this script.
threads=$(($("$python" -c 'from hpa.files import cores; print(cores())') / ${#seeds[@]}))
export TF_NUM_INTRAOP_THREADS=$((threads > 1 ? threads : 1)) TF_FORCE_GPU_ALLOW_GROWTH=true
set -m
trap 'for group in $(jobs -p); do kill -- "-$group" 2>/dev/null; done' EXIT
names=() folders=()
for seed in "${seeds[@]}"; do
    make "$seed" > >(labelled "seed $seed") 2> >(labelled "seed $seed" >&2) &
    names+=("seed$seed-svm-rbf") folders+=("$runs/seed$seed-svm-rbf/base")
done
for _ in "${seeds[@]}"; do wait -n; done
unset TF_NUM_INTRAOP_THREADS
chosen=$(IFS=,; echo "${names[*]}")
hpa predict --data "$data" --runs "$runs" --variants "$chosen" --tta 8
hpa ensemble --task hep2 --data "$data" --runs "$runs" --variants "$chosen" --weights equal --out "$predictions"
hpa report --ensemble "${predictions%.csv}.json" --out "${predictions%.csv}.html"
evaluate_sets "$data" "$runs" --run "${folders[@]}" --tta 8
