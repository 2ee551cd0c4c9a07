#!/bin/sh
# run.sh - a whole experiment by four ranks gives the tables of one process; asked to stop while it prepares, it stops
# as a whole and goes on; what is done is skipped, also by another number of ranks.
. "$MN_SOURCE_DIR/tests/cli/check.inc" || exit 1
. "$MN_SOURCE_DIR/tests/cli/kill.inc" || exit 1
. "$MN_SOURCE_DIR/tests/cli/run.inc" || exit 1
. "$MN_SOURCE_DIR/tests/dist/dist.inc" || exit 1
. "$MN_SOURCE_DIR/tests/dist/program.inc" || exit 1

# answers FOLDER: of all samples, without the numbers that rounding touches.
answers() { cat "$1"/eval/*/samples_* | sed 's/"logprob": {[^}]*}, //'; }

small 0 "$work/one"
job 0 4 run "$config" --run_dir "$work/four" --tp 2 --dp 2
one_voice
diff -r "$work/one/prepared" "$work/four/prepared" >"$work/diff" || fail "prepared otherwise: $(head -n 3 "$work/diff")"
for variant in gpt_wikipage-wd0.05 gpt_template-wd0.05; do
    for key in loss grad_norm; do
        close_to $key "$work/one/train/$variant/train_log.jsonl" "$work/four/train/$variant/train_log.jsonl"
    done
done
answers "$work/one" >"$work/these"
answers "$work/four" | cmp -s - "$work/these" || fail "other answers"
[ -s "$work/these" ] || fail "no answers"
[ -s "$work/four/report/report.html" ] || fail "no report"
[ "$(grep -c '^report: ' "$err")" = 1 ] || fail "reported: $(cat "$err")"
has "$work/four/rank-3.log" "train gpt_wikipage-wd0.05: "

job 0 2 run "$config" --run_dir "$work/four"
has "$err" "report: skipped"
job 0 2 run "$config" --run_dir "$work/four" --dry-run
[ "$(grep -c ' done$' "$out")" = 5 ] || fail "not all is done: $(cat "$out")"
job 2 2 run "$config" --run_dir "$work/four" --seed 1
[ "$(grep -c 'seed was' "$err")" = 1 ] || fail "said otherwise: $(cat "$err")"

# Nobody but rank 0 works while the data is prepared; a stop of another rank reaches it.
begin "stopped while it prepares"
mkfifo "$work/claims"
(ranks 3 sh -c '[ "$OMPI_COMM_WORLD_RANK" != 2 ] || (sleep 3; kill -USR1 $$) & exec "$@"' sh "$program" run "$config" \
    --run_dir "$work/asked" --claims "$work/slow.jsonl" --dp 3) >"$out" 2>"$err" &
job=$!
: >"$work/slow.jsonl"
wait $job
finish
