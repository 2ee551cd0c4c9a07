#!/bin/sh
# score.sh - mneme score from end to end: against what Hugging Face transformers computed of the golden
# models, with all its options, and what it refuses. The tokenizer of these models knows "<12>" as token 12.
. "$(dirname "$0")/check.inc" || exit 1
. "$(dirname "$0")/golden.inc" || exit 1

in=$work/in.jsonl

for name in neox-parallel neox-sequential neox-bf16 neox-bin llama-mha llama-gqa llama-bin; do
    model $name
    questions
    run 0 score --model "$model" --jsonl "$in" --threads 1
    [ "$(wc -l <"$out")" = 21 ] || fail "21 answers expected: $(cat "$out")"
    answers
    within 2e-4 "$work/want"
    # "tokens" is right and stands between the others; what was there before stays as it was.
    sed 's/, "logprob": [-0-9.e]*, "tokens": \([0-9]*\), "greedy": \(true\|false\)}$/ \1}/; s/"n": \([0-9]*\) \1}$/"n": \1}/' \
        "$out" | cmp -s - "$in" || fail "not the records of the input: $(head -n 2 "$out")"
done

# 120 contexts of three nested lengths that share much, some of them twice: no option changes a score.
model neox-parallel
awk 'BEGIN {
    for (i = 0; i < 120; i++) {
        text = ""
        for (t = 0; t < 30 * (1 + i % 3); t++) text = text "<" (t * 37 + int(t / 40) * 11) % 160 ">"
        for (t = 0; t < 5 + i % 4; t++) text = text "<" (int(i / 2) * 13 + t * 7) % 160 ">"
        next_text = ""
        for (t = 0; t <= i % 3; t++) next_text = next_text "<" (i * 5 + t) % 160 ">"
        printf "{\"context\": \"%s\", \"continuation\": \"%s\"}\n", text, next_text
    }
}' >"$in"
run 0 score --model "$model" --jsonl "$in" --threads 1 --batch_size 1 --no_share
answers
mv "$work/got" "$work/alone"
for options in "" "--threads 2" "--batch_size 1" "--batch_size 7" "--batch_size 64" "--batch_size=auto --no_share" \
    "--no-share --batch-size 64"; do
    # shellcheck disable=SC2086
    run 0 score --model "$model" --jsonl "$in" --threads 1 $options
    answers
    within 1.7e-5 "$work/alone" # twice what single precision costs here (test_complete)
done
# bf16 inputs give other scores, but not very different ones: a mean below 0.2.
run 0 score --model "$model" --jsonl "$in" --compute bf16 --threads 1
answers
paste -d ' ' "$work/got" "$work/alone" | awk '{ off = $1 - $3; sum += off < 0 ? -off : off } END { exit !(sum > 0 && sum / NR < 0.2) }' ||
    fail "not near the fp32 scores"

# Standard input, other keys, keys that are replaced.
input=$work/one.jsonl
printf '%s\n' '{"greedy": 1, "a": [1, {"logprob": 2}], "context": "<5>", "tokens": "x","continuation":"<6><7>" ,"logprob":null}' >"$input"
run 0 score --model "$model" --jsonl - --threads 1
sed 's/"logprob": -[0-9.]*/"logprob": X/' "$out" >"$work/masked"
is "$work/masked" '{"a": [1, {"logprob": 2}], "context": "<5>", "continuation":"<6><7>", "logprob": X, "tokens": 2, "greedy": false}'
input=/dev/null

# White space at the end of a context belongs to the continuation; an empty context is BOS, token 0.
cp "$source_dir/tests/fixtures/tokens/ascii.json" "$model/tokenizer.json"
printf '{"context": "%s", "continuation": "%s"}\n' "a claim" " (b)" "a claim " "(b)" "a claim \\n" "(b)" "a claim" " \\n(b)" \
    "" "(b)" "<|endoftext|>" "(b)" "  " "(b)" "" "  (b)" >"$in"
run 0 score --model "$model" --jsonl "$in" --threads 1
answers
awk '{ off[NR] = $1 } END { for (i = 1; i < 8; i += 2) if ((off[i] - off[i + 1]) ^ 2 > 1e-9) exit 1 }' "$work/got" ||
    fail "pairs differ: $(cat "$work/got")"
[ "$(sort -u "$work/got" | wc -l)" -ge 4 ] || fail "all the same: $(cat "$work/got")"
sed -n 's/.*"tokens": \([0-9]*\).*/\1/p' "$out" | tr '\n' ' ' >"$work/tokens"
is "$work/tokens" "4 4 5 5 3 3 5 5 "
: >"$in"
run 0 score --model "$model" --jsonl "$in"
is "$out" ""

# Lines that cannot be scored: file and line in the message, nothing scored.
bad() { # LINE MESSAGE
    printf '{"context": "a", "continuation": "b"}\n\n%s\n' "$1" >"$in"
    run 1 score --model "$model" --jsonl "$in" --log_level error
    has "$err" "mneme score: $in:3: "
    has "$err" "$2"
    [ "$(grep -o "$in:" "$err" | wc -l)" = 1 ] || fail "the place stands there twice: $(cat "$err")"
    is "$out" ""
}
bad '{"context": "a"}' 'the key "continuation" is missing'
bad '{"continuation": "a"}' 'the key "context" is missing'
bad '{"context": "a", "continuation": ["b"]}' 'continuation: expected a string, found an array'
bad '{"context": "a", "continuation": ""}' 'the continuation has no tokens'
bad '{"context": "a", "continuation": "é"}' 'the continuation has no tokens' # not in this vocabulary
bad '{"context": "a\u0000", "continuation": "b"}' 'a string with U+0000 is not supported'
long=$(awk 'BEGIN { for (i = 0; i < 640; i++) printf "x" }')
bad "{\"context\": \"$long\", \"continuation\": \"b\"}" '641 tokens with what may follow; the model has 640 positions'
printf '{"context": "a"\n' >"$in"
run 1 score --model "$model" --jsonl "$in" --log_level error
has "$err" "mneme score: $in:1: broken JSON"

refused 2 "mneme score: --model DIR is required" score --jsonl "$in"
refused 2 "mneme score: --jsonl FILE is required" score --model "$model"
refused 2 "mneme score: --batch_size: '0' is not auto or an integer from 1 to 65536" \
    score --model "$model" --jsonl "$in" --batch_size 0
run 1 score --model "$model" --jsonl "$in.none" --log_level error
is "$err" "mneme score: $in.none: No such file or directory"

finish
