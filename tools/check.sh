#!/usr/bin/env bash
# Everything that must hold before a change lands. The last line is `N passed, N failed, N skipped`, over
# the single tests of all stages; skipped and failed ones are named above it. Logs: build/check.
#   tools/check.sh           installs what is missing, builds and tests
#   tools/check.sh --format  only rewrites the C files with clang-format 14
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
export LC_ALL=C
jobs=$(nproc)
logs=build/check

c_files() { find host include tests cuda tools -name '*.[ch]' -print0 -o -name '*.cu' -print0 -o -name '*.cuh' -print0 -o -name '*.cpp' -print0; }
formatter() { command -v clang-format-14 || { clang-format --version 2>/dev/null | grep -q 'version 14\.' && echo clang-format; }; }

case "${1:-}" in
'') ;;
--format) c_files | xargs -0 "$(formatter)" -i; exit ;;
*) sed -n '2,5s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac

# ---- Counting -----------------------------------------------------------------------------------

passed=0 failed=0 skipped=0
skips=() failures=()

pass() { passed=$((passed + 1)); }
fail() { failed=$((failed + 1)); failures+=("$1"); }
skip() { skipped=$((skipped + 1)); skips+=("$1"); }

# check NAME COMMAND...: one test that is a command; shows the end of its output when it fails.
check() {
    local name=$1 start=$SECONDS
    shift
    if "$@" >"$logs/$name.log" 2>&1 </dev/null; then
        pass
        printf '%-18s ok      %4d s\n' "$name" $((SECONDS - start))
    else
        fail "$name"
        printf '%-18s FAILED  %4d s\n' "$name" $((SECONDS - start))
        grep -vE '^\[[0-9]+/[0-9]+\]' "$logs/$name.log" | tail -n 40 | cut -c 1-300 | sed 's/^/    /'
        return 1
    fi
}

