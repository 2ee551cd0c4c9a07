#!/bin/sh
# run_slow.sh - twenty times killed at random: the same adapters, predictions and report.
. "$(dirname "$0")/check.inc" || exit 1
. "$(dirname "$0")/run.inc" || exit 1

begun=$(date +%s%3N)
small 0 "$work/whole"
spent=$(($(date +%s%3N) - begun))
killed "$work/cut" 20 "$spent"
same_run "$work/whole" "$work/cut"

finish
