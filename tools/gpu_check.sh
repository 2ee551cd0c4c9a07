#!/usr/bin/env bash
# Everything that a machine with a GPU should be asked, in one report: what there is, all CUDA tests on the
# real device, the card's own limits, and the benchmarks on it, with own attention, with cuDNN's and on the CPU.
#   tools/gpu_check.sh [REPORT]   default: build/gpu_check.txt
# From the environment: SHAPES (default "pythia-410m pythia-1b llama-2-7b"), QUICK=1 for small sizes: to see
# that it works, as on the simulated GPU (LD_LIBRARY_PATH=build/release/simgpu), not how fast.
# Leaves with 1 when a test or a benchmark failed; the report says which.
set -euo pipefail
export LC_ALL=C
cd "$(dirname "$0")/.."
report=$(realpath -m "${1:-build/gpu_check.txt}")
shapes=${SHAPES:-pythia-410m pythia-1b llama-2-7b}
build=${BUILD:-build/release}
quick=${QUICK:+--quick}
peak_sizes=${QUICK:+64 1}
failed=0

die() { echo "gpu_check: $*" >&2; exit 1; }
say() { printf '%s\n' "$*" | tee -a "$report"; }
# step NAME COMMAND...: its output goes to the report; a failure is noted, and the next step comes.
step() {
    local name=$1
    shift
    say "" "## $name" "" "    $*"
    say ""
    if "$@" >>"$report" 2>&1; then echo "   done"; else
        say "FAILED: $name"
        failed=1
    fi
}

nvcc=$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)
[ -x "$nvcc" ] || die "no nvcc: install the CUDA toolkit, or put it into PATH"
mkdir -p "$(dirname "$report")"
: >"$report"
say "# mneme on a GPU, $(date -u +%Y-%m-%dT%H:%MZ), commit $(git rev-parse --short HEAD 2>/dev/null || echo unknown)"
if [ -z "${BUILD:-}" ]; then
    step "Build" bash -c "cmake --preset release -DMNEME_CUDA=ON && cmake --build $build -j $(nproc)"
fi
step "Toolkit" "$nvcc" --version
if command -v nvidia-smi >/dev/null; then step "Card" nvidia-smi; else say "" "nvidia-smi is not here"; fi
step "What mneme finds" "$build/mneme" doctor
"$build/mneme" doctor | grep -q '^CUDA  *can be used' || die "mneme finds no CUDA device: see $report"

step "Tests on the device" ctest --test-dir "$build" -L cuda --output-on-failure

peaks=$(mktemp -d)
trap 'rm -rf "$peaks"' EXIT
step "The card's own limits" bash -c "'$nvcc' -O3 --no-compress -cudart shared -gencode arch=compute_80,code=compute_80 \
    tools/gpu_peaks.cu -o '$peaks/gpu_peaks' -lcublasLt && '$peaks/gpu_peaks' $peak_sizes"

for shape in $shapes; do
    for attention in own cudnn; do
        # shellcheck disable=SC2086
        step "$shape, attention $attention" "$build/mneme" bench --device cuda --attention $attention \
            --shape "$shape" --what prefill,decode,prefix,train $quick
    done
done
# shellcheck disable=SC2086
step "The same on the CPU" "$build/mneme" bench --device cpu --shape "${shapes%% *}" --what prefill,decode,prefix $quick

say ""
if [ $failed = 0 ]; then say "All steps passed."; else say "FAILED steps: $(grep -c '^FAILED: ' "$report")"; fi
echo "report: $report"
exit $failed
