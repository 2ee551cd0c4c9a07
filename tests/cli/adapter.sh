#!/bin/sh
# adapter.sh - --adapter of mneme eval, score and generate from end to end: variants in one pass as one by one,
# interruptions, and what is refused.
. "$(dirname "$0")/check.inc" || exit 1
. "$(dirname "$0")/adapter.inc" || exit 1
. "$(dirname "$0")/eval.inc" || exit 1

adapter "$work/a" doc 2 3 1
adapter "$work/b" temp 3 4 1
adapter "$work/c/" doc 1 5 1
adapter "$work/dead" dead 2 6 0

options="--log_samples --threads 1 --bootstrap_iters 50 --num_fewshot 0,1 --limit 24 --batch_size 6"
evaluate() { # CODE FOLDER ARGUMENT...
    want=$1 folder=$2
    shift 2
    # shellcheck disable=SC2086
    run "$want" eval --model "$model" --data "$data" --output_path "$folder" $options "$@"
}
samples() { # FOLDER SHOTS VARIANT: without log-likelihoods
    sed 's/"logprob": {[^}]*}//' "$1"/demo-model/samples_fever_"$2"shot"$3"_2*.jsonl
}

# ---- one pass, one by one ----

evaluate 0 "$work/all" --adapter "$work/a,$work/b"
grep -qE '^ *1  temp  *generate  24 ' "$out" || fail "no row of temp: $(cat "$out")"
grep -qE '^doc  *2  *0\.[0-9]*  *[0-9.]*$' "$out" || fail "no audit of doc: $(cat "$out")"
has "$out" "1-shot generate pretrained and 1-shot generate temp differ by"
has "$(echo "$work"/all/demo-model/results_*.json)" '"effect_audit": {'
evaluate 0 "$work/base"
evaluate 0 "$work/doc" --adapter "$work/a" --no_base
evaluate 0 "$work/temp" --adapter "$work/b" --no_base --no_share
for shots in 0 1; do
    for variant in base: doc:@doc temp:@temp; do
        samples "$work/all" $shots "${variant#*:}" >"$work/here"
        [ "$(wc -l <"$work/here")" = 24 ] || fail "24 samples expected"
        samples "$work/${variant%:*}" $shots "${variant#*:}" | cmp -s - "$work/here" ||
            fail "$shots shots, $variant: other answers than alone"
    done
done
samples "$work/all" 1 "" >"$work/here"
samples "$work/all" 1 @doc | cmp -s - "$work/here" && fail "the memory changed nothing"

# Two of one name are called as their folders.
evaluate 0 "$work/pair" --adapter "$work/c/,$work/a" --limit 4
for name in a c; do has "$out" "  $name  "; done
! grep -q doc "$out" || fail "doc is ambiguous"

# ---- interruptions ----

alone() {
    # shellcheck disable=SC2086
    exec "$program" eval --model "$model" --data "$data" --output_path "$1" $options $variants
}

# Cut in the first line, behind it, between the variants of a prompt, between and behind the batches (of 6
# prompts), anywhere. Without the base, the audit's first batch comes from the journal, too.
evaluate 0 "$work/memories" --adapter "$work/a,$work/b" --no_base
for form in "memories 12 --no_base" "all 18"; do
    # shellcheck disable=SC2086
    set -- $form
    whole=$work/$1 batch=$2
    variants="--adapter $work/a,$work/b ${3:-}"
    half_done "$work/cut" 12
    cp "$journal" "$work/journal"
    lines=$(wc -l <"$work/journal")
    [ "$lines" -gt 20 ] && [ "$lines" -lt 140 ] || fail "$lines lines are no half-finished evaluation"
    ends=$(awk '{ at += length($0) + 1; print at }' "$work/journal")
    for cut in 50 "$(echo "$ends" | sed -n 1p)" "$(echo "$ends" | sed -n 3p)" "$(echo "$ends" | sed -n $((batch + 1))p)" \
        "$(echo "$ends" | sed -n $((batch + 2))p)" $(($(wc -c <"$work/journal") - 77)); do
        rm -rf "$work/cut"
        mkdir -p "$work/cut/demo-model"
        head -c "$cut" "$work/journal" >"$journal"
        # shellcheck disable=SC2086
        evaluate 0 "$work/cut" $variants
        same "$whole" "$work/cut"
    done
done

# Other adapters, another order, or the same one trained again: nothing is taken from the journal.
adapter "$work/again" doc 2 9 1
for other in "$work/a" "$work/b,$work/a" "$work/again,$work/b" "$work/a,$work/b --no_base" "$work/a,$work/b,$work/again"; do
    rm -rf "$work/cut"
    mkdir -p "$work/cut/demo-model"
    cp "$work/journal" "$journal"
    # shellcheck disable=SC2086
    evaluate 0 "$work/cut" --adapter $other
    grep -q "going on" "$err" && fail "it went on with a journal of other variants"
    cmp -s "$work/journal" "$journal" || fail "the other journal is touched"
done
evaluate 0 "$work/cut" --adapter "$work/a,$work/b"
has "$err" "going on: "

