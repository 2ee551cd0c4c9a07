#!/bin/sh
# eval.sh - mneme eval from end to end, on the demo's model and data: options that change nothing,
# interruptions of every kind, and what it refuses.
. "$(dirname "$0")/check.inc" || exit 1
. "$(dirname "$0")/eval.inc" || exit 1

# evaluate CODE FOLDER ARGUMENT...
evaluate() {
    want=$1 folder=$2
    shift 2
    run "$want" eval --model "$model" --data "$data" --output_path "$folder" --log_samples --threads 1 \
        --bootstrap_iters 50 "$@"
}

# other_answers FOLDER OTHER: how many samples are not the same, but for log-likelihoods.
other_answers() {
    for file in "$1"/demo-model/samples_*; do
        # shellcheck disable=SC2046
        paste -d '\n' "$file" $(other_samples "$file" "$2")
    done | sed 's/"logprob": {[^}]*}//' | awk 'NR % 2 { was = $0; next } $0 != was { n++ } END { print n + 0 }'
}
# distance FOLDER OTHER: the largest difference of a log-likelihood.
distance() {
    for file in "$1"/demo-model/samples_*; do
        # shellcheck disable=SC2046
        paste -d '\n' "$file" $(other_samples "$file" "$2")
    done | sed 's/.*"logprob": {\([^}]*\)}.*/\1/; s/"[^"]*"://g' | tr -d ' ' |
        awk -F, 'NR % 2 { for (i = 1; i <= NF; i++) was[i] = $i; next }
            { for (i = 1; i <= NF; i++) { off = $i - was[i]; if (off < 0) off = -off; if (off > most) most = off } }
            END { print NR ? most + 0 : "nothing" }'
}
within() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a + 0 == a && a <= b) }'; }

# ---- options ----

evaluate 0 "$work/base" --num_fewshot 0,1,5 --limit 60
[ "$(grep -cE '^ *(0  generate|5  choice)  *60 ' "$out")" = 2 ] || fail "no table: $(cat "$out")"
has "$err" "written: $work/base/demo-model/results_"
[ "$(cat "$work"/base/demo-model/samples_*.jsonl | wc -l)" = 180 ] || fail "180 samples expected"
for options in "--batch_size 1" "--batch_size 7 --threads 2" "--batch_size 64" "--no_share" "--no-share --batch-size=7"; do
    # shellcheck disable=SC2086
    evaluate 0 "$work/other" --num_fewshot 0,1,5 --limit 60 $options
    for folder in base other; do timeless "$work/$folder" | sed '/"\(batch_size\|device\)":/d' >"$work/$folder.numbers"; done
    cmp -s "$work/base.numbers" "$work/other.numbers" || fail "other results: $(diff "$work/base.numbers" "$work/other.numbers" | head -n 5)"
    [ "$(other_answers "$work/base" "$work/other")" = 0 ] || fail "other answers"
    off=$(distance "$work/base" "$work/other")
    within "$off" 1e-5 || fail "log-likelihoods are $off apart"
    rm -r "$work/other"
done
# In bf16 an option changes the order of sums and by that, now and then, to which number a sum is rounded
# (test_complete_bf16): two ways are at most twice as far apart as this arithmetic is from fp32, and answers differ
# where the lead is as small as that.
evaluate 0 "$work/bf16" --num_fewshot 0,1,5 --limit 60 --compute bf16
cost=$(distance "$work/base" "$work/bf16")
within 1e-4 "$cost" || fail "bf16 is fp32"
for options in "--batch_size 1" "--batch_size 7 --threads 2" "--batch_size 64" "--no_share --batch_size 7"; do
    # shellcheck disable=SC2086
    evaluate 0 "$work/other" --num_fewshot 0,1,5 --limit 60 --compute bf16 $options
    off=$(distance "$work/bf16" "$work/other")
    echo "# bf16 costs $cost; $options: $off, $(other_answers "$work/bf16" "$work/other") other answers"
    within "$off" "$(awk "BEGIN { print 2 * $cost }")" || fail "log-likelihoods are $off apart"
    [ "$(other_answers "$work/bf16" "$work/other")" -le 9 ] || fail "more than one in twenty answers is another one"
    rm -r "$work/other"
