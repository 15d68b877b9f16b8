#!/usr/bin/env bash
# Predicts the test set with the last stage of the report's six variants, all their folds together, blends them, and checks the
# submission. Usage: ensemble.sh [DATA [RUNS [SUBMISSION.csv]]]; $VARIANTS and $SHIFT replace the report's choice,
# $TTA and $TTA_AVERAGE are the options of `python -m hpa.predict`, $WEIGHTS that of `python -m hpa.ensemble`; $RULE, if there is
# one, that of `python -m hpa.thresholds`, which then chooses the thresholds.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
set_up requirements.txt
data=$(as_path "${1:-data}") runs=$(as_path "${2:-runs}") submission=$(as_path "${3:-submissions/ensemble.csv}")
check_csv "$submission"
read -ra variants <<<"${VARIANTS:-0 1 2 3 4 6}"
chosen=(--runs "$runs" --variants "$(IFS=,; echo "${variants[*]}")")
hpa predict --data "$data" "${chosen[@]}" --tta "${TTA:-1}" --tta-average "${TTA_AVERAGE:-probabilities}"
[ -z "${RULE:-}" ] || hpa thresholds "${chosen[@]}" --rule "$RULE"
hpa ensemble --data "$data" "${chosen[@]}" --weights "${WEIGHTS:-shifted}" --shift "${SHIFT:-0.34}" --out "$submission"
hpa submit "$submission" --data "$data" --check-only
