#!/usr/bin/env bash
# HEp-2 cells, our way: the cells of train/ and validation/ are dealt into folds, copies of a cell into one. For each fold a
# network learns from the others, and a support vector machine (SVM) replaces its head. Each cell is scored by the network
# that has not seen it; their mean predicts the test cells, and is scored there if test/ has class folders.
# Usage: hep2.sh [DATA [RUNS [PREDICTIONS.csv]]]; $FOLDS replaces four folds, $SEED the seed 0, $TRAIN_OPTIONS adds options.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
set_up requirements.txt
data=$(as_path "${1:-data/hep2}") runs=$(as_path "${2:-runs/hep2}") predictions=$(as_path "${3:-submissions/hep2.csv}")
check_csv "$predictions"
check_folds "${FOLDS:=4}"
if [[ " ${TRAIN_OPTIONS:-} " = *" --"@(data|fold|folds|groups|name|runs|task)[=\ ]* ]]; then
    echo "TRAIN_OPTIONS=$TRAIN_OPTIONS: the task, folders, names and folds are this script's; leave them out" >&2
    exit 2
fi

copies=$runs/copies.csv
for place in "$data"/{train,validation,test}{,.csv,/*/}; do  # an older table does not name copies of later cells
    [ ! "$place" -nt "$copies" ] || rm -f "$copies"
done
[ -e "$copies" ] || hpa duplicates --task hep2 --data "$data" --out "$copies"

training=(--task hep2 --data "$data" --runs "$runs" --name folds --folds "$FOLDS" --groups "$copies" --seed "${SEED:-0}"
    --progressive-resizing 0.5)
! exists "$data/validation" || training+=(--folds-of both)
# shellcheck disable=SC2206
training+=(${TRAIN_OPTIONS:-})
planned=()
for ((fold = 0; fold < FOLDS; fold++)); do planned+=("--fold $fold"); done
check_runs train "${training[@]}"

name_of() { local fold=-fold$1; echo "folds${fold#-fold0}${2:-}"; }  # as hpa names the folds of a run

make() {
    hpa train --fold "$1" "${training[@]}"
    hpa svm --data "$data" --run "$runs/$(name_of "$1")/base"
}

labelled() {
    local line
    while IFS= read -r line || [ -n "$line" ]; do printf '%s: %s\n' "$1" "$line"; done
}

# Networks side by side, a core each, are done sooner than one after the other on all cores. Each has a process group,
# which ends with this script.
cores=$("$python" -c 'from hpa.files import cores; print(cores())')
at_once=$((cores < FOLDS ? cores : FOLDS))
export TF_NUM_INTRAOP_THREADS=$((cores / at_once)) TF_FORCE_GPU_ALLOW_GROWTH=true
set -m
trap 'for group in $(jobs -p); do kill -- "-$group" 2>/dev/null; done' EXIT
folders=()
for ((fold = 0; fold < FOLDS; fold++)); do
    [ "$fold" -lt "$at_once" ] || wait -n
    make "$fold" > >(labelled "fold $fold") 2> >(labelled "fold $fold" >&2) &
    folders+=("$runs/$(name_of "$fold" -svm-rbf)/base")
done
for ((fold = 0; fold < at_once; fold++)); do wait -n; done
unset TF_NUM_INTRAOP_THREADS
svms=(--data "$data" --runs "$runs" --variants folds-svm-rbf)  # with all its folds
hpa predict "${svms[@]}" --tta 8
hpa ensemble --task hep2 "${svms[@]}" --weights equal --out "$predictions"
hpa report --ensemble "${predictions%.csv}.json" --out "${predictions%.csv}.html"
evaluate_set test "$data" "$runs" --run "${folders[@]}" --tta 8
