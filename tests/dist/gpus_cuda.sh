#!/bin/sh
# gpus_cuda.sh - ranks of mpirun with a GPU each: two on one GPU are refused by name, and a rank whose GPU cannot be reached
# is given up in time. Simulated GPUs of two processes cannot reach each other; real ones can.
. "$MN_SOURCE_DIR/tests/cli/check.inc" || exit 1
. "$MN_SOURCE_DIR/tests/dist/dist.inc" || exit 1
. "$MN_SOURCE_DIR/tests/cli/cuda.inc" || exit 1

printf '{"prompt": "the sea is"}\n' >"$work/in.jsonl"

# two WHAT ARGUMENT...: a text by two ranks that share the model.
two() {
    begin "two ranks, $1"
    shift
    (ranks 2 "$program" generate --model "$MN_SOURCE_DIR/data/demo-model" --jsonl "$work/in.jsonl" \
        --max_new_tokens 2 --tp 2 "$@") >"$out" 2>"$err"
    code=$?
}

two "one GPU" --device cuda:0
[ $code != 0 ] || fail "exit code 0"
has "$err" "ranks 0 and 1 ("
has "$err" ") are on one GPU, GPU-"
has "$err" " as cuda:0 and cuda:0: every rank needs its own"

if [ -n "${MNEME_TEST_SIMULATED:-}" ]; then
    begun=$(seconds)
    two "GPUs that cannot reach each other" --device cuda --comm_timeout 5
    [ $code != 0 ] || fail "exit code 0"
    within 60 "$begun" "giving up"
    has "$err" "NCCL, connecting 2 GPUs: not done within 5 s"
fi

finish
