#!/usr/bin/env bash
# HEp-2 cells, our way: trains two networks, puts a support vector machine in the place of each one's head, blends the two,
# and scores each and the blend on the validation and test cells.
# Usage: hep2.sh [DATA [RUNS [PREDICTIONS.csv]]]; $SEEDS takes the place of the two seeds, $TRAIN_OPTIONS adds options.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
set_up requirements.txt
data=${1:-data/hep2} runs=${2:-runs/hep2} predictions=${3:-submissions/hep2.csv}
names=() folders=()
for seed in ${SEEDS:-0 1}; do
    # shellcheck disable=SC2086
    hpa train --task hep2 --data "$data" --runs "$runs" --seed "$seed" --name "seed$seed" ${TRAIN_OPTIONS:-}
    hpa svm --data "$data" --runs "$runs" --name "seed$seed"
    names+=("seed$seed-svm-rbf") folders+=("$runs/seed$seed-svm-rbf/base")
done
chosen=$(IFS=,; echo "${names[*]}")
hpa predict --data "$data" --runs "$runs" --variants "$chosen" --views 8
hpa ensemble --task hep2 --data "$data" --runs "$runs" --variants "$chosen" --weights equal --out "$predictions"
evaluate_sets "$data" "$runs" --run "${folders[@]}" --views 8
