#!/bin/sh
# plan.sh - mneme plan from end to end: tables, JSON, a folder instead of a name, what is refused.
. "$(dirname "$0")/check.inc" || exit 1
golden=$source_dir/tests/golden

# row JOB TP DP: the figures of a row of the last table, single spaces between them.
row() { sed -n "s/^$1 *$2 *$3  *//p" "$out" | tr -s ' '; }

# The last output is one JSON object: tokenize reads it and only misses a text.
json_ok() {
    mv "$out" "$work/object"
    run 1 tokenize --model "$source_dir/tests/fixtures/tokens/numbers.json" --jsonl "$work/object"
    has "$err" 'the key "text" is missing'
    cp "$work/object" "$out"
}

# All twelve models, three sizes of GPUs. 13 billion weights in fp16 are 26 GB: more than 24, less than 40.
run 0 plan
is "$err" ""
for model in pythia-70m pythia-160m pythia-410m pythia-1b pythia-1.4b pythia-2.8b pythia-6.9b pythia-12b \
    llama-2-7b llama-2-7b-chat llama-2-13b llama-2-13b-chat; do
    [ "$(grep -c "^$model  " "$out")" = 3 ] || fail "three rows of $model: $(cat "$out")"
done
[ "$(grep -m 1 '^llama-2-13b ' "$out" | tr -s ' ')" = 'llama-2-13b 2 4 5 8 1 2 4 5 8 1 2 4 5 8' ] ||
    fail "evaluation of llama-2-13b: $(grep '^llama-2-13b ' "$out")"
grep -q '^pythia-70m *all *all *all$' "$out" || fail "the smallest model is trained anywhere"
has "$out" 'Calculated, not measured'

# Three ranks can share only the models with 12 heads: pythia-160m.
run 0 plan --tp 3 --dp 1
grep -q '^pythia-160m *3 *3 *3$' "$out" || fail "12 heads: $(cat "$out")"
grep -q '^pythia-410m *- *- *-$' "$out" || fail "16 heads: $(cat "$out")"

# One model by hand: 811,442,176 bytes of weights (test_plan.c), 3 memories of 1,061,440 bytes.
run 0 plan --model pythia-410m --gpu l4
has "$out" 'pythia-410m: GPT-NeoX, 405.3 million parameters, frozen matrices F16'
has "$out" 'Calculated, not measured'
case $(row 'training of memories' 1 any) in
'811 3 3 6 - '*' 24 40 80') ;;
*) fail "training of memories: $(cat "$out")" ;;
esac
# A second replica halves the optimizer's two means of 405.3 million weights, nothing else.
[ "$(row 'training of the model' 1 1 | cut -d ' ' -f 1-4)" = '1621 - 1621 3243' ] ||
    fail "whole model: $(cat "$out")"
[ "$(row 'training of the model' 1 2 | cut -d ' ' -f 1-3)" = '1621 - 1621' ] ||
    fail "whole model, two replicas: $(cat "$out")"
[ "$(grep -c '^l4  ' "$out")" = 10 ] || fail "a line of times for each of ten layouts"

# What does not fit has no time.
run 0 plan --model llama-2-13b --tp 1 --dp 1 --gpu a10,a100-40gb
[ "$(row a10 1 1)" = '- - - - - -' ] || fail "26 GB on 24: $(cat "$out")"
[ "$(row a100-40gb 1 1 | cut -d ' ' -f 3)" = - ] || fail "training all of 13 billion: $(cat "$out")"
[ "$(row a100-40gb 1 1 | cut -d ' ' -f 1)" != - ] || fail "training memories: $(cat "$out")"

# Kernels of steps and passes. 24 products of 2 x 1024 x 3072 x 1024 operations: 154.619 GFLOP, at 121 TFLOP/s
# 1277.84 us.
run 0 plan --model pythia-410m --roofline --tp 1 --dp 1 --gpu l4
has "$out" 'Calculated, not measured'
grep -Eq '^linear_fwd +1024 x 3072 x 1024 +24 +154.619 +553.943 +279.1 +1846.48$' "$out" ||
    fail "a product: $(cat "$out")"
[ "$(grep -c '^together ' "$out")" = 4 ] || fail "four works: $(grep '^together' "$out")"
# 1.0080 TFLOP in 1024 tokens.
grep -Eq '^together +1008\.' "$out" || fail "0.984 GFLOP per token: $(grep '^together' "$out")"

run 0 plan --model pythia-410m --json --gpu h100-sxm
json_ok
for part in '{"calculated": true, "job": {"dtype": "F16", "backend": "cuda"' '"reserve_bytes": 1000000000' \
    '"gpus": {"h100-sxm": {"memory_bytes": 80000000000, "bandwidth": 3350000000000,' \
    '"models": [{"model": "pythia-410m", "architecture": "GPT-NeoX", "parameters": 405334016, "layouts": [' \
    '{"tp": 2, "dp": 1, "evaluate": {"memory": {"weights": ' '"weights": 811442176, "panels": 0,' \
    '"optimizer": 6368832' '"fits_gb": [24, 40, 80]' '"train_cached": {"work": {"tokens": 1024, "flops": ' \
    '"seconds": {"h100-sxm": 0.00'; do
    has "$out" "$part"
done
[ "$(grep -o '"train_full": {' "$out" | wc -l)" = 10 ] || fail "ten layouts"
! grep -q '"rows"' "$out" || fail "kernels were not asked for"
run 0 plan --model pythia-70m --tp 2 --dp 1 --json --roofline
json_ok
has "$out" '{"kernel": "all-reduce", "shape": [524288], "limit": "link", "calls": '
run 0 plan --json
json_ok
[ "$(grep -o '{"model": "' "$out" | wc -l)" = 12 ] || fail "twelve models"

# A folder with config.json alone; processes on the CPU use matrices where they lie.
mkdir "$work/model"
cp "$golden/llama-gqa/config.json" "$work/model"
run 0 plan --model "$work/model" --backend cpu --dtype bf16 --chunk_length 64 --tp 1 --dp 1 --json
json_ok
# as mneme inspect has it (inspect.sh): 422,400 bytes mapped, 53,600 as fp32
has "$out" '"evaluate": {"memory": {"weights": 53'
has "$out" '"mapped": 422400'
! grep -q '"work"' "$out" || fail "no times for the CPU"
run 0 plan --model "$work/model" --backend cpu --tp 2
has "$out" 'mapped files'

run 0 plan --help
has "$out" '--gpu NAME,..'
has "$out" 'mneme plan --model pythia-410m --roofline'

refused 2 "mneme plan: shape 'pythia-400m' is unknown; there are: pythia-70m, pythia-160m, pythia-410m, pythia-1b, pythia-1.4b, pythia-2.8b, pythia-6.9b, pythia-12b, llama-2-7b, llama-2-7b-chat, llama-2-13b, llama-2-13b-chat" \
    plan --model pythia-400m
refused 2 "mneme plan: 3 ranks cannot share a model with 16 heads: their number must divide it" \
    plan --model pythia-410m --tp 3
refused 2 "mneme plan: --roofline needs --model NAME" plan --roofline
refused 2 "mneme plan: --roofline is about GPUs, not about --backend cpu" \
    plan --model pythia-70m --roofline --backend cpu
refused 2 "mneme plan: pythia-70m: chunk_length 4096, the model has 2048 positions" \
    plan --model pythia-70m --chunk_length 4096
run 2 plan --model pythia-70m --gpu v100
has "$err" "v100"
run 2 plan --model pythia-70m --dp -1
run 1 plan --model "$golden"
has "$err" "config.json"

finish
