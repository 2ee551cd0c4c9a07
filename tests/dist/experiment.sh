#!/bin/sh
# experiment.sh - a whole experiment by mpirun is that of one process: the same steps, adapters and predictions, with the work
# or the model shared; also when another number of ranks had begun it.
. "$MN_SOURCE_DIR/tests/cli/check.inc" || exit 1
. "$MN_SOURCE_DIR/tests/dist/dist.inc" || exit 1
. "$MN_SOURCE_DIR/tests/cli/run.inc" || exit 1

# Steps of 4 samples, and of fewer at the end of an epoch: of four ranks some have nothing then.
extra="--num_train_epochs 10 --gradient_accumulation_steps 2 --validation_fraction 0.1"

# shared N CODE FOLDER ARGUMENT...: the experiment by N ranks.
shared() {
    count=$1 want=$2 folder=$3
    shift 3
    begin "mpirun -n $count mneme run $*"
    # shellcheck disable=SC2086
    (ranks "$count" "$program" run "$config" --run_dir "$folder" $extra "$@") >"$out" 2>"$err"
    got=$?
    [ "$got" = "$want" ] || fail "exit code $got, expected $want: $(tail -c 2000 "$err")"
}

# values FILE: the numbers of a safetensors file, one a line.
values() {
    header=$(od -An -tu8 -N8 "$1")
    od -An -v -tf4 -w4 -j $((header + 8)) "$1"
}

# near FILE OTHER LIMIT: Euclidean distance over length of the numbers of two safetensors files.
near() {
    values "$1" >"$work/a" && values "$2" >"$work/b"
    paste "$work/a" "$work/b" | awk -v limit="$3" '{ d += ($1 - $2) ^ 2; n += $1 ^ 2 }
        END { if (!(NR > 0 && sqrt(d / n) <= limit)) { print "differs by " sqrt(d / n); exit 1 } }' ||
        fail "${2#"$work"/} against ${1#"$work"/}"
}

# losses FILE: of every step and validation.
losses() {
    sed -n 's/.*"step": \([0-9]*\),.*"\(loss\|eval_loss\)": \([^,]*\),.*/\1 \2 \3/p' "$1"
}

# like FOLDER OTHER: the losses and adapters nearly, the predictions exactly.
like() {
    for variant in "$1"/train/*; do
        name=${variant##*/}
        losses "$variant/train_log.jsonl" >"$work/a"
        losses "$2/train/$name/train_log.jsonl" >"$work/b"
        [ -s "$work/a" ] || fail "$name: no losses"
        paste -d ' ' "$work/a" "$work/b" | awk 'NF != 6 || $1 != $4 || $2 != $5 { print; bad = 1 }
            { d = $3 - $6; if (d < 0) d = -d; if (!(d <= 1e-5 * $3)) { print; bad = 1 } } END { exit bad }' ||
            fail "$name: other losses"
        weights=adapter_model.safetensors
        [ -e "$variant/$weights" ] || weights=model.safetensors
        near "$variant/$weights" "$2/train/$name/$weights" 1e-4
    done
    [ "$(find "$2/eval" -maxdepth 2 -name 'results_*' | wc -l)" = 1 ] || fail "results: $(find "$2/eval" -type f)"
    [ -z "$(find "$2" -name 'journal_*')" ] || fail "a journal is left"
    for file in $(cd "$1/eval" && find . -name 'samples_*'); do
        sed 's/"logprob": {[^}]*}//' "$1/eval/$file" >"$work/a"
        sed 's/"logprob": {[^}]*}//' "$2/eval/${file%_*}"_* >"$work/b"
        [ -s "$work/a" ] && cmp -s "$work/a" "$work/b" || fail "other predictions: $file"
    done
    [ -f "$2/report/report.html" ] || fail "no report"
}

small 0 "$work/alone"
shared 2 0 "$work/two"
like "$work/alone" "$work/two"
has "$out" "gpt_template-wd0.05"
shared 2 0 "$work/again" # the same number of ranks: the same bits
same "$work/two" "$work/again"
shared 4 0 "$work/four"
like "$work/alone" "$work/four"
shared 4 0 "$work/both" --tp 2
like "$work/alone" "$work/both"

# ---- whole models, which share the optimizer's state ----

small 0 "$work/model" --update full --learning_rate 1e-4 --num_train_epochs 2
shared 4 0 "$work/models" --update full --learning_rate 1e-4 --num_train_epochs 2 --tp 2
like "$work/model" "$work/models"

# ---- begun by four, ended by others ----

# Long enough to be met in the middle; small steps, so that a thousand of them do not make roundings grow.
small 0 "$work/long" --num_train_epochs 80 --learning_rate 1e-5
begin "four ranks are asked to stop in the middle of training"
# shellcheck disable=SC2086
(ranks 4 "$program" run "$config" --run_dir "$work/moved" $extra --num_train_epochs 80 --learning_rate 1e-5) >"$out" 2>"$err" &
job=$!
for _ in $(seq 3000); do
    [ -s "$work/moved/train/gpt_wikipage-wd0.05/train_log.jsonl" ] && break
    sleep 0.02
done
kill -USR1 "$job"
wait "$job"
got=$?
[ "$got" = 75 ] || fail "exit code $got: $(tail -c 1000 "$err")"
[ ! -e "$work/moved/report" ] || fail "it had ended before"
shared 2 0 "$work/moved" --tp 2 --num_train_epochs 80 --learning_rate 1e-5
has "$err" "going on from "
like "$work/long" "$work/moved"

finish
