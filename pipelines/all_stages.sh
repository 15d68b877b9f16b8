#!/usr/bin/env bash
# Takes the variants in $VARIANTS (all eight by default) through all four stages: 32 models with the defaults, and as many
# times $FOLDS where that is set.
# Options such as --data and --runs go to every command; $TRAIN_OPTIONS and $FINETUNE_OPTIONS to the base and later stages.
here=$(dirname "${BASH_SOURCE[0]}")
set -euo pipefail
"$BASH" "$here/base.sh" "$@" ${TRAIN_OPTIONS:-}
for stage in cnn dnn dnn2; do
    "$BASH" "$here/finetune_$stage.sh" "$@" ${FINETUNE_OPTIONS:-}
done
