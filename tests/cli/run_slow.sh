#!/bin/sh
# run_slow.sh - twenty times killed at random: the same adapters, predictions and report; five times where
# whole models are trained.
. "$(dirname "$0")/check.inc" || exit 1
. "$(dirname "$0")/kill.inc" || exit 1
. "$(dirname "$0")/run.inc" || exit 1

undisturbed "$work/whole"
killed "$work/whole" "$work/cut" 20

extra="--update full --methods gpt_template --max_steps 8"
undisturbed "$work/whole_full"
killed "$work/whole_full" "$work/cut_full" 5

finish
