#!/bin/sh
# train_kill_slow.sh - train_kill.sh with twenty kills.
KILLS=20
export KILLS
. "$(dirname "$0")/train_kill.sh"
