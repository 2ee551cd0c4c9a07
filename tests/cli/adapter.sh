#!/bin/sh
# adapter.sh - mneme eval --adapter from end to end: variants in one pass as one by one, interruptions, and
# what it refuses.
. "$(dirname "$0")/check.inc" || exit 1
. "$(dirname "$0")/adapter.inc" || exit 1

model=$source_dir/data/demo-model
world=$source_dir/data/world
data=$work/data

run 0 prepare --claims "$world/dev.jsonl" --train_claims "$world/train.jsonl" --wiki "$world/wiki" --out "$data" \
    --threads 1 --log_level error
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
timeless() { sed '/"\(date\|start_time\|end_time\|evaluation_time_seconds\|total_evaluation_time_seconds\)":/d' "$1"/demo-model/results_*.json; }
same() { # FOLDER OTHER: to the last digit
    timeless "$1" >"$work/here"
    timeless "$2" | cmp -s - "$work/here" || fail "other results: $(timeless "$2" | diff "$work/here" - | head -n 5)"
    for file in "$1"/demo-model/samples_*; do
        other=$(echo "$file" | sed "s|^$1/\(.*shot.*_\)2[^_]*|$2/\1|")
        cmp -s "$file" "$other"* || fail "other samples: $other"
    done
    [ -z "$(find "$2" -name 'journal_*')" ] || fail "the journal is still there"
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

variants="--adapter $work/a,$work/b"
begin "a journal cut anywhere"
alone() {
    # shellcheck disable=SC2086
    exec "$program" eval --model "$model" --data "$data" --output_path "$1" $options $variants
}
{
    (
        # shellcheck disable=SC3045
        ulimit -c 0
        ulimit -f 12
        TMPDIR=$work/none # ThreadSanitizer maps a temporary file if it can
        export TMPDIR
        alone "$work/cut"
    ) >"$out" 2>"$err"
    got=$?
} 2>/dev/null # where the shell says that it was killed
[ $got -gt 128 ] || fail "it was not killed: $(cat "$err")"
journal=$(ls "$work"/cut/demo-model/journal_*.jsonl)
cp "$journal" "$work/journal"
ends=$(awk '{ at += length($0) + 1; print at }' "$work/journal")
lines=$(wc -l <"$work/journal")
[ "$lines" -gt 20 ] && [ "$lines" -lt 140 ] || fail "$lines lines are no half-finished evaluation"
# in the first line, behind it, between the variants of a prompt, between batches (of 18 lines), anywhere
for cut in 50 "$(echo "$ends" | sed -n 1p)" "$(echo "$ends" | sed -n 3p)" "$(echo "$ends" | sed -n 19p)" \
    "$(echo "$ends" | sed -n 20p)" $(($(wc -c <"$work/journal") - 77)); do
    rm -rf "$work/cut"
    mkdir -p "$work/cut/demo-model"
    head -c "$cut" "$work/journal" >"$journal"
    # shellcheck disable=SC2086
    evaluate 0 "$work/cut" $variants
    same "$work/all" "$work/cut"
done

# SIGKILL, again and again.
rm -rf "$work/cut"
for answers in 2 40 110; do
    begin "mneme eval --adapter killed by SIGKILL when $answers lines are written"
    alone "$work/cut" >"$out" 2>"$err" &
    child=$!
    while [ -d /proc/$child ] && [ "$(cat "$work"/cut/demo-model/journal_* 2>/dev/null | wc -l)" -lt $answers ] &&
        ! grep -q written: "$err"; do sleep 0.01; done
    kill -9 $child 2>/dev/null
    wait $child 2>/dev/null
    rm -f "$work"/cut/demo-model/results_* "$work"/cut/demo-model/samples_*
done
# shellcheck disable=SC2086
evaluate 0 "$work/cut" $variants
same "$work/all" "$work/cut"

# Without the base: the audit's first batch comes from the journal, too.
evaluate 0 "$work/whole" --adapter "$work/a,$work/b" --no_base
rm -rf "$work/cut"
for answers in 2 40; do
    begin "mneme eval --no_base killed by SIGKILL when $answers lines are written"
    # shellcheck disable=SC2086
    "$program" eval --model "$model" --data "$data" --output_path "$work/cut" $options $variants --no_base \
        >"$out" 2>"$err" &
    child=$!
    while [ -d /proc/$child ] && [ "$(cat "$work"/cut/demo-model/journal_* 2>/dev/null | wc -l)" -lt $answers ] &&
        ! grep -q written: "$err"; do sleep 0.01; done
    kill -9 $child 2>/dev/null
    wait $child 2>/dev/null
    rm -f "$work"/cut/demo-model/results_* "$work"/cut/demo-model/samples_*
done
evaluate 0 "$work/cut" --adapter "$work/a,$work/b" --no_base
same "$work/whole" "$work/cut"

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

# ---- refused ----

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
