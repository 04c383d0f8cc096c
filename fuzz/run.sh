#!/usr/bin/env bash
# Builds fastmirror with the address and undefined-behaviour sanitizers and libFuzzer's coverage, in
# build/fuzz, and runs every target there, one after the other.
#
#   fuzz/run.sh [SECONDS [TARGET...]]     all together; the targets are the files target_*.py
#
# What libFuzzer learns is kept in build/fuzz/corpus, and what breaks a target in build/fuzz/found:
#
#   fuzz/run.sh 0 heads build/fuzz/found/heads-crash-...     runs one input again
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1-120}
shift $(($# > 0 ? 1 : 0))
root=$PWD
place=build/fuzz
python=$place/venv/bin/python

say() { echo "fuzz: $*"; }

quietly() { # its output is shown when it fails, and only then
    "$@" >$place/log 2>&1 || {
        tail -n 40 $place/log
        exit 1
    }
}

build() {
    say "compiling with clang's sanitizers (minutes the first time)"
    mkdir -p $place
    [ -x $python ] || "$("tools/bootstrap.sh" fuzz)" -m venv $place/venv
    quietly $python -m pip install --quiet --upgrade 'pip>=25.1'
    quietly $python -m pip install --quiet --group fuzz
    rm -rf $place/tree
    mkdir -p $place/tree
    tar -c --exclude='*.so' --exclude='*.c' --exclude=__pycache__ \
        fastmirror setup.py pyproject.toml README.md LICENSE | tar -x -C $place/tree
    (
        cd $place/tree
        CC=clang LDSHARED="$root/fuzz/link.sh" \
            CFLAGS="-O1 -fno-sanitize-recover=all -fsanitize-ignorelist=$root/fuzz/ignored.txt" \
            FASTMIRROR_SANITIZE=address,undefined,fuzzer-no-link \
            ../venv/bin/python setup.py -q build_ext --inplace --force --parallel 2
    ) >$place/log 2>&1 || {
        tail -n 40 $place/log
        exit 1
    }
    touch $place/built
}

newer=$(find fastmirror setup.py pyproject.toml -newer $place/built -name '*.p*' 2>/dev/null || echo all)
[ -e $place/built ] && [ -z "$newer" ] || build

run() { # TARGET, libFuzzer's options and folders
    local name=$1
    shift
    # Python's small objects come from malloc too, so that reading beyond one is seen; what Python
    # and uvloop never free is no finding. The sanitizers need the C++ library's symbols at once.
    env PYTHONPATH="$PWD/$place/tree" PYTHONMALLOC=malloc \
        ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1:handle_abort=0 \
        UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 \
        LD_PRELOAD="$($python -c 'import atheris; print(atheris.path())')/asan_with_fuzzer.so" \
        $python "fuzz/target_$name.py" -dict=fuzz/http.dict -rss_limit_mb=4096 -timeout=20 \
        -artifact_prefix="$place/found/$name-" "$@"
}

mkdir -p $place/found
if [ $# -ge 2 ] && [ -f "$2" ]; then
    run "$@"
    exit
fi
targets=("$@")
[ $# -gt 0 ] || targets=(chunks heads regex connection connection) # the largest, and the slowest, twice
each=$((seconds / ${#targets[@]}))
status=0
for name in "${targets[@]}"; do
    mkdir -p "$place/corpus/$name"
    log=$place/$name.log
    say "$name for ${each} s"
    run "$name" -max_total_time="$each" -max_len=4096 -print_final_stats=1 \
        "$place/corpus/$name" "fuzz/corpus/$name" >"$log" 2>&1 || {
        status=1
        say "$name FAILED: $log"
        grep -Ev '^(#|INFO|stat|"|\s+(NEW_FUNC|#))' "$log" | tail -n 40
    }
    grep -E '^#[0-9]+\s' "$log" | tail -n 1 | cut -c 1-90
done
exit $status
