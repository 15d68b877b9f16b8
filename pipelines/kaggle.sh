#!/usr/bin/env bash
# The competition from start to end: download, all variants through all stages, blend, upload. Run again, it goes on.
# Usage: kaggle.sh [DATA [RUNS [SUBMISSION.csv]]]; $VARIANTS (those of the report), $FOLDS, $VIEWS, $AVERAGE, $SHIFT,
# $TRAIN_OPTIONS and $FINETUNE_OPTIONS as in the scripts that this one calls; $MESSAGE is what the submissions page says about
# the entry.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
set_up requirements.txt
data=${1:-data} runs=${2:-runs} submission=${3:-submissions/ensemble.csv}
competition=human-protein-atlas-image-classification

[ -x "$root/.venv/bin/kaggle" ] || "$python" -m pip install --quiet --disable-pip-version-check 'kaggle>=2.2,<2.3' 'six>=1.17,<2'
if [ ! -e "$data/.downloaded" ]; then
    mkdir -p "$data"
    "$root/.venv/bin/kaggle" competitions download -c "$competition" -p "$data"
    "$python" -m zipfile -e "$data/$competition.zip" "$data"
    for part in train test; do  # the archive may hold these as archives of their own
        [ ! -e "$data/$part.zip" ] || { "$python" -m zipfile -e "$data/$part.zip" "$data/$part"; rm "$data/$part.zip"; }
    done
    rm "$data/$competition.zip"
    touch "$data/.downloaded"
fi
export VARIANTS=${VARIANTS:-0 1 2 3 4 6}
bash "$root/pipelines/all_stages.sh" --data "$data" --runs "$runs"
bash "$root/pipelines/ensemble.sh" "$data" "$runs" "$submission"
if sha256sum --check --status "$submission.uploaded" 2>/dev/null; then  # an upload counts against the day's limit
    echo "$submission is uploaded already"
else
    hpa submit "$submission" --data "$data" -m "${MESSAGE:-hpa, variants $VARIANTS, ${FOLDS:-1} fold(s), ${VIEWS:-1} view(s), shift ${SHIFT:-0.34}}"
    sha256sum "$submission" >"$submission.uploaded"
fi