# A line of the audit that is broken is named.
broken() { # TEXT MESSAGE
    rm -rf "$work/cut"
    mkdir -p "$work/cut/demo-model"
    sed "3s/.*/$1/" "$work/journal" >"$journal"
    # shellcheck disable=SC2086
    evaluate 1 "$work/cut" $variants --log_level error
    has "$err" "mneme eval: $journal:3: "
    has "$err" "$2"
}
broken '{"prompt": 0, "ids": [], "logprob": [0, 0, 0]}' 'variant'
broken '{"prompt": 0, "variant": 3, "ids": [], "logprob": [0, 0, 0]}' 'expected 0 to 2, found 3'
broken '{"prompt": 0, "variant": 1, "ids": [], "logprob": [0, 0, 0], "outputs": 5, "change": []}' 'expected 1 numbers'

# ---- score, generate ----

# They say what an evaluation says of the same prompts: the log-likelihoods of its candidates, its answers.
fields() { sed -n "s/.*\"$1\": \(\"[^\"]*\"\|[-0-9.e]*\).*/\1/p"; }
for variant in "" @doc; do
    adapter=${variant:+--adapter $work/a}
    cat "$work"/all/demo-model/samples_fever_[01]shot"$variant"_2*.jsonl >"$work/samples"
    sed 's/.*\("prompt": "[^"]*"\).*/{\1}/' "$work/samples" >"$work/prompts"
    # shellcheck disable=SC2086
    run 0 generate --model "$model" --jsonl "$work/prompts" --max_new_tokens 8 --threads 1 $adapter
    # An evaluation's answer ends at a parenthesis or a new line.
    fields generation <"$out" | sed 's/\()\|\\n\).*/\1"/' >"$work/here"
    [ "$(wc -l <"$work/here")" = 48 ] || fail "48 answers expected"
    fields generation <"$work/samples" | cmp -s - "$work/here" || fail "other answers than mneme eval$variant"
    for candidate in "(a)" "(b)" "(c)"; do
        sed "s/\"prompt\"/\"continuation\": \" $candidate\", \"context\"/" "$work/prompts" >"$work/pairs"
        # shellcheck disable=SC2086
        run 0 score --model "$model" --jsonl "$work/pairs" --batch_size 7 --threads 2 $adapter
        fields logprob <"$out" >"$work/here"
        sed 's/.*"logprob": {//' "$work/samples" | fields " $candidate" | paste "$work/here" - |
            awk '{ off = $1 - $2; if (off > 1e-5 || off < -1e-5) bad = 1 } END { exit bad || NR != 48 }' ||
            fail "other log-likelihoods than mneme eval$variant"
    done
done

# A name is a folder's name, commas and all; in a list they are written with a backslash.
cp -r "$work/a" "$work/a,b"
head -n 3 "$work/prompts" >"$work/some"
run 0 generate --model "$model" --jsonl "$work/some" --threads 1 --adapter "$work/a"
cp "$out" "$work/here"
run 0 generate --model "$model" --jsonl "$work/some" --threads 1 --adapter "$work/a,b"
cmp -s "$out" "$work/here" || fail "another adapter"
evaluate 0 "$work/comma" --adapter "$work/b,$work/a\\,b" --no_base --limit 4
samples "$work/all" 1 @doc | sed -n 1,4p >"$work/here"
samples "$work/comma" 1 @doc | cmp -s - "$work/here" || fail "another adapter"
evaluate 1 "$work/none" --adapter "$work/b,$work/x,b" --log_level error
is "$err" "mneme eval: $work/x: no such adapter folder (a comma in a folder's name is written \\,)"

# ---- refused ----

for command in "score --jsonl $work/pairs" "generate --prompt Claim"; do
    # shellcheck disable=SC2086
    run 1 $command --model "$model" --adapter "$work/dead" --log_level error
    is "$err" "mneme ${command%% *}: adapter dead changes nothing: its memory behind block 2 adds 0 to every hidden state (a gate of 0, or weights that were never trained?)"
    is "$out" ""
    # shellcheck disable=SC2086
    run 1 $command --model "$model" --adapter "$work/nowhere" --log_level error
    is "$err" "mneme ${command%% *}: $work/nowhere: no such adapter folder"
    # shellcheck disable=SC2086
    refused 2 "mneme ${command%% *}: --adapter: '' is not a non-empty text" $command --model "$model" --adapter ""
done

evaluate 1 "$work/none" --adapter "$work/a,$work/dead" --log_level error
is "$err" "mneme eval: adapter dead changes nothing: its memory behind block 2 adds 0 to every hidden state (a gate of 0, or weights that were never trained?)"
is "$out" ""
[ -z "$(find "$work/none" -name 'results_*')" ] || fail "there are results"
evaluate 2 "$work/none" --adapter "$work/a,,$work/b" --log_level error
has "$err" "a name in the list of adapters is empty"
evaluate 2 "$work/none" --no_base --log_level error
has "$err" "without the base an evaluation needs a memory"
evaluate 1 "$work/none" --adapter "$work/a,$work/nowhere" --log_level error
has "$err" "$work/nowhere"
evaluate 2 "$work/none" --adapter "$work/a,$work/a" --log_level error
has "$err" "two memories are called a"

finish
