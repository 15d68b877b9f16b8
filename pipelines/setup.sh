# Sourced by the other scripts: lets `hpa COMMAND` run from any folder, in the virtual environment that `set_up` makes.
# set_up REQUIREMENTS installs only when the text of that file or of requirements.txt has changed since the last time. Where
# nvidia-smi answers, TensorFlow comes with CUDA.
# each_run COMMAND... runs the command for each of the $VARIANTS (all eight by default) and the first $FOLDS folds (one by default),
# after `check_runs` has checked all of them.
# check_runs COMMAND... runs the command with --check-only and the options of each of the `planned` runs.
# check_options COMMAND OPTION... checks the names and values of options alone, for what has no run to start from yet.
# evaluate_set PART DATA RUNS OPTION... evaluates on validation/ or test/, if it is there and has labels.
# exists PATH... tells whether any of the paths exists. (compgen -G would take a [ in a folder's name for a pattern.)
# as_path PATH prints a path that passes for no option, without slashes at its end.
# check_csv PATH and check_folds NUMBER refuse what is none.

if [ "${BASH_VERSINFO[0]}${BASH_VERSINFO[1]}" -lt 44 ]; then  # so written that older ones understand it; macOS has 3.2
    echo "bash 4.4 or later is needed, this is $BASH_VERSION; install it (macOS: brew install bash) and run the script with it" >&2
    exit 1
fi
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
python=$root/.venv/bin/python

set_up() {
    local requirements=$1 stamp wanted cuda=
    stamp=$root/.venv/installed-${requirements//\//-}
    ! nvidia-smi >/dev/null 2>&1 || cuda=$(sed -n 's/^tensorflow/tensorflow[and-cuda]/p' "$root/requirements.txt")
    wanted=$(cat "$root/requirements.txt" "$root/$requirements")$cuda
    [ -x "$python" ] && [ "$wanted" = "$(cat "$stamp" 2>/dev/null)" ] && return
    { in_range "$python" && "$python" -m pip --version >/dev/null 2>&1; } || make_environment || return 1
    echo "installing $requirements into .venv (once)"
    "$python" -m pip install --quiet --disable-pip-version-check -r "$root/$requirements" ${cuda:+"$cuda"}
    # OpenCV's ordinary build, which imgaug asks for, links to two system libraries that a bare Debian lacks.
    if ! "$python" -c 'import cv2' 2>/dev/null; then
        [ "$(id -u)" = 0 ] && apt-get update -qq && apt-get install -y -qq libgl1 libglib2.0-0 >/dev/null
        "$python" -c 'import cv2' || { echo "apt-get install libgl1 libglib2.0-0, then run this again" >&2; return 1; }
    fi
    printf '%s' "$wanted" >"$stamp"
}

# TensorFlow 2.21 has no wheels for other versions.
in_range() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; }

make_environment() {
    local base
    for base in python3.11 python3.12 python3.13 python3; do
        in_range "$base" || continue
        "$base" -m venv --clear "$root/.venv" && return
        echo "$base cannot make virtual environments; apt-get install $base-venv, then run this again" >&2
        return 1
    done
    echo "Python 3.11, 3.12 or 3.13 is needed, python3 is $(python3 -c 'import platform; print(platform.python_version())' 2>/dev/null ||
        echo missing); install one (Debian: apt-get install python3 python3-venv) and run this again" >&2
    return 1
}

as_path() {
    local path=$1
    while [[ $path = ?*/ ]]; do path=${path%/}; done
    [[ $path != -* ]] || path=./$path
    printf '%s\n' "$path"
}

check_csv() { [[ $1 = *.csv ]] || { echo "$1: the name of this table ends in .csv" >&2; return 2; }; }

check_folds() { [[ $1 =~ ^[1-9][0-9]*$ ]] || { echo "FOLDS=$1: expected how many folds there are, such as 5" >&2; return 2; }; }

hpa() { "$python" -m "hpa.$1" "${@:2}"; }

each_run() {
    local variant fold planned=() run
    check_folds "${FOLDS:-1}"
    for variant in ${VARIANTS:-0 1 2 3 4 5 6 7}; do
        for ((fold = 0; fold < ${FOLDS:-1}; fold++)); do
            planned+=("--variant $variant --fold $fold")
        done
    done
    [ "${#planned[@]}" = 1 ] || check_runs "$@"  # a single run checks all this itself
    for run in "${planned[@]}"; do
        # shellcheck disable=SC2086
        hpa "$1" $run "${@:2}"
    done
}

check_runs() {
    local run failed=0
    for run in "${planned[@]}"; do
        # shellcheck disable=SC2086
        hpa "$1" $run "${@:2}" --check-only >/dev/null || failed=$?
    done
    [ "$failed" = 0 ] || { echo "nothing was trained: fix what is said above and run this again" >&2; return "$failed"; }
}

check_options() { "$python" -c "from hpa.$1 import build_parser; build_parser().parse_args()" "${@:2}"; }

exists() {
    local path
    for path in "$@"; do [ ! -e "$path" ] || return 0; done
    return 1
}

evaluate_set() {
    exists "$2/$1.csv" "$2/$1"/*/ || return 0
    echo "== $1"
    hpa evaluate --data "$2/$1" --out "$3/evaluation-$1" "${@:4}"
}
