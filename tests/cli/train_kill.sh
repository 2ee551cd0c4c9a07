#!/bin/sh
# train_kill.sh - mneme train killed by SIGKILL at random moments and started again: weights bit for bit
# those of a training that nobody disturbed, and a log without gaps or repetitions.
# KILLS: how often (3); SEED: of the moments (the time).
. "$(dirname "$0")/check.inc" || exit 1
. "$(dirname "$0")/train.inc" || exit 1

kills=${KILLS:-3}
seed=${SEED:-$(date +%s)}
echo "# $kills kills, SEED=$seed"

prepare_data
started=$(date +%s%N)
# Lines of three steps: their means cross checkpoints.
train 0 "$work/whole" --logging_steps 3
took=$((($(date +%s%N) - started) / 1000000))

killed=0
for number in $(seq "$kills"); do
    after=$(awk "BEGIN { srand($seed + $number); printf \"%.3f\", rand() * $took / 1000 }")
    begin "mneme train killed after $after of $took ms"
    rm -rf "$work/cut"
    (alone "$work/cut" --logging_steps 3 --save_steps 1) >"$out" 2>"$err" & # many moments fall into a checkpoint
    child=$!
    sleep "$after"
    kill -9 $child 2>/dev/null
    wait $child 2>/dev/null
    [ $? = 137 ] && killed=$((killed + 1))
    train 0 "$work/cut" --logging_steps 3
    same "$work/whole" "$work/cut"
done
begin "mneme train after $killed kills"
[ $killed -gt 0 ] || fail "none came before the end: SEED=$seed"

finish
