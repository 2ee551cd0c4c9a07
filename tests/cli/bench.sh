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

# Training steps: 4 texts of 16 tokens. A block has 8,192 elements for keys and values, 41,216 others;
# a text has 136 pairs, its last 4 tokens have 58. The memory stands behind the last block: from epoch 2
# only it (5 products of 16,384 operations a row: forward, weights, one input) and the output matrix
# are left, twice 20,480 a target.
run 0 bench --model "$model" --quick --json --what train
cost train 27254784 # 3 x (64 x 98,816 + 544 x 256) + 64 x (5 x 16,384 + 40,960)
cost train_cached 7864320
cost template 17319936 # the last block: 64 x 16,384 + 16 x 82,432 + 232 x 256; 16 targets
cost template_cached 1966080
! grep -q reference "$out" || fail "no reference was asked for: $(cat "$out")"
# Above the memory backward doubles the matrices and takes four products a pair: pythia-70m has one
# such block of 3,145,728 elements. Its memory stands behind block 4 of 6.
run 0 bench --shape pythia-70m --quick --json --what train --compute bf16
cost train 9462874112 # 64 x 7 x 6,291,456 + 544 x (6 x 2,048 + 4,096) + 64 x (5 x 131,072 + 4 x 25,755,648)
has "$out" '"compute": "bf16"'
has "$out" '"peak": "bf16"'

# A reference gets the sizes as options; its figures stand beside mneme's.
cat >"$work/reference" <<'END'
echo "$*" >"$0.options"
echo '{"epoch1": 0.5, "template": 0.25, "forward": 4, "version": "Other 1.2"}'
END
run 0 bench --model "$model" --quick --json --what train --seed 7 --reference "sh $work/reference"
has "$out" '"version": "Other 1.2", "train": 0.5, "template": 0.25, "forward": 4, "times_as_fast": {"train": '
# Twice the tokens per second of the first work, four times those of the last.
awk '{ rate = ratio = $0
    sub(/.*"template_cached": {"median": /, "", rate); sub(/.*"template_cached": /, "", ratio)
    exit !(rate > 0 && (ratio - 4 * rate) ^ 2 < (1e-6 * ratio) ^ 2) }' "$out" || fail "$(cat "$out")"
has "$work/reference.options" '--arch Llama --compute f32 --layers 3 --dim 64 --heads 4 --ffn_dim 172 --vocab 160 --rotary_dims 16 --parallel_residual 0 --sequences 4 --length 16 --answer 4 --memory_hidden 128 --threads '
has "$work/reference.options" ' --repeat 1 --seed 7 --memory_blocks 2'
run 0 bench --model "$model" --quick --what train --reference "sh $work/reference"
for part in 'training 4 x 16, epoch 1' 'templates 4 x 16, from epoch 2' 'times as fast' \
    'The reference is Other 1.2, '; do
    has "$out" "$part"
done
echo 'echo "{\"epoch1\": 0}"' >"$work/reference"
run 1 bench --model "$model" --quick --what train --reference "sh $work/reference"
has "$err" "output of reference sh $work/reference: epoch1 is 0 tokens per second"
echo 'exit 3' >"$work/reference"
run 1 bench --model "$model" --quick --what train --reference "sh $work/reference"
has "$err" "reference sh $work/reference ended with status 3"
refused 2 "mneme bench: --reference is compared with --what train" \
    bench --model "$model" --quick --reference true

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
