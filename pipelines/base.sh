#!/usr/bin/env bash
# Trains the base models of the variants in $VARIANTS, all eight by default; with FOLDS=5 each of them on all five folds, else
# on the first one. Options are those of `python -m hpa.train`.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
set_up requirements.txt
each_run train ${FOLDS:+--folds "$FOLDS"} "$@"