done
# The order of shots and scorings is the order of the table, not of the answers.
evaluate 0 "$work/other" --num_fewshot 5,0,1 --scoring choice,generate --limit 60
for shots in 0 1 5; do
    cmp -s "$work"/base/demo-model/samples_fever_${shots}shot_* "$work"/other/demo-model/samples_fever_${shots}shot_* ||
        fail "other samples with $shots shots"
done

# ---- interruptions ----

# Small batches, so that the journal grows in many steps.
eval_small() { # CODE FOLDER ARGUMENT...
    want=$1 folder=$2
    shift 2
    evaluate "$want" "$folder" --num_fewshot 0,5 --limit 60 --batch_size 4 "$@"
}
alone() {
    exec "$program" eval --model "$model" --data "$data" --output_path "$1" --log_samples --threads 1 \
        --bootstrap_iters 50 --num_fewshot 0,5 --limit 60 --batch_size 4
}
eval_small 0 "$work/whole"
[ -z "$(find "$work/whole" -name 'journal_*')" ] || fail "the journal is still there"

half_done "$work/cut" 6
cp "$journal" "$work/journal"
size=$(wc -c <"$work/journal")
lines=$(wc -l <"$work/journal")
if [ "$lines" -lt 13 ] || [ "$lines" -gt 99 ]; then fail "$lines lines are no half-finished evaluation"; fi
[ "$(tail -c 1 "$work/journal" | od -An -tu1 | tr -d ' ')" != 10 ] || fail "the last line is whole"
eval_small 0 "$work/cut"
has "$err" "going on: $((lines - 1)) of 120 prompts were answered before"
same "$work/whole" "$work/cut"

# Cut anywhere: in the first line, behind it, in and behind any other, inside and between batches.
ends=$(awk '{ at += length($0) + 1; print at }' "$work/journal")
header=$(echo "$ends" | sed -n 1p)
for cut in $((header - 1)) "$header" "$(echo "$ends" | sed -n 5p)" "$(echo "$ends" | sed -n 8p)" $((size - 333)); do
    rm -rf "$work/cut"
    mkdir -p "$work/cut/demo-model"
    head -c "$cut" "$work/journal" >"$journal"
    eval_small 0 "$work/cut"
    same "$work/whole" "$work/cut"
done

# The first start names the files, however often it goes on; what a killed writer left of them goes, and of others
# not.
rm -rf "$work/cut"
for attempt in 1 2; do
    mkdir -p "$work/cut/demo-model"
    cp "$work/journal" "$journal"
    ls "$work/cut/demo-model" >"$work/here"
    eval_small 0 "$work/cut"
    if [ $attempt = 1 ]; then
        results=$(ls "$work"/cut/demo-model/results_*)
        for file in "$results" "${results%results_*}samples_fever_5shot_${results#*results_}l"; do : >"$file.tmp-Ab3dEf"; done
    fi
done
same "$work/whole" "$work/cut"
[ "$(ls "$work"/cut/demo-model/results_*)" = "$results" ] || fail "another name: $(ls "$work/cut/demo-model")"
: >"$work/cut/demo-model/results_other.json.tmp-Ab3dEf"
cp "$work/journal" "$journal"
eval_small 0 "$work/cut"
[ -e "$work/cut/demo-model/results_other.json.tmp-Ab3dEf" ] || fail "a file of others is gone"

# A signal asks it to stop: it does so between batches, with code 75, and says how to go on. Its log goes to a
# pipe that is full, so that it waits there until the signal has come, whatever the speed of the machine.
mkfifo "$work/full" || exit 1
for signal in TERM USR1 INT; do
    rm -rf "$work/cut"
    mkdir -p "$work/cut/demo-model"
    head -c 2000 "$work/journal" >"$journal"
    begin "mneme eval stopped by SIG$signal"
    exec 3<>"$work/full"
    dd if=/dev/zero bs=4096 count=16 >&3 2>/dev/null
    alone "$work/cut" >"$out" 2>&3 &
    child=$!
    until catches $child; do sleep 0.01; done
    kill -$signal $child
    dd bs=4096 count=16 <&3 >"$work/drained" 2>/dev/null
    wait $child
    got=$?
    echo "end of log" >&3
    while read -r line <&3 && [ "$line" != "end of log" ]; do echo "$line"; done | tr -d '\000' >"$err"
    exec 3>&-
    [ $got = 75 ] || fail "exit code $got, expected 75: $(cat "$err")"
    has "$err" "mneme eval: finished prompts are kept; the same command goes on: stopped on request after 3 of 30 batches"
    is "$out" ""
    head -c 2000 "$work/journal" | sed '$d' | cmp -s - "$journal" || fail "the journal changed"
    eval_small 0 "$work/cut"
    same "$work/whole" "$work/cut"