# Reads `ctest -V`: for every test of ctest, the tests inside it as cmocka sums them up or as TAP lines
# of a script; one where it says nothing of the kind. Prints "P F S", then "skip NAME" and "fail NAME".
count_tests='
/^ *Start +[0-9]+: / { n = $2; sub(/:/, "", n); next }
/^[0-9]+: / {
    n = $1; sub(/:.*/, "", n)
    line = $0; sub(/^[0-9]+: /, "", line)
    if (match(line, /\[  PASSED  \] [0-9]+ test\(s\)/)) ok[n] += number(line)
    else if (match(line, /\[  FAILED  \] [0-9]+ test\(s\)/)) bad[n] += number(line)
    else if (match(line, /\[  SKIPPED \] [0-9]+ test\(s\)/)) left[n] += number(line)
    else if (match(line, /\[  SKIPPED \] /)) {
        what = substr(line, RSTART + RLENGTH)
        if (!((n, what) in seen)) { seen[n, what] = 1; names[n] = names[n] "\n" what }
    }
    else if (line ~ /^ok .*# SKIP/) { left[n]++; sub(/^ok [0-9]* *-? */, "", line); names[n] = names[n] "\n" line }
    else if (line ~ /^ok /) ok[n]++
    else if (line ~ /^not ok /) bad[n]++
    next
}
/^ *[0-9]+\/[0-9]+ +Test +#[0-9]+: / {
    n = $0; sub(/.*#/, "", n); sub(/:.*/, "", n)
    name = $0; sub(/.*#[0-9]+: /, "", name); sub(/ .*/, "", name)
    if ($0 ~ /\*\*\*Skipped/) { s++; print "skip " name; next }
    if ($0 ~ / Passed /) { p += (n in ok || n in left) ? ok[n] : 1 }
    else { p += ok[n]; f += bad[n] ? bad[n] : 1; print "fail " name " " n }
    s += left[n]
    k = split(names[n], list, "\n")
    for (i = 2; i <= k; i++) print "skip " name ": " list[i]
}
function number(text) { text = substr(text, RSTART + 13); return text + 0 }
END { print "total " p + 0, f + 0, s + 0 }
'

# What a failed test said, from its first complaint on.
first_errors='
/ERROR|[Ee]rror:|^not ok|Assertion|^#/ { on = 1 }
/\[       OK|\[ RUN  |^ok |0x[0-9a-f]+: / { next }
on && n++ < 40 { print "    " $0 }
{ last[NR % 10] = $0 }
END { if (!on) for (i = NR + 1; i <= NR + 10; i++) if (last[i % 10] != "") print "    " last[i % 10] }
'

# run_tests NAME PRESET CTEST-OPTIONS...
run_tests() {
    local name=$1 preset=$2 log=$logs/$1.log start=$SECONDS word rest p=0 f=0 s=0
    shift 2
    ctest --test-dir "build/$preset" -V -j "$jobs" --no-tests=error "$@" >"$log" 2>&1 </dev/null
    local status=$?
    while read -r word rest; do
        case $word in
        skip) skips+=("$name: $rest") ;;
        fail)
            failures+=("$name: ${rest% *}")
            printf '  %s\n' "${rest% *}"
            grep "^${rest##* }: " "$log" | sed 's/^[0-9]*: //' | awk "$first_errors" | cut -c 1-300
            ;;
        total) read -r p f s <<<"$rest" ;;
        esac
    done < <(awk "$count_tests" "$log")
    if [ $status -ne 0 ] && [ "$f" -eq 0 ]; then
        f=1
        failures+=("$name: ctest left with $status")
        tail -n 20 "$log" | sed 's/^/    /'
    fi
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
    printf '%-18s %d passed, %d failed, %d skipped  %4d s\n' "$name" "$p" "$f" "$s" $((SECONDS - start))
}

build() { cmake --preset "$1" "${@:2}" && cmake --build "build/$1" -j "$jobs" -- -k 0; }

# ---- Checks of the text -------------------------------------------------------------------------

check_format() { c_files | xargs -0 "$(formatter)" --dry-run -Werror; }

check_lines() { # no file over 500 lines
    local long
    long=$(find host include $([ ! -d cuda ] || echo cuda) tests tools configs .ci CMakeLists.txt -type f \
        \( -name '*.[ch]' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh' -o -name '*.def' -o -name '*.sh' -o -name '*.py' \
        -o -name '*.cmake' -o -name CMakeLists.txt -o -name run \) -print0 |
        xargs -0 wc -l | awk '$2 != "total" && $1 > 500 { print $2 ": " $1 " lines, at most 500" }')
    [ -z "$long" ] || { printf '%s\n' "$long"; return 1; }
}

check_layers() { tools/check_layers.sh --self-test && tools/check_layers.sh; }

# What the demo is there to show: with 5 demonstrations the pages' memory judges better than the base by more
# than chance. Bits differ between instruction sets, this must not.
check_demo() {
    cat build/demo/report/full_results.csv
    awk -F, '
        NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i; next }
        $at["few_shot"] == 5 && $at["scoring"] == "generate" { high[$at["variant"]] = $at["accuracy"] + 0 }
        END {
            base = high["pretrained"]
            for (name in high) if (name ~ /^gpt_wikipage-/) doc = high[name]
            exit !(base > 0.3 && doc > base + 0.15)
        }' build/demo/report/full_results.csv
}

# ---- All stages ---------------------------------------------------------------------------------

tools/setup.sh --check || exit 1
mkdir -p "$logs"

check layers check_layers
# Entries whose lines are no longer in the kernels.
if command -v python3 >/dev/null; then check planted-faults python3 tests/faults/plant.py --check; else skip "planted-faults: python3 is not here"; fi
check lines check_lines
if [ -n "$(formatter)" ]; then check format check_format; else skip "format: clang-format 14 is not here"; fi

# The tests of the CUDA backend run its PTX; code for every chip would take many times as long to build.
check build-release build release -DMNEME_CUDA_ARCHITECTURES=80-virtual && run_tests release release -LE '^(slow|bench)$'
check demo tools/demo.sh && check demo-effect check_demo

# No detect_stack_use_after_return: its stack frames of gcc 12 are too little aligned for AVX-512.
export ASAN_OPTIONS=detect_leaks=1:strict_string_checks=1:print_legend=0
export UBSAN_OPTIONS=print_stacktrace=1
check build-asan build asan && run_tests asan asan -L '^(unit|golden|real)$'
check build-fuzz build fuzz && run_tests fuzz fuzz -L '^fuzz$'

# clang's warnings over everything, and the same package as a shared library.
check build-clang build clang && run_tests clang clang -R '^install$'

# Data races, in the tests that start threads. gcc's OpenMP gives false reports; clang's does not.
export TSAN_OPTIONS=ignore_noninstrumented_modules=1:halt_on_error=1
check build-tsan build tsan && \
    run_tests tsan tsan -R '^test_(comm|core|kernels|fever|tokenizer_model|.*_dist$)' -LE '^(real|cuda)$'

printf '\n'
[ ${#skips[@]} -eq 0 ] || printf 'skipped  %s\n' "${skips[@]}"
[ ${#failures[@]} -eq 0 ] || printf 'FAILED   %s\n' "${failures[@]}"
printf '%d passed, %d failed, %d skipped\n' $passed $failed $skipped
[ $failed -eq 0 ] && [ $passed -gt 0 ]
