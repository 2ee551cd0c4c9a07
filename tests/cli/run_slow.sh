#!/bin/sh
# run_slow.sh - twenty times killed at random: the same adapters, predictions and report; five times where
# whole models are trained.
. "$(dirname "$0")/check.inc" || exit 1
. "$(dirname "$0")/run.inc" || exit 1

begun=$(date +%s%3N)
small 0 "$work/whole"
spent=$(($(date +%s%3N) - begun))
killed "$work/cut" 20 "$spent"
same_run "$work/whole" "$work/cut"

extra="--update full --methods gpt_template --max_steps 8"
begun=$(date +%s%3N)
small 0 "$work/whole_full"
spent=$(($(date +%s%3N) - begun))
killed "$work/cut_full" 5 "$spent"
same_run "$work/whole_full" "$work/cut_full"

finish
