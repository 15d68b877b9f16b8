#!/usr/bin/env bash
# Fine-tunes stage dnn2 of the variants in $VARIANTS, all eight by default. Options are those of `python -m hpa.finetune`.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
set_up requirements.txt
for variant in ${VARIANTS:-0 1 2 3 4 5 6 7}; do
    hpa finetune --variant "$variant" --stage dnn2 "$@"
done
