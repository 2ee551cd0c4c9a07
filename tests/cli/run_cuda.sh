#!/bin/sh
# run_cuda.sh - a whole experiment on a CUDA device gives the CPU's tables.
. "$(dirname "$0")/check.inc" || exit 1
. "$(dirname "$0")/run.inc" || exit 1
. "$(dirname "$0")/cuda.inc" || exit 1

extra="--limit 8 --num_train_epochs 1 --top_pages 3"
small 0 "$work/cpu"
small 0 "$work/cuda" --device cuda

# Every answer of every variant and both scorings; log-likelihoods of memories that were trained here and there.
compared=0
for file in "$work"/cpu/eval/*/samples_*; do
    close 2e-3 "$file" "$(echo "$work"/cuda/eval/*/"$(basename "${file%_*}")"_*)"
    compared=$((compared + $(wc -l <"$file")))
done
[ $compared = 24 ] || fail "24 answers expected, not $compared"
# The tables that follow from them.
for name in f1_by_shots memories_1shot full_results confusion paired_tests changed_predictions data; do
    cmp -s "$work/cpu/report/$name.csv" "$work/cuda/report/$name.csv" ||
        fail "another table $name: $(diff "$work/cpu/report/$name.csv" "$work/cuda/report/$name.csv" | head -n 4)"
done
close 5e-3 "$work/cpu/report/effect_audit.csv" "$work/cuda/report/effect_audit.csv"

finish
