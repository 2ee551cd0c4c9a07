#!/bin/sh
# run_cuda.sh - a whole experiment on a CUDA device gives the CPU's tables.
. "$(dirname "$0")/check.inc" || exit 1
. "$(dirname "$0")/run.inc" || exit 1
. "$(dirname "$0")/cuda.inc" || exit 1

extra="--limit 8 --num_train_epochs 1 --top_pages 3"
small 0 "$work/cpu"
small 0 "$work/cuda" --device cuda

# Every answer of every variant and both scorings.
for file in "$work"/cpu/eval/*/samples_*; do
    other=$(echo "$work"/cuda/eval/*/"$(basename "${file%_*}")"_*)
    sed 's/"doc_hash".*"filtered_resps"/"filtered_resps"/' "$file" >"$work/here"
    sed 's/"doc_hash".*"filtered_resps"/"filtered_resps"/' "$other" >"$work/there"
    close 2e-3 "$work/here" "$work/there"
done
for name in "f1_by_shots" "memories_1shot"; do
    [ ! -e "$work/cpu/report/$name.csv" ] || cmp -s "$work/cpu/report/$name.csv" "$work/cuda/report/$name.csv" ||
        fail "another table $name: $(diff "$work/cpu/report/$name.csv" "$work/cuda/report/$name.csv")"
done

finish
