#!/usr/bin/env bash
# A timeline of mneme on GPUs, with Nsight Systems: where the time goes, which kernels, copies and collectives take it.
#   tools/nsight/timeline.sh [-o NAME] [-n RANKS] COMMAND ARGUMENT...
#   tools/nsight/timeline.sh build/release/mneme eval --model DIR --data DIR --limit 64 --device cuda
#   tools/nsight/timeline.sh -n 4 build/release/mneme train --config run.json --tp 2 --dp 2 --max_steps 20
# Writes NAME.nsys-rep for the viewer (NAME.RANK.nsys-rep with ranks; default build/timeline) and prints the kernels, the
# copies and mneme's own ranges (steps, blocks, kernel families, collectives, loader) of each, by time.
set -euo pipefail
usage() { sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 2; }
name=build/timeline ranks=1
while getopts o:n: option; do
    case $option in
    o) name=$OPTARG ;;
    n) ranks=$OPTARG ;;
    *) usage ;;
    esac
done
shift $((OPTIND - 1))
[ $# -gt 0 ] || usage
command -v nsys >/dev/null || { echo "timeline: nsys is not in PATH; it comes with the CUDA toolkit or as the package nsight-systems-cli" >&2; exit 1; }
mkdir -p "$(dirname "$name")"

# Graphs as their kernels, not as one block; no sampling of the host: it costs time and needs rights.
options=(--trace=cuda,nvtx,cublas,cudnn,osrt --cuda-graph-trace=node --sample=none --cpuctxsw=none --force-overwrite=true)
if [ "$ranks" -gt 1 ]; then
    mpirun -n "$ranks" nsys profile "${options[@]/osrt/osrt,mpi}" --output="$name.%q{OMPI_COMM_WORLD_RANK}" "$@" || status=$?
else
    nsys profile "${options[@]}" --output="$name" "$@" || status=$?
fi
# 75: mneme saved and stopped on request.
case ${status:-0} in 0 | 75) ;; *) echo "timeline: the command left with $status" >&2; exit "$status" ;; esac

for file in "$name".nsys-rep "$name".[0-9]*.nsys-rep; do
    [ -f "$file" ] || continue
    echo "== $file"
    nsys stats --force-export=true --format=table --timeunit=usec \
        --report=cuda_gpu_kern_sum --report=cuda_gpu_mem_time_sum --report=nvtx_pushpop_sum "$file"
done