done

# ---- journals that are not this evaluation's, or no journals ----

# Other options leave a journal alone, and take nothing of it.
rm -rf "$work/cut"
mkdir -p "$work/cut/demo-model"
cp "$work/journal" "$journal"
for options in "--batch_size 5" "--limit 59" "--num_fewshot 5,0" "--compute bf16"; do
    # shellcheck disable=SC2086
    eval_small 0 "$work/cut" $options
    grep -q "going on" "$err" && fail "it went on with a journal of other options"
    cmp -s "$work/journal" "$journal" || fail "the other journal is touched"
    rm -f "$work"/cut/demo-model/results_* "$work"/cut/demo-model/samples_*
done
eval_small 0 "$work/cut"
has "$err" "going on: $((lines - 1)) of 120 prompts"

# A line that is broken in the middle is an error that names it; the file stays for who wants to repair it.
broken() { # LINE TEXT MESSAGE
    rm -rf "$work/cut"
    mkdir -p "$work/cut/demo-model"
    sed "$1s/.*/$2/" "$work/journal" >"$journal"
    cp "$journal" "$work/broken"
    eval_small 1 "$work/cut" --log_level error
    has "$err" "mneme eval: $journal:$1: "
    has "$err" "$3"
    is "$out" ""
    cmp -s "$journal" "$work/broken" || fail "the journal changed"
    [ "$(ls "$work/cut/demo-model")" = "${journal##*/}" ] || fail "there is more: $(ls "$work/cut/demo-model")"
}
broken 5 '{"prompt": 3, "ids": [1, ' 'broken JSON'
broken 2 '[]' 'object'
broken 3 '{"prompt": 120, "ids": [], "logprob": [0, 0, 0]}' 'expected 0 to 119, found 120'
broken 4 '{"prompt": 1, "ids": [1536], "logprob": [0, 0, 0]}' 'expected 0 to 1535, found 1536'
broken 6 '{"prompt": 1, "ids": [1], "logprob": [0, 0, "x"]}' 'expected 3 numbers'
broken 6 '{"prompt": 1, "ids": [1], "logprob": [0, 0]}' 'expected 3 numbers'

# Nor does a journal serve another configuration or tokenizer, though the weights are the same.
cp -r "$model" "$work/demo-model"
model=$work/demo-model
for file in config.json tokenizer.json; do
    rm -rf "$work/cut"
    half_done "$work/cut" 6
    [ -s "$journal" ] || fail "no journal"
    touch -d 2001-02-03 "$model/$file"
    eval_small 0 "$work/cut"
    ! grep -q "going on" "$err" || fail "it went on with the answers of another $file"
done

# ---- wrong usage ----

refused 2 "mneme eval: --model DIR is required" eval --data "$data"
refused 2 "mneme eval: --data DIR is required" eval --model "$model"
refused 2 "mneme eval: --num_fewshot: '6' is not an integer from 0 to 5" \
    eval --model "$model" --data "$data" --num_fewshot 0,6
refused 2 "mneme eval: --num_fewshot: '1' stands twice in '1,1'" \
    eval --model "$model" --data "$data" --num_fewshot 1,1
refused 2 "mneme eval: --scoring: 'chioce' is not one of generate, choice; did you mean 'choice'?" \
    eval --model "$model" --data "$data" --scoring chioce
refused 2 "mneme eval: unknown option '--output-pth'; did you mean '--output_path'?" \
    eval --model "$model" --data "$data" --output-pth x

finish
