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
    log=train/$variant/train_log.jsonl
    close_to loss 1e-5 "$work/one/$log" "$work/four/$log"
    close_to grad_norm 1e-4 "$work/one/$log" "$work/four/$log" # AdamW's steps make differences of rounding grow
done
answers "$work/one" >"$work/answers"
answers "$work/four" | cmp -s - "$work/answers" || fail "other answers"
[ -s "$work/answers" ] || fail "no answers"
[ -s "$work/four/report/report.html" ] || fail "no report"
[ "$(grep -c '^report: ' "$err")" = 1 ] || fail "reported: $(cat "$err")"
has "$work/four/rank-3.log" "train gpt_wikipage-wd0.05: "
sed "s|$work/four|$work/one|; s/\"tp\": 2/\"tp\": 1/; s/\"dp\": 2/\"dp\": 0/" "$work/four/config.json" |
    cmp -s - "$work/one/config.json" || fail "other keys: $(diff "$work/one/config.json" "$work/four/config.json")"

job 0 2 run "$config" --run_dir "$work/four"
has "$err" "report: skipped"
job 0 2 run "$config" --run_dir "$work/four" --dry-run
[ "$(grep -c ' done$' "$out")" = 5 ] || fail "not all is done: $(cat "$out")"
job 0 4 run "$config" --run_dir "$work/fresh" --dry-run --tp 2 --update full # rank 0 alone plans
job 2 2 run "$config" --run_dir "$work/four" --seed 1
[ "$(grep -c 'seed was' "$err")" = 1 ] || fail "said otherwise: $(cat "$err")"

# Rank 0 prepares a dump that takes some seconds; a stop of another rank reaches it.
mkdir "$work/wiki"
perl -e 'for (1 .. 30000) { link($ARGV[0], "$ARGV[1]/wiki-$_.jsonl") or symlink($ARGV[0], "$ARGV[1]/wiki-$_.jsonl") }' \
    "$source_dir/data/world/wiki/wiki-001.jsonl" "$work/wiki"
begin "stopped while it prepares"
(ranks 3 "$program" run "$config" --run_dir "$work/asked" --wiki "$work/wiki") >"$out" 2>"$err" &
job=$!
wait_for "3 ranks: " "$err"
sleep 1
kill -USR1 "$(rank 2)" || fail "it has ended: $(cat "$err")"
wait "$job"
got=$?
[ $got = 75 ] || fail "exit code $got: $(cat "$err")"
[ "$(grep -c "stopped on request" "$err")" = 1 ] || fail "said otherwise: $(cat "$err")"
[ ! -e "$work/asked/prepared/manifest.json" ] || fail "it was prepared"
job 0 3 run "$config" --run_dir "$work/asked" --dp 3
answers "$work/asked" | cmp -s - "$work/answers" || fail "other answers"

finish
