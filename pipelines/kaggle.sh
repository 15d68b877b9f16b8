#!/usr/bin/env bash
# The competition from start to end: download, training, blend, upload. Run again, it goes on.
# Usage: kaggle.sh [DATA [RUNS [SUBMISSION.csv]]]; $PRESET is `winner` if not given: five folds that keep copies of an image
# together (and images of one antibody, where $DATA/external holds public ones: they are learned from too), test-time augmentation,
# the thresholds that do best on rows they were not found on, and no fine-tune stages, since soft F1 is in the loss from the
# start. With PRESET=report it does what the report did.
# $VARIANTS (those of the report), $FOLDS, $TTA, $TTA_AVERAGE, $RULE, $WEIGHTS, $SHIFT, $TRAIN_OPTIONS and $FINETUNE_OPTIONS as
# in the scripts that this one calls; $MESSAGE is what the submissions page says about the entry.
# UPLOAD=no asks nothing of Kaggle: it takes what lies in DATA as it is and ends with a submission that is checked.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
set_up requirements.txt
data=$(as_path "${1:-data}") runs=$(as_path "${2:-runs}") submission=$(as_path "${3:-submissions/ensemble.csv}")
competition=human-protein-atlas-image-classification
check_csv "$submission"
[[ ${UPLOAD:=yes} = @(yes|no) ]] || { echo "UPLOAD=$UPLOAD: expected yes or no" >&2; exit 2; }

if [ "$UPLOAD" = yes ] && [ ! -x "$root/.venv/bin/kaggle" ]; then
    "$python" -m pip install --quiet --disable-pip-version-check 'kaggle>=2.2,<2.3' 'six>=1.17,<2'
fi
if [ "$UPLOAD" = yes ] && [ ! -e "$data/.downloaded" ]; then
    mkdir -p "$data"
    "$root/.venv/bin/kaggle" competitions download -c "$competition" -p "$data"
    "$python" -m zipfile -e "$data/$competition.zip" "$data"
    for part in train test; do  # the archive may hold these as archives of their own
        [ ! -e "$data/$part.zip" ] || { "$python" -m zipfile -e "$data/$part.zip" "$data/$part"; rm "$data/$part.zip"; }
    done
    rm "$data/$competition.zip"
    touch "$data/.downloaded"
fi

export VARIANTS=${VARIANTS:-0 1 2 3 4 6} PRESET=${PRESET:-winner}
recipe=(--preset "$PRESET") stages=(cnn dnn dnn2)
if [ "$PRESET" = winner ]; then
    export FOLDS=${FOLDS:-5} TTA=${TTA:-8} RULE=${RULE:-best} WEIGHTS=${WEIGHTS:-equal}
    stages=()
    copies=$runs/copies.csv groups=$runs/copies.csv
    for table in "$data"/{train,external*,sample_submission}.csv; do  # copies of later images are not in an older table
        [ ! "$table" -nt "$copies" ] || rm -f "$copies"
    done
    [ -e "$copies" ] || hpa duplicates --data "$data" --out "$copies"
    if exists "$data/external.csv" "$data"/external-*/; then
        groups+=,antibodies
        recipe+=(--external-weight 1)
    fi
    recipe+=(--groups "$groups")
fi
# shellcheck disable=SC2086
[ "${#stages[@]}" = 0 ] || check_options finetune --stage cnn ${FINETUNE_OPTIONS:-}
# shellcheck disable=SC2086
"$BASH" "$root/pipelines/base.sh" --data "$data" --runs "$runs" "${recipe[@]}" ${TRAIN_OPTIONS:-}
for stage in "${stages[@]}"; do
    # shellcheck disable=SC2086
    "$BASH" "$root/pipelines/finetune_$stage.sh" --data "$data" --runs "$runs" ${FINETUNE_OPTIONS:-}
done
"$BASH" "$root/pipelines/ensemble.sh" "$data" "$runs" "$submission"
[ "$UPLOAD" = yes ] || exit 0
sha256() { if command -v sha256sum >/dev/null; then sha256sum "$@"; else shasum -a 256 "$@"; fi; }  # macOS has the second
if sha256 --check --status "$submission.uploaded" 2>/dev/null; then  # an upload counts against the day's limit
    echo "$submission is uploaded already"
else
    message="hpa, $PRESET, variants $VARIANTS, ${FOLDS:-1} fold(s), tta ${TTA:-1}"
    hpa submit "$submission" --data "$data" -m "${MESSAGE:-$message}"
    sha256 "$submission" >"$submission.uploaded"
fi
