#!/bin/sh
# eval_kill_slow.sh - eval_kill.sh with twenty kills of each form.
KILLS=20
export KILLS
. "$(dirname "$0")/eval_kill.sh"
