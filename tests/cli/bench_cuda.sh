#!/bin/sh
# bench_cuda.sh - mneme bench on a CUDA device: what a run must cost, every kernel, attention beside cuDNN's; recorded
# steps change no answer. Speeds on a simulated device mean nothing.
. "$(dirname "$0")/check.inc" || exit 1
. "$(dirname "$0")/golden.inc" || exit 1
. "$(dirname "$0")/cuda.inc" || exit 1
model=$source_dir/tests/golden/llama-mha

cost() { # NAME FLOPS BYTES
    has "$out" "\"$1\": {\"median\": "
    sed "s/.*\"$1\": {//; s/}.*//" "$out" >"$work/part"
    has "$work/part" "\"flops\": $2, \"bytes\": $3, "
    has "$work/part" "\"peak\": \"$4\""
}
# The operations of bench.sh; a row of the cache has half the bytes, 768: 32 rows, and 17 + 18 + 19 + 20.
run 0 bench --model "$model" --quick --json --what prefill,decode,prefix,train --device cuda
cost prefill 9912320 347392 fp16
cost decode 1324544 1332224 reads
cost train 27254784 471048 fp16
cost train_cached 7864320 174600 fp16
for part in '"compute": "f16"' '"method": "products of 64 x 128 x 64, fp16 weights"' '"method": "1 MB, read, or copied' \
    '"peaks": {"fp32": {"median": ' '"fp16": {"median": ' '"reads": {"median": ' \
    '"shared_against_whole": {"claims": 3, "same_token": 3, "same_letter": 3, '; do
    has "$out" "$part"
done
# The device is what auto takes.
run 0 bench --model "$model" --quick --what decode --device auto
has "$out" 'fp16 weights'

# Every row of kernels.def once, in its order; attention with both kernels where cuDNN is there.
run 0 bench --model "$model" --quick --json --what kernels --device cuda
sed -n 's/^MN_KERNEL(\([a-z0-9_]*\),.*/\1/p' "$source_dir/include/mneme/kernels.def" >"$work/want"
sed 's/.*"kernels": \[//' "$out" | tr '}' '\n' | sed -n 's/.*"kernel": "\([a-z0-9_]*\)".*/\1/p' >"$work/got"
[ "$(wc -l <"$work/want")" -gt 30 ] || fail "kernels.def could not be read"
cmp -s "$work/want" "$work/got" || fail "$(diff "$work/want" "$work/got")"
run 0 bench --model "$model" --quick --what attention --device cuda
for part in 'attention forward, 4 x 24, heads of 64, own ' 'attention backward, 4 x 24, heads of 64, own ' \
    'attention decoding, 2 x 48, heads of 64, own '; do
    has "$out" "$part"
done
if [ -n "${MNEME_TEST_SIMULATED:-}" ]; then
    has "$out" "attention backward, 2 x 48, heads of 64, cuDNN's "
    # Without plans the backend's own kernels run: no row claims to be cuDNN's.
    export SIMGPU_CUDNN_NO_PLAN=1
    run 0 bench --model "$model" --quick --what attention,kernels --device cuda --attention cudnn
    has "$out" "attention backward, 2 x 48, heads of 64, own "
    ! grep -q "cuDNN's" "$out" || fail "$(grep "cuDNN's" "$out")"
    unset SIMGPU_CUDNN_NO_PLAN
fi

# Texts and samples with recorded steps and without.
for name in neox-sequential llama-gqa; do
    model $name
    numbers greedy_prompt -td4 >"$work/prompt"
    for i in 1 2 3; do printf '{"prompt": "%s<%d>"}\n' "$(tokens "$work/prompt")" "$i"; done >"$work/in.jsonl"
    for temperature in 0 0.8; do
        for graphs in 0 1; do
            export MNEME_CUDA_GRAPHS=$graphs
            run 0 generate --model "$model" --jsonl "$work/in.jsonl" --max_new_tokens 8 --temperature $temperature \
                --seed 3 --device cuda
            cp "$out" "$work/said$graphs"
        done
        cmp -s "$work/said0" "$work/said1" || fail "$name: other text with graphs"
    done
done
export MNEME_CUDA_GRAPHS=yes
run 2 generate --model "$model" --prompt a --device cuda
has "$err" "MNEME_CUDA_GRAPHS=yes: 0 (record nothing) or 1 expected"

finish
