#!/usr/bin/env bash
# Fine-tunes stage dnn of the variants in $VARIANTS, all eight by default, on $FOLDS folds as base.sh does. Options are those
# of `python -m hpa.finetune`.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
set_up requirements.txt
each_run finetune --stage dnn "$@"
