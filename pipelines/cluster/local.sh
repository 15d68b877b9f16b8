#!/usr/bin/env bash
# The whole competition on drawn cells, on a Ray of this machine that ends with the command. Run again, it goes on.
# Usage: local.sh [DATA [RUNS [SUBMISSION.csv]]]; $CLUSTER_OPTIONS are further options of `python -m hpa.cluster run`, such as
# --gpus-per-task 1 for a machine with several GPUs.
source "$(dirname "${BASH_SOURCE[0]}")/../setup.sh"
set_up pipelines/cluster/requirements.txt
data=$(as_path "${1:-data/drawn}") runs=$(as_path "${2:-runs/cluster}") submission=$(as_path "${3:-submissions/cluster.csv}")
[ -e "$data/train.csv" ] || hpa draw --out "$data" --train 240 --test 80 --size 80
stages=(--stages base,cnn --finetune-options='--epochs 1')
[[ " ${CLUSTER_OPTIONS:-}" != *" --stages"* ]] || stages=()  # options of the stages that were left out would be refused
# shellcheck disable=SC2086
hpa cluster run --data "$data" --runs "$runs" --out "$submission" --address local --preset winner --size 80 \
    --variants 2,3 --folds 2 "${stages[@]}" --epochs 3 --batch-size 16 --cores-per-task 1 --ensemble-weights equal \
    ${CLUSTER_OPTIONS:-}
hpa submit "$submission" --data "$data" --check-only
