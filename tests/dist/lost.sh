#!/bin/sh
# lost.sh - one of four ranks is killed, stopped, fails or stays away: every other one ends within 30 s, fails, and
# names the rank, its host, the call that waited for it and the bytes.
. "$MN_SOURCE_DIR/tests/cli/check.inc" || exit 1
. "$MN_SOURCE_DIR/tests/dist/dist.inc" || exit 1

host=$(hostname | cut -d . -f 1)

# begin_work MODE: four ranks at work in the background; $job is mpirun, rank R is process "$(process R)".
begin_work() {
    (ranks 4 "$COMM_RANKS" "$@") >"$out" 2>"$err" &
    job=$!
    for r in 0 1 2 3; do wait_for "rank $r is process" "$out"; done
}

process() {
    sed -n "s/^rank $1 is process //p" "$out"
}

# lost LOST WHAT: all others end in time and say so; $since is when it happened.
lost() {
    wait "$job"
    [ $? != 0 ] || fail "mpirun left with 0"
    within 30 "$since" "the end of the others"
    for r in 0 1 2 3; do
        [ "$r" = "$1" ] && continue
        grep -qE "^rank $r: all_reduce of 4000 bytes: rank $1 \\($host\\)$2" "$err" ||
            fail "rank $r did not say '$2' of rank $1: $(cat "$err")"
        runs "$(process $r)" && fail "rank $r still runs"
    done
}

begin "rank 3 is killed"
begin_work work
since=$(seconds)
kill -9 "$(process 3)"
lost 3 " has ended \\(process $(process 3)\\)"

begin "rank 0 is killed"
begin_work work
since=$(seconds)
kill -9 "$(process 0)"
lost 0 " has ended \\(process $(process 0)\\)"

begin "rank 2 is stopped"
begin_work work
since=$(seconds)
stopped=$(process 2)
kill -STOP "$stopped"
lost 2 " is stopped \\(process $stopped\\)"
for _ in $(seq 50); do runs "$stopped" && sleep 0.1; done
runs "$stopped" && fail "mpirun left the stopped process"

begin "a job that is suspended as a whole goes on"
begin_work work
all="$(process 0) $(process 1) $(process 2) $(process 3)"
kill -STOP $all
sleep 8
kill -CONT $all
sleep 1
for r in 0 1 2 3; do runs "$(process $r)" || fail "rank $r has ended: $(cat "$err")"; done
kill "$job"
wait "$job"

begin "rank 2 fails by itself"
since=$(seconds)
begin_work fail
lost 2 ": prepared/x: the disk is full"
has "$err" "rank 2: prepared/x: the disk is full"

begin "rank 1 does not come"
since=$(seconds)
begin_work late
lost 1 " has not come within 2 s"

finish
