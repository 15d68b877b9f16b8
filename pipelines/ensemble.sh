#!/usr/bin/env bash
# Predicts the test set with the last stage of the report's six variants, all their folds together, blends them, and checks the
# submission. Usage: ensemble.sh [DATA [RUNS [SUBMISSION.csv]]]; $VARIANTS and $SHIFT take the place of the report's choice,
# $VIEWS and $AVERAGE are the options of `python -m hpa.predict`.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
set_up requirements.txt
data=${1:-data} runs=${2:-runs} submission=${3:-submissions/ensemble.csv}
variants=${VARIANTS:-0 1 2 3 4 6}
hpa predict --data "$data" --runs "$runs" --variants "${variants// /,}" --views "${VIEWS:-1}" --average "${AVERAGE:-probabilities}"
hpa ensemble --data "$data" --runs "$runs" --variants "${variants// /,}" --shift "${SHIFT:-0.34}" --out "$submission"
hpa submit "$submission" --data "$data" --check-only
