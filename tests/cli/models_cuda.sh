#!/bin/sh
# models_cuda.sh - models of both architectures on a CUDA device: against Hugging Face transformers, as the CPU.
. "$(dirname "$0")/check.inc" || exit 1
. "$(dirname "$0")/golden.inc" || exit 1
. "$(dirname "$0")/cuda.inc" || exit 1

in=$work/in.jsonl

run 0 doctor --json
has "$out" '"usable": true, "why": null'
has "$out" '"auto": "cuda:0"'
run 2 tokenize --model "$source_dir/data/demo-model" --text a --device cuda:x
run 2 inspect --model "$source_dir/data/demo-model" --device cuda:4000
has "$err" "there is no device cuda:4000"

# Products round to the type of the weights, attention to fp16: 2^-11 of each number, 2^-8 in bf16. Log-likelihoods
# are bounded by the range of the logits.
for name in neox-parallel neox-sequential llama-mha llama-gqa llama-bin; do
    model $name
    bound=1e-3
    [ $name != llama-gqa ] || bound=8e-3
    questions
    run 0 score --model "$model" --jsonl "$in" --device cuda
    answers
    within $bound "$work/want"
done

# The same greedy continuation.
for name in neox-parallel llama-mha; do
    model $name
    numbers greedy_prompt -td4 >"$work/prompt"
    prompt=$(tokens "$work/prompt")
    for i in 1 2 3 4 5; do printf '{"prompt": "%s<%d>"}\n' "$prompt" "$i"; done >"$in"
    run 0 generate --model "$model" --jsonl "$in" --max_new_tokens 6 --device cpu
    cp "$out" "$work/cpu"
    run 0 generate --model "$model" --jsonl "$in" --max_new_tokens 6 --device cuda
    cmp -s "$out" "$work/cpu" || fail "other texts: $(diff "$out" "$work/cpu" | head -n 4)"
    # A draw next to a boundary between two tokens may fall on either side of it; but always on the same.
    run 0 generate --model "$model" --jsonl "$in" --max_new_tokens 6 --temperature 0.7 --seed 3 --device cuda
    cp "$out" "$work/once"
    run 0 generate --model "$model" --jsonl "$in" --max_new_tokens 6 --temperature 0.7 --seed 3 --device cuda --batch_size 2
    cmp -s "$out" "$work/once" || fail "other samples: $(diff "$out" "$work/once" | head -n 4)"
done

finish
