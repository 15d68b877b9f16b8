#!/usr/bin/env bash
# HEp-2 cells, the second report's way: AlexNet, with torchvision's ImageNet weights and frozen features if WEIGHTS is given.
# Usage: hep2_alexnet.sh [DATA [RUNS [WEIGHTS.pth|.npz]]]; $TRAIN_OPTIONS adds options.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
set_up requirements.txt
data=$(as_path "${1:-data/hep2}") runs=$(as_path "${2:-runs/hep2-alexnet}") weights=$(as_path "${3:-}")
# shellcheck disable=SC2086
hpa train --task hep2 --preset alexnet --data "$data" --runs "$runs" ${weights:+--weights "$weights" --part dense} ${TRAIN_OPTIONS:-}
evaluate_sets "$data" "$runs" --run "$runs/alexnet/base"
