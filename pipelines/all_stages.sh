#!/usr/bin/env bash
# Takes the variants in $VARIANTS (all eight by default) through all four stages: 32 models with the defaults, and as many
# times $FOLDS where that is set.
# Options such as --data and --runs go to every command; $TRAIN_OPTIONS and $FINETUNE_OPTIONS to the base and later stages.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
set_up requirements.txt
# shellcheck disable=SC2086
check_options finetune --stage cnn "$@" ${FINETUNE_OPTIONS:-}  # now, and not when all base models are trained
# shellcheck disable=SC2086
"$BASH" "$root/pipelines/base.sh" "$@" ${TRAIN_OPTIONS:-}
for stage in cnn dnn dnn2; do
    # shellcheck disable=SC2086
    "$BASH" "$root/pipelines/finetune_$stage.sh" "$@" ${FINETUNE_OPTIONS:-}
done
