#!/usr/bin/env bash
# What each kernel of mneme reaches on this GPU, with Nsight Compute: time, bytes, GB/s, shares of the card's peaks.
#   tools/nsight/kernels.sh [-o NAME] [-s SKIP] [-c COUNT] COMMAND ARGUMENT...
#   tools/nsight/kernels.sh -s 200 -c 400 build/release/mneme bench --device cuda --shape pythia-410m --what decode
# Measures COUNT kernels (300) behind the first SKIP (100: of loading and warming up), each by itself, with the clock held at its
# base rate. Writes NAME.ncu-rep for the viewer and NAME.csv (default build/kernels). Reading the counters needs
# root, or a driver that allows it to everybody (NVreg_RestrictProfilingToAdminUsers=0).
set -euo pipefail
usage() { sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 2; }
name=build/kernels skip=100 count=300
while getopts o:s:c: option; do
    case $option in
    o) name=$OPTARG ;;
    s) skip=$OPTARG ;;
    c) count=$OPTARG ;;
    *) usage ;;
    esac
done
shift $((OPTIND - 1))
[ $# -gt 0 ] || usage
command -v ncu >/dev/null || { echo "kernels: ncu is not in PATH; it comes with the CUDA toolkit or as the package nsight-compute" >&2; exit 1; }
mkdir -p "$(dirname "$name")"

metrics=$("$(dirname "$0")/kernels.py" --metrics)
ncu --force-overwrite --export "$name" --target-processes all --clock-control base --replay-mode kernel \
    --launch-skip "$skip" --launch-count "$count" --metrics "$metrics" "$@" >"$name.log" 2>&1 ||
    { tail -n 20 "$name.log" >&2; exit 1; }
ncu --import "$name.ncu-rep" --page raw --csv --print-units base --print-kernel-base function >"$name.csv"
"$(dirname "$0")/kernels.py" "$name.csv"
