#!/bin/sh
# resume.sh - four ranks of mneme train: one is killed, one is stopped by force, all are asked to stop. All end in time
# and say why, the checkpoint is whole, and the same command ends with the weights of an undisturbed training.
. "$MN_SOURCE_DIR/tests/cli/check.inc" || exit 1
. "$MN_SOURCE_DIR/tests/cli/train.inc" || exit 1
. "$MN_SOURCE_DIR/tests/dist/dist.inc" || exit 1

host=$(hostname | cut -d . -f 1)

four() { # FOLDER ARGUMENT...: becomes the training of four ranks there
    folder=$1
    shift
    ranks 4 "$program" train --model "$model" --data "$data" --output_dir "$folder" --threads 1 --max_steps 80 \
        --warmup_steps 3 --learning_rate 0.01 --chunk_length 32 --logging_steps 1 --save_steps 4 --save_total_limit 2 \
        --tp 2 --dp 2 "$@"
}

# disturbed FOLDER: begins one, in the background, and waits until it trains; $job is mpirun.
disturbed() {
    (four "$1") >"$out" 2>"$err" &
    job=$!
    wait_for '"step": 5,' "$1/train_log.jsonl"
}

# ended CODE FOLDER: the job ends within 30 s of $since; then the same command finishes it.
ended() {
    wait "$job"
    got=$?
    within 30 "$since" "the end"
    case $1 in
    any) [ $got != 0 ] || fail "exit code 0" ;;
    *) [ $got = "$1" ] || fail "exit code $got, expected $1: $(cat "$err")" ;;
    esac
    cp "$err" "$work/said"
    begin "and goes on"
    (four "$2") >"$out" 2>"$err" || fail "exit code $?: $(cat "$err")"
    has "$err" "going on from $2/checkpoint-"
    same "$work/whole" "$2"
}

# named LOST WHAT RANK...: each of these ranks has said what became of that one, process $lost, and where it waited.
named() {
    what="(.*: )?[a-z_ ]+ of [0-9]+ bytes: rank $1 \\($host\\) $2 \\(process $lost\\)"
    shift 2
    for r in "$@"; do
        who="rank $r \\($host\\): "
        [ "$r" != 0 ] || who=
        grep -qE "^${who}mneme train: $what" "$work/said" || fail "rank $r did not: $(cat "$work/said")"
    done
}

prepare_data
begin "undisturbed"
(four "$work/whole") >"$out" 2>"$err" || fail "exit code $?: $(cat "$err")"

begin "rank 3 is killed"
disturbed "$work/killed"
lost=$(rank 3)
others="$(rank 0) $(rank 1) $(rank 2)"
since=$(seconds)
kill -9 "$lost"
ended any "$work/killed"
begin "what the others said"
named 3 "has ended" 0 1 2
for pid in $others; do runs "$pid" && fail "process $pid still runs"; done

begin "rank 1 is stopped by force"
disturbed "$work/stopped"
lost=$(rank 1)
since=$(seconds)
kill -STOP "$lost"
ended any "$work/stopped"
begin "what the others said"
named 1 "is stopped" 0 2 3

begin "one rank is asked to stop"
disturbed "$work/asked"
since=$(seconds)
kill -USR1 "$(rank 2)"
ended 75 "$work/asked"
begin "said once"
[ "$(grep -c "stopped" "$work/said")" = 1 ] || fail "said otherwise: $(cat "$work/said")"

finish
