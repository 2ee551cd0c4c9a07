#!/bin/sh
# collectives.sh - all that ranks do together, as processes of mpirun.
. "$MN_SOURCE_DIR/tests/cli/check.inc" || exit 1
. "$MN_SOURCE_DIR/tests/dist/dist.inc" || exit 1

for n in 1 2 3 4; do
    begin "all collectives with $n ranks"
    (ranks $n "$COMM_RANKS" suite) >"$out" 2>"$err" || fail "exit code $?: $(cat "$err")"
    is "$out" "$n ranks, all well"
done

finish
