#!/usr/bin/env bash
# Trains the base models of the variants in $VARIANTS, all eight by default. Options are those of `python -m hpa.train`.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
set_up requirements.txt
for variant in ${VARIANTS:-0 1 2 3 4 5 6 7}; do
    hpa train --variant "$variant" "$@"
done
