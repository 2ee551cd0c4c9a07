#!/bin/sh
# bench.sh - mneme bench from end to end. Speeds depend on the machine; what a run must cost does not.
. "$(dirname "$0")/check.inc" || exit 1
model=$source_dir/tests/golden/llama-mha

# Work by hand for llama-mha (3 blocks, dimension 64, inner 172, 160 ids, fp16), quick sizes. A token
# costs 2 x 148,224 operations in the blocks' matrices, a pair of query and key 4 x 3 x 64, an output
# 2 x 160 x 64. A pass reads 316,928 bytes of matrices, of which the output matrix has 20,480, 1,792 of
# vectors, 128 of the embedding for a token, 1,536 of the cache for a row.
cost() { # NAME FLOPS [BYTES]
    has "$out" "\"$1\": {\"median\": "
    sed "s/.*\"$1\": {//; s/}.*//" "$out" >"$work/part"
    has "$work/part" "\"flops\": $2, \"bytes\": ${3:+$3, }"
}
run 0 bench --model "$model" --quick --json
cp "$out" "$work/object"
cost prefill 9912320 371968         # 32 tokens, 32 x 33 / 2 pairs, 1 output, 32 rows
cost decode 1324544 1389056         # 4 x 1 token that sees 17, 18, 19, 20
cost prefix_whole 137679360 977664  # 3 x 132 tokens, 3 outputs
cost prefix_shared 55380480 1060864 # 120 tokens without an output, then 36 tokens
for part in '"shape": null' "\"model\": \"$model\"" '"compute": "f32"' '"quick": true' \
    '"machine": {"processor": ' '"device": "cpu: ' '"weights": {"parameters": 169152, ' \
    '"dtype": "F16", "bytes": 318720, "random": false}' '"peaks": {"fp32": {"median": ' \
    '"bf16": {"median": ' '"reads": {"median": ' '"unit": "tokens/s"' '"unit": "claims/s"' \
    '"share_of_peak": ' '"shared_against_whole": {"claims": 3, "same_token": 3, "same_letter": 3, '; do
    has "$out" "$part"
done
# A shared prefix changes rounding at most.
awk '{ sub(/.*"max_logprob_difference": /, ""); exit !($0 + 0 < 1e-5) }' "$out" ||
    fail "$(cat "$out")"
# One JSON object: inspect's config reader takes it and refuses its first key.
run 2 inspect --config "$work/object"
has "$err" "unknown key 'mneme'"

# Four variants: the memories stand behind the last block, so that only they and the output matrix (for
# 3 outputs) are a variant's own. A memory costs 4 x 128 x 64 operations a token.
run 0 bench --model "$model" --quick --json --what fanout
cost fanout_one 55380480 1060864
cost fanout_all 70900224 # 3 x 3 x 2 x 160 x 64 for outputs, 3 x 156 x 32768 for memories more
for part in '"fanout_against_alone": {"claims": 3, "same_token": 3, "same_letter": 3, ' '"fanout_time_ratio": {"median": ' \
    '"variants": 4}'; do
    has "$out" "$part"
done
run 0 bench --model "$model" --quick --what fanout
for part in '3 claims, the base alone' '3 claims, 4 variants' '4 variants (base and memories at 70 to 80 % of the depth, '; do
    has "$out" "$part"
done

# A training step: 4 x 32 tokens, of which a block takes 98,816 operations each and 4 x 64 for each of the
# 2,112 pairs; an output 20,480 forward and as much back. The memory stands behind the last block: 12 x
# 128 x 64 operations for a token, and no block lies above it. Of 3 answer tokens a sample, the last block
# needs 12 outputs and the keys and values (2 x 8,192) of all.
run 0 bench --model "$model" --quick --json --what train
cost train_first 57393152 # 3 x 128 x 98816 + 3 x 2112 x 256 + 2 x 128 x 20480 + 128 x 98304
cost train_kept 31014912  # the same without 2 blocks
cost train_answer_first 31676416
cost train_answer_kept 5298176 # 128 x 16384 + 12 x 82432 + 2112 x 256 + 2 x 12 x 20480 + 12 x 98304
run 0 bench --model "$model" --quick --what train --compute bf16
for part in 'train 4 x 32, first epoch' 'train 4 x 32, trunk kept' 'train 4 x 32, answers, trunk kept'; do
    has "$out" "$part"
done

# The same for people; sizes that are given win over --quick, threads and instruction sets work.
run 0 bench --model "$model" --quick --tokens 40 --what prefill,decode --threads 1
for part in 'F16 weights of 0.00 GB' 'compute f32' 'cpu: 1 thread, ' 'prefill, 40 tokens' \
    'decode, 4 tokens behind 16' 'tokens/s' 'of the peak' 'A quick run'; do
    has "$out" "$part"
done
! grep -q claims "$out" || fail "prefix was not asked for"
MNEME_CPU_ISA=base
export MNEME_CPU_ISA
run 0 bench --model "$model" --quick --what decode --log_level error
has "$out" ', base, bf16 rounded'
unset MNEME_CPU_ISA

# Matrix products: every shape of a block's matrices once, and the output matrix.
run 0 bench --model "$model" --quick --what linear --json
[ "$(grep -o '"matrix": ' "$out" | wc -l)" = 8 ] || fail "4 shapes, 2 row counts: $(cat "$out")"
has "$out" '"matrix": "mlp.gate_proj", "outputs": 172, "inputs": 64, "rows": 16, '
has "$out" '"flops": 352256, "bytes": 37120, ' # 2 x 16 x 172 x 64; 172 x 64 x 2 + 16 x 236 x 4
run 0 bench --model "$model" --quick --what linear
grep -q '^lm_head *160 *64 *1 ' "$out" || fail "the output matrix: $(cat "$out")"

# Random weights; bf16 beside fp32.
run 0 bench --shape pythia-70m --quick --what decode --json
has "$out" '"shape": "pythia-70m", "model": null'
has "$out" '"weights": {"parameters": 70426624, "dtype": "F16", '
has "$out" '"random": true'
run 0 bench --model "$model" --quick --what prefix --compute bf16 --json
has "$out" '"compute": "bf16"'
has "$out" '"peak": "bf16"'
has "$out" '"bf16_against_f32": {"claims": 3, "same_token": '

refused 2 "mneme bench: one of --shape NAME and --model DIR is needed" bench --quick
refused 2 "mneme bench: one of --shape NAME and --model DIR is needed" \
    bench --model "$model" --shape pythia-70m
run 2 bench --shape pythia-410 --quick
has "$err" "mneme bench: shape 'pythia-410' is unknown; there are: pythia-70m, "
refused 2 "mneme bench: $model: a sequence of 641 tokens, at most 640" \
    bench --model "$model" --what prefill --tokens 641
run 2 bench --model "$model" --what prefil
has "$err" "prefill"
run 1 bench --model "$work/none" --quick
has "$err" "$work/none"

finish
