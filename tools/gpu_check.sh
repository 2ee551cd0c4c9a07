#!/usr/bin/env bash
# What a machine with a GPU should be asked, in one report: what there is, all CUDA tests on the real device
# (they compare with the CPU backend), speeds beside the card's own limits, which the same runs measure (a model's
# work, every kernel alone, attention beside cuDNN's), and whole experiments with own attention, with cuDNN's and on the
# CPU: time, and whether the tables are the same.
#   tools/gpu_check.sh [REPORT]   default: build/gpu_check.txt
# From the environment:
#   CONFIG  experiment to run (default configs/demo.json); EXTRA  more options of mneme run
#   SHAPES  models with random weights to time (default "pythia-410m llama-2-7b")
#   BUILD   a build folder to take as it is (default: build/release is built)
#   QUICK=1 small sizes: to see that it works, not how fast
#   TESTS   of ctest -R, a part of the tests alone
# Leaves with 1 when a step failed; the report says which. Times of a simulated GPU say nothing.
set -euo pipefail
export LC_ALL=C
cd "$(dirname "$0")/.."
report=$(realpath -m "${1:-build/gpu_check.txt}")
config=${CONFIG:-configs/demo.json}
build=${BUILD:-build/release}
extra=${EXTRA:-}
shapes=${SHAPES:-pythia-410m llama-2-7b}
quick=
if [ -n "${QUICK:-}" ]; then
    extra="$extra --limit 8 --num_train_epochs 1 --top_pages 3"
    quick=--quick
    shapes=${SHAPES:-tests/golden/llama-mha}
fi
failed=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

die() { echo "gpu_check: $*" >&2; exit 1; }
say() { printf '%s\n' "$@" | tee -a "$report"; }
# step NAME COMMAND...: output and seconds go to the report; a failure is noted, and the next step comes.
step() {
    local name=$1 begin
    shift
    say "" "## $name"
    begin=$(date +%s.%N)
    if "$@" >>"$report" 2>&1; then
        say "done in $(awk -v a="$begin" -v b="$(date +%s.%N)" 'BEGIN { printf "%.1f", b - a }') s"
    else
        say "FAILED: $name"
        failed=$((failed + 1))
    fi
}

build_all() {
    tools/setup.sh --check && cmake --preset release -DMNEME_CUDA=ON -DMNEME_CUDA_ARCHITECTURES=native &&
        cmake --build "$build" -j "$(nproc)"
}
bench() { # SHAPE-OR-FOLDER WHAT
    local model=--shape
    [ ! -d "$1" ] || model=--model
    # shellcheck disable=SC2086
    "$build/mneme" bench --device cuda $model "$1" --what "$2" $quick
}
plain_decode() { MNEME_CUDA_GRAPHS=0 bench "$1" decode; }
experiment() { # FOLDER OPTION...
    # shellcheck disable=SC2086
    "$build/mneme" run "$config" --run_dir "$work/$1" $extra "${@:2}"
}
# The tables that do not hold times or log-likelihoods; lines that differ. One that OTHER lacks differs.
differences() { # FOLDER OTHER
    local name compared=0
    for name in f1_by_shots memories_1shot full_results confusion changed_predictions data; do
        [ -f "$work/$1/report/$name.csv" ] || continue
        compared=$((compared + 1))
        [ -f "$work/$2/report/$name.csv" ] || { echo "< no $name.csv in $2"; continue; }
        diff "$work/$1/report/$name.csv" "$work/$2/report/$name.csv" || true
    done
    echo "$compared tables compared"
    [ $compared -gt 0 ]
}
same_tables() { differences "$@" >"$work/differ" && cat "$work/differ" && ! grep -q '^[<>]' "$work/differ"; }

nvcc=$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)
[ -x "$nvcc" ] || die "no nvcc: install the CUDA toolkit, or put it into PATH"
mkdir -p "$(dirname "$report")"
: >"$report"
say "# mneme on a GPU, $(date -u +%Y-%m-%dT%H:%MZ), commit $(git rev-parse --short HEAD 2>/dev/null || echo unknown)"
if [ -z "${BUILD:-}" ]; then step "Build" build_all; fi
[ $failed = 0 ] || die "the build failed: see $report"
step "Toolkit" "$nvcc" --version
if command -v nvidia-smi >/dev/null; then step "Card" nvidia-smi; else say "" "nvidia-smi is not here"; fi
step "What mneme finds" "$build/mneme" doctor
"$build/mneme" doctor >"$work/doctor" || die "mneme doctor failed: see $report"
grep -q '^CUDA  *can be used' "$work/doctor" || die "mneme finds no CUDA device: see $report"

step "Tests on the device" ctest --test-dir "$build" -L cuda ${TESTS:+-R "$TESTS"} --output-on-failure
for shape in $shapes; do
    step "Speed of $shape" bench "$shape" prefill,decode,prefix,fanout,train
    step "Decoding of $shape, kernels submitted one by one" plain_decode "$shape"
    step "Products and kernels of $shape" bench "$shape" linear,kernels
done
first=${shapes%% *}
step "Attention, own and cuDNN's" bench "$first" attention
step "Experiment on the GPU, own attention" experiment own --device cuda --attention own
step "Experiment on the GPU, cuDNN's attention" experiment cudnn --device cuda --attention cudnn
step "Experiment on the CPU" experiment cpu --device cpu
step "Same tables on GPU and CPU" same_tables cpu own
# cuDNN gives its output in fp16: answers that were all but even may change. For a person to look at.
step "Tables of cuDNN's attention beside the CPU's" differences cpu cudnn

say ""
if [ $failed = 0 ]; then say "All steps passed."; else say "$failed steps FAILED."; fi
echo "report: $report"
[ $failed = 0 ]
