# Sourced by the other scripts: lets `hpa COMMAND` run from any folder, in the virtual environment that `set_up` makes.
# set_up REQUIREMENTS installs only when the text of that file or of requirements.txt has changed since the last time.
# each_run COMMAND... runs the command for each of the $VARIANTS (all eight by default) and the first $FOLDS folds (one by default).
# evaluate_sets DATA RUNS OPTION... evaluates on validation/ and test/, as far as they are there and have labels.

set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
python=$root/.venv/bin/python

set_up() {
    local requirements=$1 stamp wanted base
    stamp=$root/.venv/installed-${requirements//\//-}
    wanted=$(cat "$root/requirements.txt" "$root/$requirements")
    [ -x "$python" ] && [ "$wanted" = "$(cat "$stamp" 2>/dev/null)" ] && return
    base=$(command -v python3.11 || command -v python3) || { echo "Python 3.11 is needed; apt-get install python3 python3-venv" >&2; return 1; }
    "$base" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed; $base is older" >&2; return 1; }
    "$python" -m pip --version >/dev/null 2>&1 || "$base" -m venv --clear "$root/.venv" || { echo "apt-get install python3-venv, then run this again" >&2; return 1; }
    echo "installing $requirements into .venv (once)"
    "$python" -m pip install --quiet --disable-pip-version-check -r "$root/$requirements"
    # OpenCV's ordinary build, which imgaug asks for, links to two system libraries that a bare Debian lacks.
    if ! "$python" -c 'import cv2' 2>/dev/null; then
        [ "$(id -u)" = 0 ] && apt-get update -qq && apt-get install -y -qq libgl1 libglib2.0-0 >/dev/null
        "$python" -c 'import cv2' || { echo "apt-get install libgl1 libglib2.0-0, then run this again" >&2; return 1; }
    fi
    printf '%s' "$wanted" >"$stamp"
}

hpa() { "$python" -m "hpa.$1" "${@:2}"; }

each_run() {
    local variant fold
    for variant in ${VARIANTS:-0 1 2 3 4 5 6 7}; do
        for ((fold = 0; fold < ${FOLDS:-1}; fold++)); do
            hpa "$1" --variant "$variant" --fold "$fold" "${@:2}"
        done
    done
}

evaluate_sets() {
    local part
    for part in validation test; do
        [ -e "$1/$part.csv" ] || compgen -G "$1/$part/*/" >/dev/null || continue
        echo "== $part"
        hpa evaluate --data "$1/$part" --out "$2/evaluation-$part" "${@:3}"
    done
}
