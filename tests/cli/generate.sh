#!/bin/sh
# generate.sh - mneme generate from end to end: the greedy continuations of Hugging Face transformers,
# sampling, one prompt and many, and what it refuses.
. "$(dirname "$0")/check.inc" || exit 1
. "$(dirname "$0")/golden.inc" || exit 1

in=$work/in.jsonl

# 64 tokens behind a prompt of 7, as transformers continues it. The end-of-text token of llama-gqa is
# the twelfth of them and ends it.
for name in neox-parallel neox-sequential neox-bf16 neox-bin llama-mha llama-gqa llama-bin; do
    model $name
    numbers greedy_prompt -td4 >"$work/prompt"
    numbers greedy_ids -td4 >"$work/ids"
    if [ $name = llama-gqa ]; then
        [ "$(sed -n 12p "$work/ids")" = 2 ] || fail "the reference changed"
        sed -i '12,$d' "$work/ids"
    fi
    run 0 generate --model "$model" --prompt "$(tokens "$work/prompt")" --max_new_tokens 64 --threads 1
    is "$out" "$(tokens "$work/ids")"
    [ "$(wc -l <"$out")" = 1 ] || fail "one line expected"
done
run 0 generate --model "$model" --prompt "$(tokens "$work/prompt")" --max_new_tokens=5 --temperature 0 --seed 9 \
    --log_level error
is "$out" "$(head -n 5 "$work/ids" | sed 's/.*/<&>/' | tr -d '\n')"
is "$err" ""

# Many prompts: the same as one by one, whatever the batches; other keys stay.
model neox-parallel
numbers greedy_prompt -td4 >"$work/prompt"
numbers greedy_ids -td4 >"$work/ids"
prompt=$(tokens "$work/prompt")
said=$(tokens "$work/ids")
{
    printf '{"ids": 5, "z": [1], "prompt": "%s"}\n' "$prompt"
    for i in 1 2 3 4 5 6 7 8 9 10 11; do printf '{"prompt": "%s<%d>", "n": %d}\n' "$prompt" $((i / 2)) $i; done
    printf '{"prompt": "<7>"}\n{"prompt": "%s"}\n' "$prompt"
} >"$in"
run 0 generate --model "$model" --jsonl "$in" --max_new_tokens 64 --threads 1
cp "$out" "$work/greedy"
sed -n 1p "$out" >"$work/first"
is "$work/first" "{\"z\": [1], \"prompt\": \"$prompt\", \"generation\": \"$said\", \"ids\": [$(paste -s -d, "$work/ids" | sed 's/,/, /g')]}"
[ "$(sed -n '14s/.*"generation": "\([^"]*\)".*/\1/p' "$out")" = "$said" ] || fail "the last one differs"
for options in "--threads 2" "--batch_size 1" "--batch_size 5" "--batch_size 64"; do
    # shellcheck disable=SC2086
    run 0 generate --model "$model" --jsonl "$in" --max_new_tokens 64 --threads 1 $options
    cmp -s "$out" "$work/greedy" || fail "other text"
done
for line in 3 13; do
    run 0 generate --model "$model" --prompt "$(sed -n "${line}s/.*\"prompt\": \"\([^\"]*\)\".*/\1/p" "$in")" \
        --max_new_tokens 64 --threads 1
    is "$out" "$(sed -n "${line}s/.*\"generation\": \"\([^\"]*\)\".*/\1/p" "$work/greedy")"
done

# A seed decides the text, not the batches or threads. Equal prompts of one file get texts of their own.
sample() { run 0 generate --model "$model" --jsonl "$in" --max_new_tokens 20 --temperature 1.5 --threads 1 "$@"; }
sample --seed 1
cp "$out" "$work/seed1"
sample --seed 1 --batch_size 3
cmp -s "$out" "$work/seed1" || fail "other text"
sample --seed 1 --batch_size 64 --threads 2
cmp -s "$out" "$work/seed1" || fail "other text"
texts() { sed 's/.*"generation": "\([^"]*\)".*/\1/' "$1"; }
[ "$(texts "$work/seed1" | sed -n '1p;14p' | sort -u | wc -l)" = 2 ] || fail "equal prompts have the same text"
sample --seed 2
[ "$(texts "$out" | paste - "$work/seed1" | awk '$1 == $2' | wc -l)" = 0 ] || fail "the seed has no effect"
sample --temperature 0.0001
cmp -s "$out" "$work/seed1" && fail "the temperature has no effect"
texts "$out" >"$work/cold"
texts "$work/greedy" | sed 's/^\(\(<[0-9]*>\)\{20\}\).*/\1/' | cmp -s - "$work/cold" || fail "not the greedy text"
run 0 generate --model "$model" --prompt "$prompt" --max_new_tokens 20 --temperature 1.5 --seed 1 --threads 1
is "$out" "$(texts "$work/seed1" | sed -n 1p)"

# An empty prompt starts from BOS, token 0; an empty file has no answers.
run 0 generate --model "$model" --prompt "" --max_new_tokens 4 --threads 1
cp "$out" "$work/empty"
run 0 generate --model "$model" --prompt "<0>" --max_new_tokens 4 --threads 1
cmp -s "$out" "$work/empty" || fail "an empty prompt is not BOS"
: >"$in"
run 0 generate --model "$model" --jsonl "$in"
is "$out" ""

# What does not fit: the message names the prompt.
run 1 generate --model "$model" --prompt "$prompt" --max_new_tokens 634 --log_level error
is "$err" "mneme generate: --prompt: 641 tokens with what may follow; the model has 640 positions"
printf '{"prompt": "<1>"}\n{"prompt": "<1><2>"}\n' >"$in"
run 1 generate --model "$model" --jsonl "$in" --max_new_tokens 639 --log_level error
is "$err" "mneme generate: $in:2: 641 tokens with what may follow; the model has 640 positions"
is "$out" ""
printf '{"prompt": "<1>"}\n{"text": "<1><2>"}\n' >"$in"
run 1 generate --model "$model" --jsonl "$in" --log_level error
has "$err" "mneme generate: $in:2: "
has "$err" 'the key "prompt" is missing'
printf '{"prompt": "<1>"}\n{"prompt": ' >"$in"
run 1 generate --model "$model" --jsonl "$in" --log_level error
has "$err" "mneme generate: $in:2: broken JSON"
is "$out" ""

refused 2 "mneme generate: give either --prompt or --jsonl" generate --model "$model"
refused 2 "mneme generate: give either --prompt or --jsonl" generate --model "$model" --prompt a --jsonl "$in"
refused 2 "mneme generate: --max_new_tokens: '0' is not an integer from 1 to 1000000" \
    generate --model "$model" --prompt a --max_new_tokens 0
refused 2 "mneme generate: --temperature: '-1' is not a number from 0 to 100" \
    generate --model "$model" --prompt a --temperature -1
refused 2 "mneme generate: unknown option '--max_new_token'; did you mean '--max_new_tokens'?" \
    generate --model "$model" --prompt a --max_new_token 3

finish
